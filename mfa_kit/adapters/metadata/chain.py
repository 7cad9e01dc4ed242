"""Certificate chains: whether a chain leads to a trusted root (RFC 5280, 6.1, without policies).

`cryptography.x509.verification` judges them. Its profile is that of web servers, which metadata is signed for. The
certificates of keys do not meet it: manufacturers write dates, versions and serial numbers in forms that it refuses,
and RFC 5280 judges no more of a root than its name and its key. So the chain of a key is restated for the verifier:
after its signatures were checked, the same names, dates and extensions are signed again in the form that it accepts.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification

# The most certificates of a chain that are read. A key's chain has two or three.
LONGEST_CHAIN = 8

# Raised by JSON, base64 and cryptography for malformed data.
GARBLED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    NotImplementedError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    InvalidSignature,
    UnsupportedAlgorithm,
)

NO_AUTHORITY = "an intermediate certificate is not allowed to issue others"
# A part of the verifier's reason, and ours. They change only the wording of a refusal.
REASONS = {
    "not valid at validation time": "a certificate of the chain has expired or is not valid yet",
    "basicConstraints": NO_AUTHORITY,
    "keyCertSign": NO_AUTHORITY,
    "extension validator": NO_AUTHORITY,
    "path length": "the chain is longer than one of its certificates allows",
    "name constraint": "a certificate has a name that its issuer is not allowed to certify",
    "critical extension": "a certificate has an unknown critical extension",
    "required extension": "a certificate lacks a required extension",
}
NOT_LISTED = "its certificate was not issued under a root listed for it"


class Unchained(Exception):
    """A chain that does not verify. The message says why."""


def verify_signer(chain: Sequence[x509.Certificate], root: bytes, *, site: str | None, at: datetime) -> None:
    """Verify that the first certificate leads to the root, as that of a web server with the name `site`.

    Without a site, the names and purposes of the certificate do not matter. Raise Unchained.
    """
    if not chain:
        raise Unchained("it has no certificate")
    builder = verification.PolicyBuilder().time(at).store(_store(x509.load_der_x509_certificate(root)))
    leaf, *between = chain
    try:
        if site:
            builder.build_server_verifier(x509.DNSName(site)).verify(leaf, between)
        else:
            _lenient(builder).verify(leaf, between)
    except verification.VerificationError as error:
        raise Unchained(_reason(error, site)) from None


def verify_chain(chain: Sequence[x509.Certificate], root: bytes, *, at: datetime) -> None:
    """Verify that each certificate was issued by the next, and the last by the root. Raise Unchained.

    A certificate of the chain may itself be the listed one (FIDO Metadata Statements, attestationRootCertificates).
    A root is trusted whatever its dates, and without BasicConstraints.
    """
    anchor = x509.load_der_x509_certificate(root)
    if not chain:
        raise Unchained("it has no certificate")
    sent = anchor in chain
    path = [*chain[: chain.index(anchor)], anchor] if sent else [*chain, anchor]
    for certificate, issuer in pairwise(path):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            raise Unchained(NOT_LISTED) from None
    leaf, *between = _restated(path, root_valid_at=None if sent else at)
    builder = verification.PolicyBuilder().time(at).store(_store(between[-1] if between else leaf))
    try:
        _lenient(builder).verify(leaf, between)
    except verification.VerificationError as error:
        raise Unchained(_reason(error, None)) from None


def _store(root: x509.Certificate) -> verification.Store:
    return verification.Store([root])


def _lenient(builder: verification.PolicyBuilder) -> verification.ClientVerifier:
    """Return a verifier for issuers that have the right to issue, and for any certificate below them."""
    anything = verification.ExtensionPolicy.permit_all()
    agnostic = verification.Criticality.AGNOSTIC
    authority = anything.require_present(x509.BasicConstraints, agnostic, None).may_be_present(
        x509.KeyUsage, agnostic, _check_usage
    )
    return builder.extension_policies(ca_policy=authority, ee_policy=anything).build_client_verifier()


def _check_usage(_: verification.Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage and not usage.key_cert_sign:
        raise ValueError(NO_AUTHORITY)


def _reason(error: verification.VerificationError, site: str | None) -> str:
    said = str(error).split(" (encountered")[0]
    if site and ("subjectAltName" in said or "EKU" in said):
        return f"it is not signed by {site}"
    return next((ours for part, ours in REASONS.items() if part in said), NOT_LISTED)


def _restated(path: Sequence[x509.Certificate], *, root_valid_at: datetime | None) -> Iterator[x509.Certificate]:
    """Sign what the certificates say again, in the form of RFC 5280, with keys of this call.

    The last one becomes a root: one that may issue, and that is valid at `root_valid_at` if that is given.
    """
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in path]
    for number, certificate in enumerate(path):
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        extensions: Sequence[x509.Extension[x509.ExtensionType]] = list(certificate.extensions)
        above = min(number + 1, len(path) - 1)
        if number == above:
            start, end = min(start, root_valid_at or start), max(end, root_valid_at or end)
            extensions = _with_authority(extensions)
        builder = x509.CertificateBuilder(
            issuer_name=path[above].subject,
            subject_name=certificate.subject,
            public_key=keys[number].public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=start.replace(tzinfo=None),
            not_valid_after=end.replace(tzinfo=None),
        )
        for each in extensions:
            builder = builder.add_extension(each.value, each.critical)
        yield builder.sign(keys[above], hashes.SHA256())


def _with_authority(
    extensions: Sequence[x509.Extension[x509.ExtensionType]],
) -> Sequence[x509.Extension[x509.ExtensionType]]:
    if any(isinstance(each.value, x509.BasicConstraints) and each.value.ca for each in extensions):
        return extensions
    authority = x509.BasicConstraints(ca=True, path_length=None)
    others = [each for each in extensions if not isinstance(each.value, x509.BasicConstraints)]
    return [x509.Extension(authority.oid, critical=True, value=authority), *others]


def sha256(octets: bytes) -> str:
    """Return the SHA-256 digest in hex, which identifies certificates and files."""
    return hashlib.sha256(octets).hexdigest()
