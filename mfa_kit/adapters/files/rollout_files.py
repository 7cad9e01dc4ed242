"""Reads and writes the files of a rollout: rosters, plans, results, and the records of runs.

Each file is written completely or not at all, except a record, to which lines are appended. A process keeps the record
of its run locked, so other processes see which runs are in progress.
"""

import os
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import compress
from operator import not_
from pathlib import Path

from mfa_kit.core.device_records import (
    NO_LINE,
    RESTORE,
    STATE_LINE,
    RecordedDevice,
    RecordedLine,
    RecordedRun,
    RecordedState,
    RunRecords,
    parse_run,
    parse_state,
)
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.models import run_time
from mfa_kit.core.text import encoding_of, one_line
from mfa_kit.disk.files import READING, fault_of_owner, faults_of, open_folder, read_all, replace_file
from mfa_kit.posix.open_files import NO_LINK, check_unlocked, lock

# The maximum size of a file in octets. Five thousand users with tags take a few megabytes.
LARGEST = 64 << 20
# The first octets of spreadsheets: ZIP (xlsx, xlsm, ods, numbers), and compound files of older Excel versions (xls).
SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")

# The name of the result file that says which plan the run was for.
RESULTS = "results.json"
# Matches the file name of one account's plan, if an index lists the plans of several accounts. The name consists of the
# account ID and the first 8 hex digits of the SHA-256 of the plan.
MEMBER = re.compile(r"[0-9]{12}-[0-9a-f]{8}\.json")


