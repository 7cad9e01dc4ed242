"""Tests with mutated input from readers, BLOBs, indexes, certificates, sysfs and policies: a clear error, in time."""

import base64
import contextlib
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fido2 import cbor
from fido2.webauthn import AttestationObject
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfa_kit.adapters.fido import hidraw
from mfa_kit.adapters.fido import key as fido
from mfa_kit.adapters.fido.key import registration_of
from mfa_kit.adapters.fido.links import GARBLED
from mfa_kit.adapters.metadata.index import MetadataIndex, build_index, open_signed, parse_payload, read_certificate
from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey, lab_key
from mfa_kit.security_keys import pin
from mfa_kit.security_keys.authenticator import Registration, StatementKind
from mfa_kit.security_keys.key_policy import KeyPolicy, parse_policy
from tests.fido import slot
from tests.fido.conftest import LAB_AAGUID, NOW, Bus
from tests.fido.test_faults import U2F, Liar, nonsense
from tests.fido.test_policy import WHOLE
from tests.fido.test_removal import ACTS, PIN, done, made, verify
from tests.sizes import size

MANY = settings(
    max_examples=size(25, 100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
DESCRIPTOR = bytes.fromhex("06d0f10901a1010920150026ff007508954081020921150026ff00750895409102c0")
octets = st.binary(max_size=300)


def changed(number: int, at: int, octet: int) -> slot.Answer:
    """Return a tamper function that changes one octet of one response, possibly in its status word."""

    def tamper(count: int, answer: bytes) -> bytes:
        return (
            answer if count != number else answer[: at % len(answer)] + bytes([octet]) + answer[at % len(answer) + 1 :]
        )

    return tamper


@pytest.mark.slow
@pytest.mark.usefixtures("hasty", "bus")
@given(name=st.sampled_from(sorted(ACTS)), number=st.integers(1, 40), at=st.integers(0, 400), octet=st.integers(0, 255))
@MANY
def test_a_changed_octet_of_a_card_response_is_a_fault_or_ignored(
    maker: AttestationCa, name: str, number: int, at: int, octet: int
) -> None:
    """The octet is changed in every operation on a key, including PIN changes and the reset."""
    how, act, _ = ACTS[name]
    with pytest.MonkeyPatch.context() as patch:
        slot.seen(slot.Reader(made(maker, how), tamper=changed(number, at, octet)), patch)
        done(act)


@pytest.mark.slow
@pytest.mark.usefixtures("hasty", "bus")
@given(name=st.sampled_from(sorted(ACTS)), number=st.integers(1, 40), answer=octets, word=st.integers(0, 0xFFFF))
@MANY
def test_any_card_response_is_a_fault_or_ignored(
    maker: AttestationCa, name: str, number: int, answer: bytes, word: int
) -> None:
    """The response can have any status word."""
    how, act, _ = ACTS[name]

    def tamper(count: int, honest: bytes) -> bytes:
        return answer + word.to_bytes(2) if count == number else honest

    with pytest.MonkeyPatch.context() as patch:
        slot.seen(slot.Reader(made(maker, how), tamper=tamper), patch)
        done(act)


@pytest.mark.usefixtures("hasty", "bus")
@pytest.mark.parametrize("word", ["6100", "9100"])
@pytest.mark.parametrize("name", ["verify", "set"])
def test_a_card_that_announces_data_forever_ends_at_the_deadline(
    maker: AttestationCa, monkeypatch: pytest.MonkeyPatch, name: str, word: str
) -> None:
    """From the fourth response on, the status is 61xx (more data) or 9100 (still working)."""
    how, act, _ = ACTS[name]
    endless = b"\x02" + bytes.fromhex(word)
    reader = slot.Reader(made(maker, how), tamper=lambda count, honest: endless if count > 3 else honest)
    slot.seen(reader, monkeypatch)
    assert isinstance(done(act), DeviceFault)


class Told(SimulatedKey):
    """Answers U2F messages with prepared responses."""

    answer: Callable[[bytes, tuple[bytes, Any]], tuple[bytes, Any]]

    def apdu(self, apdu: bytes, touch: Any) -> tuple[bytes, Any]:
        return self.answer(apdu, super().apdu(apdu, touch))


@pytest.mark.usefixtures("hasty")
@given(
    ins=st.sampled_from([1, 2, 3]), body=octets, cut=st.integers(0, 400), how=st.sampled_from(["other", "cut", "flip"])
)
@MANY
def test_any_response_to_a_u2f_message_is_a_fault_or_proves_nothing(
    bus: Bus, maker: AttestationCa, ins: int, body: bytes, cut: int, how: str
) -> None:
    """Responses are random, cut short, or have one flipped bit.

    A response that can still be parsed must not prove a model.
    """
    issued = maker.certificate(None)
    key = Told(issued, model=U2F)

    def answer(apdu: bytes, honest: tuple[bytes, Any]) -> tuple[bytes, Any]:
        said, word = honest
        if apdu[1] != ins or not said:
            return honest
        flipped = bytearray(said)
        flipped[cut % len(said)] ^= 1 << cut % 8
        return {"other": body, "cut": said[: cut % len(said)], "flip": bytes(flipped)}[how], word

    key.answer = answer
    bus.unplug()
    bus.plug(key)
    done(verify)


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
@given(
    name=st.sampled_from(["count", "set", "change", "policy", "reset", "verify-pin"]),
    command=st.sampled_from([4, 6, 7, 10, 13]),
    number=st.integers(0, 12),
    answer=octets | nonsense.map(lambda value: b"\0" + cbor.encode(value)),
)
@MANY
def test_random_responses_about_pins_are_device_faults(
    bus: Bus, maker: AttestationCa, name: str, command: int, number: int, answer: bytes
) -> None:
    """Any response to getInfo, clientPIN, reset, credential management or configuration may be random."""
    how, act, _ = ACTS[name]
    key = Liar(maker.certificate(KeyModel().aaguid), **how)
    asked = iter(range(10**6))
    key.lie = lambda request, honest: answer if request[0] == command and next(asked) == number else honest
    bus.unplug()
    bus.plug(key)
    done(act)
    assert key.client_pin.retries >= pin.LAST_TRIES + 1


@pytest.mark.parametrize("status", [0x31, 0x32, 0x33, 0x34, 0x36, 0x37, 0x3C, 0x7F])
def test_no_status_causes_a_second_attempt_with_a_pin(bus: Bus, maker: AttestationCa, status: int) -> None:
    """Whatever the key answers to a PIN, once or repeatedly, the PIN is sent once."""
    for act in (ACTS["verify-pin"][1], ACTS["count"][1], ACTS["change"][1], ACTS["policy"][1]):
        key = Liar(maker.certificate(KeyModel().aaguid), pin=PIN)
        sent: list[int] = []

        def lie(request: bytes, honest: bytes, sent: list[int] = sent) -> bytes:
            if request[0] != 6 or cbor.decode(request[1:])[2] not in (4, 5, 9):  # type: ignore[index, operator]
                return honest
            sent.append(status)
            return bytes([status])

        key.lie = lie
        bus.unplug()
        bus.plug(key)
        assert isinstance(done(act), DeviceFault)
        assert sent == [status]


@given(data=st.data())
@MANY
def test_any_report_descriptor_can_be_read(data: st.DataObject, tmp_path: Path) -> None:
    """The report descriptors of every keyboard and mouse are in sysfs too."""
    report = data.draw(octets | st.integers(0, len(DESCRIPTOR)).map(lambda at: DESCRIPTOR[:at]))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(DESCRIPTOR) - 1))
        report = DESCRIPTOR[:at] + data.draw(st.binary(min_size=1, max_size=1)) + DESCRIPTOR[at + 1 :]
    place = tmp_path / "hidraw7" / "device"
    place.mkdir(parents=True, exist_ok=True)
    (place / "report_descriptor").write_bytes(report)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hidraw, "SYSFS", tmp_path)
        assert hidraw.device_nodes() in ([], ["/dev/hidraw7"])


