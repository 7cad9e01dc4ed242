"""Certificate chains: whether a chain leads to a trusted root (RFC 5280, 6.1, without policies)."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

# Certificates of a chain that are read. A key's chain has two or three.
LONGEST_CHAIN = 8

# Raised by JSON, base64 and cryptography for malformed data.
GARBLED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    InvalidSignature,
    UnsupportedAlgorithm,
)


class Unchained(Exception):
    """A chain that does not verify. The message says why."""


def verify_chain(chain: Sequence[x509.Certificate], root: bytes, *, at: datetime) -> None:
    """Verify that each certificate was issued by the next, and the last by the root (RFC 5280, 6.1, without policies).

    A certificate of the chain may itself be the listed one (FIDO Metadata Statements, attestationRootCertificates).
    """
    anchor = x509.load_der_x509_certificate(root)
    if not chain:
        raise Unchained("there is no certificate")
    for certificate, issuer in zip(chain, [*chain[1:], anchor], strict=True):
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise Unchained("a certificate of the chain has expired or is not valid yet")
        if certificate == anchor:
            return
        if issuer is not anchor and issuer != anchor:
            _check_authority(issuer)
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            raise Unchained("its certificate was not issued under a root that is listed for it") from None


def _check_authority(certificate: x509.Certificate) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise Unchained("a certificate between has no right to issue others") from None
    if not constraints.ca:
        raise Unchained("a certificate between has no right to issue others")


def sha256(octets: bytes) -> str:
    """Return the SHA-256 digest in hex, which identifies certificates and files."""
    return hashlib.sha256(octets).hexdigest()
