"""The PIN of the lab's security key: PIN/UV auth protocols 1 and 2 (CTAP 2.1, 6.5), retries and lockout."""

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mfa_kit.lab.devices.ctap import CtapRefusal, CtapStatus

RETRIES = 8
# After three wrong PINs in a row the key wants to be unplugged (CTAP 2.1, 6.5.2.3).
IN_A_ROW = 3
GET_RETRIES, GET_KEY_AGREEMENT, SET_PIN, CHANGE_PIN, GET_TOKEN, GET_TOKEN_UV, _, _, GET_TOKEN_PERMISSIONS = range(1, 10)
BLOCK = 16


@dataclass(slots=True)
class ClientPin:
    """One key's PIN. `hash` is LEFT(SHA-256(PIN), 16); None while none is set. `length` is its code points."""

    hash: bytes | None = None
    length: int = 0
    shortest: int = 4
    force_change: bool = False
    retries: int = RETRIES
    wrong_in_a_row: int = 0
    tries: int = 0
    token: bytes = field(default_factory=lambda: os.urandom(32))
    permissions: int = 0
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def power_up(self) -> None:
        """Forget what lasts until the key is unplugged."""
        self.wrong_in_a_row = 0
        self.token = os.urandom(32)
        self._key = ec.generate_private_key(ec.SECP256R1())

    def answer(self, request: Mapping[int, Any], *, uv: bool) -> dict[int, Any]:
        """Answer authenticatorClientPIN (CTAP 2.1, 6.5.5); `uv`: a finger is on the sensor."""
        protocol, command = request.get(1, 1), request[2]
        if command == GET_RETRIES:
            return {3: self.retries, 4: self.wrong_in_a_row >= IN_A_ROW}
        if protocol not in (1, 2):
            raise CtapRefusal(CtapStatus.INVALID_PARAMETER)
        if command == GET_KEY_AGREEMENT:
            numbers = self._key.public_key().public_numbers()
            return {1: {1: 2, 3: -25, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}}
        secret = self._shared(protocol, request[3])
        match command:
            case 3:
                if self.hash:
                    raise CtapRefusal(CtapStatus.NOT_ALLOWED)
                self._set(secret, request)
            case 4:
                self._check(secret, request[6])
                self._set(secret, request)
            case 5 | 9:
                self._check(secret, request[6])
                if self.force_change:
                    raise CtapRefusal(
                        CtapStatus.PIN_INVALID if command == GET_TOKEN else CtapStatus.PIN_POLICY_VIOLATION
                    )
                return self._granted(secret, request)
            case 6 if uv:
                return self._granted(secret, request)
            case _:
                raise CtapRefusal(CtapStatus.INVALID_SUBCOMMAND)
        return {}

    def verified(self, protocol: int, message: bytes, mac: bytes) -> bool:
        """Whether `mac` was made with the token that this key gave out; a wrong one is refused."""
        expected = hmac.digest(self.token, message, "sha256")[: 16 if protocol == 1 else 32]
        if not hmac.compare_digest(expected, mac):
            raise CtapRefusal(CtapStatus.PIN_AUTH_INVALID)
        return True

    def _granted(self, secret: "_Shared", request: Mapping[int, Any]) -> dict[int, Any]:
        self.permissions = request.get(9, 0x03)
        return {2: secret.encrypt(self.token)}

    def _check(self, secret: "_Shared", sent: bytes) -> None:
        if self.hash is None:
            raise CtapRefusal(CtapStatus.PIN_NOT_SET)
        if self.retries == 0:
            raise CtapRefusal(CtapStatus.PIN_BLOCKED)
        if self.wrong_in_a_row >= IN_A_ROW:
            raise CtapRefusal(CtapStatus.PIN_AUTH_BLOCKED)
        self.retries -= 1
        self.tries += 1
        if not hmac.compare_digest(secret.decrypt(sent), self.hash):
            self.wrong_in_a_row += 1
            self._key = ec.generate_private_key(ec.SECP256R1())
            if self.retries == 0:
                raise CtapRefusal(CtapStatus.PIN_BLOCKED)
            raise CtapRefusal(
                CtapStatus.PIN_AUTH_BLOCKED if self.wrong_in_a_row >= IN_A_ROW else CtapStatus.PIN_INVALID
            )
        self.retries = RETRIES
        self.wrong_in_a_row = 0

    def _set(self, secret: "_Shared", request: Mapping[int, Any]) -> None:
        signed = request[5] + request.get(6, b"")
        if not hmac.compare_digest(secret.mac(signed), request[4]):
            raise CtapRefusal(CtapStatus.PIN_AUTH_INVALID)
        pin = secret.decrypt(request[5]).rstrip(b"\0")
        if len(pin.decode()) < self.shortest:
            raise CtapRefusal(CtapStatus.PIN_POLICY_VIOLATION)
        if self.force_change and digest(pin) == self.hash:
            raise CtapRefusal(CtapStatus.PIN_POLICY_VIOLATION)
        self.hash, self.length = digest(pin), len(pin.decode())
        self.force_change = False

    def configure(self, shortest: int | None, *, force_change: bool) -> None:
        """Set the minimum, and that a change is wanted (setMinPINLength, CTAP 2.1, 6.11.4)."""
        if shortest is not None and shortest < self.shortest:
            raise CtapRefusal(CtapStatus.PIN_POLICY_VIOLATION)
        if force_change and self.hash is None:
            raise CtapRefusal(CtapStatus.PIN_NOT_SET)
        self.shortest = shortest or self.shortest
        self.force_change |= force_change or (self.hash is not None and self.length < self.shortest)

    def _shared(self, protocol: int, theirs: Mapping[int, Any]) -> "_Shared":
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(theirs[-2]), int.from_bytes(theirs[-3]), ec.SECP256R1())
        return _Shared(protocol, self._key.exchange(ec.ECDH(), numbers.public_key()))


def digest(pin: bytes) -> bytes:
    """Return what a key keeps of a PIN."""
    return hashlib.sha256(pin).digest()[:16]


class _Shared:
    """The secret of one exchange: CTAP 2.1, 6.5.6 (protocol one) and 6.5.7 (two)."""

    def __init__(self, protocol: int, z: bytes) -> None:
        self._protocol = protocol
        if protocol == 1:
            self._hmac_key = self._aes_key = hashlib.sha256(z).digest()
        else:
            self._hmac_key, self._aes_key = (
                HKDF(hashes.SHA256(), 32, bytes(32), info).derive(z) for info in (b"CTAP2 HMAC key", b"CTAP2 AES key")
            )

    def encrypt(self, plain: bytes) -> bytes:
        iv = os.urandom(BLOCK) if self._protocol == 2 else bytes(BLOCK)  # noqa: PLR2004 - the protocol's number
        cipher = Cipher(algorithms.AES(self._aes_key), modes.CBC(iv)).encryptor()
        sealed = cipher.update(plain) + cipher.finalize()
        return sealed if self._protocol == 1 else iv + sealed

    def decrypt(self, sealed: bytes) -> bytes:
        iv, sealed = (bytes(BLOCK), sealed) if self._protocol == 1 else (sealed[:BLOCK], sealed[BLOCK:])
        if len(iv) != BLOCK or not sealed or len(sealed) % BLOCK:
            raise CtapRefusal(CtapStatus.INVALID_PARAMETER)
        cipher = Cipher(algorithms.AES(self._aes_key), modes.CBC(iv)).decryptor()
        return cipher.update(sealed) + cipher.finalize()

    def mac(self, message: bytes) -> bytes:
        return hmac.digest(self._hmac_key, message, "sha256")[: 16 if self._protocol == 1 else 32]
