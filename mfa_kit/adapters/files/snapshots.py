"""Reads and writes snapshots of an account as JSON files (see docs/formats.md).

The files have mode 0600, because they show which users are weakly protected.
"""

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from mfa_kit.account.snapshot import Snapshot
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.json_text import read_json
from mfa_kit.core.timestamps import checked_time
from mfa_kit.disk.folders import open_folder
from mfa_kit.disk.whole_files import create_file

SCHEMA, VERSION = "mfa-kit/snapshot", 1
# The maximum size of a snapshot in octets. The snapshot of an account with 5,000 users has about a hundredth of this
# size.
LARGEST = 512 << 20


def snapshot_text(snapshot: Snapshot) -> str:
    """Return a snapshot as the text of its file."""
    return json.dumps({"schema": SCHEMA, "version": VERSION, **asdict(snapshot)})


def write_snapshot(snapshot: Snapshot, file: Path) -> None:
    """Write a snapshot to a new file with mode 0600. Raise IntegrityFault if the file exists or cannot be written."""
    try:
        with open_folder(file.parent) as folder:
            create_file(folder, file.name, snapshot_text(snapshot).encode())
    except OSError as error:
        raise IntegrityFault(
            f"{file} cannot be written: {error.strerror}", "name a new file in a writable folder: --snapshot FILE"
        ) from None


def read_snapshot(file: Path) -> Snapshot:
    """Read a snapshot. Raise UsageFault if the file cannot be read, or is not a snapshot in the current format."""
    try:
        if not file.is_file() or file.stat().st_size > LARGEST:
            raise UsageFault(
                f"{file} cannot be read: it is not a file, or it is too large", "give a snapshot: --snapshot FILE"
            )
        found = read_json(file.read_text("utf-8"))
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", "give a snapshot: --snapshot FILE") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or found.get("version") != VERSION:
        raise UsageFault(
            f"{file} is not a snapshot, or another version of mfa-kit made it",
            "take a new one: mfa-kit audit --snapshot NEW_FILE",
        )
    try:
        snapshot: Snapshot = _value(Snapshot, {name: value for name, value in found.items() if name not in HEAD})
        _ = snapshot.partition
    except (LookupError, TypeError, ValueError) as error:
        raise UsageFault(
            f"{file} is damaged ({type(error).__name__})", "take a new one: mfa-kit audit --snapshot NEW_FILE"
        ) from None
    return snapshot


HEAD = {"schema", "version"}


def _value(kind: Any, value: object) -> Any:
    """Convert a JSON value to a value of the type `kind`. Raise TypeError if the JSON value has another type."""
    if get_origin(kind) in {Union, types.UnionType}:
        return None if value is None else _value(get_args(kind)[0], value)
    match value:
        case dict():
            return _from_object(kind, value)
        case list() if get_origin(kind) is tuple:
            return tuple(_value(get_args(kind)[0], each) for each in value)
        case _:
            return _scalar(kind, value)


def _scalar(kind: Any, value: object) -> Any:
    """Return a string, number or boolean of the type `kind`. Raise TypeError if `value` has another type.

    A float is checked as a Unix time, because snapshots contain no other floats.
    """
    match value:
        case str() if isinstance(kind, type) and issubclass(kind, str):
            return kind(value)
        case bool() | int() if type(value) is kind:
            return value
        case int() | float() if kind is float and not isinstance(value, bool):
            return checked_time(float(value))
        case _:
            raise TypeError(f"{value!r} is not a {kind}")


def _from_object(kind: Any, value: dict[str, object]) -> Any:
    """Convert a JSON object to a dataclass or a mapping. Keys that are not fields of the dataclass are ignored."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints, known = get_type_hints(kind), {field.name for field in fields(kind)}
        return kind(**{name: _value(hints[name], each) for name, each in value.items() if name in known})
    if get_origin(kind) is Mapping:
        return {str(name): _value(get_args(kind)[1], each) for name, each in value.items()}
    raise TypeError(f"{value!r} is not a {kind}")
