"""Verifies certificate chains up to a trusted root certificate (RFC 5280, 6.1, without policies).

The verifier is `cryptography.x509.verification`. It accepts only certificates that follow the rules for web servers.
The certificates of the metadata's signer follow these rules, so the verifier gets them unchanged.

The certificates of security keys may have versions, serial numbers and encodings of dates that the verifier rejects.
So a key's chain is verified in two steps. First, the signatures of the original certificates are checked. Then each
certificate is copied with its name, dates and extensions, but with a valid version, serial number and encoding. The
copies are signed with temporary keys, and the verifier checks these copies.
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

# At most this many certificates of a chain are read.
LONGEST_CHAIN = 8

# The errors that JSON, base64 and cryptography raise for malformed data.
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
# Parts of the verifier's messages, and mfa-kit's wording for each. They do not affect whether a chain verifies.
REASONS = {
    "not valid at validation time": "a certificate in the chain has expired or is not valid yet",
    "basicConstraints": NO_AUTHORITY,
    "keyCertSign": NO_AUTHORITY,
    "extension validator": NO_AUTHORITY,
    "path length": "the chain is longer than one of its certificates allows",
    "name constraint": "a certificate has a name that its issuer is not allowed to certify",
    "critical extension": "a certificate has an unknown critical extension",
    "required extension": "a certificate lacks a required extension",
}
NOT_LISTED = "its certificate was not issued under a trusted root certificate"


class Unchained(Exception):
    """Raised when a chain does not verify. The message says why."""


def verify_signer(chain: Sequence[x509.Certificate], root: bytes, *, site: str | None, at: datetime) -> None:
    """Raise Unchained unless a chain leads to the root certificate `root` (DER), and is for the web server `site`.

    The first certificate of the chain must name the server. If `site` is None, it may have any names and purposes.
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
    """Raise Unchained unless each certificate was issued by the next one, and the last one by `root` (DER).

    The chain may contain the root certificate (FIDO Metadata Statements, attestationRootCertificates). The dates of the
    root certificate are checked only if the chain contains it. The root certificate need not have BasicConstraints.
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
    """Return a verifier that accepts any first certificate, but requires that all others may issue certificates."""
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
    """Yield a copy of each certificate in `path`, in the form that RFC 5280 requires and signed with a temporary key.

    A copy has the name, dates and extensions of the original. The copy of the last certificate is a root certificate
    that may issue others. If `root_valid_at` is given, the dates of that copy are extended to include this time.
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
    """Return the SHA-256 digest in hex. It identifies certificates and files."""
    return hashlib.sha256(octets).hexdigest()
