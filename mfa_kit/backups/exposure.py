"""The recipients of backups, and the backups that a lost key can decrypt, according to the ledger."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from mfa_kit.core.models import Backup, Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRecipients:
    """A backup and its recipients. `recipients` is None if the ledger has no recipients of this backup."""

    backup: Backup
    recipients: tuple[str, ...] | None


def known_recipients(backups: Iterable[Backup], seals: Iterable[Seal]) -> list[KnownRecipients]:
    """Return each backup with its current recipients, according to `seals`, the ledger's records of recipients.

    If the user has a copy that is encrypted to their own public key, this key counts as a recipient.
    """
    current: dict[str, dict[str, None]] = {}
    for seal in seals:
        if seal.until is None:
            current.setdefault(seal.backup, {})[seal.recipient] = None
    return [
        KnownRecipients(backup=each, recipients=tuple(current[each.name]) if each.name in current else None)
        for each in backups
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """A backup that a recipient's key can decrypt or could decrypt earlier, and the period in which it can do so.

    `since` and `until` are Unix times. `since` is None if the recipients are not recorded. `until` is None if the key
    can still decrypt the file, or if the recipients are not recorded.
    """

    backup: Backup
    since: float | None
    until: float | None = None


def find_exposed(
    recipient: str, backups: Iterable[Backup], seals: Iterable[Seal], *, gone: Collection[str]
) -> list[Exposed]:
    """Return the backups that a recipient's key can decrypt or could decrypt earlier.

    `seals` are the ledger's records of recipients. A backup whose recipients are not recorded is included. `gone` has
    the names of backups whose device no longer exists; these backups are left out.
    """
    known: set[str] = set()
    opened_by_it: dict[str, list[Seal]] = {}
    for seal in seals:
        known.add(seal.backup)
        if seal.recipient == recipient:
            opened_by_it.setdefault(seal.backup, []).append(seal)
    return [
        _exposed(each, opened_by_it.get(each.name, []))
        for each in backups
        if each.name not in gone and (each.name in opened_by_it or each.name not in known)
    ]


def _exposed(backup: Backup, seals: Sequence[Seal]) -> Exposed:
    ends = [seal.until for seal in seals if seal.until is not None]
    return Exposed(
        backup=backup,
        since=min((seal.since for seal in seals), default=None),
        until=max(ends) if ends and len(ends) == len(seals) else None,
    )
