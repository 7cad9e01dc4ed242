"""A user in IAM's list, and the conditions that select users for a rollout without a roster."""

from collections.abc import Container, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUser:
    """A user in IAM's list. `groups` and `tags` are empty if they were not read."""

    name: str
    path: str = "/"
    groups: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSelection:
    """Conditions for selecting users. A user must meet all of them.

    The user must be in one of `groups` if there are any, have all of `tags`, and have a path that begins with
    `path_prefix`. If `without_mfa` is true, the user must also have a console password. Whether the user has a device
    is not a condition, because the plan skips users who have one.

    IAM ignores the case of group names and tag keys, but not the case of paths and tag values (IAM user guide, "IAM and
    STS quotas" and "Tags for IAM resources").
    """

    groups: tuple[str, ...] = ()
    path_prefix: str = "/"
    tags: tuple[tuple[str, str], ...] = ()
    without_mfa: bool = False

    @property
    def by_details(self) -> bool:
        """Whether the selection depends on the users' groups or tags, so that they have to be read."""
        return bool(self.groups or self.tags)

    def matches(self, user: ListedUser, passwords: Container[str]) -> bool:
        """Return whether a user is selected.

        `passwords` has the names of the users with a console password. They are used only if `without_mfa` is true.
        """
        return (
            user.path.startswith(self.path_prefix)
            and (not self.groups or bool(_lower(self.groups) & _lower(user.groups)))
            and _lower_keys(self.tags) <= _lower_keys(user.tags)
            and (not self.without_mfa or user.name in passwords)
        )


def _lower(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}


def _lower_keys(tags: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(key.lower(), value) for key, value in tags}
