"""Rosters: lists of users, and the devices that each user gets. `roster_files` reads them."""

import base64
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mfa_kit.core import models
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import csv_table
from mfa_kit.core.models import DeviceType, RosterMethod

DEVICE_NAME = "device_name"
COLUMNS = ("user", "kind", DEVICE_NAME, "path", "recipient", "serial", "asset", "tags", "email")
# The columns for the account, for what to do with the user's devices, for the old device that goes, for the profile of
# the key, and for how the key gets to the user. mfa-kit writes these columns only if a row has a cell for them.
ACCOUNT, ACTION, REPLACES, PROFILE, DELIVERY = "account", "action", "replaces", "profile", "delivery"
OPTIONAL = (ACTION, REPLACES, PROFILE, DELIVERY, ACCOUNT)


SELF = RosterMethod()
# The method of a row whose cell `kind` is empty.
VIRTUAL = RosterMethod(method=models.VIRTUAL, unattended=True)
Tags = tuple[tuple[str, str], ...]


class RosterAction(StrEnum):
    """What a row does with its user's devices. Its value is the word in the roster column `action`.

    ENROLL: make a device unless the user has one. ADD: make one more device. REPLACE: make a device, and remove the old
    one once the new one is proven.
    """

    ENROLL = "enroll"
    ADD = "add"
    REPLACE = "replace"


class Delivery(StrEnum):
    """How a user gets a key: at the DESK, or by POST. Its value is the word in the roster column `delivery`."""

    DESK = "desk"
    POST = "post"


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterRow:
    """One user of a roster, and the device to make: its kind, name, path, tags and, for a token, serial.

    `recipient` is the user's public key, to which a copy of the backup is encrypted. `asset` is a label for the key or
    token. `email` is the address for `rollout handover` and `remind`. `account` is the ID of the user's account. It
    is None if the rollout is for one account, and neither the `account` cell nor the user's ARN names an account.
    `replaces` is the name or the serial of the old device, if the user has several. `profile` is the name of the
    profile with which the key is prepared. `by_post` means that the key is sent to the user. `pair` means that the row
    is one half of a `pair`.
    """

    user: str
    kind: RosterMethod = VIRTUAL
    name: str | None = None
    path: str = "/"
    recipient: str | None = None
    serial: str | None = None
    asset: str | None = None
    tags: Tags = ()
    email: str | None = None
    account: str | None = None
    action: RosterAction = RosterAction.ENROLL
    replaces: str | None = None
    profile: str | None = None
    by_post: bool = False
    pair: bool = False

    @property
    def can_be_posted(self) -> bool:
        """Whether the row's device is on a key or token that can be prepared, or registered after it has arrived."""
        method = self.kind.method
        return bool(self.kind.halves) or (method is not None and not (self.kind.unattended or self._seeded_by_aws))

    @property
    def _seeded_by_aws(self) -> bool:
        return self.kind.by_serial and not self.kind.is_virtual

    @property
    def registered_by_user(self) -> bool:
        """Whether the user registers the row's security key after it has arrived by post."""
        method = self.kind.method
        return self.by_post and method is not None and method.device_type is DeviceType.FIDO2

    @property
    def is_further(self) -> bool:
        """Whether the row is about a device of its own, and not done as soon as its user has any device."""
        return self.action is not RosterAction.ENROLL or self.pair

    @property
    def key(self) -> str:
        """What identifies the row in a plan: the user, or for a further device `USER/NAME`.

        User names have no slash.
        """
        return f"{self.user}/{self.name}" if self.is_further else self.user


def row_cells(row: RosterRow) -> dict[str, str]:
    """Return a row as the cells of a roster, by column, without the account.

    From these cells, `parse_roster` makes the same row again.
    """
    cells = {
        "user": row.user,
        "kind": row.kind.name,
        DEVICE_NAME: row.name,
        "path": row.path,
        "recipient": row.recipient,
        "serial": row.serial,
        "asset": row.asset,
        "tags": ";".join(f"{key}={value}" for key, value in row.tags),
        "email": row.email,
        ACTION: row.action if row.action is not RosterAction.ENROLL else "",
        REPLACES: row.replaces,
        PROFILE: row.profile,
        DELIVERY: Delivery.POST if row.by_post else "",
    }
    return {column: cell or "" for column, cell in cells.items()}


# The end of the name of a pair's second half.
SECOND = "-2"


def half_names(row: RosterRow) -> tuple[str, str]:
    """Return the names of both devices of a pair. `row` is one half of it."""
    name = (row.name or "").removesuffix("" if row.kind.is_virtual else SECOND)
    return name, name + SECOND


def join_pairs(rows: Iterable[RosterRow]) -> list[RosterRow]:
    """Return the rows of a plan as a roster has them: one row for the halves of a pair, even if `rows` has only one."""
    joined = [
        replace(row, name=half_names(row)[0], kind=RosterMethod(halves=(row.kind,)), pair=False) if row.pair else row
        for row in rows
    ]
    return [*{(row.user, row.name): row for row in joined}.values()]


def roster_table(rows: Sequence[RosterRow]) -> str:
    """Return rows as a CSV roster, without the account. From it, `parse_roster` makes the same rows again."""
    cells = [row_cells(row) for row in rows]
    return csv_table(columns_of(cells), cells)


def columns_of(rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Return the columns of a roster with these rows: of the optional ones, those for which a row has a cell."""
    return (*COLUMNS, *(name for name in OPTIONAL if any(row.get(name) for row in rows)))


def key_fingerprint(recipient: str) -> str:
    """Return the fingerprint of a public key: for SSH, as `ssh-keygen -l` prints it; for age, the key itself."""
    if not recipient.startswith("ssh-"):
        return recipient
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    digest = hashlib.sha256(base64.b64decode(recipient.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def keep_users(rows: Sequence[RosterRow], users: Sequence[str]) -> list[RosterRow]:
    """Return the rows of these users, in the order of `rows`. Raise UsageFault for a user without a row."""
    names = {user.lower() for user in users}
    if missing := names - {row.user.lower() for row in rows}:
        raise UsageFault(
            f"--only names users who are not in the roster, plan or selection: {', '.join(sorted(missing))}",
            "check the spelling, or remove these names from --only",
        )
    return [row for row in rows if row.user.lower() in names]


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
