"""A drill decrypts every backup that is encrypted to a break-glass identity, and checks that each contains a secret.

This does not show whether AWS accepts the codes of the secret. So for some users, the codes are compared with those on
their phones.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from mfa_kit.backups.contents import Opened, device_and_account
from mfa_kit.backups.drill import Drill, judge_typed
from mfa_kit.backups.rekeying import KnownRecipients
from mfa_kit.core.errors import IntegrityFault, UsageFault, WrongIdentityError
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import BackupLocation


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
