"""Parses the description of an account, a JSON or TOML file, and checks each row of its tables.

`mfa-kit lab run --from` reads a description, and `--state` stores the account as a description between runs. builder.py
makes an account from the checked rows, and state.py writes an account as a description.
To add a field, add it to its table in `TABLES`, use it in builder.py and state.py, and document it in
docs/lab.md.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.message import suggest
from mfa_kit.lab.aws import wire

FORM = suggest("for the form, see", "help lab/fields-of-a-description")
NAME = wire.compile_pattern(r"[\w+=,.@-]+")
Table = Mapping[str, type]
T = TypeVar("T")

# Each table maps the names of fields to the types of their values. The error for an unknown field lists the fields of
# its table.
DOCUMENT: Table = {
    "schema": str,
    "version": int,
    "region": str,
    "alias": str,
    "root": dict,
    "password_policy": dict,
    "policies": list,
    "certificates": list,
    "groups": list,
    "roles": list,
    "users": list,
    "devices": list,
    "tokens": list,
    "bindings": dict,
    "regions": list,
    "events": list,
    "organization": dict,
}
# The fields of a description that belong to the whole file. The description of a member account may have all the other
# fields.
OF_THE_FILE = ("schema", "version", "region", "organization")
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
        "devices": list,
    },
    "root_devices": {"kind": str, "serial": str, "enabled": str},
    "policies": {"name": str, "path": str, "document": dict},
    "certificates": {"name": str, "path": str, "uploaded": str, "expires": str},
    "groups": ENTITY,
    "roles": {**ENTITY, "boundary": str, "trust": dict, "max_session_duration": int, "sign_in_session": int},
    "users": {
        **ENTITY,
        "boundary": str,
        "sign_in_session": int,
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
    "organization": {
        "name": str,
        "email": str,
        "features": list,
        "delegated": dict,
        "restricted": list,
        "units": list,
        "control_policies": list,
        "accounts": list,
    },
    "units": {"id": str, "name": str, "parent": str, "tags": dict},
    "control_policies": {"id": str, "name": str, "description": str, "document": dict, "targets": list},
    "accounts": {
        **{name: kind for name, kind in DOCUMENT.items() if name not in OF_THE_FILE},
        "id": str,
        "name": str,
        "email": str,
        "state": str,
        "parent": str,
        "tags": dict,
        "joined": str,
        "method": str,
        "outside": bool,
    },
}
# Required fields, by table or by kind of device.
NEEDED: Mapping[str, tuple[str, ...]] = {
    "policies": ("document",),
    "roles": ("trust",),
    "devices": ("name",),
    "virtual": ("name",),
    "token": ("serial",),
    "tokens": ("serial",),
    "units": ("name",),
    "control_policies": ("name", "document"),
    "accounts": ("id",),
}
WITH_NAMES = ("policies", "groups", "roles", "users")


class CheckedRow:
    """One row of a table, with checked fields. `kind` is the name of the table in TABLES.

    Raise UsageFault if the row is not a dictionary, has an unknown field, or has a value of the wrong type.
    """

    def __init__(self, kind: str, row: object) -> None:
        allowed = TABLES[kind]
        where = kind or "the description"
        if not isinstance(row, dict):
            raise UsageFault(f"{where}: {row!r} is not a table", FORM)
        for name, value in row.items():
            if name not in allowed:
                raise UsageFault(f"{where}: unknown field {name!r}", f"remove it, or use {', '.join(allowed)}")
            if type(value) is not allowed[name]:
                raise UsageFault(
                    f"{where}: the field {name!r} is of type {type(value).__name__}, not {allowed[name].__name__}", FORM
                )
        self._row: Mapping[str, object] = row

    @property
    def name(self) -> str:
        """The name of the entity, or "" if the row omits it."""
        return self.get("name", str, "")

    @property
    def path(self) -> str:
        """The path of the entity, by default `/`."""
        return self.get("path", str, "/")

    def get(self, name: str, kind: type[T], default: T) -> T:
        """Return the value of a field, or the default if the row omits it.

        Raise TypeError if the value is not of type `kind`.
        """
        value = self._row.get(name, default)
        if not isinstance(value, kind):
            raise TypeError(name)
        return value

    def optional(self, name: str) -> str | None:
        """Return a string, or None if the row omits the field."""
        return self.get(name, str, "") if name in self._row else None

    def date(self, name: str) -> datetime | None:
        """Return a date, or None if the row omits the field. Raise ValueError if the text is not ISO 8601."""
        text = self.optional(name)
        return None if text is None else datetime.fromisoformat(text)

    def texts(self, name: str) -> list[str]:
        """Return a list of strings. Raise TypeError if the list contains anything else."""
        return [checked_text(text) for text in self.get(name, list, [])]

    def pairs(self, name: str) -> dict[str, str]:
        """Return a mapping of names to strings. Raise TypeError for anything else."""
        return {checked_text(key): checked_text(value) for key, value in self.get(name, dict, {}).items()}

    def rows(self, kind: str, *, table: str = "") -> "Iterator[CheckedRow]":
        """Yield the rows of a list. Check the types of their fields, their names and their required fields.

        `kind` is the name of the field with the list. `table` is the name of the rows' table in TABLES, by default
        `kind`. Raise UsageFault for an invalid row.
        """
        for entry in self.get(kind, list, []):
            row = CheckedRow(table or kind, entry)
            missing = [name for name in NEEDED.get(table or row.get("kind", str, kind), ()) if not row.has(name)]
            if missing:
                raise UsageFault(f"one of the {kind} has no {missing[0]!r}", FORM)
            if kind in WITH_NAMES and not NAME.fullmatch(row.get("name", str, "")):
                raise UsageFault(
                    f"one of the {kind} has the invalid name {row.optional('name')!r}",
                    "use only letters, digits and _+=,.@-",
                )
            yield row

    def fields(self, names: Iterable[str]) -> dict[str, object]:
        """Return the named fields that the row has. Names without a field in the row are ignored."""
        return {name: self._row[name] for name in names if name in self._row}

    def has(self, name: str) -> bool:
        """Return whether the row has a field."""
        return name in self._row


def checked_text(value: object) -> str:
    """Return the value if it is a string. Otherwise raise TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


