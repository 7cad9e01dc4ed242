"""The backups that a verb of `mfa-kit backup` uses."""

from collections.abc import Sequence

from mfa_kit.core.models import Backup


def of_user(user: str | None, found: Sequence[Backup]) -> list[Backup]:
    """Return the backups of a user, ignoring the case of the name; without a user, all of them."""
    return [each for each in found if user is None or each.user.lower() == user.lower()]


def without_copies(found: Sequence[Backup]) -> list[Backup]:
    """Return the backups without a user's own copy if the backup itself exists."""
    first = {each.name: each for each in reversed(found)}
    return [each for each in found if first[each.name] is each]
