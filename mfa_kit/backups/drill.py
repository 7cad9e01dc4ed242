"""Drills: a code of the device shows whether the seed in its backup is the right one."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mfa_kit.backups.contents import Opened
from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import Backup, Intent
from mfa_kit.core.otp import Mistake, Seed

# Steps that the clock of a phone may be off in a drill, which is of the seed: five minutes.
WITHIN = 10
# Wrong codes after which a drill says that they differ.
TRIES = 3
INSTEAD = "a terminal, or --from oath with the key plugged in"
NO_KEY = "no key that is plugged in holds it"


class Drill(StrEnum):
    """What came of a drill."""

    NOT_OPENED = "not opened"
    PROVED = "proved"
    DIFFERS = "differs"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """A backup that was drilled, or `fault`: why no code of its device was judged."""

    file: Path
    result: Drill
    fault: str | None = None


def drill_due(backup: Backup, drills: Mapping[str, float], *, since: float) -> bool:
    """Return whether a backup was made before a Unix time and gave no right code from then on."""
    return max(backup.made, drills.get(backup.name, 0.0)) < since


def drill_all(
    files: Iterable[Path],
    *,
    open_backup: Callable[[Path], Opened],
    intent_of: Callable[[Opened], Intent],
    judge: Callable[[Intent, Opened], Drilled],
    record: Callable[[Path, Drill], None],
) -> Iterator[Drilled]:
    """Open each file, judge a code of its device, and record the result unless the drill was skipped."""
    for file in files:
        try:
            opened = open_backup(file)
        except IntegrityFault as fault:
            yield Drilled(file=file, result=Drill.NOT_OPENED, fault=str(fault))
            continue
        try:
            intent = intent_of(opened)
        except IntegrityFault as fault:
            yield Drilled(file=file, result=Drill.SKIPPED, fault=str(fault))
            continue
        drilled = judge(intent, opened)
        if drilled.result is not Drill.SKIPPED:
            record(file, drilled.result)
        yield drilled


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneDrill:
    """A person types the codes of a phone."""

    person: Interaction
    now: Callable[[], float]

    def __call__(self, intent: Intent, opened: Opened) -> Drilled:
        """Name the device, and judge the codes that the person types."""
        self.person.say(f"type the code that {intent.user}'s phone shows for {intent.name} ({opened.label})")
        result = judge_typed(opened.created.seed, now=self.now, interaction=self.person)
        return Drilled(file=opened.file, result=result)


def judge_typed(seed: Seed, *, now: Callable[[], float], interaction: Interaction) -> Drill:
    """Have a person type a code of the device, and judge it by the seed of the backup."""
    wrong = 0
    while wrong < TRIES:
        typed = interaction.ask_code("code, or Enter to leave it out", instead=INSTEAD)
        if not typed:
            return Drill.SKIPPED
        found = otp.diagnose(typed, seed, at=now(), within=WITHIN)
        if not isinstance(found, Mistake):
            return Drill.PROVED
        interaction.say(f"{found.what}: {found.hint}")
        wrong += not isinstance(otp.digits(typed), Mistake)
    return Drill.DIFFERS


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDrill:
    """A key with an OATH applet computes the codes: `code_of` a Unix time, or None where no key holds the device."""

    code_of: Callable[[Intent, float], str | None]
    now: Callable[[], float]

    def __call__(self, intent: Intent, opened: Opened) -> Drilled:
        """Compare the key's code with the one that the seed gives for the same time."""
        at = self.now()
        shown = self.code_of(intent, at)
        if shown is None:
            return Drilled(file=opened.file, result=Drill.SKIPPED, fault=NO_KEY)
        right = next(otp.codes(opened.created.seed, range(otp.step(at), otp.step(at) + 1)))
        return Drilled(file=opened.file, result=Drill.PROVED if shown == right else Drill.DIFFERS)


def has_passed(drilled: Iterable[Drilled]) -> bool:
    """Return whether at least one code was right and none was wrong."""
    results = {each.result for each in drilled}
    return Drill.PROVED in results and Drill.DIFFERS not in results
