"""Break-glass identities as the ledger records them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class RecoveryKeyAction(StrEnum):
    """What was done with a break-glass identity, as the ledger stores it.

    SEALED: the files of the identity were written for a group of custodians. ROTATED: all backups of the previous
    identity were re-encrypted to this identity. PASSED: a custodian removed one layer of a file.
    """

    SEALED = "sealed"
    OPENED = "opened"
    PASSED = "passed"
    DRILLED = "drilled"
    FAILED = "drill failed"
    ROTATED = "rotated"


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodianKey:
    """The public key of a custodian, with the custodian's name.

    `users` has the IAM users whose own copies of backups are encrypted to this key, so the key is also theirs.
    """

    name: str
    key: str
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryKeyUse:
    """A break-glass identity according to the ledger: its recipient, its custodians, and when it was used.

    `threshold` is the number of custodians who are needed. `made` is when the identity was first encrypted to
    custodians, in Unix seconds. `drilled` is when a drill last passed with these custodians. `opened` is when the
    identity was last opened, or a custodian last removed a layer of encryption to pass a file on. `drilled` and
    `opened` are None if that never happened. `retired` says whether a record in the ledger says that a rotation
    replaced the identity; it is None in a snapshot of 1.1.0 or before. `own` says whether this role and computer
    recorded the identity.
    """

    recipient: str
    threshold: int
    custodians: tuple[CustodianKey, ...]
    made: float
    drilled: float | None = None
    opened: float | None = None
    retired: bool | None = None
    own: bool = False


def recommended(identities: Sequence[RecoveryKeyUse]) -> RecoveryKeyUse | None:
    """Return the last identity that is not retired, or None. `identities` are in the order in which they were made.

    If this computer recorded any, those of others do not count, because each computer can record a false one.
    """
    own = [identity for identity in identities if identity.own] or identities
    return next((identity for identity in reversed(own) if not identity.retired), None)
