"""The parts of CTAP 2.1 that the lab's security key needs: status codes, parameters of commands, and credentials.

The key derives each private key from its secret and the credential ID.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor

T = TypeVar("T")
# The number of the algorithm ES256 in COSE (RFC 9053).
ES256 = -7


class CtapStatus(IntEnum):
    """The status codes that the lab's key returns, under the standard's names (CTAP 2.1, 6.3)."""

    OK = 0x00
    INVALID_COMMAND = 0x01
    INVALID_PARAMETER = 0x02
    CHANNEL_BUSY = 0x06
    INVALID_CBOR = 0x12
    MISSING_PARAMETER = 0x14
    CREDENTIAL_EXCLUDED = 0x19
    UNSUPPORTED_ALGORITHM = 0x26
    KEY_STORE_FULL = 0x28
    INVALID_OPTION = 0x2C
    KEEPALIVE_CANCEL = 0x2D
    NO_CREDENTIALS = 0x2E
    USER_ACTION_TIMEOUT = 0x2F
    NOT_ALLOWED = 0x30
    PIN_INVALID = 0x31
    PIN_BLOCKED = 0x32
    PIN_AUTH_INVALID = 0x33
    PIN_AUTH_BLOCKED = 0x34
    PIN_NOT_SET = 0x35
    PUAT_REQUIRED = 0x36
    PIN_POLICY_VIOLATION = 0x37
    INVALID_SUBCOMMAND = 0x3E
    OTHER = 0x7F


class CtapRefusal(Exception):
    """Raised when the key answers a command with only a status code."""

    def __init__(self, status: CtapStatus) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a command: a CBOR map from member numbers to values."""

    members: Mapping[object, object]

    @classmethod
    def decode(cls, octets: bytes) -> "Parameters":
        """Decode CBOR. Anything but a map counts as an empty map.

        For broken CBOR, raise ValueError, IndexError, KeyError, TypeError or struct.error.
        """
        members = cbor.decode(octets) if octets else {}
        return cls(members if isinstance(members, Mapping) else {})

    def need(self, member: int | str, kind: type[T]) -> T:
        """Return the value of a member.

        Raise KeyError if it is missing, or TypeError if it is not of the type `kind`.
        """
        value = self.members[member]
        if not isinstance(value, kind):
            raise TypeError(member)
        return value

    def get(self, member: int | str, kind: type[T]) -> T | None:
        """Return the value of a member, or None if it is missing or null.

        Raise TypeError if it is not of type `kind`.
        """
        return None if self.members.get(member) is None else self.need(member, kind)

    def inner(self, member: int) -> "Parameters":
        """Return the map that is the value of a member, or an empty map if the member is missing."""
        return Parameters(self.get(member, dict) or {})

    def credential_ids(self, member: int) -> list[bytes]:
        """Return the IDs in a member that is a list of credential descriptors (WebAuthn, 5.8.3).

        Return [] if the member is missing.
        """
        return [Parameters(descriptor).need("id", bytes) for descriptor in self.get(member, list) or []]


@dataclass(frozen=True, slots=True)
class UserVerification:
    """How a command verifies the user: with a pinUvAuthParam and its protocol, or with the option uv (fingerprint)."""

    mac: bytes | None
    protocol: int
    uv: bool

    @classmethod
    def parse(cls, request: Parameters, *, mac: int, protocol: int, options: Parameters) -> "UserVerification":
        """Parse the parameters for user verification in a command.

        `mac` and `protocol` are the member numbers of the pinUvAuthParam and its protocol. A missing protocol means 1.
        """
        return cls(request.get(mac, bytes), request.get(protocol, int) or 1, bool(options.get("uv", int)))


@dataclass(frozen=True, slots=True)
class MakeCredentialRequest:
    """The parameters of authenticatorMakeCredential (CTAP 2.1, 6.1)."""

    client_data_hash: bytes
    rp_id: str
    algorithms: list[int]
    excluded: list[bytes]
    resident: bool
    verification: UserVerification

    @classmethod
    def parse(cls, request: Parameters) -> "MakeCredentialRequest":
        """Parse the command's map. Raise KeyError for a missing member, or TypeError for a member of a wrong type."""
        options = request.inner(7)
        return cls(
            client_data_hash=request.need(1, bytes),
            rp_id=Parameters(request.need(2, dict)).need("id", str),
            algorithms=[Parameters(parameter).need("alg", int) for parameter in request.need(4, list)],
            excluded=request.credential_ids(5),
            resident=bool(options.get("rk", int)),
            verification=UserVerification.parse(request, mac=8, protocol=9, options=options),
        )


@dataclass(frozen=True, slots=True)
class GetAssertionRequest:
    """The parameters of authenticatorGetAssertion (CTAP 2.1, 6.2). `presence` says whether a touch is requested."""

    rp_id: str
    client_data_hash: bytes
    allowed: list[bytes]
    presence: bool
    verification: UserVerification

    @classmethod
    def parse(cls, request: Parameters) -> "GetAssertionRequest":
        """Parse the command's map. Raise KeyError for a missing member, or TypeError for a member of a wrong type."""
        options = request.inner(5)
        presence = options.get("up", int)
        return cls(
            rp_id=request.need(1, str),
            client_data_hash=request.need(2, bytes),
            allowed=request.credential_ids(3),
            presence=presence is None or bool(presence),
            verification=UserVerification.parse(request, mac=6, protocol=7, options=options),
        )


# The order of P-256 (SEC 2, 2.4.2).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
MAC_LENGTH = 16
ID_LENGTH = 48


class CredentialSecret:
    """The secret from which a key derives its credentials.

    A credential ID is a nonce, followed by a MAC over the nonce and the hash of the relying party ID.
    """

    def __init__(self) -> None:
        self._secret = os.urandom(32)

    def new_credential(self, rp_hash: bytes) -> bytes:
        """Return the ID of a new credential for the relying party whose ID has the SHA-256 hash `rp_hash`."""
        nonce = os.urandom(ID_LENGTH - MAC_LENGTH)
        return nonce + self._mac(nonce, rp_hash)

    def accepts(self, credential: bytes, rp_hash: bytes) -> bool:
        """Return whether this key made the credential with this ID for this relying party."""
        return hmac.compare_digest(credential[-MAC_LENGTH:], self._mac(credential[:-MAC_LENGTH], rp_hash))

    def private_key(self, credential: bytes) -> ec.EllipticCurvePrivateKey:
        """Return the private key of a credential."""
        scalar = int.from_bytes(hashlib.sha512(self._secret + credential).digest()) % (ORDER - 1) + 1
        return ec.derive_private_key(scalar, ec.SECP256R1())

    def _mac(self, nonce: bytes, rp_hash: bytes) -> bytes:
        return hmac.digest(self._secret, nonce + rp_hash, "sha256")[:MAC_LENGTH]


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Sign with ES256; return the signature as DER."""
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public key as an uncompressed point (SEC 1, 2.3.3), as U2F uses it."""
    numbers = key.public_key().public_numbers()
    return b"\x04" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)


def cose_key(key: ec.EllipticCurvePrivateKey, algorithm: int = ES256) -> dict[int, int | bytes]:
    """Return the public key as a COSE key (RFC 9053, 7.1)."""
    numbers = key.public_key().public_numbers()
    return {1: 2, 3: algorithm, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
