"""The certificate authority (CA) of a simulated manufacturer of security keys.

It issues certificates and metadata. Arguments such as `expired` make a certificate invalid. Sources: FIDO Metadata
Service 3, and WebAuthn Level 3, 8.2.1.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from mfa_kit.lab.devices.apdu import tlv

# The extension with the AAGUID (WebAuthn, 8.2.1, id-fido-gen-ce-aaguid), and the extension with the firmware version
# (Yubico's "attestation certificates" page).
AAGUID_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
FIRMWARE_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.41482.13.1")
DER = serialization.Encoding.DER
SHA256 = hashes.SHA256()
# ASN.1 tags (X.690): SEQUENCE and BIT STRING.
SEQUENCE, BIT_STRING = 0x30, 0x03
# The encoding of a certificate's two dates as UTCTime.
DATES = re.compile(rb"\x30\x1e\x17\x0d(\d{12}Z)\x17\x0d(\d{12}Z)")
DAYS = 3650
# The key usage of a certificate authority: it signs certificates and revocation lists.
ISSUES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
# A certificate extension, and whether it is critical. It replaces the default extension of the same type.
Extension = tuple[x509.ExtensionType, bool]


def _name(common: str, unit: str = "Authenticator Attestation") -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "SE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mfa-kit lab"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate, as DER, and its private key."""

    key: ec.EllipticCurvePrivateKey
    der: bytes

    @property
    def certificate(self) -> x509.Certificate:
        """The parsed certificate."""
        return x509.load_der_x509_certificate(self.der)

    @property
    def identifier(self) -> str:
        """The key identifier (RFC 5280, 4.2.1.2, method 1) in hexadecimal, as in the metadata of U2F keys."""
        return x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()).digest.hex()


