"""The PIN of the lab's security key: PIN/UV auth protocols one and two (CTAP 2.1, 6.5), retries and lockout."""

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mfa_kit.lab.devices.ctap import CtapRefusal, CtapStatus, Parameters, cose_key

RETRIES = 8
# After three wrong PINs in a row, the key must be unplugged (CTAP 2.1, 6.5.2.3).
IN_A_ROW = 3
# The subcommands of authenticatorClientPIN (CTAP 2.1, 6.5.5).
GET_RETRIES, GET_KEY_AGREEMENT, SET_PIN, CHANGE_PIN, GET_TOKEN, GET_TOKEN_UV = range(1, 7)
GET_TOKEN_PERMISSIONS = 9
# The COSE algorithm ECDH-ES + HKDF-256, which the standard requires here (CTAP 2.1, 6.5.6).
ECDH = -25
# The permissions of a pinUvAuthToken if the request names none: makeCredential and getAssertion (CTAP 2.1, 6.5.5.7.1).
DEFAULT_PERMISSIONS = 0x03
BLOCK = 16


@dataclass(slots=True)
class ClientPin:
    """The PIN of one security key.

    `hash` is LEFT(SHA-256(PIN), 16), or None while no PIN is set. `length` is the PIN's length in code points. With
    `stays_blocked`, a blocked key accepts PINs again after it was unplugged. Until it receives the right PIN, it still
    reports that it must be unplugged (pico-fido). `wrong_pin` is the status for a wrong PIN. For tests, `tries` counts
    the PINs that the key compared with its own. `refuses` says which new PINs the key refuses because they are simple.
    """

    hash: bytes | None = None
    length: int = 0
    shortest: int = 4
    force_change: bool = False
    retries: int = RETRIES
    wrong_in_a_row: int = 0
    tries: int = 0
    stays_blocked: bool = False
    wrong_pin: CtapStatus = CtapStatus.PIN_INVALID
    refuses: Callable[[str], bool] = lambda _: False
    token: bytes = field(default_factory=lambda: os.urandom(32))
    permissions: int = 0
    _was_blocked: bool = False
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def power_up(self) -> None:
        """Reset the state that a key loses when it is unplugged.

        This is the count of consecutive wrong PINs, the pinUvAuthToken and the key agreement key.
        """
        self._was_blocked = self.stays_blocked and self._blocked
        self.wrong_in_a_row = 0
        self.token = os.urandom(32)
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def _blocked(self) -> bool:
        """Whether the key reports that it must be unplugged."""
        return self._was_blocked or self.wrong_in_a_row >= IN_A_ROW

    def answer(self, request: Parameters, *, uv: bool) -> dict[int, object]:
        """Return the members of the response to authenticatorClientPIN (CTAP 2.1, 6.5.5).

        `uv` says whether the key verifies users by fingerprint. Raise CtapRefusal if the key refuses the command.
        """
        command, protocol = request.need(2, int), request.get(1, int) or 1
        if command == GET_RETRIES:
            return {3: self.retries, 4: self._blocked}
        if protocol not in (1, 2):
            raise CtapRefusal(CtapStatus.INVALID_PARAMETER)
        if command == GET_KEY_AGREEMENT:
            return {1: cose_key(self._key, ECDH)}
        secret = self._shared_secret(protocol, Parameters(request.need(3, dict)))
        if command in (SET_PIN, CHANGE_PIN):
            return self._set_or_change(command, secret, request)
        if command in (GET_TOKEN, GET_TOKEN_PERMISSIONS):
            return self._token_for_pin(command, secret, request)
        if command == GET_TOKEN_UV and uv:
            return self._issue_token(secret, request)
        raise CtapRefusal(CtapStatus.INVALID_SUBCOMMAND)

    def _set_or_change(self, command: int, secret: "_SharedSecret", request: Parameters) -> dict[int, object]:
        if command == CHANGE_PIN:
            self._check(secret, request.need(6, bytes))
        elif self.hash:
            raise CtapRefusal(CtapStatus.NOT_ALLOWED)
        self._set(secret, request)
        return {}

    def _token_for_pin(self, command: int, secret: "_SharedSecret", request: Parameters) -> dict[int, object]:
        self._check(secret, request.need(6, bytes))
        if self.force_change:
            raise CtapRefusal(CtapStatus.PIN_INVALID if command == GET_TOKEN else CtapStatus.PIN_POLICY_VIOLATION)
        return self._issue_token(secret, request)

    def verify(self, protocol: int, message: bytes, mac: bytes) -> None:
        """Raise CtapRefusal PIN_AUTH_INVALID unless `mac` is a MAC of `message` with this key's pinUvAuthToken."""
        expected = hmac.digest(self.token, message, "sha256")[: 16 if protocol == 1 else 32]
        if not hmac.compare_digest(expected, mac):
            raise CtapRefusal(CtapStatus.PIN_AUTH_INVALID)

    def _issue_token(self, secret: "_SharedSecret", request: Parameters) -> dict[int, object]:
        permissions = request.get(9, int)
        self.permissions = DEFAULT_PERMISSIONS if permissions is None else permissions
        return {2: secret.encrypt(self.token)}

    def _check(self, secret: "_SharedSecret", sent: bytes) -> None:
        """Decrypt the hash of a PIN, compare it with the hash of the key's PIN, and count the attempt.

        Raise CtapRefusal if the PIN is wrong or blocked, or if no PIN is set.
        """
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
            raise CtapRefusal(CtapStatus.PIN_AUTH_BLOCKED if self.wrong_in_a_row >= IN_A_ROW else self.wrong_pin)
        self.retries = RETRIES
        self._was_blocked = False
        self.wrong_in_a_row = 0

    def _set(self, secret: "_SharedSecret", request: Parameters) -> None:
        """Set a new PIN. Raise CtapRefusal if the MAC is wrong, or if the PIN is too short or too simple.

        Also raise CtapRefusal if the user must change the PIN and the new PIN is the old one.
        """
        encrypted = request.need(5, bytes)
        signed = encrypted + (request.get(6, bytes) or b"")
        if not hmac.compare_digest(secret.mac(signed), request.need(4, bytes)):
            raise CtapRefusal(CtapStatus.PIN_AUTH_INVALID)
        pin = secret.decrypt(encrypted).rstrip(b"\0")
        if len(pin.decode()) < self.shortest or self.refuses(pin.decode()):
            raise CtapRefusal(CtapStatus.PIN_POLICY_VIOLATION)
        if self.force_change and digest(pin) == self.hash:
            raise CtapRefusal(CtapStatus.PIN_POLICY_VIOLATION)
        self.hash, self.length = digest(pin), len(pin.decode())
        self.force_change = False

    def configure(self, shortest: int | None, *, force_change: bool) -> None:
        """Set the minimum PIN length, and whether the user must change the PIN (setMinPINLength, CTAP 2.1, 6.11.4).

        Raise CtapRefusal if `shortest` is less than the current minimum, or if a change is forced and no PIN is set.
        """
        if shortest is not None and shortest < self.shortest:
            raise CtapRefusal(CtapStatus.PIN_POLICY_VIOLATION)
        if force_change and self.hash is None:
            raise CtapRefusal(CtapStatus.PIN_NOT_SET)
        self.shortest = shortest or self.shortest
        self.force_change |= force_change or (self.hash is not None and self.length < self.shortest)

    def _shared_secret(self, protocol: int, theirs: Parameters) -> "_SharedSecret":
        """Return the secret that this key shares with the client. `theirs` is the client's public key, a COSE key."""
        x, y = (int.from_bytes(theirs.need(member, bytes)) for member in (-2, -3))
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        return _SharedSecret(protocol, self._key.exchange(ec.ECDH(), public))


