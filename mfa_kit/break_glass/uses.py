"""The ledger's records of the uses of break-glass identities, and the tasks that are due according to these records."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mfa_kit.break_glass.custodians import Manifest
from mfa_kit.core.recovery_keys import CustodianKey, RecoveryKeyAction, RecoveryKeyUse
from mfa_kit.core.text import iso_time

DAY = 86400.0
# The number of seconds after which a drill of an identity must be repeated.
DRILL_EVERY = 180 * DAY
# The actions after which someone may know an identity, in the words that `due` uses for them.
HANDLED = {RecoveryKeyAction.OPENED: "it was opened", RecoveryKeyAction.PASSED: "a custodian removed a layer of it"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One use of a break-glass identity.

    `at` is in Unix seconds. `custodians` maps the names of the custodians who took part to their public keys. If the
    action is SEALED, `custodians` has all custodians. Otherwise, `threshold` is 0. `backups` is the number of backups
    that were opened or re-encrypted. `replaces` is the recipient of the identity that this identity replaces; it is
    None if there is no such identity, and in each record of version 1.1.0 and before. If several computers share the
    ledger, `role` and `computer` wrote the record, and `own` says whether both are those of this session.
    """

    at: float
    recipient: str
    action: RecoveryKeyAction
    custodians: Mapping[str, str]
    threshold: int = 0
    backups: int = 0
    replaces: str | None = None
    role: str = ""
    computer: str = ""
    own: bool = True


def last(records: Iterable[Record], recipient: str, *actions: RecoveryKeyAction) -> Record | None:
    """Return the last record of one of these actions, or None. `recipient` is the public key of the identity.

    `records` are in the order of time.
    """
    return next(
        (record for record in _backward(records) if record.recipient == recipient and record.action in actions), None
    )


def _backward(records: Iterable[Record]) -> Sequence[Record]:
    return list(records)[::-1]


def due(manifest: Manifest, records: Sequence[Record], *, now: float) -> list[str]:
    """Return one sentence for each task that is due for a break-glass identity. `now` is in Unix seconds."""
    tasks = []
    if opened := last(records, manifest.recipient, RecoveryKeyAction.OPENED, RecoveryKeyAction.PASSED):
        tasks.append(
            f"rotate the identity, because {HANDLED[opened.action]} on {iso_time(opened.at)[:10]}: break-glass rotate"
        )
    if is_unfinished(manifest, records):
        tasks.append("finish the rotation: break-glass rotate")
    drilled = last(records, manifest.recipient, RecoveryKeyAction.DRILLED)
    if drilled is None or drilled.at < now - DRILL_EVERY:
        tasks.append(f"hold a drill, because none passed in the last {DRILL_EVERY / DAY:.0f} days: break-glass drill")
    elif (sealed := last(records, manifest.recipient, RecoveryKeyAction.SEALED)) and drilled.at < sealed.at:
        tasks.append("hold a drill, because the custodians changed after the last drill: break-glass drill")
    return tasks


def is_unfinished(manifest: Manifest, records: Iterable[Record]) -> bool:
    """Return whether an identity comes from a rotation that the ledger does not record as completed."""
    return manifest.replaces is not None and last(records, manifest.recipient, RecoveryKeyAction.ROTATED) is None


def identities_in_use(records: Sequence[Record], users: Mapping[str, Collection[str]]) -> tuple[RecoveryKeyUse, ...]:
    """Return the break-glass identities in the ledger, in the order in which they were made.

    `users` maps a public key to the names of the users whose own copies are encrypted to it.
    """
    uses_by_recipient: dict[str, RecoveryKeyUse] = {}
    replaced = {record.replaces for record in records if record.replaces != record.recipient}
    for record in records:
        if record.action is RecoveryKeyAction.SEALED:
            first = uses_by_recipient.get(record.recipient)
            uses_by_recipient[record.recipient] = RecoveryKeyUse(
                recipient=record.recipient,
                threshold=record.threshold,
                custodians=tuple(
                    CustodianKey(name=name, key=key, users=tuple(sorted(users.get(key, ()))))
                    for name, key in record.custodians.items()
                ),
                made=first.made if first else record.at,
                drilled=_after(record.at, _time(last(records, record.recipient, RecoveryKeyAction.DRILLED))),
                opened=_time(last(records, record.recipient, RecoveryKeyAction.OPENED, RecoveryKeyAction.PASSED)),
                retired=record.recipient in replaced,
                own=record.own or (first is not None and first.own),
            )
    return tuple(uses_by_recipient.values())


def _after(sealed: float, drilled: float | None) -> float | None:
    """Return the time of a drill, or None if there was no drill, or if the custodians changed after it."""
    return None if drilled is not None and drilled < sealed else drilled


def _time(record: Record | None) -> float | None:
    return None if record is None else record.at
