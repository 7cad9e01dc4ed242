"""Selects the backups that a command of `mfa-kit backup` works on."""

from collections.abc import Sequence

from mfa_kit.core.models import Backup


def of_user(user: str | None, found: Sequence[Backup]) -> list[Backup]:
    """Return the backups of a user, ignoring the case of the name, or all backups if no user is given."""
    return [each for each in found if user is None or each.user.lower() == user.lower()]


def without_copies(found: Sequence[Backup]) -> list[Backup]:
    """Return the backups without duplicates. If several backups have the same name, only the first one is returned."""
    first = {each.name: each for each in reversed(found)}
    return [each for each in found if first[each.name] is each]
