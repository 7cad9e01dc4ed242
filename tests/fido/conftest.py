"""Lab keys that python-fido2 sees in this process. Each is connected by a pair of sockets, and can be unplugged."""

import io
import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pexpect
import pytest
from fido2 import hid, utils
from fido2.hid.base import HidDescriptor

from mfa_kit.adapters.fido import links
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.clientpin import digest
from mfa_kit.lab.devices.ctaphid import CtapHid
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from mfa_kit.security_keys import pin
from mfa_kit.security_keys.pin import KeyReset
from tests import pcsc
from tests.conftest import ROOT, MfaKit, Result, bare
from tests.fido.seam import SocketConnection, SocketWire, Tamper, descriptor
from tests.terminal.spawn import MFA_KIT, spawn
from tests.test_secrets import Watched, loudest

NOW = time.time()
SITE = Path(__file__).with_name("site")
# python-fido2 evaluates the annotations of a class for each value of it, and each answer of a key is such a value.
FIDO2_UTILS: Any = utils
FIDO2_UTILS.get_type_hints = cache(FIDO2_UTILS.get_type_hints)
LAB_AAGUID = "6d66616b-6974-0000-0000-000000000001"


@dataclass
class Slot:
    """One key in a USB port. `hid` has the options of its HID transport."""

    key: SimulatedKey
    tamper: Tamper | None = None
    hid: dict[str, Any] = field(default_factory=dict)
    serial: str | None = None
    opened: list[tuple[SocketConnection, SocketWire]] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """The number of packets that the key sent."""
        return sum(wire.count for _, wire in self.opened)

    @property
    def canceled(self) -> bool:
        """Whether the key received a cancellation while it waited for a touch."""
        return any(wire.canceled for _, wire in self.opened)

    def connect(self) -> SocketConnection:
        """Open the device another time."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        wire = SocketWire(theirs, self.tamper)
        connection = SocketConnection(ours)
        self.opened.append((connection, wire))
        threading.Thread(target=CtapHid(self.key, wire, **self.hid).serve, daemon=True).start()
        return connection

    def pull(self) -> None:
        """Unplug the key."""
        for connection, wire in self.opened:
            wire.close()
            connection.close()


class Bus:
    """The USB ports of a computer."""

    def __init__(self) -> None:
        self.slots: dict[str, Slot] = {}

    def plug(self, key: SimulatedKey, **how: Any) -> Slot:
        slot = Slot(key, **how)
        self.slots[f"/dev/hidraw{len(self.slots)}"] = slot
        return slot

    def unplug(self) -> None:
        """Unplug all keys."""
        for slot in self.slots.values():
            slot.pull()
        self.slots.clear()

    def descriptors(self) -> list[HidDescriptor]:
        return [descriptor(path, slot.key.model.product, slot.serial) for path, slot in self.slots.items()]

    def open(self, of: HidDescriptor) -> SocketConnection:
        return self.slots[str(of.path)].connect()


@pytest.fixture(scope="session", autouse=True)
def _readers_end() -> Iterator[None]:
    with pcsc.stopped():
        yield


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    """Replace python-fido2's list of devices with the keys that are plugged into this bus."""
    pcsc.clear()
    bus = Bus()
    monkeypatch.setattr(hid, "list_descriptors", bus.descriptors)
    monkeypatch.setattr(hid, "open_connection", bus.open)
    yield bus
    bus.unplug()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time limits to a tenth."""
    for name in ("PROMPT", "TOUCH", "SLACK"):
        monkeypatch.setattr(links, name, getattr(links, name) / 10)


@pytest.fixture
def loud() -> Iterator[Watched]:
    """Set the level of every logger to 0, including python-fido2's."""
    with loudest() as watched:
        yield watched


@pytest.fixture(scope="session")
def maker() -> AttestationCa:
    return AttestationCa(now=NOW)


@pytest.fixture
def key(maker: AttestationCa) -> SimulatedKey:
    """Make a key without faults."""
    return lab_key(maker)


@dataclass(frozen=True)
class Published:
    """Metadata files for `--mds` and `--mds-root`."""

    blob: Path
    root: Path

    @property
    def options(self) -> list[str]:
        return ["--mds", str(self.blob), "--mds-root", str(self.root)]


def publish(folder: Path, maker: AttestationCa, entries: list[dict[str, Any]], **how: Any) -> Published:
    """Write a BLOB with these entries, and the root certificate of its signer."""
    how = {"next_update": date(2100, 1, 1), **how}
    blob, root = folder / "blob.jwt", folder / "root.der"
    blob.write_bytes(maker.blob(entries, **how))
    root.write_bytes(maker.root.der)
    return Published(blob, root)


