"""Parses the description of an account, a JSON or TOML file. Tables list its fields and their types.

`--from` reads a description, and `--state` keeps one between runs. builder.py makes an account from the parsed values,
and state.py writes an account as a description. docs/lab-reference.md documents the fields. To add a field, add it to a
table and to a value here, and to both of these files.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.json_text import read_json
from mfa_kit.lab.aws import wire

VERSION = 1
FORM = "see docs/lab-reference.md for the form"
NAME = wire.compile_pattern(r"[\w+=,.@-]+")
Table = Mapping[str, type]
# The arguments of moto's update_account_password_policy, by name.
PasswordPolicy = Mapping[str, Any]
T = TypeVar("T")

# The type of each field's value. The error for any other field names it.
DOCUMENT: Table = {
    "schema": str,
    "version": int,
    "region": str,
    "alias": str,
    "root": dict,
    "password_policy": dict,
    "policies": list,
    "groups": list,
    "roles": list,
    "users": list,
    "devices": list,
    "tokens": list,
    "bindings": dict,
}
ENTITY: Table = {"name": str, "path": str, "policies": dict, "attached": list}
TABLES: Mapping[str, Table] = {
    "": DOCUMENT,
    "root": {
        "mfa": bool,
        "virtual": bool,
        "password": bool,
        "keys": int,
        "key_last_used": str,
        "created": str,
        "password_last_used": str,
    },
    "policies": {"name": str, "path": str, "document": dict},
    "groups": ENTITY,
    "roles": {**ENTITY, "trust": dict},
    "users": {
        **ENTITY,
        "id": str,
        "created": str,
        "groups": list,
        "tags": dict,
        "keys": list,
        "password": bool,
        "password_changed": str,
        "password_last_used": str,
        "password_reset_required": bool,
        "devices": list,
    },
    "keys": {"id": str, "secret": str, "status": str, "created": str, "last_used": str, "service": str},
    "devices": {
        "kind": str,
        "name": str,
        "path": str,
        "serial": str,
        "seed": str,
        "skew": int,
        "last": int,
        "tags": dict,
        "enabled": str,
        "certifications": dict,
    },
    "tokens": {"serial": str, "seed": str, "skew": int, "last": int},
}
# Required fields, by table or by kind of device.
NEEDED: Mapping[str, tuple[str, ...]] = {
    "policies": ("document",),
    "roles": ("trust",),
    "devices": ("name",),
    "virtual": ("name",),
    "token": ("serial",),
    "tokens": ("serial",),
}
WITH_NAMES = ("policies", "groups", "roles", "users")
# IAM's defaults (API UpdateAccountPasswordPolicy).
PASSWORD_POLICY: PasswordPolicy = {
    "allow_change_password": False,
    "hard_expiry": False,
    "max_password_age": 0,
    "minimum_password_length": 6,
    "password_reuse_prevention": None,
    "require_lowercase_characters": False,
    "require_numbers": False,
    "require_symbols": False,
    "require_uppercase_characters": False,
}


@dataclass(slots=True)
class RootPosture:
    """The root user's state, which the summary and the credential report show. No API operation changes it."""

    mfa: bool = True
    virtual: bool = False
    password: bool = True
    keys: int = 0
    key_last_used: datetime | None = None
    created: datetime = field(default_factory=lambda: datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC))
    password_last_used: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedEntity:
    """The fields that users, groups and roles share. `policies` are inline: name to JSON. `attached` are ARNs."""

    name: str
    path: str
    policies: Mapping[str, str]
    attached: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedPolicy:
    """A managed policy; `document` is JSON."""

    name: str
    path: str
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedKey:
    """An access key. None means that IAM would choose the value."""

    id: str | None
    secret: str | None
    status: str
    created: datetime | None
    last_used: datetime | None
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedDevice:
    """An MFA device: `kind` is virtual, token or fido. "" or None means that IAM would choose the value.

    `skew` and `last` are those of DeviceCodes.
    """

    kind: str
    name: str
    path: str
    serial: str
    seed: str
    skew: int
    last: int
    tags: Mapping[str, str]
    enabled: datetime | None
    certifications: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedUser:
    """A user with everything that IAM stores about them.

    `password` is whether the user has one. None means that IAM would choose the value.
    """

    entity: DescribedEntity
    id: str | None
    created: datetime | None
    groups: Sequence[str]
    tags: Mapping[str, str]
    password: bool
    password_changed: datetime | None
    password_last_used: datetime | None
    password_reset_required: bool
    keys: Sequence[DescribedKey]
    devices: Sequence[DescribedDevice]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedAccount:
    """A whole account. `roles` include their trust policies, as JSON.

    `devices` and `tokens` are the unassigned ones. `bindings` are, for each serial, the rows of StsCodes: Unix time,
    user ID, secret and skew.
    """

    alias: str | None
    root: RootPosture
    password_policy: PasswordPolicy | None
    policies: Sequence[DescribedPolicy]
    groups: Sequence[DescribedEntity]
    roles: Sequence[tuple[DescribedEntity, str]]
    users: Sequence[DescribedUser]
    devices: Sequence[DescribedDevice]
    tokens: Sequence[DescribedDevice]
    bindings: Mapping[str, Sequence[tuple[float, str | None, str, int]]]


