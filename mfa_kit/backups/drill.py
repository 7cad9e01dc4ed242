"""Tests of backups: a code from the device shows whether its backup contains the right secret."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.backups.contents import Opened
from mfa_kit.core import otp, wrong_codes
from mfa_kit.core.errors import IntegrityFault, WrongPlace
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import Backup, BackupLocation, DeviceSpec
from mfa_kit.core.otp import Seed
from mfa_kit.core.wrong_codes import Mistake

# How far the clock of a phone may be off, in steps of 30 s. The limit is high because a test checks the secret, not the
# clock.
WITHIN = 10
# The number of wrong codes after which the result is DIFFERS.
TRIES = 3
INSTEAD = "a terminal, or --from oath with the key plugged in"
NO_KEY = "no plugged-in key has a credential for this device"


class Drill(StrEnum):
    """The result of testing a backup, as the ledger stores it."""

    NOT_OPENED = "not opened"
    WRONG_PLACE = "wrong place"
    PROVED = "proved"
    DIFFERS = "differs"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """The result of testing one backup. `fault` says why the backup could not be compared with a code, or is None."""

    file: BackupLocation
    result: Drill
    fault: str | None = None


def drill_due(backup: Backup, drills: Mapping[str, float], *, since: float) -> bool:
    """Return whether a test of a backup is due: the backup was made before `since`, and passed no test after `since`.

    `drills` maps the name of a backup to the time of its last passed test. Times are Unix seconds.
    """
    return max(backup.made, drills.get(backup.name, 0.0)) < since


def drill_all(
    files: Iterable[BackupLocation],
    *,
    open_backup: Callable[[BackupLocation], Opened],
    intent_of: Callable[[Opened], DeviceSpec],
    judge: Callable[[DeviceSpec, Opened], Drilled],
    record: Callable[[Opened, Drill], None],
) -> Iterator[Drilled]:
    """Decrypt each file, and compare its secret with a code from the device.

    `open_backup` decrypts a file, `intent_of` returns a DeviceSpec that names the device of a backup, and `judge`
    compares the secret with a code. Yield the result of each file. Call `record` for each file that was compared with a
    code.
    """
    for file in files:
        try:
            opened = open_backup(file)
        except IntegrityFault as fault:
            result = Drill.WRONG_PLACE if isinstance(fault, WrongPlace) else Drill.NOT_OPENED
            yield Drilled(file=file, result=result, fault=str(fault))
            continue
        try:
            spec = intent_of(opened)
        except IntegrityFault as fault:
            yield Drilled(file=file, result=Drill.SKIPPED, fault=str(fault))
            continue
        drilled = judge(spec, opened)
        if drilled.result is not Drill.SKIPPED:
            record(opened, drilled.result)
        yield drilled


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneDrill:
    """Tests a backup with the codes that a phone shows and the user types."""

    person: Interaction
    now: Callable[[], float]

    def __call__(self, spec: DeviceSpec, opened: Opened) -> Drilled:
        """Ask the user for codes from the device, compare them with the secret in the backup, and return the result."""
        self.person.say(f"type the code that the phone of {spec.user} now shows for {spec.name} ({opened.label})")
        result = judge_typed(opened.created.seed, now=self.now, interaction=self.person)
        return Drilled(file=opened.file, result=result)


def judge_typed(seed: Seed, *, now: Callable[[], float], interaction: Interaction) -> Drill:
    """Ask for codes of a device until a code proves that the device has the secret `seed`. Return the result.

    The result is DIFFERS after TRIES wrong codes, and SKIPPED if nothing is typed. Text that is not a code does not
    count as a wrong code.
    """
    wrong = 0
    while wrong < TRIES:
        typed = interaction.ask_code("code, or Enter to skip", instead=INSTEAD)
        if not typed:
            return Drill.SKIPPED
        diagnosis = wrong_codes.diagnose(typed, seed, time=now(), within=WITHIN)
        if not isinstance(diagnosis, Mistake):
            return Drill.PROVED
        interaction.say(f"{diagnosis.what}: {diagnosis.hint}")
        wrong += not isinstance(wrong_codes.digits(typed), Mistake)
    return Drill.DIFFERS


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDrill:
    """Tests a backup with an OATH key.

    `code_of` returns the key's code for a Unix time, or None if no plugged-in key has the device's credential.
    """

    code_of: Callable[[DeviceSpec, float], str | None]
    now: Callable[[], float]

    def __call__(self, spec: DeviceSpec, opened: Opened) -> Drilled:
        """Compare the key's code with the code of the backup for the same time, and return the result.

        The result is SKIPPED if no plugged-in key has the device's credential.
        """
        now = self.now()
        shown = self.code_of(spec, now)
        if shown is None:
            return Drilled(file=opened.file, result=Drill.SKIPPED, fault=NO_KEY)
        right = shown == otp.code_at(opened.created.seed, now)
        return Drilled(file=opened.file, result=Drill.PROVED if right else Drill.DIFFERS)


def exit_code_of(drilled: Iterable[Drilled]) -> int:
    """Return 5 if a backup is in a wrong place, 0 if at least one backup passed and none differed, else 1."""
    results = {drilled_backup.result for drilled_backup in drilled}
    if Drill.WRONG_PLACE in results:
        return WrongPlace.exit_code
    return 0 if Drill.PROVED in results and Drill.DIFFERS not in results else 1
