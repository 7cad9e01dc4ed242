"""A drill decrypts every backup that is encrypted to a break-glass identity, and checks that each contains a secret.

This does not show whether AWS accepts the codes of the secret. So for some users, the codes are compared with those on
their phones.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from mfa_kit.backups.contents import Opened, device_and_account
from mfa_kit.backups.drill import Drill, judge_typed
from mfa_kit.backups.rekeying import KnownRecipients
from mfa_kit.break_glass.custodians import Manifest, RecoveryKey
from mfa_kit.break_glass.meeting import OpenRecoveryKey
from mfa_kit.break_glass.ports import BreakGlassPorts, K, V
from mfa_kit.core.errors import IntegrityFault, UsageFault, WrongIdentityError
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.letter import LetterSection, LetterStep, fill_template
from mfa_kit.core.models import BackupLocation
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from mfa_kit.letters.sheet import Sheet


@dataclass(frozen=True, slots=True)
class Tested:
    """The result of a drill for one backup. `fault` says what is wrong with the backup, or is None."""

    file: BackupLocation
    fault: str | None = None


def concerned(known: Iterable[KnownRecipients], recipient: str) -> list[KnownRecipients]:
    """Return the backups that are encrypted to a recipient, and those for which no recipient is on record."""
    return [entry for entry in known if entry.recipients is None or recipient in entry.recipients]


def check_users(users: Iterable[str], known: Iterable[KnownRecipients]) -> None:
    """Raise UsageFault for a user without a backup, because the drill would pass without comparing the user's codes."""
    users_with_backups = {entry.backup.user.lower() for entry in known}
    for user in users:
        if user.lower() not in users_with_backups:
            raise UsageFault(
                f"no backup of {user} is encrypted to this identity, so there is nothing to compare with a phone",
                "name a user who has such a backup (see mfa-kit backup recipients): --phone USER",
            )


def drill_backups(
    known: Iterable[KnownRecipients],
    *,
    open_backup: Callable[[BackupLocation], Opened],
    code_fault: Callable[[Opened], str | None],
) -> Iterator[Tested]:
    """Decrypt each backup, and yield the result.

    A backup whose recipients are not on record is skipped if the identity cannot decrypt it. `code_fault` says why
    the codes of a backup are wrong, or returns None.
    """
    for entry in known:
        try:
            opened = open_backup(entry.backup.path)
        except IntegrityFault as fault:
            if entry.recipients is not None or not isinstance(fault, WrongIdentityError):
                yield Tested(entry.backup.path, str(fault))
            continue
        yield Tested(entry.backup.path, code_fault(opened))


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneCheck:
    """Compares the codes of backups with the codes on the phones of `users`, whose names are in lower case.

    `record` is called with the result of each comparison. `asked` has each user who was asked for a code, and whether
    mfa-kit compared a code that the user typed.
    """

    users: Collection[str]
    person: Interaction
    now: Callable[[], float]
    record: Callable[[BackupLocation, Drill], None]
    asked: dict[str, bool] = field(default_factory=dict)

    def __call__(self, opened: Opened) -> str | None:
        """Return why the codes of a backup are wrong or were not compared.

        Return None if they match, or if the backup belongs to a user who is not in `users`.
        """
        device, _ = device_and_account(opened.label)
        user = opened.named.user if opened.named else device
        if user.lower() not in self.users:
            return None
        self.person.say(f"type the code that the phone of {user} now shows for {device} ({opened.label})")
        result = judge_typed(opened.created.seed, now=self.now, interaction=self.person)
        self.asked[user.lower()] = self.asked.get(user.lower(), False) or result is not Drill.SKIPPED
        if result is Drill.SKIPPED:
            return f"{opened.file} was not compared with the phone of {user}"
        self.record(opened.file, result)
        return (
            None if result is Drill.PROVED else f"the codes of {user}'s phone do not match the secret in {opened.file}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrilledBackups:
    """The backups that a drill tests, and the ledger.

    `prefetch` yields the files, and begins to read some of them early. `open` decrypts a backup, or raises
    IntegrityFault. `record` records that the secret in a backup was compared with a code.
    """

    prefetch: Callable[[Iterable[BackupLocation]], Iterator[BackupLocation]]
    open: Callable[[BackupLocation], Opened]
    record: Callable[[BackupLocation, Drill], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """The result of a drill.

    `tested` has a result for each backup, and `faults` a sentence for each problem. `compared` has the users who typed
    a code from their phone, which mfa-kit compared with the codes of a backup.
    """

    tested: Sequence[Tested]
    compared: tuple[str, ...]
    faults: Sequence[str]

    @property
    def good(self) -> int:
        """How many backups were tested without a fault."""
        return sum(outcome.fault is None for outcome in self.tested)

    @property
    def passed(self) -> bool:
        """Whether at least one backup was tested, and `faults` is empty."""
        return bool(self.tested) and not self.faults


def drill(
    recovery_key: RecoveryKey,
    opened: OpenRecoveryKey[K, V],
    known: Sequence[KnownRecipients],
    *,
    users: Sequence[str],
    ports: BreakGlassPorts[K, V],
    backups: Callable[[V], AbstractContextManager[DrilledBackups]],
    counted: Callable[[Sequence[KnownRecipients]], Iterable[KnownRecipients]],
) -> DrillResult:
    """Decrypt the backups in `known` with an open identity, and record the drill in the ledger.

    `backups` opens the backups for an identity. For the backups of `users`, compare the codes with those on the users'
    phones. `counted` takes the backups, yields each of them, and shows the progress.
    """
    by_path = {entry.backup.path: entry for entry in known}
    with backups(opened.identity) as drilled:
        check = PhoneCheck(
            users={user.lower() for user in users}, person=ports.person, now=ports.now, record=drilled.record
        )
        entries = (by_path[path] for path in drilled.prefetch(entry.backup.path for entry in counted(known)))
        tested = list(drill_backups(entries, open_backup=drilled.open, code_fault=check))
    unasked = [f"no backup of {user} was compared with a phone" for user in users if user.lower() not in check.asked]
    result = DrillResult(
        tested=tested,
        compared=tuple(user for user in users if check.asked.get(user.lower())),
        faults=[*(outcome.fault for outcome in tested if outcome.fault), *unasked],
    )
    action = RecoveryKeyAction.DRILLED if result.passed else RecoveryKeyAction.FAILED
    ports.record(recovery_key.manifest, action, opened.names, backups=result.good)
    return result


def drill_protocol(result: DrillResult, names: Sequence[str], manifest: Manifest, *, text: str, date: str) -> Sheet:
    """Return the record of a drill, for the custodians in `names` to sign. It contains no secret.

    `names` are the custodians who opened the identity.
    """
    values = {
        "held": date,
        "result": "passed" if result.passed else "failed",
        "recipient": manifest.recipient,
        "needed": manifest.group.needed,
        "present": ", ".join(names),
        "opened": str(result.good),
        "backups": str(len(result.tested)),
        "compared": ", ".join(result.compared),
    }
    letter = fill_template(text, values)
    if result.faults:
        faults = LetterSection(title="What was wrong", steps=tuple(LetterStep(text=fault) for fault in result.faults))
        letter = replace(letter, sections=(faults, *letter.sections))
    return Sheet(letter=letter, signers=tuple(names))
