"""Reads log files of CloudTrail: gzipped JSON, one event at a time, so that a file of any size needs little memory.

The file is `{"Records": [EVENT, ...]}` (CloudTrail user guide, "CloudTrail log file examples"). Digests and the
files of other kinds, which lie beside it, are left out.
"""

import codecs
import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import BackupLocation

HEAD = re.compile(r'\s*\{\s*"Records"\s*:\s*\[\s*')
BETWEEN = re.compile(r"\s*[],]\s*")
# An event has at most 256 KB (CloudTrail user guide, "Quotas"), and a head at most some characters.
LARGEST_EVENT, LARGEST_HEAD = 1 << 20, 200
CHUNK = 1 << 16
# Folders beside `CloudTrail`, such as `CloudTrail-Digest` and `CloudTrail-Insight`.
OTHERS = re.compile(r"(^|/)CloudTrail-[A-Za-z]+/")
ENDS = (".json.gz", ".json")


def is_log_file(key: str) -> bool:
    """Return whether a path or key may be that of a log file."""
    return key.endswith(ENDS) and OTHERS.search(key) is None


def no_log_files(place: BackupLocation) -> UsageFault:
    """Return the error for a place without log files."""
    return UsageFault(f"{place} has no log files of CloudTrail", "name a place with files that end with .json.gz")


def log_files(folder: Path) -> "Iterator[LogFile]":
    """Yield the log files in a folder and below it, or the one file. Links to folders are not followed.

    Raise UsageFault if there is none.
    """
    is_empty = True
    is_file = os.path.isfile(folder)  # noqa: PTH113 - Path.is_file may raise PermissionError
    for path in [folder] if is_file else _files_below(folder):
        if is_log_file(path.as_posix()):
            is_empty = False
            yield LogFile(str(path), partial(_open, path))
    if is_empty:
        raise no_log_files(folder)


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _files_below(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise UsageFault(f"{error.filename} cannot be read: {error.strerror}", "name a folder: --cloudtrail PATH")

    for place, folders, names in os.walk(folder, onerror=fail):
        folders.sort()
        yield from (Path(place) / name for name in sorted(names))


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log file. `open` opens its octets, which may be compressed."""

    name: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    def events(self) -> Iterator[Mapping[str, object]]:
        """Yield the events in order. Raise UsageFault for a file that cannot be read, is damaged or is cut off."""
        try:
            with self.open() as octets:
                yield from _Parser(_texts(octets)).events()
        except EOFError:
            raise _fault("is cut off") from None
        except (zlib.error, gzip.BadGzipFile, UnicodeDecodeError):
            raise _fault("is damaged") from None
        except OSError as error:
            raise _fault(f"cannot be read: {error.strerror}") from None


def _fault(what: str) -> UsageFault:
    return UsageFault(what, "download it again")


def _texts(octets: IO[bytes]) -> Iterator[str]:
    """Yield the text of a file in pieces. Its octets are decompressed if they begin like gzip."""
    first = octets.read(2)
    octets.seek(0)
    stream: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=octets) if first == b"\x1f\x8b" else octets
    decoder = codecs.getincrementaldecoder("utf-8")()
    while piece := stream.read(CHUNK):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


class _Parser:
    """Parses one event after another out of pieces of text."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts, self._text, self._at = texts, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def events(self) -> Iterator[Mapping[str, object]]:
        """Yield the events. Raise UsageFault for other text than a log file."""
        self._skip(HEAD, LARGEST_HEAD, "is no log file of CloudTrail")
        while not self._ends():
            yield self._event()
            while self._text.startswith(",{", self._at):  # as CloudTrail writes it
                self._at += 1
                yield self._event()
            if self._skip(BETWEEN, LARGEST_EVENT, "is damaged") == "]":
                return

    def _ends(self) -> bool:
        while self._at == len(self._text) and self._more():
            pass
        return self._text[self._at : self._at + 1] == "]"

    def _event(self) -> Mapping[str, object]:
        while True:
            try:
                event, self._at = self._decode(self._text, self._at)
            except RecursionError:
                raise _fault("is nested too deep") from None
            except ValueError:
                if len(self._text) - self._at > LARGEST_EVENT:
                    raise _fault("has an event of more than 1 MiB, or is damaged") from None
                if not self._more():
                    raise _fault("is cut off, or is damaged") from None
            else:
                if not isinstance(event, dict):
                    raise _fault("is damaged")
                return event

    def _skip(self, pattern: re.Pattern[str], most: int, what: str) -> str:
        """Go behind a match of the pattern, and return its text.

        Read more text if there is no match yet, or if the match could be longer.
        """
        while True:
            match = pattern.match(self._text, self._at)
            if match and (match.end() < len(self._text) or not self._more()):
                self._at = min(match.end(), len(self._text))
                return match[0].strip()
            if not match and (len(self._text) - self._at > most or not self._more()):
                raise _fault(what)

    def _more(self) -> bool:
        """Append the next piece of text, and drop what was parsed. Return False at the end, and change nothing."""
        if piece := next(self._texts, ""):
            self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)
