"""Tests of certificate chains and statements, valid and invalid, in every format in use: all checks fail closed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fido2 import cbor

from mfa_kit.lab.devices.attestation_ca import AttestationCa, IssuedCertificate
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey
from tests.fido.conftest import LAB_AAGUID, NOW, Bus, Desk, detail, publish, results
from tests.fido.test_faults import Liar

OURS = bytes.fromhex(LAB_AAGUID.replace("-", ""))
U2F = KeyModel(aaguid=None, versions=("U2F_V2",))
# How a key attests: over CTAP2 in two formats with certificates, and over CTAP1.
FORMATS: dict[str, tuple[KeyModel, KeyBehavior]] = {
    "packed": (KeyModel(), KeyBehavior()),
    "fido-u2f": (KeyModel(), KeyBehavior(attestation="fido-u2f")),
    "u2f": (U2F, KeyBehavior()),
}
STRANGER = AttestationCa("stranger", now=NOW)
# Certificates begin ten years before their CA's own date. This CA's date is twenty years ahead, so its certificates are
# not valid yet.
FUTURE = AttestationCa("future", now=NOW + 20 * 365 * 86400)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("issue", "roots", "why"),
    [
        (lambda maker, model: maker.certificate(model), None, ""),
        (lambda maker, model: maker.certificate(model, serial=0), None, ""),
        (lambda maker, model: maker.certificate(model, expired=True), None, "expired or is not valid yet"),
        (lambda _, model: FUTURE.certificate(model), [FUTURE.root.der], "expired or is not valid yet"),
        (lambda _, model: STRANGER.certificate(model), None, "not issued under a trusted root"),
        (lambda maker, model: maker.certificate(model), [], "lists no root"),
        (lambda maker, model: maker.certificate(model), [b"nonsense"], "cannot be read"),
        (lambda _, model: STRANGER.certificate(model), [b"nonsense", STRANGER.root.der], ""),
    ],
    ids=["sound", "serial-0", "expired", "not-yet", "other-maker", "no-root", "bad-root", "second-root"],
)
def test_each_certificate_gets_its_verdict_in_each_format(
    bus: Bus,
    maker: AttestationCa,
    desk: Desk,
    tmp_path: Path,
    name: str,
    issue: Callable[[AttestationCa, bytes | None], IssuedCertificate],
    roots: list[bytes] | None,
    why: str,
) -> None:
    """A FIDO2 key is found by its AAGUID and a U2F key by its certificate's identifier.

    The certificate chain decides.
    """
    model, behavior = FORMATS[name]
    issued = issue(maker, OURS if name == "packed" else None)
    naming: dict[str, Any] = {"aaguid": LAB_AAGUID} if name == "packed" else {"identifiers": [issued.identifier]}
    published = publish(tmp_path, maker, [maker.entry("m", roots=roots, **naming)])
    bus.plug(SimulatedKey(issued, model=model, behavior=behavior))
    done, receipt = desk.verify(*published.options)
    assert (done.code, receipt["model"]) == ((1, None) if why else (0, "m")), receipt
    assert why in detail(receipt, "genuine")


def altered(maker: AttestationCa, behavior: KeyBehavior, change: Callable[[dict[str, Any]], object]) -> SimulatedKey:
    """Make a key whose statement is changed before it is sent."""
    key = Liar(maker.certificate(OURS), behavior=behavior)

    def lie(request: bytes, answer: bytes) -> bytes:
        if request[0] != 1 or answer[0]:
            return answer
        fields: Any = dict(cbor.decode(answer[1:]))  # type: ignore[arg-type]
        fields[3] = dict(fields[3])
        change(fields[3])
        return b"\0" + cbor.encode(fields)

    key.lie = lie
    return key


@pytest.mark.parametrize(
    ("attestation", "change"),
    [
        ("packed", lambda said: said.pop("x5c")),
        ("packed", lambda said: said.update(x5c=[])),
        ("packed", lambda said: said.update(x5c=[b""])),
        ("packed", lambda said: said.update(x5c=[STRANGER.certificate(OURS).der])),
        ("packed", lambda said: said.update(x5c=[STRANGER.root.der, *said["x5c"]])),
        ("packed", lambda said: said.update(x5c=[*said["x5c"], b"nonsense"])),
        ("packed", lambda said: said.update(x5c=[*said["x5c"], STRANGER.root.der])),
        ("packed", lambda said: said.update(alg=-257)),
        ("packed", lambda said: said.update(alg=-8)),
        ("packed", lambda said: said.update(alg=0)),
        ("packed", lambda said: said.pop("alg")),
        ("packed", lambda said: said.update(sig=said["sig"][::-1])),
        ("packed", lambda said: said.update(sig=b"")),
        ("packed", lambda said: said.pop("sig")),
        ("packed", lambda said: said.update(ecdaaKeyId=b"key")),
        ("self", lambda said: said.update(alg=-8)),
        ("self", lambda said: said.update(sig=b"")),
        ("self", lambda said: said.update(x5c=[STRANGER.certificate(OURS).der])),
        ("none", lambda said: said.update(sig=b"")),
        ("fido-u2f", lambda said: said.update(x5c=[])),
        ("fido-u2f", lambda said: said.update(x5c=[STRANGER.certificate(None).der])),
        ("fido-u2f", lambda said: said.update(sig=b"")),
        ("fido-u2f", lambda said: said.pop("x5c")),
    ],
)
def test_an_invalid_statement_is_refused(
    bus: Bus,
    maker: AttestationCa,
    desk: Desk,
    tmp_path: Path,
    attestation: str,
    change: Callable[[dict[str, Any]], object],
) -> None:
    """If a member is missing, empty, foreign or of another type, the statement is refused and no model is named."""
    key = altered(maker, KeyBehavior(attestation=attestation), change)
    identifier = maker.certificate(None).identifier
    entries = [maker.entry("m", aaguid=LAB_AAGUID), maker.entry("u", identifiers=[identifier])]
    bus.plug(key)
    done, receipt = desk.verify(*publish(tmp_path, maker, entries).options)
    assert (done.code, receipt["verdict"], receipt["model"]) == (1, "refused", None)
    assert results(receipt)["genuine"] == "fail"


def test_a_u2f_statement_that_claims_an_aaguid_is_broken(
    bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """The U2F format has no AAGUID, so a U2F certificate must not certify a FIDO2 model."""
    issued = maker.certificate(None)
    key = SimulatedKey(issued, behavior=KeyBehavior(attestation="fido-u2f"))
    real = key._data  # noqa: SLF001 - its result contains the AAGUID

    def claims(rp_hash: bytes, flags: int, attested: bytes = b"") -> bytes:
        return real(rp_hash, flags, OURS + attested[16:] if attested else b"")

    key._data = claims  # type: ignore[method-assign] # noqa: SLF001
    entries = [maker.entry("m", aaguid=LAB_AAGUID), maker.entry("u", identifiers=[issued.identifier])]
    bus.plug(key)
    done, receipt = desk.verify(*publish(tmp_path, maker, entries).options)
    assert (done.code, receipt["model"], results(receipt)["attestation"]) == (1, None, "fail")
    assert "a U2F statement with an AAGUID" in detail(receipt, "attestation")


@pytest.mark.parametrize("attestation", ["tpm", "android-key", "android-safetynet", "apple"])
def test_a_format_of_platforms_is_not_applicable(
    bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path, attestation: str
) -> None:
    """Security keys do not attest in these formats, so `genuine` fails even with a certificate of the manufacturer."""
    bus.plug(SimulatedKey(maker.certificate(OURS), behavior=replace(KeyBehavior(), attestation=attestation)))
    done, receipt = desk.verify(*publish(tmp_path, maker, [maker.entry("m", aaguid=LAB_AAGUID)]).options)
    assert (done.code, results(receipt)["attestation"], receipt["failed"]) == (1, "not applicable", ["genuine"])
