"""Finds the type of an attestation statement (WebAuthn Level 3, 8), and checks whether its signature is valid.

The package adapters/metadata decides whether the certificates are trusted.
"""

import warnings
from dataclasses import replace

from cryptography import x509
from fido2.attestation.base import AttestationResult, AttestationType
from fido2.attestation.packed import PackedAttestation
from fido2.attestation.u2f import FidoU2FAttestation
from fido2.webauthn import AttestationObject

from mfa_kit.adapters.fido.faults import GARBLED, short_reason, shortened
from mfa_kit.core.firmware import Version
from mfa_kit.security_keys.authenticator import Registration, StatementKind

# The extension with the AAGUID, id-fido-gen-ce-aaguid (WebAuthn Level 3, 8.2.1).
AAGUID_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
# The extension with the firmware version, one octet per part (Yubico, "FIDO attestation certificates").
FIRMWARE_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.41482.13.1")
# Attestation formats of computers and phones (WebAuthn Level 3, 8.3 to 8.5, 8.8 and 8.9). Security keys use none of
# these.
PLATFORMS = {"tpm", "android-key", "android-safetynet", "apple", "compound"}


def registration_of(attestation: AttestationObject, client_data_hash: bytes) -> Registration:
    """Return the registration in an attestation object, with the type of its attestation statement.

    Raise ValueError if the object contains no credential. If the statement is invalid, the field `flaw` of the result
    says why.
    """
    data = attestation.auth_data
    credential = data.credential_data
    if credential is None:
        raise ValueError("no credential in the answer")
    registration = Registration(
        format=shortened(attestation.fmt),
        statement=StatementKind.BROKEN,
        aaguid=str(credential.aaguid) if credential.aaguid else None,
        algorithm=credential.public_key.ALGORITHM,
        present=data.is_user_present(),
        verified=data.is_user_verified(),
        counter=data.counter,
    )
    try:
        with warnings.catch_warnings():
            # Some keys have a certificate with the serial number 0. The package cryptography warns that its later
            # versions will reject such certificates. Instead of this warning, the field `remark` names the defect.
            warnings.simplefilter("ignore")
            return _judged(registration, attestation, client_data_hash)
    except GARBLED as error:
        return replace(registration, flaw=short_reason(error))


def _judged(registration: Registration, attestation: AttestationObject, client_data_hash: bytes) -> Registration:
    data, statement = attestation.auth_data, attestation.att_stmt
    if attestation.fmt in PLATFORMS:
        return replace(registration, statement=StatementKind.PLATFORM)
    if attestation.fmt == "none":
        return (
            replace(registration, statement=StatementKind.NONE)
            if not statement
            else _flawed(registration, "its statement is not empty")
        )
    if attestation.fmt == "packed":
        result: AttestationResult = PackedAttestation().verify(statement, data, client_data_hash)
    elif attestation.fmt == "fido-u2f":
        if registration.aaguid:
            return _flawed(registration, "a U2F statement with an AAGUID")
        result = FidoU2FAttestation().verify(statement, data, client_data_hash)
    else:
        return _flawed(registration, "an unknown format")
    if result.attestation_type == AttestationType.SELF:
        return replace(registration, statement=StatementKind.SELF)
    own = x509.load_der_x509_certificate(result.trust_path[0])
    return replace(
        registration,
        statement=StatementKind.CHAIN,
        chain=tuple(bytes(certificate) for certificate in result.trust_path),
        names_model=_extension(own, AAGUID_EXTENSION) is not None,
        firmware=_attested_firmware(own),
        remark=None if own.serial_number > 0 else "its certificate has the serial number 0, which RFC 5280 forbids",
    )


def _flawed(registration: Registration, flaw: str) -> Registration:
    return replace(registration, flaw=flaw)


def _extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes | None:
    try:
        extension = certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None
    return extension.value if isinstance(extension, x509.UnrecognizedExtension) else None


def _attested_firmware(certificate: x509.Certificate) -> Version | None:
    octets = _extension(certificate, FIRMWARE_EXTENSION)
    return Version(*octets[2:]) if octets and octets[:2] == b"\x04\x03" and len(octets) == 5 else None  # noqa: PLR2004
