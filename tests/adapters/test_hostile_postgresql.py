"""A server that speaks the protocol of PostgreSQL and gives hostile answers: malformed, of wrong types, or endless."""

import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.postgresql.database import FILES
from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import DeviceSpec, JournalEntry
from tests.conftest import MfaKit, bare
from tests.ledgers import open_at
from tests.sizes import sample

PID = 4711
INT4, TEXT, JSON = 23, 25, 114
INTENT = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice")
ENTRY = JournalEntry(run="20261125T000000Z-00000001", spec=INTENT)


def message(kind: bytes, body: bytes) -> bytes:
    """Return a message of the protocol (PostgreSQL 17, "Message Formats")."""
    return kind + struct.pack("!I", len(body) + 4) + body


def columns(*types: int, binary: int = 0) -> bytes:
    """Return the description of rows with columns of these types (object IDs)."""
    head = struct.pack("!H", len(types))
    return message(b"T", head + b"".join(b"c\0" + struct.pack("!IHIhih", 0, 0, oid, -1, -1, binary) for oid in types))


def row(*values: bytes | None) -> bytes:
    parts = (struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value for value in values)
    return message(b"D", struct.pack("!H", len(values)) + b"".join(parts))


def status(name: bytes, value: bytes) -> bytes:
    return message(b"S", name + b"\0" + value + b"\0")


READY = message(b"Z", b"I")
BOUND = message(b"1", b"") + message(b"2", b"")
DONE = message(b"C", b"SELECT 1\0")


def answer(types: tuple[int, ...], *rows: tuple[bytes | None, ...], binary: int = 0) -> bytes:
    return columns(*types, binary=binary) + b"".join(row(*values) for values in rows) + DONE


# Hostile answers to a statement. A generator is endless.
ANSWERS: dict[str, bytes | Callable[[], Iterator[bytes]]] = {
    "no rows": answer((INT4,)),
    "no columns": answer((), ()),
    "two rows": answer((INT4,), (b"1",), (b"2",)),
    "many columns": answer((TEXT,) * 30, (b"1",) * 30),
    "null": answer((INT4,), (None,)),
    "nulls": answer((TEXT,) * 9, (None,) * 9),
    "text": answer((TEXT,), (b"x",)),
    "not a number": answer((INT4,), (b"x",)),
    "long number": answer((INT4,), (b"9" * 5000,)),
    "no result": DONE,
    "empty query": message(b"I", b""),
    "no UTF-8": answer((TEXT,), (b"\xff\xfe",)),
    "bare error": message(b"E", b"\0"),
    "odd error": message(b"E", b"SERROR\0C\xff\xfe\xfd\0M\xff\n\x1b[31m\0\0"),
    "garbage": b"\xff" * 100,
    "short": message(b"D", b""),
    "more values than columns": columns(INT4) + row(b"1", b"2") + DONE,
    "copy in": message(b"G", b"\0\0\1\0\0"),
    "copy out": message(b"H", b"\0\0\1\0\0") + message(b"d", b"x\n") + message(b"c", b"") + DONE,
    "copy both": message(b"W", b"\0\0\1\0\0"),
    "encoding": status(b"client_encoding", b"SQL_ASCII") + answer((TEXT,), (b"\xff",)),
    "unknown encoding": status(b"client_encoding", b"x") + answer((TEXT,), (b"x",)),
    "other version": status(b"server_version", b"x") + answer((INT4,), (b"1",)),
    "notification": message(b"A", struct.pack("!I", 1) + b"\xff\0\xff\0") + answer((INT4,), (b"1",)),
    "notice": message(b"N", b"\0") + answer((INT4,), (b"1",)),
    "nothing": b"",
    **{
        f"text as {oid}": answer((oid,), (b"{{x",))
        for oid in (16, 17, 20, 700, 701, 1082, 1114, 1184, 1186, 1700, 2950)
    },
    **{f"text as {oid}": answer((oid,), (b"{{x",)) for oid in (JSON, 3802, 869, 1007, 1009, 3904, 2249, 4451)},
    **{f"binary {oid}": answer((oid,), (b"x",), binary=1) for oid in (16, 20, 25, 701, 1184, 1700, 2950, 1007, 3802)},
    "endless rows": lambda: endless(columns(TEXT), row(b"x" * 1000) * 100),
    "endless small rows": lambda: endless(columns(INT4), row(b"1") * 1000),
    "endless notices": lambda: endless(b"", message(b"N", b"SX\0Mx\0\0") * 1000),
    "endless parameters": lambda: endless(b"", status(b"a", b"b") * 1000),
    "endless notifications": lambda: endless(b"", message(b"A", struct.pack("!I", 1) + b"a\0b\0") * 1000),
    "a row of a gigabyte": lambda: endless(
        columns(TEXT) + b"D" + struct.pack("!IHi", 1 << 30, 1, (1 << 30) - 10), b"x" * 65536
    ),
    "an error of a gigabyte": lambda: endless(b"E" + struct.pack("!I", 1 << 30) + b"M", b"x" * 65536),
}


def endless(first: bytes, more: bytes) -> Iterator[bytes]:
    yield first
    while True:
        yield more


