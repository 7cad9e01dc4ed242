"""Plans a rotation: which backups to encrypt to a new break-glass identity, and to which other recipients."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mfa_kit.backups.rekeying import KnownRecipients
from mfa_kit.core.models import Backup


@dataclass(frozen=True, slots=True)
class Rotation:
    """The backups that a rotation concerns.

    `groups` maps each tuple of recipients to the backups to re-encrypt to exactly these recipients. `unknown` has the
    backups whose recipients are not on record; the caller finds out which of them to re-encrypt.
    """

    groups: Mapping[tuple[str, ...], Sequence[KnownRecipients]]
    unknown: Sequence[Backup]


def plan_rotation(known: Iterable[KnownRecipients], *, old: str, new: str) -> Rotation:
    """Return a Rotation that replaces the recipient `old` with `new` in each backup that is encrypted to `old`.

    The other recipients of a backup stay. A backup for which both `old` and `new` are on record is included, because an
    earlier run may have been killed before it re-encrypted this backup.
    """
    groups: defaultdict[tuple[str, ...], list[KnownRecipients]] = defaultdict(list)
    unknown: list[Backup] = []
    for entry in known:
        if entry.recipients is None:
            unknown.append(entry.backup)
        elif old in entry.recipients:
            groups[(*sorted({*entry.recipients} - {old, new}), new)].append(entry)
    return Rotation(groups, unknown)
