"""Log files of CloudTrail: whole, cut off, damaged, of any size, and what lies beside them."""

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from mfa_kit.adapters.files.event_files import LARGEST_EVENT, LogFile, is_log_file, log_files
from mfa_kit.core.errors import UsageFault

EVENTS = [{"eventName": f"event {number}", "text": "ü" * number} for number in range(2000)]


def packed(document: object, **how: Any) -> bytes:
    return gzip.compress(json.dumps(document, **how).encode())


def log_of(octets: bytes) -> LogFile:
    return LogFile("log", lambda: io.BytesIO(octets))


def events_of(octets: bytes) -> list[dict[str, Any]]:
    return [dict(event) for event in log_of(octets).events()]


@pytest.mark.parametrize("how", [{}, {"indent": 2}, {"ensure_ascii": False}, {"separators": (",", ":")}])
def test_all_events_are_read_in_order(how: dict[str, Any]) -> None:
    assert events_of(packed({"Records": EVENTS}, **how)) == EVENTS


def test_a_file_may_be_unpacked_or_empty_or_have_more_members() -> None:
    assert events_of(json.dumps({"Records": EVENTS[:3]}).encode()) == EVENTS[:3]
    assert events_of(packed({"Records": []})) == []
    assert events_of(packed({"Records": EVENTS[:1], "more": 1})) == EVENTS[:1]


@pytest.mark.parametrize("cut", [3, 5000, 25_000, -9])
def test_a_file_that_is_cut_off_is_named_so_and_its_first_events_are_read(cut: int) -> None:
    events, seen = log_of(packed({"Records": EVENTS})[:cut]).events(), list[object]()
    with pytest.raises(UsageFault, match="is cut off"):
        seen.extend(events)
    assert seen == EVENTS[: len(seen)]


WHOLE = json.dumps({"Records": EVENTS[:3]})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no log file"),
        ("[]", "is no log file"),
        ('{"logFiles": []}', "is no log file"),
        ("x" * 5000, "is no log file"),
        ('{"Records": [7]}', "is damaged"),
        ('{"Records": [{} {}]}', "is damaged"),
        ('{"Records": [{"a": 1}, oops]}', "is cut off, or is damaged"),
        ('{"Records": [' + '{"a": ' * 200_000, "is nested too deep|more than 1 MiB"),
        ('{"Records": [{"a": "' + "x" * (2 * LARGEST_EVENT) + '"}]}', "more than 1 MiB"),
    ],
)
def test_what_is_no_log_file_is_refused(text: str, why: str) -> None:
    for octets in (text.encode(), gzip.compress(text.encode())):
        with pytest.raises(UsageFault, match=why):
            events_of(octets)


def test_damaged_gzip_and_other_encodings_are_refused() -> None:
    octets = bytearray(packed({"Records": EVENTS}))
    octets[2000] ^= 0xFF
    with pytest.raises(UsageFault, match=r"is damaged|is cut off"):
        events_of(bytes(octets))
    with pytest.raises(UsageFault, match="is damaged"):
        events_of(WHOLE.encode("utf-8").replace(b"event", b"\xff\xfe"))


class Endless(io.RawIOBase):
    """A file of 2 GB with one line, most of which nobody keeps."""

    def __init__(self) -> None:
        self._left, self._head = 2 << 30, b'{"Records": [{"a": "'

    def seek(self, _: int, whence: int = 0) -> int:
        self._head = b'{"Records": [{"a": "'
        return 0

    def read(self, size: int = -1) -> bytes:
        piece, self._head = (self._head[:size], self._head[size:]) if self._head else (b"x" * size, b"")
        self._left -= len(piece)
        return piece if self._left > 0 else b""


def test_a_line_of_two_gigabytes_needs_little_memory() -> None:
    open_endless: Callable[[], IO[bytes]] = Endless  # type: ignore[assignment]
    tracemalloc.start()
    try:
        with pytest.raises(UsageFault, match="more than 1 MiB, or"):
            list(LogFile("log", open_endless).events())
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_files_of_other_kinds_beside_the_logs_are_left_out(tmp_path: Path) -> None:
    base = tmp_path / "AWSLogs" / "o-example" / "111122223333"
    for kind in ("CloudTrail", "CloudTrail-Digest", "CloudTrail-Insight", "CloudTrail-NetworkActivity"):
        folder = base / kind / "us-east-1" / "2026" / "09" / "14"
        folder.mkdir(parents=True)
        (folder / "x.json.gz").write_bytes(packed({"Records": EVENTS[:1]}))
        (folder / "x.txt").write_text("no log")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [Path(file.name).parts[-6] for file in log_files(tmp_path)] == ["CloudTrail"]
    assert not is_log_file("AWSLogs/1/CloudTrail-Digest/a.json.gz")
    (one,) = log_files(base / "CloudTrail" / "us-east-1" / "2026" / "09" / "14" / "x.json.gz")
    assert list(one.events()) == EVENTS[:1]


def test_a_folder_without_logs_or_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="has no log files of CloudTrail"):
        list(log_files(tmp_path))
    with pytest.raises(UsageFault, match=r"cannot be read: No such file"):
        list(log_files(tmp_path / "absent"))
    file = tmp_path / "a.json"
    file.write_text(WHOLE)
    (log,) = log_files(tmp_path)
    file.unlink()
    with pytest.raises(UsageFault, match=r"cannot be read: No such file"):
        list(log.events())