class AttestationCa:
    """The CA of one manufacturer, with one root certificate.

    Certificates are valid from ten years before the Unix time `now` until ten years after it, unless they are issued as
    expired.
    """

    def __init__(self, name: str = "mfa-kit lab", *, now: float, extensions: Sequence[Extension] = ()) -> None:
        self._now = datetime.fromtimestamp(now, UTC)
        self.root = self._issue(_name(f"{name} root", "Root"), issuer=None, ca=True, extensions=extensions)

    def certificate(
        self,
        aaguid: bytes | None,
        *,
        firmware: tuple[int, int, int] | None = None,
        issuer: IssuedCertificate | None = None,
        unit: str = "Authenticator Attestation",
        ca: bool = False,
        expired: bool = False,
        serial: int | None = None,
        generalized: bool = False,
        extensions: Sequence[Extension] = (),
    ) -> IssuedCertificate:
        """Issue a key model's attestation certificate. `aaguid` and `firmware` become extensions unless they are None.

        The issuer is the root certificate by default. `unit` is the OU of the subject, and `ca` the basic constraint.
        An `expired` certificate expired a day before `now`. `serial` is a one-octet serial number that RFC 5280
        forbids, such as 0; None means a random serial number. With `generalized`, the dates are GeneralizedTime, which
        RFC 5280 reserves for the years from 2050 on. Some manufacturers also use it for earlier years.
        """
        extensions = list(extensions)
        if aaguid is not None:
            extensions.append((x509.UnrecognizedExtension(AAGUID_EXTENSION, b"\x04\x10" + aaguid), False))
        if firmware is not None:
            octets = b"\x04\x03" + bytes(firmware)
            extensions.append((x509.UnrecognizedExtension(FIRMWARE_EXTENSION, octets), False))
        issued = self._issue(
            _name("security key", unit),
            issuer=issuer or self.root,
            ca=ca,
            lifetime=-1 if expired else DAYS,
            extensions=extensions,
        )
        if serial is None and not generalized:
            return issued
        return _rewritten(issued, issuer or self.root, serial=serial, generalized=generalized)

    def intermediate(
        self,
        *,
        issuer: IssuedCertificate | None = None,
        ca: bool | None = True,
        expired: bool = False,
        extensions: Sequence[Extension] = (),
    ) -> IssuedCertificate:
        """Issue an intermediate CA certificate. `ca` is its basic constraint; None omits the extension."""
        return self._issue(
            _name("lower intermediate" if issuer else "intermediate", "Intermediate"),
            issuer=issuer or self.root,
            ca=ca,
            lifetime=-1 if expired else DAYS,
            extensions=extensions,
        )

    def _issue(
        self,
        subject: x509.Name,
        *,
        issuer: IssuedCertificate | None,
        ca: bool | None,
        lifetime: int = DAYS,
        extensions: Sequence[Extension] = (),
    ) -> IssuedCertificate:
        """Make a key and its certificate. Without an issuer, the certificate is self-signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        signer = issuer or IssuedCertificate(key, b"")
        certificate = self._certify(
            subject, key.public_key(), issuer=signer, ca=ca, lifetime=lifetime, extensions=extensions
        )
        return IssuedCertificate(key, certificate)

    def _certify(
        self,
        subject: x509.Name,
        public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        *,
        issuer: IssuedCertificate,
        ca: bool | None = False,
        lifetime: int = DAYS,
        extensions: Sequence[Extension] = (),
        site: str | None = None,
    ) -> bytes:
        """Sign a certificate that is valid until `lifetime` days after the CA's `now`. Return the certificate as DER.

        `site` is the DNS name in the certificate (subjectAltName), or None.
        """
        builder = x509.CertificateBuilder(
            subject_name=subject,
            issuer_name=issuer.certificate.subject if issuer.der else subject,
            public_key=public,
            serial_number=x509.random_serial_number(),
            not_valid_before=self._now - timedelta(days=DAYS),
            not_valid_after=self._now + timedelta(days=lifetime),
        )
        extension_types = {type(extension) for extension, _ in extensions}
        usual: list[Extension] = [(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False)]
        if ca is not None:
            usual.append((x509.BasicConstraints(ca=ca, path_length=None), True))
        if ca:
            usual.append((ISSUES, True))
        if site:
            usual.append((x509.SubjectAlternativeName([x509.DNSName(site)]), False))
        for extension, critical in (*(pair for pair in usual if type(pair[0]) not in extension_types), *extensions):
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer.key, SHA256).public_bytes(DER)

    def entry(
        self,
        name: str,
        *,
        aaguid: str | None = None,
        identifiers: Sequence[str] = (),
        version: int = 1,
        statuses: Sequence[str] = ("FIDO_CERTIFIED_L1",),
        roots: Sequence[bytes] | None = None,
    ) -> dict[str, Any]:
        """Return the metadata entry of a key model (FIDO Metadata Service 3, 3.1.1).

        A FIDO2 model has an `aaguid`, and a U2F model has `identifiers` of its attestation certificates. `version` is
        the authenticatorVersion. `roots` are certificates as DER, by default only the root certificate of this
        manufacturer.
        """
        naming: dict[str, object] = (
            {"aaguid": aaguid} if aaguid else {"attestationCertificateKeyIdentifiers": list(identifiers)}
        )
        certificates = [self.root.der] if roots is None else roots
        return {
            **naming,
            "metadataStatement": {
                **naming,
                "description": name,
                "authenticatorVersion": version,
                "protocolFamily": "fido2" if aaguid else "u2f",
                "schema": 3,
                "attestationTypes": ["basic_full"],
                "attestationRootCertificates": [base64.b64encode(root).decode() for root in certificates],
            },
            "statusReports": [{"status": status, "effectiveDate": "2024-01-01"} for status in statuses],
            "timeOfLastStatusChange": "2024-01-01",
        }

    def blob(
        self,
        entries: Sequence[Mapping[str, object]],
        *,
        next_update: date,
        number: int = 1,
        site: str = "mds.fidoalliance.org",
        rsa_key: bool = False,
        issuer: IssuedCertificate | None = None,
        extensions: Sequence[Extension] = (),
    ) -> bytes:
        """Return a signed metadata BLOB, which is a JWT with ES256, or with RS256 if `rsa_key` is true.

        `number` is the serial number of the BLOB. `site` is the name in the signing certificate, and `extensions` are
        added to this certificate. `issuer` issues this certificate; None means the manufacturer's root certificate.
        """
        key = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
        signer = self._certify(
            _name(site, "Metadata"), key.public_key(), issuer=issuer or self.root, site=site, extensions=extensions
        )
        sent = [signer, issuer.der] if issuer else [signer]
        payload = {"legalHeader": "", "no": number, "nextUpdate": next_update.isoformat(), "entries": list(entries)}
        algorithm = "RS256" if rsa_key else "ES256"
        header = {
            "alg": algorithm,
            "typ": "JWT",
            "x5c": [base64.b64encode(certificate).decode() for certificate in sent],
        }
        message = b".".join(_websafe(json.dumps(part).encode()) for part in (header, payload))
        if isinstance(key, rsa.RSAPrivateKey):
            return message + b"." + _websafe(key.sign(message, padding.PKCS1v15(), SHA256))
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256)))
        return message + b"." + _websafe(r.to_bytes(32) + s.to_bytes(32))


def _websafe(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def _rewritten(
    issued: IssuedCertificate, issuer: IssuedCertificate, *, serial: int | None, generalized: bool
) -> IssuedCertificate:
    """Return a copy of a certificate, signed by `issuer`, with values that the cryptography library does not write.

    The copy has the serial number `serial`, or the old serial number if `serial` is None. With `generalized`, its dates
    are GeneralizedTime.
    """
    tbs = issued.certificate.tbs_certificate_bytes
    if serial is not None:
        old = issued.certificate.serial_number
        length = old.bit_length() // 8 + 1
        tbs = tbs.replace(b"\x02" + bytes([length]) + old.to_bytes(length), b"\x02\x01" + bytes([serial]), 1)
    if generalized:
        tbs = DATES.sub(lambda dates: tlv(SEQUENCE, b"".join(b"\x18\x0f20" + date for date in dates.groups())), tbs, 1)
    tbs = tlv(SEQUENCE, tbs[4:])  # skips the tag, 0x82 and two octets of length
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    signature = issuer.key.sign(tbs, ec.ECDSA(SHA256))
    return IssuedCertificate(issued.key, tlv(SEQUENCE, tbs + ecdsa_with_sha256 + tlv(BIT_STRING, b"\0" + signature)))
