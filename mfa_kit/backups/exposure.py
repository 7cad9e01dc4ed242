"""Who can open which backup, and which backups a lost key opens, as far as the records tell."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from mfa_kit.core.models import Backup, Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRecipients:
    """The recipients of a backup; None where they are not on record."""

    backup: Backup
    recipients: tuple[str, ...] | None


def known_recipients(backups: Iterable[Backup], seals: Iterable[Seal]) -> list[KnownRecipients]:
    """Return who can open each backup now. A user who has a copy of their own counts as a recipient of the backup."""
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
    """A backup that a recipient's key opens, and the Unix times from when to when the file here was encrypted to it.

    `since` is None where the recipients of the backup are not on record; `until` is None where the key still opens it.
    """

    backup: Backup
    since: float | None
    until: float | None = None


def find_exposed(
    recipient: str, backups: Iterable[Backup], seals: Iterable[Seal], *, gone: Collection[str]
) -> list[Exposed]:
    """Return the backups that a recipient's key opens or ever opened.

    A backup without a record counts. `gone` are the names of backups whose device no longer exists; they do not count.
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
