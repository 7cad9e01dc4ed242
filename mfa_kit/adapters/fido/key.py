"""Opens a FIDO key, and gives access to its information, PIN and signatures. A PIN is never retried automatically.

The type of an attestation statement (WebAuthn Level 3, 8) and its signature are checked here. adapters/metadata decides
whether the certificates are trusted.
"""

import math
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from cryptography import x509
from fido2.attestation.base import AttestationResult, AttestationType
from fido2.attestation.packed import PackedAttestation
from fido2.attestation.u2f import FidoU2FAttestation
from fido2.client import ClientError, DefaultClientDataCollector, Fido2Client, UserInteraction
from fido2.ctap import CtapError
from fido2.ctap1 import ApduError, Ctap1
from fido2.ctap2.base import Ctap2, Info
from fido2.ctap2.config import Config
from fido2.ctap2.credman import CredentialManagement
from fido2.ctap2.pin import ClientPin
from fido2.hid import CAPABILITY
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestationConveyancePreference,
    AttestationObject,
    AttestedCredentialData,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from mfa_kit.adapters.fido import links
from mfa_kit.adapters.fido.links import (
    CARD_ERRORS,
    GARBLED,
    SAYINGS,
    UNTOUCHED,
    all_shortened,
    ctap_status,
    key_faults,
    short_reason,
    shortened,
)
from mfa_kit.core.errors import DeviceFault, RefusedPin, ResetTooLate
from mfa_kit.core.firmware import Version
from mfa_kit.core.message import Message, UserAction
from mfa_kit.core.text import count_of
from mfa_kit.security_keys.authenticator import (
    LONGEST_PIN,
    PIN_LOCKED,
    RESET_COST,
    Assertion,
    KeyInfo,
    Link,
    Pin,
    PluggedKey,
    Registration,
    StatementKind,
)

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


# The user is reminded to touch the key when this many seconds remain.
COUNTDOWN = (20, 10, 5)
# The maximum number of requests before the request that waits for a touch: getInfo, key agreement and PIN token. A key
# answers them immediately.
ROUND = 3
# The minimum of maxMsgSize (CTAP 2.1, 6.4).
SMALLEST_MESSAGE = 1024
# The maximum of maxCredentialCountInList that mfa-kit accepts. Real keys report between 8 and 64.
MOST_LISTED = 1024


class _Person(UserInteraction):
    """Gives the PIN to python-fido2 once, and no PIN when python-fido2 asks again.

    Sending the PIN to the key again would use up another try, and only the user may decide to do that.
    """

    def __init__(self, pin: Pin | None) -> None:
        self._pin = pin

    def request_pin(self, permissions: ClientPin.PERMISSION, rp_id: str | None) -> str | None:
        """Return the PIN at the first call, then None."""
        pin, self._pin = self._pin, None
        return pin.reveal() if pin else None


@contextmanager
def open_key(
    key_name: str | None, *, tell: Callable[[str], None], relying_party: str | None = None
) -> Iterator["FidoKey"]:
    """Open a key, yield it, and close it at the end.

    `key_name` is the path or serial number of the key; None means the only key that is plugged in. `tell` shows the
    user an instruction, such as to touch the key. Registrations are for the domain `relying_party`, or for a random
    domain if `relying_party` is None. Raise DeviceFault if the key cannot be opened.
    """
    key = links.find_key(key_name)
    with key_faults():
        device = links.open_device(key)
    try:
        yield FidoKey(device, tell=tell, relying_party=relying_party)
    finally:
        with suppress(OSError, *CARD_ERRORS):
            device.close()


