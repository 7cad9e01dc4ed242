"""The users of the account, and which of them a rollout is for where there is no roster."""

from collections.abc import Container
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUser:
    """A user as IAM lists them; groups and tags where they were asked for."""

    name: str
    path: str = "/"
    groups: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a user must have to be selected: one of the groups, all the tags, and everything else that is given."""

    groups: tuple[str, ...] = ()
    path_prefix: str = "/"
    tags: tuple[tuple[str, str], ...] = ()
    without_mfa: bool = False

    @property
    def by_details(self) -> bool:
        """Whether the groups or the tags of users are needed."""
        return bool(self.groups or self.tags)

    def matches(self, user: ListedUser, passwords: Container[str]) -> bool:
        """Whether a user is selected. `passwords` has the users with a console password; only they need MFA."""
        return (
            user.path.startswith(self.path_prefix)
            and (not self.groups or bool(set(self.groups) & set(user.groups)))
            and set(self.tags) <= set(user.tags)
            and (not self.without_mfa or user.name in passwords)
        )
