"""Tests of faulty keys: no answer, slow answers, removal, nonsense. Each ends with a clear error, in time."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fido2 import cbor
from fido2.ctap import CtapError
from fido2.ctap1 import ApduError
from fido2.hid import ConnectionFailure
from fido2.webauthn import AttestationObject, AuthenticatorData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smartcard.Exceptions import CardConnectionException, NoCardException

from mfa_kit.adapters.fido import hidraw, links
from mfa_kit.adapters.fido import key as fido
from mfa_kit.adapters.fido.key import registration_of
from mfa_kit.core.errors import DeviceFault
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey, lab_key
from mfa_kit.security_keys.authenticator import Pin
from tests.fido.conftest import Bus, Desk, Published
from tests.sizes import size

MANY = settings(
    max_examples=size(30, 150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
U2F = KeyModel(aaguid=None, versions=("U2F_V2",))
PIN = "123456"


def whole(bus: Bus, key: SimulatedKey, *, pin: bool = False, **how: Any) -> int:
    """Plug in a key, run every operation with it, and unplug it. Return the number of packets that the key sent."""
    slot = bus.plug(key, **how)
    place = list(bus.slots)[-1]
    told: list[str] = []
    try:
        with fido.open_key(place, tell=told.append) as opened:
            opened.info()
            if pin:
                opened.residents(Pin(PIN))
            verify = pin and bool(opened.info().ctap2)
            opened.register(verify=verify, pin=Pin(PIN) if verify else None)
            opened.assertion(verify=verify, pin=Pin(PIN) if verify else None)
    finally:
        sent = slot.sent
        slot.pull()
        del bus.slots[place]
    return sent


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("at", [0, 1, 2, 5])
def test_a_silent_key_ends_at_the_deadline(bus: Bus, maker: AttestationCa, at: int) -> None:
    """The key stops answering at the first packet or later. The error is a message, and no call hangs."""
    key = lab_key(maker)
    with pytest.raises(DeviceFault, match="does not answer"):
        whole(bus, key, tamper=lambda number, packet: packet if number < at else b"")


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_a_key_that_only_sends_keepalives_ends_at_the_deadline(bus: Bus, maker: AttestationCa) -> None:
    """Keepalives are answers too, so the limit is on the whole time and not on silence."""
    with pytest.raises(DeviceFault, match=r"does not answer|was not touched"):
        whole(bus, lab_key(maker, behavior=KeyBehavior(touch=None)), hid={"patience": 1000.0})


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_an_untouched_key_is_canceled_and_reported(bus: Bus, maker: AttestationCa) -> None:
    """After the timeout, 30 s and here 3 s, the cancellation reaches the key, which answers KEEPALIVE_CANCEL."""
    with pytest.raises(DeviceFault, match="the key was not touched"):
        whole(bus, lab_key(maker, behavior=KeyBehavior(touch=None)))


@pytest.mark.usefixtures("hasty")
def test_a_timeout_of_the_key_is_reported_as_a_missing_touch(bus: Bus, maker: AttestationCa) -> None:
    """The key itself sends USER_ACTION_TIMEOUT."""
    with pytest.raises(DeviceFault, match="the key was not touched"):
        whole(bus, lab_key(maker, behavior=KeyBehavior(touch=None)), hid={"patience": 0.5})


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_a_u2f_key_is_polled_until_the_timeout(bus: Bus, maker: AttestationCa) -> None:
    """A U2F key answers 0x6985 at once until it is touched."""
    with pytest.raises(DeviceFault, match="the key was not touched"):
        whole(bus, SimulatedKey(maker.certificate(None), model=U2F, behavior=KeyBehavior(touch=None)))


@pytest.mark.parametrize("model", [KeyModel(), U2F], ids=["ctap2", "u2f"])
def test_a_late_touch_is_accepted(bus: Bus, maker: AttestationCa, model: KeyModel) -> None:
    """The key sends keepalives or is polled."""
    assert whole(bus, SimulatedKey(maker.certificate(None), model=model, behavior=KeyBehavior(touch=0.6))) > 4


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_the_prompt_for_a_touch_comes_before_the_call(bus: Bus, maker: AttestationCa, monkeypatch: Any) -> None:
    """Keepalives may never come, so the prompt and its countdown do not wait for one."""
    monkeypatch.setattr(fido, "COUNTDOWN", (2, 1))
    bus.plug(lab_key(maker, behavior=KeyBehavior(touch=None)))
    told: list[str] = []
    with (
        fido.open_key(None, tell=told.append) as opened,
        pytest.raises(DeviceFault, match="the key was not touched"),
    ):
        opened.register(verify=False, pin=None)
    assert told == ["touch your key now (3 s)", "touch your key now (2 s left)", "touch your key now (1 s left)"]


@pytest.mark.parametrize(
    ("model", "pin"), [(KeyModel(), False), (KeyModel(), True), (U2F, False)], ids=["ctap2", "with-pin", "u2f"]
)
def test_removal_at_every_packet_is_reported_as_removal(
    bus: Bus, maker: AttestationCa, model: KeyModel, pin: bool
) -> None:
    """The key may be unplugged after any of its packets. Their number depends on the length of the signatures."""
    issued = maker.certificate(model.aaguid)
    how: dict[str, Any] = {"model": model, "pin": PIN if pin else None}

    def sent_until(last: int) -> int | None:
        """Unplug the key after this many packets.

        Return the number of packets sent, or None if the removal was reported.
        """
        key = SimulatedKey(issued, **how)
        try:
            return whole(bus, key, pin=pin, tamper=lambda number, packet: packet if number < last else None)
        except DeviceFault as fault:
            if "removed" in str(fault):
                return None
            raise

    last, sent = next((last, sent) for last in count() if (sent := sent_until(last)) is not None)
    assert 8 < sent <= last


def test_a_removal_is_exit_3_at_the_command_line(bus: Bus, key: SimulatedKey, published: Published, desk: Desk) -> None:
    """The output is one message and one hint, without a traceback."""
    bus.plug(key, tamper=lambda number, packet: packet if number < 9 else None)
    done = desk.run("verify", "fido2", *published.options)
    assert (done.code, done.out) == (3, "")
    assert "mfa-kit: the key was removed\n  try: plug it in and repeat the command\n" in done.err


def told_or_done(act: Callable[[], object]) -> None:
    """Run an operation. A key may only cause a DeviceFault; any other error is a bug in mfa-kit."""
    with contextlib.suppress(DeviceFault):
        act()


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
@given(data=st.data())
@MANY
def test_a_changed_octet_in_any_packet_is_a_device_fault_or_ignored(
    bus: Bus, maker: AttestationCa, data: st.DataObject
) -> None:
    """The octet may be in a header, sequence number, length or content."""
    model = data.draw(st.sampled_from([KeyModel(), U2F]))
    number = data.draw(st.integers(0, 20))
    at, octet = data.draw(st.integers(0, 63)), data.draw(st.integers(0, 255))

    def tamper(count: int, packet: bytes) -> bytes:
        return packet[:at] + bytes([octet]) + packet[at + 1 :] if count == number else packet

    told_or_done(lambda: whole(bus, SimulatedKey(maker.certificate(model.aaguid), model=model), tamper=tamper))


GONE = object()
nonsense = st.recursive(
    st.integers(-(2**63), 2**63) | st.booleans() | st.binary(max_size=80) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(-5, 25) | st.text(max_size=8), inner),
    max_leaves=12,
)


class Liar(SimulatedKey):
    """Answers each command with the given octets."""

    lie: Callable[[bytes, bytes], bytes]

    def cbor(self, request: bytes, touch: Any) -> bytes:
        return self.lie(request, super().cbor(request, touch))


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
@given(
    command=st.sampled_from([1, 2, 4, 6]),
    octets=st.binary(max_size=200) | nonsense.map(lambda v: b"\0" + cbor.encode(v)),
)
@MANY
def test_random_octets_as_any_answer_are_a_device_fault(
    bus: Bus, maker: AttestationCa, command: int, octets: bytes
) -> None:
    """The answers are random octets, or well-formed but meaningless CBOR."""
    key = Liar(maker.certificate(None), pin=PIN)
    key.lie = lambda request, answer: octets if request[0] == command else answer
    told_or_done(lambda: whole(bus, key, pin=True))


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
@given(command=st.sampled_from([1, 2, 4]), which=st.integers(0, 20), value=st.just(GONE) | nonsense)
@MANY
def test_a_field_of_another_type_is_a_device_fault(
    bus: Bus, maker: AttestationCa, command: int, which: int, value: object
) -> None:
    """In a correct answer, one member is replaced or left out."""

    def lie(request: bytes, answer: bytes) -> bytes:
        if request[0] != command or answer[0]:
            return answer
        fields = dict(cbor.decode(answer[1:]))  # type: ignore[arg-type]
        name = sorted(fields)[which % len(fields)]
        fields[name] = value
        if value is GONE:
            del fields[name]
        return b"\0" + cbor.encode(fields)

    key = Liar(maker.certificate(None))
    key.lie = lie
    told_or_done(lambda: whole(bus, key))


@pytest.mark.parametrize("depth", [200, 500])
def test_deeply_nested_cbor_is_a_device_fault(bus: Bus, maker: AttestationCa, depth: int) -> None:
    """Deeply nested lists must not cause a recursion error."""
    key = Liar(maker.certificate(None))
    key.lie = lambda request, answer: b"\0" + b"\x81" * depth + b"\0" if request[0] == 4 else answer
    told_or_done(lambda: whole(bus, key))


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_a_library_that_asks_forever_ends_at_the_deadline(bus: Bus, maker: AttestationCa) -> None:
    """With a negative maxCredentialCountInList, python-fido2 asks for the same credentials forever and gets answers."""
    key = Liar(maker.certificate(None))

    def lie(request: bytes, answer: bytes) -> bytes:
        if request[0] != 4:
            return answer
        return b"\0" + cbor.encode({**cbor.decode(answer[1:]), 7: -5})  # type: ignore[dict-item]

    key.lie = lie
    bus.plug(key)
    with fido.open_key(None, tell=lambda _: None) as opened:
        opened.register(verify=False, pin=None)
        with pytest.raises(DeviceFault, match="does not answer"):
            opened.assertion(verify=False, pin=None)


@pytest.mark.parametrize("limits", [{7: -5}, {7: 2**62}, {5: 1}, {5: 1, 7: 2**62}, {13: 64}, {13: 2**40}], ids=str)
def test_impossible_limits_are_refused_before_any_request(
    bus: Bus, maker: AttestationCa, limits: dict[int, int]
) -> None:
    """The limits are the sizes from which a library counts down, and the minimum length of generated PINs."""
    key = Liar(maker.certificate(None))

    def lie(request: bytes, answer: bytes) -> bytes:
        if request[0] != 4:
            return answer
        return b"\0" + cbor.encode({**cbor.decode(answer[1:]), **limits})  # type: ignore[dict-item]

    key.lie = lie
    with pytest.raises(DeviceFault, match="cannot be read"):
        whole(bus, key)
    assert key.registered == 0


def test_a_blocked_sensor_does_not_cause_a_pin_request(bus: Bus, maker: AttestationCa) -> None:
    """python-fido2 falls back to the PIN. The user typed no PIN, so none is sent."""
    key = Liar(maker.certificate(None), model=KeyModel(fingerprint=True), pin=PIN)
    key.lie = lambda request, answer: b"\x3c" if request[0] == 6 and b"\x02\x06" in request[:6] else answer
    bus.plug(key)
    with (
        fido.open_key(None, tell=lambda _: None) as opened,
        pytest.raises(DeviceFault, match="currently accepts only its PIN"),
    ):
        opened.register(verify=True, pin=None)
    assert key.client_pin.tries == 0


def test_a_key_that_cannot_count_its_credentials_is_an_error(bus: Bus, maker: AttestationCa) -> None:
    """The error comes before the PIN is sent."""
    key = Liar(maker.certificate(None), pin=PIN)

    def lie(request: bytes, answer: bytes) -> bytes:
        if request[0] != 4:
            return answer
        info: Any = dict(cbor.decode(answer[1:]))  # type: ignore[arg-type]
        info[4] = {name: on for name, on in info[4].items() if name != "credMgmt"}
        return b"\0" + cbor.encode(info)

    key.lie = lie
    bus.plug(key)
    with fido.open_key(None, tell=lambda _: None) as opened, pytest.raises(DeviceFault, match="cannot count"):
        opened.residents(Pin(PIN))
    assert key.client_pin.tries == 0


def test_a_silent_key_is_not_waited_for_again(bus: Bus, key: SimulatedKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call ends at once, although its own limit is an hour."""
    monkeypatch.setattr(links, "PROMPT", 0.3)
    bus.plug(key, tamper=lambda number, packet: packet if number < 1 else b"")
    with fido.open_key(None, tell=lambda _: None) as opened:
        for _ in range(2):
            with pytest.raises(DeviceFault, match="does not answer"):
                opened.info()
            monkeypatch.setattr(links, "PROMPT", 3600.0)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "denied", "/dev/hidraw3"), "you have no permission to open /dev/hidraw3"),
        (OSError(19, "no such device"), "the key was removed"),
        (ConnectionFailure("Wrong channel"), "another program is using this key"),
        (CtapError(0x7F), "the key rejected the command: CTAP error: 0x7F"),
        (CtapError(0x35), "the key requires a PIN, but has none"),
        (CtapError(0xF5), "the key rejected the command: CTAP error: 0xF5"),
        (ApduError(0x6F00), "the key rejected the command: "),
        (RecursionError(), "the key's answer cannot be read"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_of_libraries_become_device_faults(error: Exception, said: str) -> None:
    """The fault has a hint too."""
    with pytest.raises(DeviceFault) as caught, links.key_faults():
        raise error
    assert str(caught.value).startswith(said)
    assert caught.value.hint


def test_the_process_that_holds_a_card_is_named_if_known(tmp_path: Path) -> None:
    """Other PC/SC errors are reported with their number."""
    holder = tmp_path / "scdaemon"
    shutil.copy("/usr/bin/sleep", holder)
    busy, broken = (CardConnectionException(hresult=code) for code in (links.BUSY, 0x80100014))
    with subprocess.Popen([holder, "60"]) as process:
        while Path(f"/proc/{process.pid}/comm").read_text().strip() != "scdaemon":
            time.sleep(0.01)
        assert "scdaemon (process " in str(links.card_fault(busy))
        process.kill()
    assert "the reader failed (0x80100014)" in str(links.card_fault(broken))
    reset = CardConnectionException(hresult=0x80100068)  # SCARD_W_RESET_CARD
    assert "another program is using this key" in str(links.card_fault(reset))
    with pytest.raises(DeviceFault, match="was removed"), links.key_faults():
        raise NoCardException("", 0)


def test_a_response_without_a_credential_is_not_a_registration() -> None:
    """The authenticator data lacks the attested credential data."""
    data = AuthenticatorData.create(bytes(32), AuthenticatorData.FLAG.UP, 1)
    with pytest.raises(ValueError, match="no credential"):
        registration_of(AttestationObject.create("none", data, {}), bytes(32))


def test_another_program_on_the_same_key_is_reported(bus: Bus, key: SimulatedKey) -> None:
    """Hidraw sends every packet to all readers, so a packet of another channel reveals another program."""
    with pytest.raises(DeviceFault, match="another program is using this key"):
        whole(bus, key, tamper=lambda number, packet: packet if number < 3 else b"\xde\xad\xbe\xef" + packet[4:])


@pytest.mark.usefixtures("bus")
def test_a_node_that_cannot_be_opened_is_named(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user can see the key in sysfs, but python-fido2 does not list it."""
    report = bytes.fromhex("06d0f10901a1010920150026ff007508954081020921150026ff00750895409102c0")
    node = tmp_path / "hidraw7" / "device"
    node.mkdir(parents=True)
    (node / "report_descriptor").write_bytes(report)
    monkeypatch.setattr(hidraw, "SYSFS", tmp_path)
    done = desk.run("verify", "fido2")
    assert done.code == 3
    assert "there is a key, but you have no permission to open /dev/hidraw7" in done.err
    assert "there is a key, but you have no permission to open /dev/hidraw7" in desk.run("key", "list").err
    named = desk.run("key", "pin", "set", "--key", "/dev/hidraw7")
    assert "there is a key, but you have no permission to open /dev/hidraw7" in named.err
    (node / "report_descriptor").write_bytes(os.urandom(40))
    assert "there is no security key" in desk.run("verify", "fido2").err
