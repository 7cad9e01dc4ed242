"""Says which break-glass recipients were replaced by a rotation, so that nothing new is encrypted to them.

Only the ledger says this. The manifest of a folder says it too, but anyone can write such a folder.
"""

from collections.abc import Collection, Iterable, Sequence

from mfa_kit.break_glass.uses import Record
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.message import Message, mfa_kit
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from mfa_kit.core.text import iso_time


def retirement_of(recipient: str, records: Iterable[Record]) -> Record | None:
    """Return a record that another identity replaced a recipient, or None. Prefer a record of this role and computer.

    Records of others count too, because a false one only stops a command, and the user can allow a recipient by name.
    """
    replaced = (record for record in records if record.replaces == recipient != record.recipient)
    return max(replaced, key=lambda record: record.own, default=None)


def fault_of_retired(recipient: str, record: Record) -> IntegrityFault:
    """Return the error for a recipient that a record says was replaced. Only an own record names the new one."""
    day, allow = iso_time(record.at)[:10], f"to encrypt to it all the same: --retired-recipient {recipient}"
    if record.own:
        return IntegrityFault(
            f"the recipient {recipient} is retired: {record.recipient} replaced it on {day}",
            Message("use the current recipient", mfa_kit("break-glass status"), allow),
        )
    return IntegrityFault(
        f"the recipient {recipient} is retired: {record.role} on {record.computer} recorded on {day} that another "
        "identity replaced it",
        f"ask {record.role} whether that is true; {allow}",
    )


def check_recipients(recipients: Iterable[str], records: Sequence[Record], *, allowed: Collection[str]) -> None:
    """Raise IntegrityFault for the first of the recipients that is retired and is not in `allowed`."""
    for recipient in recipients:
        if recipient not in allowed and (record := retirement_of(recipient, records)):
            raise fault_of_retired(recipient, record)


def current_recipient(records: Sequence[Record]) -> str | None:
    """Return the last recipient that this role and computer recorded and did not record as replaced, or None.

    `records` are in the order of time. Records of others never choose a recipient.
    """
    own = [record for record in records if record.own]
    for record in reversed(own):
        if record.action is RecoveryKeyAction.SEALED and not retirement_of(record.recipient, own):
            return record.recipient
    return None
