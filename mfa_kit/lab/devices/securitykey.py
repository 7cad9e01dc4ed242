"""A simulated security key that answers commands of CTAP 2.1 and U2F. ctaphid.py and fidocard.py transport them.

The key follows the standards by default. `KeyModel` sets what the key reports about itself, and `KeyBehavior` how the
key behaves.
"""

import hashlib
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor

from mfa_kit.lab.devices.apdu import Apdu, StatusWord
from mfa_kit.lab.devices.attestation_ca import AttestationCa, IssuedCertificate
from mfa_kit.lab.devices.clientpin import GET_TOKEN_UV, ClientPin, digest
from mfa_kit.lab.devices.ctap import (
    ES256,
    CredentialSecret,
    CtapRefusal,
    CtapStatus,
    GetAssertionRequest,
    MakeCredentialRequest,
    Parameters,
    UserVerification,
    cose_key,
    public_point,
    sign,
)

# Flags of authenticatorData: user present, user verified, attested credential data (WebAuthn, 6.1).
UP, UV, AT = 0x01, 0x04, 0x40
# The command authenticatorConfig, and its subcommands toggleAlwaysUv and setMinPINLength (CTAP 2.1, 6.11).
CONFIG, TOGGLE_ALWAYS_UV, SET_MIN_PIN_LENGTH = 0x0D, 2, 3
# The subcommand getCredsMetadata of authenticatorCredentialManagement (CTAP 2.1, 6.8.2).
GET_CREDENTIALS_METADATA = 1
# In U2F raw messages: the control byte check-only, and the total length in octets of the challenge parameter and the
# application parameter.
CHECK_ONLY, HASHES = 0x07, 64
Response = Mapping[int, object]


class U2fCommand(IntEnum):
    """Commands of FIDO U2F Raw Message Formats 1.2."""

    REGISTER = 0x01
    AUTHENTICATE = 0x02
    VERSION = 0x03


class Touch(Protocol):
    """Reports whether the key was touched. Each transport implements it."""

    def wait(self) -> None:
        """Wait until the key is touched. Raise CtapRefusal if it is not touched in time, or if the client cancels.

        In a transport whose clients repeat a request until the touch (fidocard.py), this does not wait. Before the
        touch, it raises an exception of the transport instead, which ends the handling of the request.
        """
        ...

    def ready(self) -> bool:
        """Return whether the touch that the request needs has happened, without waiting for it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyModel:
    """The model of a key: what the key reports about itself, mostly in getInfo (CTAP 2.1, 6.4).

    A key without an AAGUID supports U2F only. `product` is the name of the USB device. `protocols` are PIN/UV auth
    protocols, with the preferred one first. `residents` is the number of resident credentials that the key can hold.
    With `fingerprint`, the key can verify a user without a PIN.
    """

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
    """How a key behaves. `touch` is the time in seconds until the user touches the key; None means never.

    `attestation` is the format of attestation statements (WebAuthn, 8): packed, self (packed without a certificate),
    fido-u2f or none. Any other name produces a statement without a valid signature. `always_uv` and `uv_not_required`
    are the options alwaysUv and makeCredUvNotRqd of getInfo. Each signature adds `count` to the signature counter.
    `hide` has the flags that the key never sets in authenticatorData. `keep` makes every credential resident.
    `reset_within` is the time in seconds after power-up in which the key accepts a reset. `configurable` is whether the
    key supports authenticatorConfig.

    `erases` is called by a reset. With `YkoathCard.erase`, a reset also erases the OATH applet of the same key, as in
    pico-fido, whose cbor_reset erases all of its flash memory.
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
    erases: Callable[[], None] = lambda: None


