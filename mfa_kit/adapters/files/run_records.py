"""Writes and reads the records of runs: `record-RUN-COMPUTER-PID.jsonl` in the folder for results.

A process keeps the record of its run locked, so other processes see which runs are in progress.
"""

import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.run_record import RecordedDevice, RecordedRun, RunRecords, parse_device, parse_run
from mfa_kit.disk.files import READING, fault_of_owner, faults_of, open_folder
from mfa_kit.posix.open_files import NO_LINK, check_unlocked, lock

NAMES = ("record-*.jsonl", "*/record-*.jsonl")
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

    def add(self, device: RecordedDevice) -> None:
        """Append the line of a device. Raise IntegrityFault if it cannot be written."""
        self._append(device.run.id, device.line)

    def _append(self, run: str, text: str) -> None:
        """Append a line to the record of a run, and return once the line survives a power cut."""
        file, path = self._files[run]
        line = memoryview(f"{text}\n".encode())
        with self._lock, faults_of(path):
            while line:
                line = line[os.write(file, line) :]
            os.fsync(file)

    def close(self) -> None:
        """Close the files. Other processes then see that the runs are no longer in progress."""
        for file, _ in self._files.values():
            os.close(file)
        self._files = {}


def read_records(folders: Iterable[Path], *, computer: str) -> RunRecords:
    """Return what the records in these folders, and in the folders below, say. `computer` is this computer's name.

    A last line that is not complete is left out. Raise IntegrityFault if a file cannot be read, could have been changed
    by other users, or has another line that does not belong into a record.
    """
    files = {file for folder in folders for names in NAMES for file in folder.glob(names)}
    runs: dict[str, RecordedRun] = {}
    devices: list[RecordedDevice] = []
    for file in sorted(files, key=lambda file: file.name):
        for part in _read(file, computer):
            if isinstance(part, RecordedRun):
                runs[part.id] = part
            else:
                devices.append(part)
    return RunRecords(runs=runs, devices=devices)


def check_folder(folder: Path) -> Path:
    """Return a folder that --record names. Raise UsageFault if it is no folder, or if it has no record."""
    if not any(file for names in NAMES for file in folder.glob(names)):
        raise UsageFault(f"{folder} has no record of a run", "name a folder with a file record-RUN-COMPUTER-PID.jsonl")
    return folder


def _read(path: Path, computer: str) -> list[RecordedRun | RecordedDevice]:
    """Return the run of a record, and then its devices; [] if the run was killed before it wrote its first line."""
    with faults_of(path, "read"), os.fdopen(os.open(path, READING), "rb") as file:
        status = os.fstat(file.fileno())
        if fault := fault_of_owner(path, status):
            raise IntegrityFault(*fault)
        alive = _is_locked(file.fileno())
        lines = file.read().split(b"\n")[:-1]
    parts = list[RecordedRun | RecordedDevice]()
    try:
        if lines:
            run = parse_run(lines[0].decode(), in_progress=alive)
            recent = run.computer != computer and time.time() - status.st_mtime < IN_PROGRESS
            run = replace(run, in_progress=alive or recent)
            parts.append(run)
            parts.extend(parse_device(line.decode(), run) for line in lines[1:])
    except ValueError:
        raise IntegrityFault(
            f"line {len(parts) + 1} of {path} is not a line of a run's record", "restore the file, or move it away"
        ) from None
    return parts


def _is_locked(file: int) -> bool:
    try:
        check_unlocked(file)
    except BlockingIOError:
        return True
    return False