class FidoKey:
    """An open key. It can be used until it is unplugged."""

    def __init__(
        self, device: links.BoundedDevice, *, tell: Callable[[str], None], relying_party: str | None = None
    ) -> None:
        self._device = device
        self._tell = tell
        self._rp = relying_party or throw_away_party()
        self._credential: AttestedCredentialData | None = None
        self._pin_tries: int | None = None

    def info(self) -> KeyInfo:
        """Return what the key reports about itself. This needs no touch."""
        with key_faults():
            u2f = self._speaks_u2f()
            if not self._device.capabilities & CAPABILITY.CBOR:
                return KeyInfo(plugged=self._device.place, versions=u2f, firmware=self._device.version)
            ctap = Ctap2(self._device)
            key_info = _info(self._device.place, ctap.info, u2f=u2f, device_version=self._device.version)
            if not key_info.pin_set:
                return key_info
            try:
                tries, replug = ClientPin(ctap).get_pin_retries()
            except (CtapError, ValueError):
                # The key omits its PIN protocols, or does not report the remaining tries.
                return key_info
            self._pin_tries = int(tries)
            return replace(key_info, pin_retries=self._pin_tries, replug=bool(replug))

    def residents(self, pin: Pin) -> tuple[int, int]:
        """Return how many resident credentials the key has, and how many more it can store.

        Raise DeviceFault if the key cannot count its credentials, or the PIN is wrong.
        """
        with key_faults(), self._pin_errors():
            ctap = Ctap2(self._device)
            client_pin = ClientPin(ctap)
            if not CredentialManagement.is_supported(ctap.info):
                raise DeviceFault("this key cannot count its credentials", "count them with the manufacturer's tool")
            token = client_pin.get_pin_token(pin.reveal(), ClientPin.PERMISSION.CREDENTIAL_MGMT)
            management = CredentialManagement(ctap, client_pin.protocol, token)
            counted, fields = management.get_metadata(), CredentialManagement.RESULT
            return int(counted[fields.EXISTING_CRED_COUNT]), int(counted[fields.MAX_REMAINING_COUNT])

    def set_pin(self, new: Pin) -> None:
        """Set the first PIN. Raise DeviceFault if the key already has a PIN or rejects the new PIN."""
        with key_faults(), self._new_pin():
            ClientPin(Ctap2(self._device)).set_pin(new.reveal())

    def change_pin(self, old: Pin, new: Pin) -> None:
        """Change the PIN.

        Raise DeviceFault if the key rejects the new PIN, or if the old PIN is wrong. For a wrong PIN, the message has
        the number of remaining tries.
        """
        with key_faults(), self._pin_errors(), self._new_pin():
            ClientPin(Ctap2(self._device)).change_pin(old.reveal(), new.reveal())

    def try_pin(self, pin: Pin) -> None:
        """Check the PIN by requesting a PIN token, which is then not used. Raise DeviceFault if the PIN is wrong."""
        with key_faults(), self._pin_errors():
            ClientPin(Ctap2(self._device)).get_pin_token(pin.reveal(), ClientPin.PERMISSION.GET_ASSERTION, self._rp)

    def set_pin_policy(self, pin: Pin | None, *, shortest: int | None, force_change: bool) -> None:
        """Set the minimum PIN length, and whether the PIN has to be changed before the next use (CTAP 2.1, 6.11.4).

        `pin` is None if the key has no PIN. If `shortest` is None, the minimum length does not change.
        """
        with key_faults(), self._pin_errors():
            ctap = Ctap2(self._device)
            if not Config.is_supported(ctap.info):
                raise DeviceFault("this key cannot be configured", "try the manufacturer's tool, or use another key")
            if pin:
                client_pin = ClientPin(ctap)
                token = client_pin.get_pin_token(pin.reveal(), ClientPin.PERMISSION.AUTHENTICATOR_CFG)
                config = Config(ctap, client_pin.protocol, token)
            else:
                config = Config(ctap)
            config.set_min_pin_length(shortest, force_change_pin=force_change)

    def toggle_always_uv(self, pin: Pin) -> None:
        """Switch the option alwaysUv on if it is off, and off if it is on (CTAP 2.1, 6.11.2)."""
        with key_faults(), self._pin_errors():
            ctap = Ctap2(self._device)
            client_pin = ClientPin(ctap)
            token = client_pin.get_pin_token(pin.reveal(), ClientPin.PERMISSION.AUTHENTICATOR_CFG)
            Config(ctap, client_pin.protocol, token).toggle_always_uv()

    def reset(self) -> None:
        """Erase the key (CTAP 2.1, 6.6).

        The key allows this only within ten seconds after it is plugged in, and requires a touch.
        """
        with key_faults(), self._finger():
            try:
                Ctap2(self._device).reset()
            except CtapError as error:
                if error.code != CtapError.ERR.NOT_ALLOWED:
                    raise
                raise ResetTooLate(
                    "the key accepts a reset only in the first ten seconds after it is plugged in; nothing was erased",
                    "plug the key in again, and repeat the reset at once",
                ) from None

    def register(self, *, verify: bool, pin: Pin | None, known: Sequence[bytes] = ()) -> Registration | None:
        """Create a non-resident credential with direct attestation. This requires a touch.

        `known` has the credentials of the keys that were examined before. Return None if this key created one of these
        credentials for this relying party, which means that this key was examined before.
        """
        server = self._server()
        options, state = server.register_begin(
            PublicKeyCredentialUserEntity(
                id=secrets.token_bytes(16), name="mfa-kit check", display_name="mfa-kit check"
            ),
            credentials=[AttestedCredentialData(credential) for credential in known],
            resident_key_requirement=ResidentKeyRequirement.DISCOURAGED,
            user_verification=_requirement(verify=verify),
        )
        with key_faults(), self._pin_errors(), self._finger():
            try:
                response = self._client(pin).make_credential(options.public_key)
            except ClientError as error:
                if known and error.code == ClientError.ERR.DEVICE_INELIGIBLE:
                    return None
                raise
        with key_faults():
            answer = response.response
            registration = registration_of(answer.attestation_object, answer.client_data.hash)
            self._credential = answer.attestation_object.auth_data.credential_data
            try:
                server.register_complete(state, response)
            except GARBLED as error:
                registration = replace(registration, statement=StatementKind.BROKEN, flaw=short_reason(error))
        return registration

    @property
    def relying_party(self) -> str:
        """The domain for which the key registers credentials."""
        return self._rp

    @property
    def credential(self) -> bytes:
        """The credential of the last registration, without its private key. Empty before the first registration.

        The credential identifies the key, but cannot be used to sign.
        """
        return bytes(self._credential or b"")

    def assertion(self, *, verify: bool, pin: Pin | None) -> Assertion:
        """Have the key sign a challenge with the credential of the last registration. This requires a touch."""
        if self._credential is None:
            raise TypeError("register first")
        server = self._server()
        options, state = server.authenticate_begin([self._credential], _requirement(verify=verify))
        with key_faults(), self._pin_errors(), self._finger():
            response = self._client(pin).get_assertion(options.public_key).get_response(0)
        with key_faults():
            data = response.response.authenticator_data
            flaw = None
            try:
                server.authenticate_complete(state, [self._credential], response)
            except GARBLED as error:
                flaw = short_reason(error)
            return Assertion(
                flaw=flaw, present=data.is_user_present(), verified=data.is_user_verified(), counter=data.counter
            )

    def _server(self) -> Fido2Server:
        server = Fido2Server(
            PublicKeyCredentialRpEntity(id=self._rp, name="mfa-kit check"), AttestationConveyancePreference.DIRECT
        )
        server.timeout = int(links.TOUCH * 1000)  # type: ignore[assignment] # the library declares None
        return server

    def _client(self, pin: Pin | None) -> Fido2Client:
        collector = DefaultClientDataCollector(f"https://{self._rp}")
        return Fido2Client(self._device, collector, _Person(pin), extensions=[])

    def _speaks_u2f(self) -> tuple[str, ...]:
        """Return a tuple with `U2F_V2` if the key supports U2F, or an empty tuple if it does not.

        This sends U2F's own version command, because the response to getInfo may omit U2F.
        """
        if self._device.capabilities & CAPABILITY.NMSG and self._device.place.link is Link.HID:
            return ()
        try:
            return ("U2F_V2",) if Ctap1(self._device).get_version() == "U2F_V2" else ()
        except (ApduError, CtapError):
            return ()

    @contextmanager
    def _finger(self) -> Iterator[None]:
        """Ask the user for a touch just before the request that requires it, and count down.

        The prompt is not shown at the key's first keepalive, because a key may send none. It is not shown before the
        preceding requests, because one of them, such as the check of a PIN, may fail.
        """
        self._device.deadline.allow(links.TOUCH + links.SLACK + ROUND * links.PROMPT)
        began = math.inf
        marks = list(COUNTDOWN)

        def asked() -> None:
            nonlocal began
            if began == math.inf:
                began = time.monotonic()
                self._tell(Message(f"touch your key now ({links.TOUCH:.0f} s)", action=UserAction.TOUCH))

        def tick() -> None:
            seconds = links.TOUCH - (time.monotonic() - began)
            while marks and seconds <= marks[0]:
                self._tell(Message(f"touch your key now ({marks.pop(0)} s left)", action=UserAction.TOUCH))

        self._device.finger, self._device.deadline.tick = asked, tick
        try:
            yield
        finally:
            self._device.finger = self._device.deadline.tick = lambda: None
            self._device.deadline.allow(math.inf)

    @contextmanager
    def _new_pin(self) -> Iterator[None]:
        """Convert the error for a new PIN that the key rejects to DeviceFault."""
        try:
            yield
        except CtapError as error:
            if error.code != CtapError.ERR.PIN_POLICY_VIOLATION:
                raise
            raise RefusedPin(
                "the key rejected the new PIN; nothing was changed",
                "choose a longer PIN that is not a sequence such as 123456",
            ) from None

    @contextmanager
    def _pin_errors(self) -> Iterator[None]:
        """Convert the error for a wrong PIN to DeviceFault with the number of tries left, which only the key knows."""
        try:
            yield
        except (ClientError, CtapError) as error:
            code = ctap_status(error)
            if code not in {CtapError.ERR.PIN_INVALID, CtapError.ERR.PIN_AUTH_BLOCKED}:
                self._check_tries(error)
                raise
            tries, replug = ClientPin(Ctap2(self._device)).get_pin_retries()
            if code == CtapError.ERR.PIN_AUTH_BLOCKED:
                # The PIN was wrong for the third time in a row, or the key accepted no PIN because it had to be
                # unplugged first. Older keys report the same error in both cases.
                raise _after_wrong_pin(SAYINGS[code][0], tries, SAYINGS[code][1]) from None
            hint = "unplug the key and plug it in again before the next try" if replug else "repeat the command"
            raise _after_wrong_pin("the PIN is wrong", tries, hint) from None

    def _check_tries(self, error: Exception) -> None:
        """Raise DeviceFault if the key counted a wrong PIN although it reported another error."""
        if self._pin_tries is None or ctap_status(error) in UNTOUCHED:
            return
        try:
            tries, _ = ClientPin(Ctap2(self._device)).get_pin_retries()
        except (CtapError, DeviceFault, *GARBLED):
            return
        before, self._pin_tries = self._pin_tries, int(tries)
        if tries < before:
            reported = f" (it reported: {short_reason(error)})"
            raise _after_wrong_pin(
                "the key counted a wrong PIN", tries, "repeat the command with the right PIN", reported
            ) from None