def entry_of(maker: AttestationCa) -> dict[str, Any]:
    return {**maker.entry("m", aaguid=LAB_AAGUID), "attestationCertificateKeyIdentifiers": ["a" * 40]}


@given(data=st.data())
@MANY
def test_a_field_of_another_type_affects_only_its_entry(data: st.DataObject, maker: AttestationCa) -> None:
    """The field may be at any depth. The other entries can still be looked up, shown and judged."""
    other = "6d66616b-6974-0000-0000-000000000002"
    good, bad = maker.entry("good", aaguid=other), entry_of(maker)
    place: Any = bad
    while isinstance(place, dict | list) and place:
        name = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
        if data.draw(st.booleans()) or not isinstance(place[name], dict | list):
            place[name] = data.draw(nonsense | st.none() | st.floats(allow_nan=False))
            break
        place = place[name]
    payload = parse_payload({"no": 1, "nextUpdate": "2100-01-01", "entries": [bad, good]})
    found = MetadataIndex(build_index(":memory:", payload, None, name="n"))
    assert found.model(other)
    issued = maker.certificate(bytes.fromhex(LAB_AAGUID.replace("-", "")))
    registration = Registration(format="packed", statement=StatementKind.CHAIN, chain=(issued.der,), aaguid=LAB_AAGUID)
    for each in [*found.named(""), found.model(LAB_AAGUID)]:
        assert each is None or (each.name and all(status.status for status in each.statuses) is not None)
    found.trust(registration, time=NOW)
    found.close()