VERSION = 1
ROOT_KINDS = ("virtual", "token", "fido")
# The arguments of moto's update_account_password_policy, by name.
PasswordPolicy = Mapping[str, Any]

# The values that IAM uses for omitted parameters (API UpdateAccountPasswordPolicy).
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RootDevice:
    """An MFA device of the root user.

    `kind` is virtual, token or fido. LabAccount chooses the serial if `serial` is "", and the enable date if `enabled`
    is None.
    """

    kind: str = "virtual"
    serial: str = ""
    enabled: datetime | None = None


@dataclass(slots=True)
class DescribedRoot:
    """The root user's credentials and MFA devices, which GetAccountSummary and the credential report show.

    Only sessions of AssumeRoot can change these credentials and devices. `keys` is the number of access keys. If
    `devices` is None, `mfa` says whether root has an MFA device, and `virtual` whether that device is virtual.
    """

    mfa: bool = True
    virtual: bool = False
    password: bool = True
    keys: int = 0
    key_last_used: datetime | None = None
    created: datetime = field(default_factory=lambda: datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC))
    password_last_used: datetime | None = None
    devices: Sequence[RootDevice] | None = None

    @classmethod
    def without_credentials(cls) -> "DescribedRoot":
        """Return the root user of a new member account, which has no credentials at all."""
        return cls(mfa=False, password=False)

    def held(self) -> Sequence[RootDevice]:
        """Return the root user's MFA devices."""
        if self.devices is not None:
            return self.devices
        return [RootDevice(kind="virtual" if self.virtual else "token")] if self.mfa else []


def read_document(file: Path, *, instead: str, fault: str) -> object:
    """Return the content of a JSON file, or of a TOML file if its name ends in `.toml`.

    Raise UsageFault if it cannot be read, with the hint `instead`, or if it is neither, with the predicate `fault`.
    """
    try:
        text = file.read_text("utf-8")
        return tomllib.loads(text) if file.suffix == ".toml" else read_json(text)
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", instead) from None
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{file} {fault}: {error}", FORM) from None


def read_description(file: Path) -> dict[str, object]:
    """Read a description from a file.

    Raise UsageFault if the file cannot be read, is neither JSON nor TOML, or does not have the version VERSION.
    """
    description = read_document(file, instead="give a file that describes an account", fault="is neither JSON nor TOML")
    version = description.get("version") if isinstance(description, dict) else None
    if not isinstance(description, dict) or version is None:
        raise UsageFault(f"{file} has no version", f"add version = {VERSION} at the top; {FORM}")
    if version != VERSION:
        raise UsageFault(
            f"{file} has version {version}, but this lab reads version {VERSION}",
            f"rewrite the file for version {VERSION} ({FORM}), or start with a new account",
        )
    return dict(description)


def parse_root(row: CheckedRow) -> DescribedRoot:
    """Return the root user of a description. Raise UsageFault for an unknown kind of device."""
    root = DescribedRoot()
    if row.has("devices"):
        root.devices = [_root_device(device) for device in row.rows("devices", table="root_devices")]
    for attribute in fields(DescribedRoot):
        if row.has(attribute.name) and attribute.name != "devices":
            dated = TABLES["root"][attribute.name] is str
            setattr(root, attribute.name, row.date(attribute.name) if dated else row.get(attribute.name, int, 0))
    return root


def _root_device(row: CheckedRow) -> RootDevice:
    kind = row.get("kind", str, "virtual")
    if kind not in ROOT_KINDS:
        raise UsageFault(f"unknown kind of device of root: {kind!r}", f"use {', '.join(ROOT_KINDS)}")
    return RootDevice(kind=kind, serial=row.get("serial", str, ""), enabled=row.date("enabled"))
