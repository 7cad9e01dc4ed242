"""The tables in the description of an account: their fields with types, and the check of each row."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws import wire

FORM = "see docs/lab-reference.md for the form"
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
    "roles": {**ENTITY, "boundary": str, "trust": dict, "max_session_duration": int},
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
        return [checked_text(each) for each in self.get(name, list, [])]

    def pairs(self, name: str) -> dict[str, str]:
        """Return a mapping of names to strings. Raise TypeError for anything else."""
        return {checked_text(key): checked_text(value) for key, value in self.get(name, dict, {}).items()}

    def documents(self, name: str) -> dict[str, str]:
        """Return a mapping of names to policy documents, as JSON."""
        return {checked_text(key): json.dumps(value) for key, value in self.get(name, dict, {}).items()}

    def rows(self, kind: str, *, table: str = "") -> "Iterator[CheckedRow]":
        """Yield the rows of a list. Check the types of their fields, their names and their required fields.

        `kind` is the name of the field with the list. `table` is the name of the rows' table in TABLES, by default
        `kind`. Raise UsageFault for an invalid row.
        """
        for each in self.get(kind, list, []):
            row = CheckedRow(table or kind, each)
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