@dataclass
class Hostile:
    """A server that answers `honest` statements of each client, and then each statement in a hostile way."""

    listening: socket.socket
    answer: bytes | Callable[[], Iterator[bytes]]
    honest: int
    hostile: threading.Event = field(default_factory=threading.Event)

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client, suppress(OSError, struct.error):
            client.settimeout(60)
            head = client.recv(8, socket.MSG_WAITALL)
            length, _ = struct.unpack("!II", head)
            client.recv(length - 8, socket.MSG_WAITALL)
            settings = {b"server_version": b"17.6", b"client_encoding": b"UTF8", b"standard_conforming_strings": b"on"}
            client.sendall(message(b"R", struct.pack("!I", 0)) + b"".join(status(*each) for each in settings.items()))
            client.sendall(message(b"K", struct.pack("!II", PID, 0)) + READY)
            asked, text = 0, b""
            while kind := client.recv(1):
                [length] = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
                body = client.recv(length - 4, socket.MSG_WAITALL) if length > 4 else b""
                text += body if kind in b"QP" else b""
                if kind in b"QE":
                    asked += 1
                    bound = BOUND if kind == b"E" else b""
                    self._answer(client, bound, text, hostile=asked > self.honest)
                    text = b""
                if kind in b"QS":
                    client.sendall(READY)

    def _answer(self, client: socket.socket, bound: bytes, text: bytes, *, hostile: bool) -> None:
        if hostile:
            self.hostile.set()
            parts = iter([self.answer]) if isinstance(self.answer, bytes) else self.answer()
        elif b"pg_backend_pid" in text:
            parts = iter([answer((INT4,), (str(PID).encode(),))])
        elif b"max(number)" in text:
            parts = iter([answer((INT4,), (str(len(FILES)).encode(),))])
        else:
            parts = iter([answer((INT4,), (b"1",))])
        client.sendall(bound)
        for part in parts:
            client.sendall(part)


# Runs a command, and prints the most memory that it used, in KiB.
PEAK = """
import re, sys
from pathlib import Path
from mfa_kit.cli.main import run
code = run(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""
Serve = Callable[[str, int], tuple[Hostile, str]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts such a server, and returns it and its address."""
    started: list[socket.socket] = []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:

        def start(name: str, honest: int) -> tuple[Hostile, str]:
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(f"{folder}/.s.PGSQL.{len(started) + 1}")
            listening.listen()
            server = Hostile(listening, ANSWERS[name], honest)
            threading.Thread(target=server.serve, daemon=True).start()
            started.append(listening)
            return server, f"host={folder} port={len(started)} user=berlin dbname=mfa"

        yield start
        for listening in started:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()


def with_ledger(use: Callable[[Ledger], object]) -> Callable[[str], None]:
    def run(address: str) -> None:
        with open_at(address) as ledger:
            use(ledger)

    return run


USES: dict[str, Callable[[str], object]] = {
    "history": with_ledger(Ledger.history),
    "entries": with_ledger(lambda ledger: ledger.entries("000000000000")),
    "record": with_ledger(lambda ledger: ledger.record(ENTRY)),
    "workers": with_ledger(lambda ledger: ledger.workers(["x"])),
    "state": lambda address: OwnedLedger(address).state(),
    "create": lambda address: OwnedLedger(address).create(grace=None),
}


# The answers that the statement may have, so they are believed: no rows, and one octet for a Boolean.
WITHOUT_ROWS = {"no rows", "no columns", "no result", "empty query"}
BELIEVED = {(name, use) for name in WITHOUT_ROWS for use in ("history", "entries", "workers")} | {
    ("binary 16", "record")
}


# By default each answer meets two of the uses, and each use a third of the answers.
@pytest.mark.parametrize(
    ("name", "use"),
    sample([(name, use) for name, answer in ANSWERS.items() if isinstance(answer, bytes) for use in USES], 130),
)
def test_a_hostile_answer_is_an_error_of_the_ledger(name: str, use: str, serve: Serve) -> None:
    """It may come instead of the answer to any statement. Only the answers in BELIEVED are not refused."""
    believed = set()
    for honest in range(8):
        server, address = serve(name, honest)
        with suppress(IntegrityFault, UsageFault):
            USES[use](address)
            believed |= {(name, use)} if server.hostile.is_set() else set()
    assert believed == {(name, use)} & BELIEVED


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in ANSWERS if name.startswith(("endless rows", "endless small", "a ", "an "))]
)
def test_an_endless_answer_does_not_use_up_the_memory(name: str, serve: Serve, mfa_kit: MfaKit) -> None:
    """The command ends with exit code 5."""
    words = [sys.executable, "-c", PEAK, "ledger", "show", "--ledger", serve(name, 2)[1]]
    done = subprocess.run(words, env={**bare(), **mfa_kit.env}, capture_output=True, text=True, timeout=60, check=False)
    assert "an answer of the server needs more than 256 MiB" in done.stderr
    assert done.returncode == IntegrityFault.exit_code
    assert int(done.stdout) < 500 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("name", ["endless notices", "endless parameters", "endless notifications"])
def test_ctrl_c_ends_an_endless_answer(name: str, serve: Serve, mfa_kit: MfaKit) -> None:
    """It needs little memory, so nothing else ends it."""
    server, address = serve(name, 2)
    with mfa_kit.start("ledger", "show", "--ledger", address) as process:
        assert server.hostile.wait(60)
        time.sleep(0.5)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode in {5, 130}