def digest(pin: bytes) -> bytes:
    """Return LEFT(SHA-256(PIN), 16), which a key stores instead of the PIN."""
    return hashlib.sha256(pin).digest()[:16]


class _SharedSecret:
    """The shared secret of one PIN exchange, in protocol one (CTAP 2.1, 6.5.6) or protocol two (6.5.7)."""

    def __init__(self, protocol: int, z: bytes) -> None:
        self._protocol = protocol
        if protocol == 1:
            self._hmac_key = self._aes_key = hashlib.sha256(z).digest()
        else:
            self._hmac_key, self._aes_key = (
                HKDF(hashes.SHA256(), 32, bytes(32), info).derive(z) for info in (b"CTAP2 HMAC key", b"CTAP2 AES key")
            )

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt with AES-256-CBC. The IV is zeros in protocol one. In protocol two, the output starts with the IV."""
        iv = os.urandom(BLOCK) if self._protocol == 2 else bytes(BLOCK)  # noqa: PLR2004 - the protocol's number
        cipher = Cipher(algorithms.AES(self._aes_key), modes.CBC(iv)).encryptor()
        encrypted = cipher.update(plain) + cipher.finalize()
        return encrypted if self._protocol == 1 else iv + encrypted

    def decrypt(self, encrypted: bytes) -> bytes:
        """Decrypt the output of `encrypt`. Raise CtapRefusal INVALID_PARAMETER for an impossible length."""
        is_protocol_one = self._protocol == 1
        iv, body = (bytes(BLOCK), encrypted) if is_protocol_one else (encrypted[:BLOCK], encrypted[BLOCK:])
        if len(iv) != BLOCK or not body or len(body) % BLOCK:
            raise CtapRefusal(CtapStatus.INVALID_PARAMETER)
        cipher = Cipher(algorithms.AES(self._aes_key), modes.CBC(iv)).decryptor()
        return cipher.update(body) + cipher.finalize()

    def mac(self, message: bytes) -> bytes:
        """Return the HMAC-SHA-256 of a message: its first 16 octets in protocol one, all 32 in protocol two."""
        return hmac.digest(self._hmac_key, message, "sha256")[: 16 if self._protocol == 1 else 32]
