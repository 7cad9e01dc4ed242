"""Which backups of those that are here a verb of `mfa-kit backup` is about."""

from collections.abc import Sequence

from mfa_kit.core.models import Backup


def of_user(user: str | None, found: Sequence[Backup]) -> list[Backup]:
    """Return the backups of a user, whatever the case of the name; all of them without one."""
    return [each for each in found if user is None or each.user.lower() == user.lower()]


def without_copies(found: Sequence[Backup]) -> list[Backup]:
    """Return the backups without the users' own copies of backups that are there besides."""
    first = {each.name: each for each in reversed(found)}
    return [each for each in found if first[each.name] is each]