class _Row:
    """One row of a table with checked fields. Raise UsageFault for an unknown field or a value of the wrong type."""

    def __init__(self, kind: str, row: object) -> None:
        allowed = TABLES[kind]
        where = kind or "the description"
        if not isinstance(row, dict):
            raise UsageFault(f"{where}: {row!r} is not a table", FORM)
        for name, value in row.items():
            if name not in allowed or type(value) is not allowed[name]:
                choices = ", ".join(f"{key} ({wanted.__name__})" for key, wanted in allowed.items())
                raise UsageFault(
                    f"{where}: unknown field {name!r} of type {type(value).__name__}",
                    f"remove it, or use {choices}",
                )
        self._row: Mapping[str, object] = row

    def get(self, name: str, kind: type[T], default: T) -> T:
        """Return a field, or the default if the row omits it."""
        value = self._row.get(name, default)
        if not isinstance(value, kind):
            raise TypeError(name)
        return value

    def optional(self, name: str) -> str | None:
        """Return a string, None if the row omits it."""
        return self.get(name, str, "") if name in self._row else None

    def date(self, name: str) -> datetime | None:
        """Return a date that is written in ISO 8601. Raise ValueError for any other text."""
        text = self.optional(name)
        return None if text is None else datetime.fromisoformat(text)

    def texts(self, name: str) -> list[str]:
        """Return a list of strings. Raise TypeError if it contains anything else."""
        return [_text(each) for each in self.get(name, list, [])]

    def pairs(self, name: str) -> dict[str, str]:
        """Return a mapping of names to strings. Raise TypeError for anything else."""
        return {_text(key): _text(value) for key, value in self.get(name, dict, {}).items()}

    def documents(self, name: str) -> dict[str, str]:
        """Return a mapping of names to policy documents, as JSON."""
        return {_text(key): json.dumps(value) for key, value in self.get(name, dict, {}).items()}

    def rows(self, kind: str) -> "Iterator[_Row]":
        """Yield the checked rows of a table: field types, names that IAM allows, and required fields."""
        for each in self.get(kind, list, []):
            row = _Row(kind, each)
            missing = [name for name in NEEDED.get(row.get("kind", str, kind), ()) if not row.has(name)]
            if missing:
                raise UsageFault(f"one of the {kind} has no {missing[0]!r}", FORM)
            if kind in WITH_NAMES and not NAME.fullmatch(row.get("name", str, "")):
                raise UsageFault(
                    f"one of the {kind} has the invalid name {row.optional('name')!r}",
                    "use only letters, digits and +=,.@-",
                )
            yield row

    def has(self, name: str) -> bool:
        """Whether the row has a field."""
        return name in self._row


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def read_description(file: Path) -> dict[str, object]:
    """Read a description from a file. Raise UsageFault if it is neither JSON nor TOML, or of another version."""
    try:
        text = file.read_text("utf-8")
        found = tomllib.loads(text) if file.suffix == ".toml" else read_json(text)
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", "give a file that describes an account") from None
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{file} is neither JSON nor TOML: {error}", FORM) from None
    version = found.get("version") if isinstance(found, dict) else None
    if version is None:
        raise UsageFault(f"{file} has no version", f"add version = {VERSION} at the top; {FORM}")
    if version != VERSION:
        raise UsageFault(
            f"{file} has version {version}, but this lab reads version {VERSION}",
            "convert the file, or start with a new account",
        )
    return dict(found)


