"""Published vectors of WebAuthn, CTAP and U2F. tests/data/README.md names their sources and licenses.

Nothing is copied from the FIDO Alliance's own specifications, because their license does not permit that.
"""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.ctap1 import RegistrationData
from fido2.ctap2.base import AttestationResponse
from fido2.webauthn import AttestationObject

from mfa_kit.adapters.fido.key import FidoKey, registration_of
from mfa_kit.adapters.fido.links import BoundedDevice, Deadline
from mfa_kit.adapters.metadata.index import open_signed
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.clientpin import (
    CHANGE_PIN,
    GET_KEY_AGREEMENT,
    GET_TOKEN,
    SET_PIN,
    ClientPin,
    _SharedSecret,
    digest,
)
from mfa_kit.lab.devices.ctap import CtapRefusal, Parameters
from mfa_kit.security_keys.authenticator import Link, PluggedKey, Registration, StatementKind, Trusted
from tests.conftest import ROOT
from tests.fido.conftest import NOW, publish

VECTORS = ROOT / "tests/data/vectors"
WEBAUTHN = json.loads((VECTORS / "webauthn.json").read_text())
FIDO2 = json.loads((VECTORS / "python-fido2.json").read_text())
OPENSK = json.loads((VECTORS / "opensk.json").read_text())
REGISTRATIONS: dict[str, dict[str, str]] = WEBAUTHN["registrations"]
PIN: dict[str, Any] = FIDO2["clientPIN, protocol one"]
# What section 16 of WebAuthn says of each registration. None of them counts signatures.
EXPECTED = {
    "none": ("none", StatementKind.NONE, False),
    "packed-self": ("packed", StatementKind.SELF, True),
    "packed": ("packed", StatementKind.CHAIN, True),
    "fido-u2f": ("fido-u2f", StatementKind.CHAIN, False),
}


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def attestation(name: str) -> bytes:
    """Return the attestation object of a W3C vector.

    The AAGUID of fido-u2f is set to zeros: the U2F signature does not cover it, so mfa-kit accepts no other.
    """
    found = octets(REGISTRATIONS[name]["attestationObject"])
    return found.replace(octets(REGISTRATIONS[name]["aaguid"]), bytes(16)) if name == "fido-u2f" else found


def registration(name: str, attested: bytes) -> Registration:
    client_data = octets(REGISTRATIONS[name]["clientDataJSON"])
    return registration_of(AttestationObject(attested), hashlib.sha256(client_data).digest())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_registration_of_webauthn_is_what_the_standard_says(name: str) -> None:
    """The format, the kind of statement, the AAGUID, the algorithm and the flags."""
    found = registration(name, attestation(name))
    aaguid = None if name == "fido-u2f" else REGISTRATIONS[name]["aaguid"]
    said = (found.format, found.statement, found.verified, (found.aaguid or "").replace("-", "") or None)
    assert said == (*EXPECTED[name], aaguid)
    assert (found.flaw, found.algorithm, found.present, found.counter) == (None, -7, True, 0)


def test_a_u2f_statement_of_webauthn_with_an_aaguid_is_refused() -> None:
    """The vector has an AAGUID, which its signature does not cover: any key could claim any model."""
    found = registration("fido-u2f", octets(REGISTRATIONS["fido-u2f"]["attestationObject"]))
    assert (found.statement, found.flaw) == (StatementKind.BROKEN, "a U2F statement with an AAGUID")


@pytest.mark.parametrize("name", ["packed-self", "packed", "fido-u2f"])
def test_a_statement_of_webauthn_is_broken_for_other_client_data(name: str) -> None:
    """The signature covers the hash of the client data."""
    found = registration_of(AttestationObject(attestation(name)), bytes(32))
    assert found.statement is StatementKind.BROKEN


def test_the_chain_of_webauthn_leads_to_its_root(maker: AttestationCa, tmp_path: Path) -> None:
    """The same statement is not trusted if the metadata has another root for the AAGUID."""
    found = registration("packed", attestation("packed"))
    time = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
    for number, (root, trusted) in enumerate(((octets(WEBAUTHN["attestation_ca_cert"]), True), (None, False))):
        folder = tmp_path / str(number)
        folder.mkdir()
        entry = maker.entry("vector", aaguid=found.aaguid, roots=[root] if root else None)
        blob = publish(folder, maker, [entry]).blob
        metadata = open_signed(blob, cache=folder, time=NOW, tell=lambda _: None, root=maker.root.der)
        assert isinstance(metadata.trust(found, time=time), Trusted) is trusted
        metadata.close()


class Player:
    """A key on USB that answers getInfo with recorded octets, and U2F with its version."""

    capabilities = 0x04
    device_version = None

    def __init__(self, info: bytes) -> None:
        self._info = info

    def call(self, cmd: int, data: bytes, *_: object) -> bytes:
        return b"U2F_V2\x90\x00" if cmd == 0x03 else b"\0" + self._info