def read_text(path: Path, *, hint: str = "give a roster as a CSV or JSON Lines file") -> str:
    """Return the text of a roster or a plan.

    Raise UsageFault if the file cannot be read, is too large, is a spreadsheet, or is not text. `hint` is the hint of
    the error for a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(LARGEST + 1)
    except OSError as error:
        raise UsageFault(f"{path} cannot be read: {error.strerror}", hint) from None
    if len(octets) > LARGEST:
        raise UsageFault(f"{path} is larger than {LARGEST >> 20} MB", "split it into several files")
    if octets.startswith(SPREADSHEETS):
        raise UsageFault(f"{path} is a spreadsheet, which mfa-kit cannot read", "save it as CSV UTF-8")
    try:
        text = octets.decode(encoding_of(octets))
    except UnicodeDecodeError as error:
        line = octets[: error.start].count(b"\n") + 1
        raise UsageFault(f"line {line} of {path} is not UTF-8", "save it as CSV UTF-8") from None
    if "\0" in text:
        line = text[: text.index(chr(0))].count(chr(10)) + 1
        raise UsageFault(f"line {line} of {path} is not text", "save it as CSV")
    return text


def make_results_folder(folder: Path) -> None:
    """Create the folder for results. Raise UsageFault if it cannot be created, or if no file can be written in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageFault(
            f"{folder} cannot be created: {error.strerror}", "name another folder: --results DIR"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageFault(f"{folder} is not a folder that you can write to", "name another folder: --results DIR")


def check_results(folder: Path, *, plan: str) -> None:
    """Raise UsageFault if a folder has the results of another plan. `plan` is the file name of a plan or an index."""
    try:
        recorded_plan = read_json((folder / RESULTS).read_bytes())["plan"]
    except (OSError, ValueError, LookupError, TypeError):
        return  # there are no results, or an earlier version of mfa-kit wrote them
    if recorded_plan != plan:
        raise UsageFault(
            f"{folder} has the results of {one_line(str(recorded_plan))}, and the results of {plan} would replace them",
            "name another folder: --results DIR",
        )


def check_replaced(path: Path, begin: re.Pattern[bytes], *, kind: str) -> None:
    """Raise UsageFault if a file is there that does not begin as a file of this kind does. Nothing is changed."""
    try:
        octets = read_all(os.open(path, READING), 1024)
    except OSError:
        return  # `write_text` says what is wrong
    if octets and not begin.match(octets):
        raise UsageFault(f"{path} is not {kind}, and would be overwritten", "name another file")


def write_text(path: Path, text: str) -> None:
    """Write a file with mode 0600. It replaces an earlier file with this name.

    Raise UsageFault if the path is a folder, a link, a pipe or a device, and IntegrityFault if it cannot be written.
    """
    if path.is_dir():
        raise UsageFault(f"{path} is a folder", "name a file in this folder")
    # Without this check, mfa-kit, if run by root, would replace /dev/stdout with a file.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageFault(f"{path} is a link, a pipe or a device", "name a regular file")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open_folder(path.parent) as folder:
            replace_file(folder, path.name, text.encode())
    except OSError as error:
        raise IntegrityFault(
            f"{path} cannot be written: {error.strerror}", "check the permissions and the free space"
        ) from None


def write_set(path: Path, text: str, *, folder: Path, members: Mapping[str, str]) -> None:
    """Write a set of files: the members into a folder, and then the file at `path`, which refers to them.

    `members` maps file names to texts. The name of a member must depend on its text. The earlier set then stays valid
    until `path` is replaced. Afterward, the members of the earlier set are removed. If a write fails, the new members
    are removed instead. Raise UsageFault or IntegrityFault as `write_text` does.
    """
    added: list[Path] = []
    try:
        for name, member in members.items():
            if not (folder / name).exists():
                added.append(folder / name)
            write_text(folder / name, member)
        write_text(path, text)
    except BaseException:
        _remove(added)
        raise
    _remove(old for old in folder.glob("*.json") if MEMBER.fullmatch(old.name) and old.name not in members)


def _remove(files: Iterable[Path]) -> None:
    """Remove files. A file that cannot be removed is harmless, because no other file refers to it."""
    for file in files:
        with suppress(OSError):
            file.unlink(missing_ok=True)


RECORDS = ("record-*.jsonl", "*/record-*.jsonl")
APPENDING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | NO_LINK
# Seconds after its last line for which another computer's run may be at work. Its process cannot be seen from here.
IN_PROGRESS = 15 * 60


class RecordFiles:
    """Writes the records of this process's runs into one folder. Several threads may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._files: dict[str, tuple[int, Path]] = {}

    def begin(self, run: RecordedRun) -> None:
        """Create the record of a run. Raise IntegrityFault if it cannot be written, or if it exists."""
        computer = re.sub(r"[^A-Za-z0-9.-]", "_", run.computer)[:64]
        path = self._folder / f"record-{run.id}-{computer}-{os.getpid()}.jsonl"
        with faults_of(path), open_folder(self._folder) as folder:
            file = os.open(path.name, APPENDING, 0o600, dir_fd=folder)
            self._files[run.id] = file, path
            lock(file)
            os.fsync(folder)
        self._append(run.id, run.line)

    def add(self, record: RecordedDevice | RecordedState) -> None:
        """Append the line of a device or a state. Raise IntegrityFault if it cannot be written."""
        self._append(record.run.id, record.line)

    def _append(self, run: str, text: str) -> None:
        """Append a line to the record of a run, and return once the line survives a power cut.

        If a part of the line cannot be written, remove the part, because another line may still follow.
        """
        file, path = self._files[run]
        line = memoryview(f"{text}\n".encode())
        with self._lock, faults_of(path):
            size = os.fstat(file).st_size
            try:
                while line:
                    line = line[os.write(file, line) :]
                os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise

    def close(self) -> None:
        """Close the files. Other processes then see that the runs are no longer in progress."""
        for file, _ in self._files.values():
            os.close(file)
        self._files = {}


def read_records(folders: Iterable[Path], *, computer: str) -> RunRecords:
    """Return what the records in these folders, and in the folders below, say. `computer` is this computer's name.

    A last line that is not complete is left out. Raise IntegrityFault if a file cannot be read, could have been changed
    by other users, does not begin with the line of a run, or has a line about a state that is damaged. The lines about
    devices are parsed when they are needed.
    """
    files = {file for folder in folders for names in RECORDS for file in folder.glob(names)}
    runs: dict[str, RecordedRun] = {}
    lines: list[RecordedLine] = []
    states: list[RecordedState] = []
    for file in sorted(files, key=lambda file: file.name):
        if record := _read_record(file, computer):
            run, of_run, states_of_run = record
            runs[run.id] = run
            lines += of_run
            states += states_of_run
    return RunRecords(runs=runs, lines=lines, states=states)


def check_records(folder: Path) -> Path:
    """Return a folder that --record names. Raise UsageFault if it is no folder, or if it has no record."""
    if not any(file for names in RECORDS for file in folder.glob(names)):
        raise UsageFault(f"{folder} has no record of a run", "name a folder with a file record-RUN-COMPUTER-PID.jsonl")
    return folder


def _read_record(path: Path, computer: str) -> tuple[RecordedRun, list[RecordedLine], list[RecordedState]] | None:
    """Return the run of a record and its lines about devices and about states.

    Return None if the run was killed before it wrote its first line.
    """
    with faults_of(path, "read"), os.fdopen(os.open(path, READING), "rb") as file:
        status = os.fstat(file.fileno())
        if fault := fault_of_owner(path, status):
            raise IntegrityFault(*fault)
        alive = _is_locked(file.fileno())
        first, *others = file.read().decode(errors="surrogateescape").split("\n")
    if not others:
        return None
    try:
        run = parse_run(first)
    except ValueError:
        raise IntegrityFault(f"line 1 of {path} {NO_LINE}", RESTORE) from None
    here = run.computer == computer
    if not (alive or here):
        lines, states = _lines_of(run, others, path)
        times = [line.device.at for line in lines[-1:]] + [state.at for state in states[-1:]]
        alive = time.time() - max(times, default=run_time(run.id)) < IN_PROGRESS
    run = replace(run, in_progress=alive, here=here)
    return run, *_lines_of(run, others, path)


def _lines_of(run: RecordedRun, texts: Sequence[str], path: Path) -> tuple[list[RecordedLine], list[RecordedState]]:
    """Return the lines of a record about devices and about states. The last of `texts` is no complete line."""
    lines = [RecordedLine(run, text, f"line {number} of {path}") for number, text in enumerate(texts[:-1], 2)]
    about_states = [bool(STATE_LINE.match(line.text)) for line in lines]
    states = [_state_of(line) for line in compress(lines, about_states)]
    return [*compress(lines, map(not_, about_states))], states


def _state_of(line: RecordedLine) -> RecordedState:
    """Return the state in a line. Raise IntegrityFault if the line is damaged."""
    try:
        return parse_state(line.text, line.run)
    except ValueError:
        raise IntegrityFault(f"{line.where} {NO_LINE}", RESTORE) from None


def _is_locked(file: int) -> bool:
    try:
        check_unlocked(file)
    except BlockingIOError:
        return True
    return False