def _after_wrong_pin(problem: str, tries: int, hint: str, reported: str = "") -> DeviceFault:
    """Return the error for a wrong PIN. `tries` is the number of tries left, and `hint` is for more than one."""
    if tries == 0:
        return DeviceFault(f"{problem}; {PIN_LOCKED[0]}", PIN_LOCKED[1])
    if tries == 1:
        hint = f"look the PIN up first: one more wrong PIN locks the key, and only a reset unlocks it; {RESET_COST}"
    return DeviceFault(f"{problem}; {count_of(tries, 'try is', 'tries are')} left{reported}", hint)


def throw_away_party() -> str:
    """Return a random relying party ID, which is a domain that cannot exist (RFC 6761: .invalid)."""
    return f"{secrets.token_hex(8)}.mfa-kit.invalid"


def _requirement(*, verify: bool) -> UserVerificationRequirement:
    return UserVerificationRequirement.REQUIRED if verify else UserVerificationRequirement.DISCOURAGED


def _info(place: PluggedKey, info: Info, *, u2f: tuple[str, ...], device_version: Version | None) -> KeyInfo:
    # If a list of credentials exceeds max_msg_size, python-fido2 tries again with one credential fewer, starting at
    # max_creds_in_list. With a huge max_creds_in_list or a tiny max_msg_size, it would try for a long time.
    if not 0 <= info.max_creds_in_list <= MOST_LISTED or info.max_msg_size < SMALLEST_MESSAGE:
        raise ValueError("max_creds_in_list or max_msg_size is out of range")
    # mfa-kit generates PINs of at least min_pin_length characters. A PIN longer than LONGEST_PIN is never valid.
    if info.min_pin_length > LONGEST_PIN:
        raise ValueError("the minimum PIN length is above the maximum")
    versions = all_shortened(info.versions)
    return KeyInfo(
        plugged=place,
        versions=tuple(dict.fromkeys((*versions, *u2f))),
        aaguid=str(info.aaguid) if info.aaguid else None,
        firmware=device_version or Version.of(int(info.firmware_version)),
        transports=all_shortened(info.transports),
        options={shortened(name): bool(value) for name, value in info.options.items()},
        extensions=all_shortened(info.extensions),
        algorithms=tuple(int(algorithm["alg"]) for algorithm in info.algorithms),
        certifications={shortened(name): int(value) for name, value in info.certifications.items()},
        min_pin_length=int(info.min_pin_length),
        force_pin_change=bool(info.force_pin_change),
        resident_free=info.remaining_disc_creds,
        long_touch_for_reset=bool(info.long_touch_for_reset),
        transports_for_reset=all_shortened(info.transports_for_reset),
        pin_complexity=None if info.pin_complexity_policy is None else bool(info.pin_complexity_policy),
        max_pin_length=int(info.max_pin_length),
    )
