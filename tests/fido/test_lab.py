"""Tests of the lab's key: `lab key`, the kernel's side of uhid, and the answers to its commands."""

import json
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from fido2.client import ClientError, DefaultClientDataCollector, Fido2Client
from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin, PinProtocolV1, PinProtocolV2
from fido2.hid import CtapHidDevice
from fido2.hid.base import parse_report_descriptor
from fido2.server import Fido2Server
from fido2.webauthn import (
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.lab import plugged
from mfa_kit.lab.devices import ctaphid, reader
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.ctaphid import CtapHid
from mfa_kit.lab.devices.securitykey import SimulatedKey, lab_key
from tests.conftest import MfaKit, without
from tests.fido.conftest import Bus
from tests.fido.seam import descriptor


@pytest.fixture
def ctap(bus: Bus, key: SimulatedKey) -> Ctap2:
    """Return a connection to the lab's key through python-fido2 alone."""
    slot = bus.plug(key)
    return Ctap2(CtapHidDevice(descriptor("/dev/hidraw0"), slot.connect()))


VERIFY = ("-m", "mfa_kit", "verify", "fido2", "--output", "json")


@pytest.mark.parametrize("u2f", [(), ("--u2f",)], ids=["ctap2", "u2f"])
def test_lab_key_is_available_to_a_command(tmp_path: Path, u2f: tuple[str, ...]) -> None:
    """The command finds the key as any program does. The exit code of `lab key` is that of the command."""
    mds = tmp_path / "mds"
    command = (sys.executable, *VERIFY, "--mds", mds / "blob.jwt", "--mds-root", mds / "root.der")
    done = MfaKit(tmp_path / "desk").process("lab", "key", "--publish", mds, *u2f, "--", *command)
    if "virtual readers need" in done.err:
        without(done.err)
    assert (done.code, json.loads(done.out)["model"]) == (0, "mfa-kit lab key"), done.err


def test_lab_key_is_available_until_ctrl_c(tmp_path: Path) -> None:
    """`lab key` prints the variables to export."""
    process = MfaKit(tmp_path / "desk").start("lab", "key", "--reader")
    assert process.stdout
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    if "virtual readers need" in err:
        without(err)
    assert "PCSCLITE_CSOCK_NAME" in line
    assert process.returncode == 0


def test_without_uhid_and_readers_lab_key_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has both reasons and both hints."""
    monkeypatch.setattr(ctaphid, "NODE", "/dev/absent")
    monkeypatch.setattr(reader, "DRIVER", Path("/absent/libifdvpcd.so"))
    request: dict[str, Any] = {"u2f": False, "pin": None, "reader": False, "publish": None}
    with pytest.raises(DeviceFault) as caught:
        plugged.plug_in_key(print, (), attestation="packed", touch=0, **request)
    assert "/dev/absent cannot be opened: No such file or directory; and virtual readers need" in str(caught.value)
    assert "modprobe uhid" in caught.value.hint


def test_lab_key_is_on_usb_if_the_kernel_supports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is created, available to the command, and destroyed. The exit code is that of the command."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(ctaphid, "open_uhid", ours.detach)
    request: dict[str, Any] = {"u2f": False, "pin": None, "reader": False, "publish": tmp_path / "mds"}
    with kernels:
        assert plugged.plug_in_key(print, ("false",), attestation="packed", touch=0, **request) == 1
        events = [int.from_bytes(kernels.recv(8192)[:4], "little") for _ in range(2)]
    assert events == [ctaphid.CREATE2, ctaphid.DESTROY]
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageFault, match="cannot be written"):
        plugged.plug_in_key(
            print, (), attestation="packed", touch=0, **{**request, "publish": tmp_path / "file" / "mds"}
        )


def test_lab_key_overwrites_only_metadata_of_a_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The FIDO Alliance's file has the same name, and that of a user's own root certificate may have it too."""
    monkeypatch.setattr(plugged, "_on_usb", lambda *_: 0)
    request: dict[str, Any] = {"attestation": "packed", "touch": 0, "u2f": False, "pin": None, "reader": False}
    for name, mine in (("blob.jwt", b"real"), ("root.der", b"own")):
        (tmp_path / name).write_bytes(mine)
        with pytest.raises(UsageFault, match="that is not from a lab"):
            plugged.plug_in_key(print, (), publish=tmp_path, **request)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, mine)]
        (tmp_path / name).unlink()
    assert [plugged.plug_in_key(print, (), publish=tmp_path, **request) for _ in range(2)] == [0, 0]


