"""A security key: CTAP 2.1 and U2F, commands in and answers out. How they travel is another file's business.

It is honest unless it is told otherwise: `Make` says what it is, `Conduct` how it behaves. Its credentials are derived
from its secret and their own ids, so that a credential that is not resident leaves nothing on it.
"""

import hashlib
import hmac
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor

from mfa_kit.lab.devices.attestation_ca import AttestationCa, IssuedCertificate
from mfa_kit.lab.devices.clientpin import ClientPin, digest
from mfa_kit.lab.devices.ctap import CtapRefusal, CtapStatus, StatusWord

ES256 = -7
# The order of P-256 (SEC 2, 2.4.2).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
UP, UV, AT = 0x01, 0x04, 0x40
MAC_LENGTH = 16
ID_LENGTH = 48


class Touch(Protocol):
    """How the transport learns of a finger."""

    def wait(self) -> None:
        """Return when the key was touched; raise Refusal when it was not, or was told to stop."""
        ...

    def ready(self) -> bool:
        """Whether a finger is on the key now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyModel:
    """What a key is. Without an AAGUID it is a U2F key."""

    aaguid: bytes | None = bytes.fromhex("6d66616b697400000000000000000001")
    versions: tuple[str, ...] = ("U2F_V2", "FIDO_2_0", "FIDO_2_1")
    firmware: tuple[int, int, int] = (5, 7, 4)
    product: str = "mfa-kit lab key"
    transports: tuple[str, ...] = ("usb",)
    certifications: Mapping[str, int] = field(default_factory=dict)
    protocols: tuple[int, ...] = (2, 1)
    residents: int = 25
    fingerprint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBehavior:
    """How a key behaves. `touch` is seconds until the finger comes, None for never.

    `attestation` is a format of WebAuthn, 8: packed, self (packed without a certificate), fido-u2f, none, or any other
    name, with a statement that means nothing. `hide` are flags of authenticatorData that the key leaves out.
    `reset_within` is seconds after it was plugged in; `configurable`: it has authenticatorConfig.
    """

    touch: float | None = 0.0
    attestation: str = "packed"
    always_uv: bool = False
    uv_not_required: bool = True
    count: int = 1
    hide: int = 0
    keep: bool = False
    reset_within: float = 10.0
    configurable: bool = True


class SimulatedKey:
    """One key. `issued` is its attestation key and certificate, `chain` what stands between that and the root."""

    def __init__(
        self,
        issued: IssuedCertificate,
        *,
        model: KeyModel | None = None,
        behavior: KeyBehavior | None = None,
        pin: str | None = None,
        chain: Sequence[IssuedCertificate] = (),
        shortest_pin: int = 4,
        force_change: bool = False,
    ) -> None:
        self.model = model or KeyModel()
        self.behavior = behavior or KeyBehavior()
        self.client_pin = ClientPin(
            hash=digest(pin.encode()) if pin else None,
            length=len(pin or ""),
            shortest=shortest_pin,
            force_change=force_change,
        )
        self._factory = shortest_pin
        self._powered = time.monotonic()
        self.resident: list[tuple[str, bytes]] = []
        self.registered = 0
        self._issued = issued
        self._x5c = [issued.der, *(each.der for each in chain)]
        self._secret = os.urandom(32)
        self.counter = 0

    def reset(self) -> None:
        """Forget everything (CTAP 2.1, 6.6)."""
        self.client_pin = ClientPin(shortest=self._factory)
        self.resident.clear()
        self._secret = os.urandom(32)

    def power_up(self) -> None:
        """Be plugged in."""
        self._powered = time.monotonic()
        self.client_pin.power_up()

    def cbor(self, request: bytes, touch: Touch) -> bytes:
        """Answer a CTAP2 command: a status octet, and CBOR if that is 0."""
        commands: dict[int, Callable[[Mapping[int, Any], Touch], Mapping[int, Any] | None]] = {
            0x01: self._make_credential,
            0x02: self._get_assertion,
            0x04: self._get_info,
            0x06: self._client_pin,
            0x07: self._reset,
            0x0A: self._credential_management,
            0x0B: self._selection,
            0x0D: self._config,
        }
        command = commands.get(request[0]) if request and self.model.aaguid is not None else None
        if command is None:
            return bytes([CtapStatus.INVALID_COMMAND])
        try:
            parameters = cbor.decode(request[1:]) if request[1:] else {}
            answer = command(parameters, touch)  # type: ignore[arg-type] # what is no map is refused by what it lacks
        except CtapRefusal as refusal:
            return bytes([refusal.status])
        except (KeyError, TypeError, AttributeError):
            return bytes([CtapStatus.MISSING_PARAMETER])
        except (ValueError, IndexError, struct.error):
            return bytes([CtapStatus.INVALID_CBOR])
        return bytes([CtapStatus.OK]) + (cbor.encode(answer) if answer is not None else b"")

    def _get_info(self, _: Mapping[int, Any], __: Touch) -> Mapping[int, Any]:
        model, pin = self.model, self.client_pin
        options = {
            "rk": True,
            "up": True,
            "clientPin": pin.hash is not None,
            "credMgmt": True,
            "pinUvAuthToken": True,
            "makeCredUvNotRqd": self.behavior.uv_not_required,
            "alwaysUv": self.behavior.always_uv,
        }
        if self.behavior.configurable:
            options |= {"authnrCfg": True, "setMinPINLength": True}
        if model.fingerprint:
            options["uv"] = True
        info: dict[int, Any] = {
            1: list(model.versions),
            2: ["hmac-secret"],
            3: model.aaguid,
            4: options,
            5: 1200,
            6: list(model.protocols),
            7: 8,
            8: 128,
            9: list(model.transports),
            10: [{"alg": ES256, "type": "public-key"}],
            12: pin.force_change,
            13: pin.shortest,
            14: int.from_bytes(bytes(model.firmware)),
            20: model.residents - len(self.resident),
        }
        if model.certifications:
            info[19] = dict(model.certifications)
        return info

    def _make_credential(self, request: Mapping[int, Any], touch: Touch) -> Mapping[int, Any]:
        client_data_hash, rp_id = request[1], request[2]["id"]
        if not any(each["alg"] == ES256 for each in request[4]):
            raise CtapRefusal(CtapStatus.UNSUPPORTED_ALGORITHM)
        options = request.get(7, {})
        resident = options.get("rk", False) or self.behavior.keep
        verified = self._verified(request.get(8), request.get(9), client_data_hash, options, touch)
        needed = self.behavior.always_uv or (self.client_pin.hash and not self.behavior.uv_not_required)
        if (needed or (resident and self.client_pin.hash)) and not verified:
            raise CtapRefusal(CtapStatus.PUAT_REQUIRED)
        rp_hash = hashlib.sha256(rp_id.encode()).digest()
        touch.wait()
        if any(self._private(each["id"], rp_hash) for each in request.get(5) or []):
            raise CtapRefusal(CtapStatus.CREDENTIAL_EXCLUDED)
        if resident and len(self.resident) >= self.model.residents:
            raise CtapRefusal(CtapStatus.KEY_STORE_FULL)
        credential, private = self._new(rp_hash)
        if resident:
            self.resident.append((rp_id, credential))
        numbers = private.public_key().public_numbers()
        public = {1: 2, 3: ES256, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        aaguid = bytes(16) if self.behavior.attestation == "fido-u2f" else self.model.aaguid
        attested = (aaguid or b"") + len(credential).to_bytes(2) + credential + cbor.encode(public)
        data = self._data(rp_hash, UP | AT | (UV if verified else 0), attested)
        name, statement = self._statement(data, client_data_hash, credential=credential, private=private)
        return {1: name, 2: data, 3: statement}

    def _statement(
        self, data: bytes, client_data_hash: bytes, *, credential: bytes, private: ec.EllipticCurvePrivateKey
    ) -> tuple[str, Mapping[str, Any]]:
        signed = data + client_data_hash
        match self.behavior.attestation:
            case "packed":
                return "packed", {"alg": ES256, "sig": _sign(self._issued.key, signed), "x5c": self._x5c}
            case "self":
                return "packed", {"alg": ES256, "sig": _sign(private, signed)}
            case "none":
                return "none", {}
            case "fido-u2f":
                message = b"\0" + data[:32] + client_data_hash + credential + _point(private)
                return "fido-u2f", {"sig": _sign(self._issued.key, message), "x5c": self._x5c[:1]}
            case other:
                return other, {"alg": ES256, "sig": b"", "x5c": self._x5c}

    def _get_assertion(self, request: Mapping[int, Any], touch: Touch) -> Mapping[int, Any]:
        rp_hash = hashlib.sha256(request[1].encode()).digest()
        client_data_hash, options = request[2], request.get(5, {})
        presence = options.get("up", True)
        verified = self._verified(request.get(6), request.get(7), client_data_hash, options, touch)
        if self.behavior.always_uv and presence and not verified:
            raise CtapRefusal(CtapStatus.PUAT_REQUIRED)
        known = [each for each in request.get(3) or [] if self._private(each["id"], rp_hash)]
        if presence:
            touch.wait()
        private = self._private(known[0]["id"], rp_hash) if known else None
        if private is None:
            raise CtapRefusal(CtapStatus.NO_CREDENTIALS)
        data = self._data(rp_hash, (UP if presence else 0) | (UV if verified else 0))
        return {
            1: {"id": known[0]["id"], "type": "public-key"},
            2: data,
            3: _sign(private, data + client_data_hash),
        }

    def _verified(
        self, mac: bytes | None, protocol: int | None, message: bytes, options: Mapping[str, bool], touch: Touch
    ) -> bool:
        if mac is not None:
            return self.client_pin.verified(protocol or 1, message, mac)
        if options.get("uv"):
            if not self.model.fingerprint:
                raise CtapRefusal(CtapStatus.INVALID_OPTION)
            touch.wait()
            return True
        return False

    def _client_pin(self, request: Mapping[int, Any], touch: Touch) -> Mapping[int, Any] | None:
        if self.model.fingerprint and request[2] == 6:  # noqa: PLR2004 - getPinUvAuthTokenUsingUvWithPermissions
            touch.wait()
        return self.client_pin.answer(request, uv=self.model.fingerprint) or None

    def _credential_management(self, request: Mapping[int, Any], _: Touch) -> Mapping[int, Any]:
        if request[1] != 1:
            raise CtapRefusal(CtapStatus.INVALID_SUBCOMMAND)
        if request.get(4) is None:
            raise CtapRefusal(CtapStatus.PUAT_REQUIRED)
        self.client_pin.verified(request[3], b"\x01", request[4])
        return {1: len(self.resident), 2: self.model.residents - len(self.resident)}

    def _config(self, request: Mapping[int, Any], _: Touch) -> None:
        """Answer authenticatorConfig (CTAP 2.1, 6.11), as far as setMinPINLength."""
        command, parameters = request[1], request.get(2, {})
        if not self.behavior.configurable or command != 3:  # noqa: PLR2004 - setMinPINLength
            raise CtapRefusal(CtapStatus.INVALID_SUBCOMMAND)
        if self.client_pin.hash:
            if request.get(4) is None:
                raise CtapRefusal(CtapStatus.PUAT_REQUIRED)
            message = b"\xff" * 32 + bytes([0x0D, command]) + cbor.encode(parameters)
            self.client_pin.verified(request[3], message, request[4])
        self.client_pin.configure(parameters.get(1), force_change=parameters.get(3, False))

    def _reset(self, _: Mapping[int, Any], touch: Touch) -> None:
        if time.monotonic() - self._powered > self.behavior.reset_within:
            raise CtapRefusal(CtapStatus.NOT_ALLOWED)
        touch.wait()
        self.reset()

    def _selection(self, _: Mapping[int, Any], touch: Touch) -> None:
        touch.wait()

    def apdu(self, apdu: bytes, touch: Touch) -> tuple[bytes, StatusWord]:
        """Answer a U2F raw message (FIDO U2F Raw Message Formats 1.2)."""
        cla, ins, p1 = apdu[0], apdu[1], apdu[2]
        data = _body(apdu)
        if cla:
            return b"", StatusWord.CLA_NOT_SUPPORTED
        match ins:
            case 0x01 if len(data) == 64:  # noqa: PLR2004 - challenge and application parameter
                return self._u2f_register(data[:32], data[32:], touch)
            case 0x02 if len(data) > 64:  # noqa: PLR2004 - and a key handle
                return self._u2f_authenticate(p1, data, touch)
            case 0x03 if "U2F_V2" in self.model.versions:
                return b"U2F_V2", StatusWord.OK
            case 0x01 | 0x02:
                return b"", StatusWord.WRONG_LENGTH
            case _:
                return b"", StatusWord.INS_NOT_SUPPORTED

    def _u2f_register(self, challenge: bytes, application: bytes, touch: Touch) -> tuple[bytes, StatusWord]:
        if not touch.ready():
            return b"", StatusWord.CONDITIONS_NOT_SATISFIED
        handle, private = self._new(application)
        point = _point(private)
        signature = _sign(self._issued.key, b"\0" + application + challenge + handle + point)
        return b"\x05" + point + bytes([len(handle)]) + handle + self._issued.der + signature, StatusWord.OK

    def _u2f_authenticate(self, p1: int, data: bytes, touch: Touch) -> tuple[bytes, StatusWord]:
        challenge, application, handle = data[:32], data[32:64], data[65 : 65 + data[64]]
        private = self._private(handle, application)
        if private is None:
            return b"", StatusWord.WRONG_DATA
        if p1 == 0x07 or not touch.ready():  # noqa: PLR2004 - check-only
            return b"", StatusWord.CONDITIONS_NOT_SATISFIED
        head = bytes([UP & ~self.behavior.hide]) + self._count()
        return head + _sign(private, application + head + challenge), StatusWord.OK

    def _data(self, rp_hash: bytes, flags: int, attested: bytes = b"") -> bytes:
        return rp_hash + bytes([flags & ~self.behavior.hide]) + self._count() + attested

    def _count(self) -> bytes:
        self.counter += self.behavior.count
        return self.counter.to_bytes(4)

    def _new(self, rp_hash: bytes) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
        self.registered += 1
        nonce = os.urandom(ID_LENGTH - MAC_LENGTH)
        credential = nonce + hmac.digest(self._secret, nonce + rp_hash, "sha256")[:MAC_LENGTH]
        private = self._private(credential, rp_hash)
        assert private is not None  # noqa: S101 - it was made in the line above
        return credential, private

    def _private(self, credential: bytes, rp_hash: bytes) -> ec.EllipticCurvePrivateKey | None:
        nonce, mac = credential[:-MAC_LENGTH], credential[-MAC_LENGTH:]
        if not hmac.compare_digest(mac, hmac.digest(self._secret, nonce + rp_hash, "sha256")[:MAC_LENGTH]):
            return None
        scalar = int.from_bytes(hashlib.sha512(self._secret + credential).digest()) % (ORDER - 1) + 1
        return ec.derive_private_key(scalar, ec.SECP256R1())


def _sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return b"\x04" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)


def _body(apdu: bytes) -> bytes:
    """Return the data of a short or an extended APDU (ISO 7816-4, 5.1)."""
    if len(apdu) > 7 and apdu[4] == 0:  # noqa: PLR2004 - header, zero and two octets of length
        return apdu[7 : 7 + int.from_bytes(apdu[5:7])]
    return apdu[5 : 5 + apdu[4]] if len(apdu) > 5 else b""  # noqa: PLR2004 - header and a length


def lab_key(maker: AttestationCa, **how: Any) -> SimulatedKey:
    """Make an honest key of this maker's, with a certificate that says its model and firmware."""
    model = how.get("model") or KeyModel()
    return SimulatedKey(maker.certificate(model.aaguid, firmware=model.firmware), **how)
