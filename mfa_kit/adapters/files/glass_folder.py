"""Writes and reads the folder of a break-glass identity: a file for each set of custodians, and manifest.json."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mfa_kit.adapters.files.private_files import LARGEST, faults_of, hold
from mfa_kit.break_glass.manifest import FILE, Glass, Manifest, parse_manifest
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import RUN
from mfa_kit.disk import whole_files
from mfa_kit.disk.folders import open_folder
from mfa_kit.disk.whole_folders import create_whole_folder, is_partial


def write_folder(place: Path, files: Mapping[str, bytes]) -> None:
    """Write the folder completely or not at all. Raise IntegrityFault if it exists or cannot be written."""
    with faults_of(place):
        create_whole_folder(place, files)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest in a folder. Raise IntegrityFault if it cannot be read or is not valid."""
    return parse_manifest(read_file(folder / FILE), where=str(folder / FILE))


def read_file(path: Path) -> bytes:
    """Return the content of a file, at most LARGEST + 1 octets. Raise IntegrityFault if it cannot be read."""
    with faults_of(path, "read"):
        return whole_files.read_all(os.open(path, whole_files.READING), LARGEST + 1)


def newest_folder(base: Path) -> Path | None:
    """Return the newest folder in `base` whose name is a run ID, or None if there is none."""
    found: list[Path] = []
    with suppress(FileNotFoundError, NotADirectoryError):
        found = sorted(each for each in base.iterdir() if RUN.fullmatch(each.name))
    return found[-1] if found else None


def folders_beside(folder: Path) -> list[Glass]:
    """Return this folder and its sibling folders, the newest last.

    Folders without a valid manifest are left out. Folders that were not written completely are left out too, because
    mfa-kit will remove them.
    """
    found: list[Glass] = []
    for each in folder.parent.iterdir():
        if not is_partial(each):
            with suppress(IntegrityFault):
                found.append(Glass(each, read_manifest(each)))
    return sorted(found, key=lambda glass: (glass.manifest.made, glass.folder.name))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock a folder during the `with` block. Raise IntegrityFault if another process holds the lock."""
    with faults_of(folder), open_folder(folder) as opened:
        hold(opened, folder)
        yield