@given(payload=nonsense | st.dictionaries(st.sampled_from(["no", "nextUpdate", "entries", "x"]), nonsense))
@MANY
def test_any_signed_payload_is_metadata_or_refused(maker: AttestationCa, tmp_path: Path, payload: object) -> None:
    """The signer may make mistakes too."""
    real = json.dumps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json, "dumps", lambda value: real(payload if "entries" in value else value, default=repr))
        blob = maker.blob([], next_update=date(2100, 1, 1))
    file = tmp_path / "blob.jwt"
    file.write_bytes(blob)
    with contextlib.suppress(UsageFault):
        open_signed(file, cache=tmp_path, time=NOW, tell=lambda _: None, root=maker.root.der).close()


@given(file=octets, pem=st.booleans(), at=st.integers(0, 2000), octet=st.integers(0, 255))
@MANY
def test_any_file_as_a_root_is_a_certificate_or_refused(
    maker: AttestationCa, tmp_path: Path, file: bytes, pem: bool, at: int, octet: int
) -> None:
    """The file is random octets, or a certificate with one octet changed."""
    der = bytearray(maker.root.der)
    der[at % len(der)] = octet
    place = tmp_path / "root"
    for content in (file, bytes(der)):
        armor = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(content) + b"\n-----END CERTIFICATE-----\n"
        place.write_bytes(armor if pem else content)
        with contextlib.suppress(UsageFault):
            assert read_certificate(place)


@pytest.mark.slow
@given(at=st.integers(0, 1 << 20), junk=st.binary(min_size=1, max_size=600))
@settings(MANY, max_examples=size(10, 30))
def test_an_index_with_changed_octets_is_rebuilt(maker: AttestationCa, tmp_path: Path, at: int, junk: bytes) -> None:
    """If a disk returns wrong data, the BLOB is read again, and the results are the same."""
    blob = tmp_path / "blob.jwt"
    if not blob.exists():
        blob.write_bytes(maker.blob([entry_of(maker)], next_update=date(2100, 1, 1)))
    told: list[str] = []

    def look() -> object:
        opened = open_signed(blob, cache=tmp_path / "cache", time=NOW, tell=told.append, root=maker.root.der)
        with contextlib.closing(opened) as found:
            return found.source(), found.named(""), found.model(LAB_AAGUID)

    honest = look()
    [index] = (tmp_path / "cache").glob("*.sqlite")
    whole, start = index.read_bytes(), at % index.stat().st_size
    changed = (whole[:start] + junk + whole[start + len(junk) :])[: len(whole)]
    index.write_bytes(changed)
    told.clear()
    assert look() == honest
    assert bool(told) is (changed != whole)


@given(data=st.data())
@MANY
def test_a_changed_policy_file_is_a_policy_or_refused(data: st.DataObject) -> None:
    """A letter is added, removed or changed, or the file is cut off."""
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    letter = data.draw(st.sampled_from(" \n=[]\"'{}#.,0x\\") | st.characters())
    text = data.draw(st.sampled_from([WHOLE[:at] + letter + WHOLE[at + 1 :], WHOLE[:at] + WHOLE[at + 1 :], WHOLE[:at]]))
    with contextlib.suppress(UsageFault):
        assert isinstance(parse_policy(text), KeyPolicy)


@given(data=st.data())
@MANY
def test_a_changed_statement_never_proves_a_model(data: st.DataObject, bus: Bus, maker: AttestationCa) -> None:
    """Each member of attStmt, including its certificates, is replaced or left out, in each format that has it."""
    name = data.draw(st.sampled_from(["packed", "fido-u2f", "none"]))
    attestation, digest = honest(bus, maker, name)
    statement = dict(attestation.att_stmt)
    member = data.draw(st.sampled_from(sorted(statement) or ["sig"]))
    statement[member] = data.draw(nonsense | st.just([]) | st.just([b""]))
    if data.draw(st.booleans()):
        del statement[member]
    try:
        found = registration_of(AttestationObject.create(name, attestation.auth_data, statement), digest)
    except GARBLED:
        # key_faults() converts these errors to a sentence (tests/fido/test_faults.py).
        return
    assert found.statement is not StatementKind.CHAIN


def honest(bus: Bus, maker: AttestationCa, name: str) -> tuple[AttestationObject, bytes]:
    """Return the attestation of a lab key in a format, and the hash of the client data that it signed."""
    kept: list[tuple[AttestationObject, bytes]] = []

    def judged(attestation: AttestationObject, digest: bytes) -> Registration:
        kept.append((attestation, digest))
        return registration_of(attestation, digest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fido, "registration_of", judged)
        bus.unplug()
        bus.plug(lab_key(maker, behavior=KeyBehavior(attestation=name)))
        with fido.open_key(None, tell=lambda _: None) as opened:
            opened.register(verify=False, pin=None)
    return kept[0]
