"""Files that a passphrase opens, in one folder, and the letters with their passphrases, in another folder.

A file never exists without the letter that opens it, not even after a kill or a power cut: first the earlier file is
removed, then the letter is written, and then the file. Below the two folders, a file and its letter have the same path
except for the ending, and this path ends with their number.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.disk.files import create_file, faults_of, hold, make_folder

# Matches the names of files and of letters. `name` is the same for all files of a device.
NUMBERED = re.compile(r"(?P<name>.+)-(?P<number>\d{6})\.(?:png\.age|html|pdf)")
FILE = ".png.age"
LETTERS = (".html", ".pdf")
# The file in the folder of letters that names the folder of the files which they open.
MARK = "files.txt"
# The name of a file while it is written.
PARTIAL = ".passphrase.partial"
ANOTHER = "name another folder: --passphrases DIR"


class PassphraseFolders:
    """The folder of the files, and the folder of the letters. This process has locked both.

    `removed` are the letters that `clean` removed because their file was missing.
    """

    def __init__(self, files: Path, letters: Path) -> None:
        self._files, self._letters = files, letters
        self.removed: list[Path] = []

    def clean(self) -> None:
        """Remove what a killed process left: letters whose file is missing, and files that are not complete."""
        for folder in (self._files, self._letters):
            for leftover in folder.rglob(PARTIAL):
                _remove(leftover)
        for letter in self._letters.rglob("*"):
            if (match := NUMBERED.fullmatch(letter.name)) and letter.suffix in LETTERS:
                below = letter.relative_to(self._letters).parent
                if not (self._files / below / f"{match['name']}-{match['number']}{FILE}").is_file():
                    _remove(letter)
                    self.removed.append(letter)

    def number(self, below: Sequence[str], name: str) -> str | None:
        """Return the number of the file of a device, or None. `below` are the folders down to the file."""
        names = _numbered(self._files.joinpath(*below), name)
        return next((number for file, number in names.items() if file.endswith(FILE)), None)

    def write(
        self, below: Sequence[str], name: str, number: str, *, letter: tuple[str, Secret[bytes]], sealed: bytes
    ) -> None:
        """Replace the file of a device and its letter. `letter` is its ending and its content.

        Raise IntegrityFault if one of them cannot be written. Then the file does not exist.
        """
        ending, content = letter
        file = self._files.joinpath(*below, f"{name}-{number}{FILE}")
        page = self._letters.joinpath(*below, f"{name}-{number}{ending}")
        for base, path in ((self._files, file), (self._letters, page)):
            with faults_of(path), make_folder(base, *below) as folder:
                for earlier in _numbered(path.parent, name):
                    os.unlink(earlier, dir_fd=folder)
                os.fsync(folder)  # also after a power cut, a file is gone before its letter
                if base is self._letters:
                    create_file(folder, page.name, content, partial=PARTIAL)
        with faults_of(file), make_folder(self._files, *below) as folder:
            create_file(folder, file.name, sealed, partial=PARTIAL)


def _remove(path: Path) -> None:
    with faults_of(path, "removed"):
        path.unlink()


def _numbered(folder: Path, name: str) -> dict[str, str]:
    """Return the numbers of the files or letters of a device in a folder, by file name."""
    matches = (NUMBERED.fullmatch(file.name) for file in (folder.iterdir() if folder.is_dir() else ()))
    return {match[0]: match["number"] for match in matches if match and match["name"] == name}


@contextmanager
def open_passphrase_folders(files: Path, letters: Path) -> Iterator[PassphraseFolders]:
    """Create and lock two folders, remove what a killed process left in them, and yield them.

    Raise UsageFault if `letters` has other files, or the letters of files in another folder, and IntegrityFault if a
    folder cannot be written, or if another process has locked it.
    """
    with ExitStack() as stack:
        for place in (letters, files):
            with faults_of(place):
                opened = stack.enter_context(make_folder(place))
            hold(opened, place)
        _check_mark(files, letters)
        folders = PassphraseFolders(files, letters)
        folders.clean()
        yield folders


def _check_mark(files: Path, letters: Path) -> None:
    """Write which files the letters in a folder open, unless it is written. Otherwise check it, as above."""
    text = b"The letters in this folder open the files in this folder:\n" + os.fsencode(files) + b"\n"
    mark, others = letters / MARK, [file for file in letters.iterdir() if file.name not in {MARK, PARTIAL}]
    with faults_of(mark, "read"):
        known = mark.read_bytes() if mark.is_file() else None
    if known is None and others:
        raise UsageFault(f"{letters} has other files, so no letters with passphrases are written to it", ANOTHER)
    if known not in {None, text}:
        raise UsageFault(f"{letters} has the letters of files in another folder than {files}", ANOTHER)
    if known is None:
        with faults_of(mark), make_folder(letters) as folder:
            create_file(folder, MARK, text, partial=PARTIAL)
