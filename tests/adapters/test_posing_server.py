"""A program of this computer that poses as the PostgreSQL server, and asks for the password of ~/.pgpass."""

import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mfa_kit.core.errors import IntegrityFault
from tests.ledgers import open_at

PASSWORD = "correct horse"
# The requests of a server for a password (PostgreSQL 17, "Message Formats").
CLEARTEXT = b"R" + struct.pack("!II", 8, 3)
MD5 = b"R" + struct.pack("!II4s", 12, 5, b"salt")
# The first message of a client that asks for encryption with TLS or GSSAPI. The answer N refuses it.
ENCRYPTION = {80877103, 80877104}


@dataclass
class Poser:
    """A server that asks each client for its password, and keeps what the client says after that."""

    listening: socket.socket
    request: bytes
    heard: list[bytes] = field(default_factory=list)

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                with client:
                    self._ask(client)

    def _ask(self, client: socket.socket) -> None:
        client.settimeout(5)
        while len(head := client.recv(8, socket.MSG_WAITALL)) == 8:
            length, code = struct.unpack("!II", head)
            if code in ENCRYPTION:
                client.sendall(b"N")
                continue
            client.recv(length - 8, socket.MSG_WAITALL)
            client.sendall(self.request)
            self.heard.append(client.recv(1000))
            return


Pose = Callable[[str, bytes], tuple[Poser, str]]


@pytest.fixture
def pose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pose]:
    """Return a function that starts such a server, and returns it and its address. A file has the password for it."""
    (tmp_path / "pgpass").write_text(f"*:*:*:*:{PASSWORD}\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    started: list[tuple[socket.socket, threading.Thread]] = []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the path of a Unix socket has at most 107 bytes

        def start(where: str, request: bytes) -> tuple[Poser, str]:
            listening = socket.socket(socket.AF_UNIX if where == "socket" else socket.AF_INET)
            listening.bind(f"{folder}/.s.PGSQL.5432" if where == "socket" else ("127.0.0.1", 0))
            listening.listen()
            poser = Poser(listening, request)
            thread = threading.Thread(target=poser.serve, daemon=True)
            thread.start()
            started.append((listening, thread))
            host = folder if where == "socket" else f"127.0.0.1 port={listening.getsockname()[1]}"
            return poser, f"host={host} user=berlin dbname=mfa"

        yield start
        for listening, thread in started:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
            thread.join(10)


@pytest.mark.parametrize("request_for", [CLEARTEXT, MD5], ids=["cleartext", "md5"])
@pytest.mark.parametrize("where", ["loopback", "socket"])
def test_a_server_that_poses_gets_no_password(where: str, request_for: bytes, pose: Pose) -> None:
    """Neither the password nor its MD5 hash is sent, and the hint says how to allow it."""
    poser, address = pose(where, request_for)
    with pytest.raises(IntegrityFault, match="could pose as the server") as caught:
        open_at(address)
    assert "require_auth=password" in caught.value.hint
    assert all(not heard or heard.startswith(b"X") for heard in poser.heard), poser.heard


@pytest.mark.parametrize("where", ["address", "variable"])
def test_the_users_own_rule_takes_precedence(where: str, pose: Pose, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a local server that checks the password with LDAP or PAM, and therefore has to get it."""
    poser, address = pose("loopback", CLEARTEXT)
    if where == "variable":
        monkeypatch.setenv("PGREQUIREAUTH", "password")
    with pytest.raises(IntegrityFault, match="cannot be used"):  # it does not go on after the password
        open_at(address + (" require_auth=password" if where == "address" else ""))
    assert PASSWORD.encode() in b"".join(poser.heard)