def parse_description(found: Mapping[str, object]) -> DescribedAccount:
    """Parse a description. Raise UsageFault for a field that does not fit, ValueError or TypeError for a bad value."""
    row = _Row("", dict(found))
    return DescribedAccount(
        alias=row.optional("alias"),
        root=_root(_Row("root", row.get("root", dict, {}))),
        policies=[
            DescribedPolicy(
                name=each.get("name", str, ""),
                path=each.get("path", str, "/"),
                document=json.dumps(each.get("document", dict, {})),
            )
            for each in row.rows("policies")
        ],
        groups=[_entity(each) for each in row.rows("groups")],
        roles=[(_entity(each), json.dumps(each.get("trust", dict, {}))) for each in row.rows("roles")],
        users=[_user(each) for each in row.rows("users")],
        devices=[_device(each) for each in row.rows("devices")],
        tokens=[replace(_device(each), kind="token") for each in row.rows("tokens")],
        bindings={
            _text(serial): [_binding(each) for each in rows] for serial, rows in row.get("bindings", dict, {}).items()
        },
        password_policy=_password_policy(row.get("password_policy", dict, {})) if row.has("password_policy") else None,
    )


def _root(row: _Row) -> RootPosture:
    root = RootPosture()
    for each in fields(RootPosture):
        if row.has(each.name):
            dated = TABLES["root"][each.name] is str
            setattr(root, each.name, row.date(each.name) if dated else row.get(each.name, int, 0))
    return root


def _entity(row: _Row) -> DescribedEntity:
    return DescribedEntity(
        name=row.get("name", str, ""),
        path=row.get("path", str, "/"),
        policies=row.documents("policies"),
        attached=row.texts("attached"),
    )


def _user(row: _Row) -> DescribedUser:
    return DescribedUser(
        entity=_entity(row),
        id=row.optional("id"),
        created=row.date("created"),
        groups=row.texts("groups"),
        tags=row.pairs("tags"),
        password=row.get("password", bool, default=False),
        password_changed=row.date("password_changed"),
        password_last_used=row.date("password_last_used"),
        password_reset_required=row.get("password_reset_required", bool, default=False),
        keys=[_key(each) for each in row.rows("keys")],
        devices=[_device(each) for each in row.rows("devices")],
    )


def _key(row: _Row) -> DescribedKey:
    return DescribedKey(
        id=row.optional("id"),
        secret=row.optional("secret"),
        status=row.get("status", str, "Active"),
        created=row.date("created"),
        last_used=row.date("last_used"),
        service=row.get("service", str, "iam"),
    )


def _device(row: _Row) -> DescribedDevice:
    return DescribedDevice(
        kind=row.get("kind", str, "virtual"),
        name=row.get("name", str, ""),
        path=row.get("path", str, "/"),
        serial=row.get("serial", str, ""),
        seed=row.get("seed", str, ""),
        skew=row.get("skew", int, 0),
        last=row.get("last", int, -1),
        tags=row.pairs("tags"),
        enabled=row.date("enabled"),
        certifications=row.pairs("certifications"),
    )


def _binding(row: object) -> tuple[float, str | None, str, int]:
    match row:
        case [int() | float() as at, str() | None as user, str() as seed, int() as skew]:
            return at, user, seed, skew
        case _:
            raise TypeError(f"{row!r} is not a time, a user, a seed and a skew")


def _password_policy(row: PasswordPolicy) -> PasswordPolicy:
    unknown = sorted(set(row) - set(PASSWORD_POLICY))
    if unknown:
        raise UsageFault(
            f"password_policy: unknown field {unknown[0]!r}",
            f"remove it, or use one of {', '.join(PASSWORD_POLICY)}",
        )
    return {**PASSWORD_POLICY, **row}