def test_a_second_ctrl_c_leaves_no_process_and_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second Ctrl-C comes while mfa-kit waits for a pcscd that does not end."""
    readers = reader.Readers()
    readers.folder = Path(tempfile.mkdtemp(prefix="readers-"))
    readers.process = subprocess.Popen(["sh", "-c", "trap '' TERM; echo; exec sleep 600"], stdout=subprocess.PIPE)
    assert readers.process.stdout
    with readers.process.stdout as ready:
        ready.readline()
        real = readers.process.wait

        def wait(timeout: float | None = None) -> int:
            if timeout is None:
                return real()
            raise KeyboardInterrupt

        monkeypatch.setattr(readers.process, "wait", wait)
        with pytest.raises(KeyboardInterrupt):
            readers.__exit__(None, None, None)
        monkeypatch.undo()
        left = (readers.process.poll(), readers.folder.exists())
        readers.process.kill()
        readers.process.wait()
    assert left == (-signal.SIGKILL, False)


def test_a_key_on_uhid_follows_the_protocol_of_the_kernel(key: SimulatedKey) -> None:
    """linux/uhid.h: CREATE2 with FIDO's report descriptor, OUTPUT with a leading report number, INPUT2, DESTROY."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with kernels, ctaphid.Uhid(ours.detach(), product="lab", serial="7") as wire:
        created = kernels.recv(8192)
        kind, name, _, serial, size, bus = struct.unpack_from("<I128s64s64sHH", created)
        assert (kind, name.rstrip(b"\0"), serial.rstrip(b"\0"), bus) == (ctaphid.CREATE2, b"lab", b"7", ctaphid.BUS_USB)
        assert parse_report_descriptor(created[280 : 280 + size]) == (64, 64)
        serving = threading.Thread(target=CtapHid(key, wire).serve)
        serving.start()
        # UHID_START gets no answer.
        kernels.send(struct.pack("<I", 2))
        request = b"\xff\xff\xff\xff\x86\x00\x08" + b"nonce..." + bytes(49)
        kernels.send(struct.pack("<I4096sHB", ctaphid.OUTPUT, b"\0" + request, 65, 0))
        event, length = struct.unpack_from("<IH", answer := kernels.recv(8192))
        assert (event, length, answer[6:21]) == (ctaphid.INPUT2, 64, b"\xff\xff\xff\xff\x86\x00\x11nonce...")
        wire.stop()
        serving.join(5)
        assert not serving.is_alive()


@pytest.mark.parametrize("protocol", [PinProtocolV1(), PinProtocolV2()], ids=["one", "two"])
def test_a_pin_is_set_changed_and_checked(ctap: Ctap2, key: SimulatedKey, protocol: PinProtocolV1) -> None:
    """python-fido2's own client is used, with both protocols."""
    pin = ClientPin(ctap, protocol)
    pin.set_pin("1234")
    pin.change_pin("1234", "567890")
    assert pin.get_pin_token("567890")
    assert (pin.get_pin_retries(), key.client_pin.retries) == ((8, 0), 8)
    with pytest.raises(CtapError, match="PIN_INVALID"):
        pin.get_pin_token("1234")
    assert pin.get_pin_retries() == (7, 0)


def test_a_short_pin_is_a_policy_violation(ctap: Ctap2, key: SimulatedKey) -> None:
    """The limit is the key's own minimum length."""
    key.client_pin.shortest = 8
    with pytest.raises(CtapError, match="PIN_POLICY_VIOLATION"):
        ClientPin(ctap).set_pin("1234567")


def test_eight_wrong_pins_lock_the_key_and_reset_erases_it(ctap: Ctap2, key: SimulatedKey) -> None:
    """The key is unplugged after every three wrong PINs, as a user who keeps trying would do."""
    pin = ClientPin(ctap)
    pin.set_pin("1234")
    for _ in range(8):
        with pytest.raises(CtapError):
            pin.get_pin_token("9999")
        key.client_pin.power_up()
    with pytest.raises(CtapError, match="PIN_BLOCKED"):
        pin.get_pin_token("1234")
    ctap.reset()
    assert ctap.get_info().options["clientPin"] is False


def test_resident_credentials_fill_the_key(bus: Bus, maker: AttestationCa) -> None:
    """The test sets `rk`, as a browser does."""
    key = lab_key(maker)
    slot = bus.plug(key)
    device = CtapHidDevice(descriptor("/dev/hidraw0"), slot.connect())
    client = Fido2Client(device, DefaultClientDataCollector("https://example.org"))
    server = Fido2Server(PublicKeyCredentialRpEntity(id="example.org", name="example"))
    user = PublicKeyCredentialUserEntity(id=b"u", name="u", display_name="u")
    options, state = server.register_begin(
        user,
        resident_key_requirement=ResidentKeyRequirement.REQUIRED,
        user_verification=UserVerificationRequirement.DISCOURAGED,
    )
    server.register_complete(state, client.make_credential(options.public_key))
    assert Ctap2(device).info.remaining_disc_creds == 24
    key.resident *= 25
    with pytest.raises(ClientError) as caught:
        client.make_credential(options.public_key)
    assert caught.value.cause.code == CtapError.ERR.KEY_STORE_FULL


def test_an_unknown_command_is_refused(ctap: Ctap2) -> None:
    """The error status is that of the standard, and the next command is answered."""
    for command, data, status in [(0x55, None, 0x01), (0x01, {}, 0x14), (0x06, {1: 9, 2: 2}, 0x02)]:
        with pytest.raises(CtapError) as caught:
            ctap.send_cbor(command, data)
        assert caught.value.code == status
    assert ctap.get_info().versions


@pytest.mark.parametrize(
    ("apdu", "word"),
    [("00030000", "9000"), ("80030000", "6e00"), ("00090000", "6d00"), ("0001000000000100", "6700")],
)
def test_u2f_messages_get_their_status_words(key: SimulatedKey, bus: Bus, apdu: str, word: str) -> None:
    """Source: FIDO U2F Raw Message Formats 1.2, 3.3."""
    slot = bus.plug(key)
    device = CtapHidDevice(descriptor("/dev/hidraw0"), slot.connect())
    assert device.call(0x03, bytes.fromhex(apdu)).hex()[-4:] == word


def test_a_ping_is_answered_with_the_same_data(key: SimulatedKey, bus: Bus) -> None:
    """The answer has as many packets as its length needs."""
    device = CtapHidDevice(descriptor("/dev/hidraw0"), bus.plug(key).connect())
    assert device.ping(b"x" * 1000) == b"x" * 1000
    assert device.capabilities & 0x04