@pytest.fixture
def published(tmp_path: Path, maker: AttestationCa) -> Published:
    """Publish the metadata of the lab's model."""
    return publish(tmp_path, maker, [maker.entry("mfa-kit lab key", aaguid=LAB_AAGUID)])


@dataclass
class Desk(MfaKit):
    """The command line with its own folder and keys."""

    def verify(self, *args: str | Path) -> tuple[Result, dict[str, Any]]:
        """Run `verify fido2` and return its receipt."""
        done = self.run("verify", "fido2", "--output", "json", *args)
        return done, json.loads(done.out) if done.out else {}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a desk with an empty folder. The tests make no AWS call."""
    home = tmp_path / "desk"
    monkeypatch.setenv("MFA_KIT_HOME", str(home))
    return Desk(home)


def results(receipt: dict[str, Any]) -> dict[str, str]:
    """Return the result of each check."""
    return {check["check"]: check["result"] for check in receipt["checks"]}


def detail(receipt: dict[str, Any], name: str) -> str:
    [said] = [check["detail"] for check in receipt["checks"] if check["check"] == name]
    return str(said)


class Port:
    """A port for another process: a listening socket in place of /dev/hidraw, with one key behind it."""

    def __init__(self, path: Path, key: SimulatedKey, **how: Any) -> None:
        self.key, self.path, self._how = key, path, how
        self.wires: list[SocketWire] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                theirs, _ = self._socket.accept()
            except OSError:
                return
            with theirs:
                self.wires.append(SocketWire(theirs))
                CtapHid(self.key, self.wires[-1], **self._how).serve()

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    @property
    def env(self) -> dict[str, str]:
        return {"TEST_HID_PORTS": f"/dev/hidraw0={self.path}", "PYTHONPATH": f"{SITE}:{ROOT}"}


@pytest.fixture
def key_at_process(maker: AttestationCa) -> SimulatedKey:
    """Make a key that requires its PIN and has two tries left."""
    key = lab_key(maker, pin="pin-5839-canary", behavior=KeyBehavior(uv_not_required=False))
    key.client_pin.retries = 2
    return key


@pytest.fixture
def port(key_at_process: SimulatedKey) -> Iterator[Port]:
    """Plug the key in for another process."""
    with tempfile.TemporaryDirectory(prefix="port-") as folder:
        port = Port(Path(folder) / "0", key_at_process)
        yield port
        port.close()


@pytest.fixture
def process_desk(port: Port, tmp_path: Path) -> Desk:
    """Return a desk whose program runs as a separate process."""
    return Desk(tmp_path / "desk", port.env)


@pytest.fixture
def session(process_desk: Desk, published: Published) -> Iterator["pexpect.spawn[str]"]:
    """Run `verify fido2` at a terminal."""
    seen = io.StringIO()
    spawned = spawn(
        [*MFA_KIT, "verify", "fido2", *published.options],
        env={**bare(), "MFA_KIT_HOME": str(process_desk.home), "TERM": "xterm", **process_desk.env},
        timeout=30,
        dimensions=(50, 160),
    )
    spawned.logfile_read = seen
    spawned.seen = seen  # type: ignore[attr-defined]
    yield spawned
    spawned.close()


Hands = Callable[[Bus, Callable[[], SimulatedKey | None]], None]


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    """At the prompt, unplug all keys, then plug in the key that `another` returns."""
    monkeypatch.setattr(pin, "LOOK", 0.02)
    monkeypatch.setattr(pin, "PATIENCE", 30.0)

    def begin(bus: Bus, another: Callable[[], SimulatedKey | None]) -> None:
        real = KeyReset.wait_for  # the moments when the user acts
        moves = iter(("out", "in"))

        def wait_for(erasure: KeyReset, look: Callable[[], object], late: str) -> object:
            move = next(moves)
            taken = another() if move == "in" else None
            if move == "in" and not taken:
                monkeypatch.setattr(pin, "PATIENCE", 0.5)

            def act() -> None:
                time.sleep(0.1)
                if move == "out":
                    bus.unplug()
                elif taken:
                    bus.plug(taken, serial="KEY-7")

            threading.Thread(target=act).start()
            return real(erasure, look, late)

        monkeypatch.setattr(KeyReset, "wait_for", wait_for)

    return begin


def has(key: SimulatedKey, pin: str) -> bool:
    """Return whether the key has this PIN, according to its stored hash."""
    return key.client_pin.hash == digest(pin.encode())