@pytest.mark.parametrize("name", ["response", "with an unknown member"])
def test_a_recorded_getinfo_is_read(name: str) -> None:
    """A member that a later standard defines changes nothing."""
    place = PluggedKey(where="/dev/hidraw0", link=Link.HID)
    player: Any = Player(octets(FIDO2["getInfo"][name]))
    info = FidoKey(BoundedDevice(place, player, Deadline()), tell=lambda _: None).info()
    assert (info.versions, info.aaguid) == (("U2F_V2", "FIDO_2_0"), "f8a011f3-8c0a-4d15-8006-17111f9edc7d")
    assert info.options == {"rk": True, "up": True, "plat": False, "clientPin": False}
    assert (info.extensions, info.min_pin_length, info.firmware) == (("uvm", "hmac-secret"), 4, None)


def test_a_recorded_answer_to_makecredential_is_attested() -> None:
    """The certificate of this key names its model."""
    recorded = FIDO2["makeCredential"]
    fields: Any = cbor.decode(octets(recorded["response"]))
    answer = AttestationResponse.from_dict(fields)
    found = registration_of(
        AttestationObject.create(answer.fmt, answer.auth_data, answer.att_stmt), octets(recorded["clientDataHash"])
    )
    assert (found.statement, found.flaw, found.names_model) == (StatementKind.CHAIN, None, True)
    assert (found.format, found.aaguid, found.counter) == ("packed", "f8a011f3-8c0a-4d15-8006-17111f9edc7d", 3)


@pytest.mark.parametrize("recorded", FIDO2["U2F_REGISTER"], ids=lambda recorded: recorded["from"])
def test_a_recorded_answer_of_u2f_is_attested(recorded: dict[str, str]) -> None:
    """The raw message becomes a fido-u2f statement, as in the client. Its signature is over the given challenge."""
    raw = RegistrationData(octets(recorded["response"]))
    attested = AttestationObject.from_ctap1(octets(recorded["application"]), raw)
    found = registration_of(attested, octets(recorded["challenge"]))
    assert (found.format, found.statement, found.aaguid) == ("fido-u2f", StatementKind.CHAIN, None)
    assert found.chain == (raw.certificate,)
    assert registration_of(attested, bytes(32)).statement is StatementKind.BROKEN


def pin_of_the_vectors(pin: str | None) -> ClientPin:
    """Return the PIN of a lab key that has the key agreement key and the token of the vectors."""
    private = ec.derive_private_key(int(PIN["key"], 16), ec.SECP256R1())
    held = ClientPin(hash=digest(pin.encode()) if pin else None, token=octets(PIN["token"]))
    return replace(held, _key=private)


def asked(pin: ClientPin, command: int, **more: str) -> dict[int, object]:
    """Send a command of authenticatorClientPIN, protocol one. `more` has its members by name, in hexadecimal."""
    members = {"newPinEnc": 5, "pinUvAuthParam": 4, "pinHashEnc": 6}
    x, y = map(octets, PIN["peer"])
    request: dict[object, object] = {1: 1, 2: command, 3: {1: 2, 3: -25, -1: 1, -2: x, -3: y}}
    return pin.answer(Parameters(request | {members[name]: octets(text) for name, text in more.items()}), uv=False)


def test_the_lab_key_agrees_on_the_recorded_secret() -> None:
    """Its public key, and the token that it encrypts for the recorded PIN."""
    pin = pin_of_the_vectors("1234")
    key = asked(pin, GET_KEY_AGREEMENT)[1]
    assert isinstance(key, dict)
    assert [key[-2], key[-3]] == [octets(text) for text in PIN["public"]]
    assert asked(pin, GET_TOKEN, pinHashEnc=PIN["pinHashEnc of 1234"]) == {2: octets(PIN["token, encrypted"])}


@pytest.mark.parametrize(
    ("command", "before", "name", "after"),
    [(SET_PIN, None, "set 1234", "1234"), (CHANGE_PIN, "1234", "change 1234 to 4321", "4321")],
    ids=["set", "change"],
)
def test_the_lab_key_takes_the_recorded_pin(command: int, before: str | None, name: str, after: str) -> None:
    """The commands are those that python-fido2 sends."""
    pin = pin_of_the_vectors(before)
    assert asked(pin, command, **PIN[name]) == {}
    assert pin.hash == digest(after.encode())


@pytest.mark.parametrize("protocol", [1, 2])
def test_the_lab_key_authenticates_as_opensk_does(protocol: int) -> None:
    """Protocol two derives its key with HKDF and does not cut the MAC."""
    message = octets(OPENSK["message"])
    secret = _SharedSecret(protocol, octets(OPENSK["z"]))
    assert secret.mac(message).hex() == OPENSK["authenticate"][str(protocol)]
    pin = ClientPin(token=octets(OPENSK["token"]))
    mac = octets(OPENSK["pinUvAuthParam"][str(protocol)])
    pin.verify(protocol, message, mac)
    for other, wrong in ((b"\xbb", mac), (message, b"\x12" * len(mac)), (message, mac[:-1])):
        with pytest.raises(CtapRefusal, match="PIN_AUTH_INVALID"):
            pin.verify(protocol, other, wrong)
