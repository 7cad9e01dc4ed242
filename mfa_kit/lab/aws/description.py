"""The form of a described account: its tables, the types of their fields, and the sentence for what does not fit."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws import wire

VERSION = 1
NAME = wire.compile_pattern(r"[\w+=,.@-]+")
Row = Mapping[str, Any]
# Field and the type of its value; what is not here is refused by name.
DOCUMENT: Mapping[str, type] = {
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
ENTITY: Mapping[str, type] = {"name": str, "path": str, "policies": dict, "attached": list}
KINDS: Mapping[str, Mapping[str, type]] = {
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
# What there is no choosing of, by the kind of row or of device.
NEEDED: Mapping[str, tuple[str, ...]] = {
    "policies": ("document",),
    "roles": ("trust",),
    "devices": ("name",),
    "virtual": ("name",),
    "token": ("serial",),
    "tokens": ("serial",),
}
# IAM's own defaults of a policy that was set without more: UpdateAccountPasswordPolicy.
PASSWORD_POLICY: Mapping[str, Any] = {
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


def read_description(file: Path) -> dict[str, Any]:
    """Read a description. Raise UsageFault in one sentence for a file that is none, or of another version."""
    try:
        text = file.read_text("utf-8")
        found = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise UsageFault(
            f"{file} cannot be read: {error.strerror}", "give a file that describes a lab's account"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{file} is neither JSON nor TOML: {error}", "see docs/lab.md for the form") from None
    version = found.get("version") if isinstance(found, dict) else None
    if version is None:
        raise UsageFault(
            f"{file} does not say of which version it is", f"begin it with version = {VERSION}: docs/lab.md"
        )
    if version != VERSION:
        raise UsageFault(
            f"{file} is of version {version}, not {VERSION}", "make the lab's account anew, or convert the file"
        )
    return dict(found)


def check_fields(kind: str, row: Any) -> None:
    """Raise UsageFault for a field that no table of this kind has, or that is of another type."""
    allowed = KINDS[kind]
    where = f"{kind or 'the description'}"
    if not isinstance(row, dict):
        raise UsageFault(f"{where} holds {row!r} where a table is wanted", "see docs/lab.md for the form")
    for name, value in row.items():
        if name not in allowed or type(value) is not allowed[name]:
            raise UsageFault(
                f"{where} has {name!r} of type {type(value).__name__}, which no lab understands",
                f"take it out, or write {', '.join(f'{key} ({kind.__name__})' for key, kind in allowed.items())}",
            )


def checked_rows(kind: str, row: Row) -> Iterable[Row]:
    """Yield the tables of a kind, each with fields that fit, a name that IAM allows, and what has to be there."""
    for each in row.get(kind, []):
        check_fields(kind, each)
        wanted = [name for name in NEEDED.get(each.get("kind", kind), ()) if name not in each]
        if wanted:
            raise UsageFault(f"one of the {kind} lacks {wanted[0]!r}", "see docs/lab.md for the form")
        if kind in ("policies", "groups", "roles", "users") and not NAME.fullmatch(each.get("name", "")):
            raise UsageFault(
                f"one of the {kind} is named {each.get('name')!r}", "write it with letters, digits and +=,.@-"
            )
        yield each
