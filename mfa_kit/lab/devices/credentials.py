"""The credentials of the lab's security key, which derives each private key from its secret and the credential ID."""

import hashlib
import hmac
import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from mfa_kit.lab.devices.ctap import ES256

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
