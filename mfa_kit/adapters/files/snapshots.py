"""Reads and writes snapshots of an account as JSON files, and folders of results by account.

docs/formats.md describes the files. They have mode 0600, because they show which users are weakly protected. The
subfolder of an account appears complete or not at all. A baseline is a TOML file of accepted findings.
"""

import json
import os
import re
import shutil
import tomllib
import types
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from mfa_kit.account.snapshot import Acceptance, Snapshot
from mfa_kit.core.errors import IntegrityFault, MfaKitError, UsageFault
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.message import suggest
from mfa_kit.core.text import checked_time, iso_time
from mfa_kit.disk.files import create_file, fill_folder, make_folder, open_folder, replace_file
from mfa_kit.posix.open_files import try_to_lock

SCHEMA, VERSION = "mfa-kit/snapshot", 1
# The maximum size of a snapshot in octets. The snapshot of an account with 5,000 users has about a hundredth of this
# size.
LARGEST_SNAPSHOT = 512 << 20


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
        if not file.is_file() or file.stat().st_size > LARGEST_SNAPSHOT:
            raise UsageFault(
                f"{file} cannot be read: it is not a file, or it is too large", "give a snapshot: --snapshot FILE"
            )
        document = read_json(file.read_text("utf-8"))
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", "give a snapshot: --snapshot FILE") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or document.get("version") != VERSION:
        raise UsageFault(
            f"{file} is not a snapshot, or another version of mfa-kit made it",
            suggest("take a new one", "audit --snapshot NEW_FILE"),
        )
    try:
        snapshot: Snapshot = _value(Snapshot, {name: value for name, value in document.items() if name not in HEAD})
        _ = snapshot.partition
    except (LookupError, TypeError, ValueError) as error:
        raise UsageFault(
            f"{file} is damaged ({type(error).__name__})", suggest("take a new one", "audit --snapshot NEW_FILE")
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
            return tuple(_value(get_args(kind)[0], entry) for entry in value)
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
        return kind(**{name: _value(hints[name], member) for name, member in value.items() if name in known})
    if get_origin(kind) is Mapping:
        return {str(name): _value(get_args(kind)[1], member) for name, member in value.items()}
    raise TypeError(f"{value!r} is not a {kind}")


SNAPSHOT_FILE, RUN_FILE = "snapshot.json", "run.json"
# The name of an account's subfolder while it is written (`partial`), and of an earlier subfolder while it is replaced
# (`old`). A killed process may leave such folders.
LEFT = re.compile(r"\.(\d{12})\.(?:partial|old)", re.ASCII)


class FoldersOnDisk:
    """The folder for a command's results, which contains one subfolder per account. Folders are 0700 and files 0600."""

    def __init__(self, base: Path) -> None:
        """Use an existing folder, which `account_folders` opened and locked."""
        self.base = base

    def write(self, account: str, files: Mapping[str, str]) -> None:
        """Write an account's subfolder. An earlier subfolder is replaced. `files` maps file names to their texts.

        Raise IntegrityFault if the subfolder cannot be written. The earlier subfolder then remains.
        """
        new, old, place = (self.base / name for name in (f".{account}.partial", f".{account}.old", account))
        with _writing(place):
            try:
                fill_folder(new, {name: text.encode() for name, text in files.items()})
                with suppress(FileNotFoundError):
                    place.rename(old)
                new.rename(place)
                with open_folder(self.base) as folder:
                    os.fsync(folder)
            finally:
                _clean(self.base, account)

    def write_file(self, name: str, text: str) -> None:
        """Write a file about all accounts. An earlier file with this name is replaced.

        Raise IntegrityFault if it cannot be written.
        """
        with _writing(self.base / name), open_folder(self.base) as folder:
            replace_file(folder, name, text.encode())

    def begin(self, start_time: float, options: Mapping[str, Sequence[str]]) -> None:
        """Record the start of a run over all selected accounts. `start_time` is in Unix seconds by AWS's clock.

        `options` are the command-line options of the run. A command that continues the run must repeat them.
        """
        self.write_file(
            RUN_FILE,
            json.dumps({"schema": "mfa-kit/audit-run", "version": 1, "began": iso_time(start_time), "options": options})
            + "\n",
        )

    def began(self, options: Mapping[str, Sequence[str]]) -> float | None:
        """Return when the recorded run began, in Unix seconds, or None if no run is recorded.

        Raise UsageFault if the recorded run had other options, because only a command with the same options may
        continue a run.
        """
        try:
            record = read_json((self.base / RUN_FILE).read_bytes())
            start_time = datetime.fromisoformat(record["began"]).timestamp()
            same = record["options"] == {name: list(values) for name, values in options.items()}
        except (OSError, ValueError, LookupError, TypeError, OverflowError):
            return None
        if not same:
            raise UsageFault(
                f"the earlier run in {self.base} had other accounts or rules",
                "repeat the options of that run with --resume, or name another --output-dir",
            )
        return start_time

    def snapshot(self, account: str) -> Snapshot | None:
        """Return the account's snapshot from an earlier run, or None if it is missing, unusable or incomplete."""
        file = self.base / account / SNAPSHOT_FILE
        if not file.is_file():
            return None
        try:
            snapshot = read_snapshot(file)
        except MfaKitError:  # damaged, or in another version of the format
            return None
        return None if snapshot.holes or snapshot.account != account else snapshot


@contextmanager
def account_folders(base: Path) -> Iterator[FoldersOnDisk]:
    """Create or open the folder, lock it for this process, and remove the incomplete subfolders of killed processes.

    Yield the folder. Raise IntegrityFault if it cannot be used, and UsageFault if another process is using it.
    """
    place = base.resolve()
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(make_folder(place))
            try_to_lock(opened)
            for account in {match[1] for path in place.iterdir() if (match := LEFT.fullmatch(path.name))}:
                _clean(place, account)
        except BlockingIOError:
            raise UsageFault(
                f"another process is writing to {base}", "wait until it ends, or name another folder"
            ) from None
        except OSError as error:
            raise IntegrityFault(
                f"the folder {base} cannot be used: {error.strerror}", "name a folder that you can write to"
            ) from None
        yield FoldersOnDisk(place)


def _clean(base: Path, account: str) -> None:
    """Remove an account's temporary folders. Killed processes and failed writes leave such folders.

    If the account has no subfolder now, put its earlier subfolder back. Raise OSError if that fails.
    """
    new, old, place = (base / name for name in (f".{account}.partial", f".{account}.old", account))
    if old.exists() and not place.exists():
        old.rename(place)
    for folder in (new, old):
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise IntegrityFault(
            f"{place} cannot be written: {error.strerror}",
            "check the folder and the free space, then repeat the command with --resume",
        ) from None


FIELDS = ("rule", "subject", "owner", "reason", "until")
FORM = "write each entry as a table [[accepted]] with rule, subject, owner, reason and until, and optionally account"
ACCOUNT = re.compile(r"\d{12}", re.ASCII)
# The maximum size of a file in octets. A baseline for 5,000 users has about a hundredth of this size.
LARGEST_BASELINE = 64 << 20


def read_baseline(file: Path, rules: Container[str]) -> list[Acceptance]:
    """Read a baseline. `rules` has the IDs of all rules.

    Raise UsageFault if the file cannot be read, or if it has wrong entries. The message names all wrong entries.
    """
    try:
        if file.stat().st_size > LARGEST_BASELINE:
            raise UsageFault(f"{file} is too large for a baseline", FORM)
        document = tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", "give a baseline: --baseline FILE") from None
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{file} is not TOML: {error}", FORM) from None
    entries = document.pop("accepted", [])
    if document or not isinstance(entries, list):
        name = next(iter(document), "accepted")
        raise UsageFault(f"{file} has {name!r}, which is not a list of tables [[accepted]]", FORM)
    wrong = [f"entry {number}: {why}" for number, row in enumerate(entries, 1) for why in _faults(row, rules)]
    if wrong:
        raise UsageFault(f"{file} has wrong entries: {'; '.join(wrong)}", FORM)
    return [_acceptance(row) for row in entries]


def _faults(row: object, rules: Container[str]) -> Iterator[str]:
    if not isinstance(row, dict):
        yield "it is not a table"
        return
    if unknown := sorted(set(row) - {*FIELDS, "account"}):
        yield f"unknown field {unknown[0]!r}"
    yield from _wrong_values(row, rules)


def _wrong_values(row: Mapping[str, Any], rules: Container[str]) -> Iterator[str]:
    for name in FIELDS[:-1]:
        if not isinstance(row.get(name), str) or not row[name].strip():
            yield f"{name} is missing or empty"
    if isinstance(row.get("rule"), str) and row["rule"] not in rules:
        yield f"there is no rule {row['rule']!r}"
    if "account" in row and not (isinstance(row["account"], str) and ACCOUNT.fullmatch(row["account"])):
        yield "account is not an account ID (12 digits in quotation marks)"
    if _day(row.get("until")) is None:
        yield "until is missing, or is not a date such as 2027-03-31"


def _day(value: object) -> date | None:
    """Return the date from a TOML date or from text in ISO 8601. Return None for any other value."""
    match value:
        case datetime():
            return None
        case date():
            return value
        case str():
            try:
                return date.fromisoformat(value)
            except ValueError:
                return None
        case _:
            return None


def _acceptance(row: Mapping[str, object]) -> Acceptance:
    day = _day(row["until"]) or date.min
    end = datetime.combine(day, time(), UTC) + timedelta(days=1) if day < date.max else datetime.max.replace(tzinfo=UTC)
    return Acceptance(
        **{name: str(row[name]) for name in FIELDS[:-1]},
        until=end.timestamp(),
        account=str(row.get("account", "")),
        day=day.isoformat(),
    )