class SimulatedKey:
    """A simulated security key.

    `issued` is its attestation certificate with the private key, and `chain` has the CA certificates that follow it in
    an attestation. `resident` has the relying party ID and the credential ID of each resident credential. `registered`
    counts all credentials that the key has created; tests read it.
    """

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
        self.always_uv = self.behavior.always_uv
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
        self.issued = issued
        self._x5c = [issued.der, *(certificate.der for certificate in chain)]
        self._secret = CredentialSecret()
        self.counter = 0

    def reset(self) -> None:
        """Forget the PIN, the credentials and the secret (CTAP 2.1, 6.6)."""
        self.client_pin = ClientPin(shortest=self._factory, refuses=self.client_pin.refuses)
        self.always_uv = self.behavior.always_uv
        self.resident.clear()
        self._secret = CredentialSecret()
        self.behavior.erases()

    def power_up(self) -> None:
        """Restart the key, as if it had just been plugged in."""
        self._powered = time.monotonic()
        self.client_pin.power_up()

    def cbor(self, request: bytes, touch: Touch) -> bytes:
        """Return the response to a CTAP2 command: a status octet, followed by CBOR if there is data."""
        command = self._COMMANDS.get(request[0]) if request and self.model.aaguid is not None else None
        if command is None:
            return bytes([CtapStatus.INVALID_COMMAND])
        try:
            response = command(self, Parameters.decode(request[1:]), touch)
        except CtapRefusal as refusal:
            return bytes([refusal.status])
        except (KeyError, TypeError, AttributeError):
            return bytes([CtapStatus.MISSING_PARAMETER])
        except (ValueError, IndexError, struct.error):
            return bytes([CtapStatus.INVALID_CBOR])
        return bytes([CtapStatus.OK]) + (cbor.encode(response) if response is not None else b"")

    def _get_info(self, _: Parameters, __: Touch) -> Response:
        model, pin = self.model, self.client_pin
        options = {
            "rk": True,
            "up": True,
            "clientPin": pin.hash is not None,
            "credMgmt": True,
            "pinUvAuthToken": True,
            "makeCredUvNotRqd": self.behavior.uv_not_required,
            "alwaysUv": self.always_uv,
        }
        if self.behavior.configurable:
            options |= {"authnrCfg": True, "setMinPINLength": True}
        if model.fingerprint:
            options["uv"] = True
        info: dict[int, object] = {
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

    def _make_credential(self, parameters: Parameters, touch: Touch) -> Response:
        request = MakeCredentialRequest.parse(parameters)
        if ES256 not in request.algorithms:
            raise CtapRefusal(CtapStatus.UNSUPPORTED_ALGORITHM)
        resident = request.resident or self.behavior.keep
        verified = self._verify_user(request.verification, request.client_data_hash, touch)
        if self._needs_verification(resident=resident) and not verified:
            raise CtapRefusal(CtapStatus.PUAT_REQUIRED)
        rp_hash = hashlib.sha256(request.rp_id.encode()).digest()
        touch.wait()
        if any(self._secret.accepts(credential_id, rp_hash) for credential_id in request.excluded):
            raise CtapRefusal(CtapStatus.CREDENTIAL_EXCLUDED)
        if resident and len(self.resident) >= self.model.residents:
            raise CtapRefusal(CtapStatus.KEY_STORE_FULL)
        credential, private = self._new_credential(rp_hash)
        if resident:
            self.resident.append((request.rp_id, credential))
        data = self._data(rp_hash, UP | AT | UV * verified, self._attested(credential, private))
        name, statement = self._statement(data, request.client_data_hash, credential=credential, private=private)
        return {1: name, 2: data, 3: statement}

    def _needs_verification(self, *, resident: bool) -> bool:
        """Return whether a new credential requires user verification (CTAP 2.1, 6.1.2, makeCredUvNotRqd)."""
        has_pin = self.client_pin.hash is not None
        return self.always_uv or (has_pin and (resident or not self.behavior.uv_not_required))

    def _attested(self, credential: bytes, private: ec.EllipticCurvePrivateKey) -> bytes:
        """Return attested credential data (WebAuthn, 6.5.1)."""
        aaguid = bytes(16) if self.behavior.attestation == "fido-u2f" else self.model.aaguid
        return (aaguid or b"") + len(credential).to_bytes(2) + credential + cbor.encode(cose_key(private))

    def _statement(
        self, data: bytes, client_data_hash: bytes, *, credential: bytes, private: ec.EllipticCurvePrivateKey
    ) -> tuple[str, Mapping[str, object]]:
        """Return a pair: the name of the format, and the attestation statement in this format (WebAuthn, 8)."""
        signed = data + client_data_hash
        match self.behavior.attestation:
            case "packed":
                return "packed", {"alg": ES256, "sig": sign(self.issued.key, signed), "x5c": self._x5c}
            case "self":
                return "packed", {"alg": ES256, "sig": sign(private, signed)}
            case "none":
                return "none", {}
            case "fido-u2f":
                message = b"\0" + data[:32] + client_data_hash + credential + public_point(private)
                return "fido-u2f", {"sig": sign(self.issued.key, message), "x5c": self._x5c[:1]}
            case other:
                return other, {"alg": ES256, "sig": b"", "x5c": self._x5c}

    def _get_assertion(self, parameters: Parameters, touch: Touch) -> Response:
        request = GetAssertionRequest.parse(parameters)
        rp_hash = hashlib.sha256(request.rp_id.encode()).digest()
        verified = self._verify_user(request.verification, request.client_data_hash, touch)
        if self.always_uv and request.presence and not verified:
            raise CtapRefusal(CtapStatus.PUAT_REQUIRED)
        known = [credential_id for credential_id in request.allowed if self._secret.accepts(credential_id, rp_hash)]
        if request.presence:
            touch.wait()
        if not known:
            raise CtapRefusal(CtapStatus.NO_CREDENTIALS)
        data = self._data(rp_hash, UP * request.presence | UV * verified)
        signature = sign(self._secret.private_key(known[0]), data + request.client_data_hash)
        return {1: {"id": known[0], "type": "public-key"}, 2: data, 3: signature}

    def _verify_user(self, verification: UserVerification, message: bytes, touch: Touch) -> bool:
        """Return whether the request verifies the user, with a pinUvAuthParam or a fingerprint.

        `message` is the data that the pinUvAuthParam authenticates. Raise CtapRefusal if the verification fails.
        """
        if verification.mac is not None:
            self.client_pin.verify(verification.protocol, message, verification.mac)
            return True
        if not verification.uv:
            return False
        if not self.model.fingerprint:
            raise CtapRefusal(CtapStatus.INVALID_OPTION)
        touch.wait()
        return True

    def _client_pin(self, request: Parameters, touch: Touch) -> Response | None:
        if self.model.fingerprint and request.need(2, int) == GET_TOKEN_UV:
            touch.wait()
        return self.client_pin.answer(request, uv=self.model.fingerprint) or None

    def _credential_management(self, request: Parameters, _: Touch) -> Response:
        """Answer authenticatorCredentialManagement (CTAP 2.1, 6.8). Only getCredsMetadata is supported."""
        if request.need(1, int) != GET_CREDENTIALS_METADATA:
            raise CtapRefusal(CtapStatus.INVALID_SUBCOMMAND)
        self._verify_token(request, b"\x01")
        return {1: len(self.resident), 2: self.model.residents - len(self.resident)}

    def _config(self, request: Parameters, _: Touch) -> None:
        """Answer authenticatorConfig (CTAP 2.1, 6.11). Only toggleAlwaysUv and setMinPINLength are supported."""
        command = request.need(1, int)
        if not self.behavior.configurable or command not in {TOGGLE_ALWAYS_UV, SET_MIN_PIN_LENGTH}:
            raise CtapRefusal(CtapStatus.INVALID_SUBCOMMAND)
        parameters = request.inner(2) if command == SET_MIN_PIN_LENGTH else None
        if self.client_pin.hash:
            sent = cbor.encode(parameters.members) if parameters else b""
            self._verify_token(request, b"\xff" * 32 + bytes([CONFIG, command]) + sent)
        if parameters is None:
            self.always_uv = not self.always_uv
            return
        self.client_pin.configure(parameters.get(1, int), force_change=bool(parameters.get(3, int)))

    def _verify_token(self, request: Parameters, message: bytes) -> None:
        """Raise CtapRefusal unless member 4 of the request is a valid pinUvAuthParam for `message`.

        Member 3 of the request is the PIN/UV auth protocol.
        """
        mac = request.get(4, bytes)
        if mac is None:
            raise CtapRefusal(CtapStatus.PUAT_REQUIRED)
        self.client_pin.verify(request.need(3, int), message, mac)

    def _reset(self, _: Parameters, touch: Touch) -> None:
        if time.monotonic() - self._powered > self.behavior.reset_within:
            raise CtapRefusal(CtapStatus.NOT_ALLOWED)
        touch.wait()
        self.reset()

    def _selection(self, _: Parameters, touch: Touch) -> None:
        touch.wait()

    # The method for each command, by the command's number (CTAP 2.1, 6).
    _COMMANDS: ClassVar[Mapping[int, "Callable[[SimulatedKey, Parameters, Touch], Response | None]"]] = {
        0x01: _make_credential,
        0x02: _get_assertion,
        0x04: _get_info,
        0x06: _client_pin,
        0x07: _reset,
        0x0A: _credential_management,
        0x0B: _selection,
        CONFIG: _config,
    }

    def apdu(self, apdu: bytes, touch: Touch) -> tuple[bytes, StatusWord]:
        """Answer a U2F raw message (FIDO U2F Raw Message Formats 1.2). Return the body and the status word."""
        command = Apdu.parse(apdu)
        data = command.data
        if command.cla:
            return b"", StatusWord.CLA_NOT_SUPPORTED
        match command.ins:
            case U2fCommand.REGISTER if len(data) == HASHES:
                return self._u2f_register(data[:32], data[32:], touch)
            case U2fCommand.AUTHENTICATE if len(data) > HASHES:
                return self._u2f_authenticate(command.p1, data, touch)
            case U2fCommand.VERSION if "U2F_V2" in self.model.versions:
                return b"U2F_V2", StatusWord.OK
            case U2fCommand.REGISTER | U2fCommand.AUTHENTICATE:
                return b"", StatusWord.WRONG_LENGTH
            case _:
                return b"", StatusWord.INS_NOT_SUPPORTED

    def _u2f_register(self, challenge: bytes, application: bytes, touch: Touch) -> tuple[bytes, StatusWord]:
        if not touch.ready():
            return b"", StatusWord.CONDITIONS_NOT_SATISFIED
        handle, private = self._new_credential(application)
        point = public_point(private)
        signature = sign(self.issued.key, b"\0" + application + challenge + handle + point)
        return b"\x05" + point + bytes([len(handle)]) + handle + self.issued.der + signature, StatusWord.OK

    def _u2f_authenticate(self, p1: int, data: bytes, touch: Touch) -> tuple[bytes, StatusWord]:
        challenge, application, handle = data[:32], data[32:64], data[65 : 65 + data[64]]
        if not self._secret.accepts(handle, application):
            return b"", StatusWord.WRONG_DATA
        if p1 == CHECK_ONLY or not touch.ready():
            return b"", StatusWord.CONDITIONS_NOT_SATISFIED
        head = bytes([UP & ~self.behavior.hide]) + self._count()
        signature = sign(self._secret.private_key(handle), application + head + challenge)
        return head + signature, StatusWord.OK

    def _data(self, rp_hash: bytes, flags: int, attested: bytes = b"") -> bytes:
        """Return authenticatorData (WebAuthn, 6.1)."""
        return rp_hash + bytes([flags & ~self.behavior.hide]) + self._count() + attested

    def _count(self) -> bytes:
        self.counter += self.behavior.count
        return self.counter.to_bytes(4)

    def _new_credential(self, rp_hash: bytes) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
        self.registered += 1
        credential = self._secret.new_credential(rp_hash)
        return credential, self._secret.private_key(credential)


def lab_key(
    maker: AttestationCa,
    *,
    model: KeyModel | None = None,
    behavior: KeyBehavior | None = None,
    pin: str | None = None,
    shortest_pin: int = 4,
    force_change: bool = False,
) -> SimulatedKey:
    """Return a simulated key. `maker` issues its certificate for the model's AAGUID and firmware."""
    model = model or KeyModel()
    issued = maker.certificate(model.aaguid, firmware=model.firmware)
    return SimulatedKey(
        issued, model=model, behavior=behavior, pin=pin, shortest_pin=shortest_pin, force_change=force_change
    )
