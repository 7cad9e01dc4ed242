"""Finds, opens and unlocks OATH keys, sends commands to their YKOATH applet, and converts the responses.

A key may report success without executing the command, so results are read back where possible. This module writes
secrets to a card. Source:
https://docs.yubico.com/yesdk/users-manual/application-oath/oath-protocol.html
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from smartcard.Exceptions import NoCardException
from yubikit.core import Tlv
from yubikit.core.smartcard import SW, ApduError
from yubikit.management import DeviceInfo, ManagementSession
from yubikit.oath import (
    HASH_ALGORITHM,
    INS_CALCULATE_ALL,
    INS_LIST,
    OATH_TYPE,
    TAG_CHALLENGE,
    TAG_NAME,
    TAG_TOUCH,
    Credential,
    CredentialData,
    OathSession,
)
from yubikit.support import get_name

from mfa_kit.adapters.oath.pcsc import (
    NONSENSE,
    SCARD,
    DeadlineThread,
    Wire,
    busy_readers,
    card_faults,
    in_use_fault,
    reader_names,
    reader_states,
)
from mfa_kit.core import otp
from mfa_kit.core.errors import DeviceFault, InUse, NoApplet
from mfa_kit.core.firmware import oath_credentials
from mfa_kit.core.message import Message, UserAction, command
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.core.text import without_controls
from mfa_kit.oath_keys.credential import OathKey, remedy
from mfa_kit.posix.card_readers import is_empty

# The seconds that a user has to touch a key, and the numbers of remaining seconds at which they are reminded.
TOUCH = 30.0
TOUCH_TOLD = (20, 10, 5)
# The numbers of remaining seconds at which the user is reminded if it is unknown whether a command requires a touch.
# After one second without a response, the key is assumed to wait for a touch.
UNASKED = (TOUCH - 1, *TOUCH_TOLD)
# The status word for too many credentials. pico-fido returns it for CALCULATE ALL when it stores 254 credentials, and
# for LIST of many long names.
TOO_MANY = {SW.WRONG_LENGTH}
UNTOUCHED = {SW.SECURITY_CONDITION_NOT_SATISFIED, SW.CONDITIONS_NOT_SATISFIED}
NOT_THERE = {SW.INVALID_INSTRUCTION, SW.FUNCTION_NOT_SUPPORTED, SW.COMMAND_NOT_ALLOWED}
# Nitrokeys may lack CALCULATE ALL. Version 1 of their LIST adds an octet of properties to each name, and PUT and DELETE
# may require a touch (Nitrokey/trussed-secrets-app, src/authenticator.rs).
LIST_VERSION_1, TOUCH_REQUIRED = b"\x01", 0x01


class Applet:
    """An open YKOATH applet. The methods that send commands convert errors of PC/SC and yubikit to DeviceFault.

    If `writes_touched` is true, the key may require a touch for each write. YubiKeys never do.
    """

    def __init__(self, wire: Wire, *, say: Callable[[str], None], writes_touched: bool = False) -> None:
        self.wire, self._say, self._writes_touched = wire, say, writes_touched
        self._session = OathSession(wire)

    @property
    def identity(self) -> str:
        """The device ID that YKOATH derives from the applet's salt. A reset changes it."""
        return self._session.device_id

    @property
    def locked(self) -> bool:
        """Whether the applet still has to be unlocked with the password."""
        return self._session.locked

    @property
    def guarded(self) -> bool:
        """Whether the applet had a password when it was selected."""
        return self._session.has_key

    def describe(self, info: DeviceInfo | None) -> OathKey:
        """Return a description of the key with everything that it reports about itself.

        `info` is what the key's management applet reports, or None.
        """
        version, reader = self._session.version, self.wire.reader
        names = None if self.locked else self.names()
        return OathKey(
            reader=reader,
            where=without_controls(reader),
            identity=self.identity,
            what=without_controls(get_name(info, None) if info else reader),
            serial=str(info.serial) if info and info.serial else None,
            firmware=str(version) if version else None,
            transport=str(self.wire.transport).lower(),
            password=self.guarded,
            used=None if names is None else len(names),
            room=oath_credentials(version) if info else None,
            labels=tuple(name.decode(errors="replace") for name in names or ()),
        )

    def names(self) -> list[bytes]:
        """Send LIST, and return the names of the credentials as octets, because a name need not be UTF-8."""
        with card_faults(self.wire.reader):
            try:
                return [row[1:] for row in self._list()]
            except ApduError as error:
                if error.sw not in TOO_MANY:
                    raise
                raise DeviceFault(
                    f"the key in {without_controls(self.wire.reader)} cannot list its credentials: "
                    "they are too many, or their names are too long",
                    remedy(
                        "delete unused credentials", command("ykman oath accounts delete NAME"), reader=self.wire.reader
                    ),
                ) from None

    def _list(self, version: bytes = b"") -> list[bytes]:
        rows = Tlv.parse_list(self._session.protocol.send_apdu(0, INS_LIST, 0, 0, version))
        return [bytes(row.value) for row in rows]

    def held(self) -> dict[bytes, bool | None]:
        """Return, by name, whether each credential requires a touch; None if the key does not report this.

        The command is CALCULATE ALL (its codes are dropped), or LIST version 1 if the key rejects CALCULATE ALL.
        """
        with card_faults(self.wire.reader):
            data = Tlv(TAG_CHALLENGE, bytes(8))
            try:
                rows = Tlv.parse_list(self._session.protocol.send_apdu(0, INS_CALCULATE_ALL, 0, 1, data))
            except ApduError as error:
                if error.sw not in NOT_THERE | UNTOUCHED | TOO_MANY:
                    raise
                return self._listed()
            return {
                bytes(Tlv.unpack(TAG_NAME, name)): answer.tag == TAG_TOUCH
                for name, answer in zip(rows[::2], rows[1::2], strict=True)
            }

    def _listed(self) -> dict[bytes, bool | None]:
        """Send LIST version 1, and return, by name, whether each credential requires a touch.

        All values are None if the key does not support version 1 and returns a plain list of names.
        """
        names = self.names()
        touch_by_name: dict[bytes, bool | None] = {
            row[1:-1]: bool(row[-1] & TOUCH_REQUIRED) for row in self._list(LIST_VERSION_1) if row
        }
        return touch_by_name if set(touch_by_name) == set(names) else dict.fromkeys(names)

    @contextmanager
    def _touched(self, marks: tuple[float, ...]) -> Iterator[None]:
        """Give the command in the `with` block enough time for a touch.

        `marks` are the numbers of remaining seconds at which the user is asked to touch the key. Raise DeviceFault if
        the key reports that it was not touched.
        """
        try:
            with self.wire.waiting(TOUCH, _countdown(self._say, marks)):
                yield
        except ApduError as error:
            if error.sw in UNTOUCHED:
                raise _untouched() from None
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Give the write in the `with` block enough time for a touch, if the key may require a touch.

        The user is asked to touch the key if the write takes longer than a second.
        """
        if self._writes_touched:
            with self._touched(UNASKED):
                yield
        else:
            yield

    def put(self, label: str, seed: Seed, *, touch: bool) -> None:
        """Send PUT, which stores a credential. Raise DeviceFault if the key is full.

        The caller must check that the key has stored the credential.
        """
        issuer, _, name = label.partition(":")
        with card_faults(self.wire.reader):
            try:
                # The repr of CredentialData shows the secret, so no variable refers to the object, and card_faults
                # replaces the errors that its constructor raises.
                with self._writing():
                    self._session.put_credential(
                        CredentialData(
                            name=name,
                            issuer=issuer,
                            oath_type=OATH_TYPE.TOTP,
                            hash_algorithm=HASH_ALGORITHM.SHA1,
                            secret=seed.reveal(),
                        ),
                        touch_required=touch,
                    )
            except ApduError as error:
                if error.sw == SW.NO_SPACE:
                    raise DeviceFault(
                        f"the key in {without_controls(self.wire.reader)} is full",
                        remedy(
                            "delete unused credentials",
                            command("ykman oath accounts list"),
                            command("ykman oath accounts delete NAME"),
                            reader=self.wire.reader,
                        ),
                    ) from None
                raise

    def code(self, label: str, time: float, *, touch: bool | None) -> str:
        """Return the code for a Unix time (CALCULATE). If the credential requires a touch, ask the user for it first.

        If `touch` is None, it is unknown whether a touch is required. The user is then asked only if the key does not
        answer within a second.
        """
        issuer, _, name = label.partition(":")
        credential = Credential(
            device_id=self.identity,
            id=label.encode(),
            issuer=issuer,
            name=name,
            oath_type=OATH_TYPE.TOTP,
            period=otp.PERIOD,
            touch_required=bool(touch),
        )
        with card_faults(self.wire.reader):
            if touch is False:
                return self._session.calculate_code(credential, int(time)).value
            if touch:
                self._say(Message(f"touch the key now ({TOUCH:.0f} s)", action=UserAction.TOUCH))
            try:
                with self._touched(TOUCH_TOLD if touch else UNASKED):
                    return self._session.calculate_code(credential, int(time)).value
            except TimeoutError:
                raise _untouched() from None

    def delete(self, label: str) -> None:
        """Send DELETE, and check the result. Raise DeviceFault if the key still has the credential."""
        name = without_controls(self.wire.reader)
        cannot = DeviceFault(
            f"the key in {name} did not delete {label}",
            "delete this credential with the manufacturer's program, because it is no longer used",
        )
        with card_faults(self.wire.reader):
            try:
                with self._writing():
                    self._session.delete_credential(label.encode())
            except ApduError as error:
                if error.sw in NOT_THERE:
                    raise cannot from None
                raise
        if label.encode() in self.names():
            raise cannot

    def derive_key(self, password: Secret[str]) -> Secret[bytes]:
        """Derive the access key from a password. The result depends on the applet's identity."""
        return Secret(self._session.derive_key(password.reveal()))

    def unlock(self, key: Secret[bytes]) -> None:
        """Unlock the applet with an access key (VALIDATE).

        Raise DeviceFault if the password is wrong, or if the applet is blocked. The command is sent only once. Some
        keys count wrong passwords, so only the user may decide to try again.
        """
        name = without_controls(self.wire.reader)
        self.wire.unlocked = True
        with card_faults(self.wire.reader):
            try:
                self._session.validate(key.reveal())
            except ApduError as error:
                if error.sw == SW.AUTH_METHOD_BLOCKED:
                    raise DeviceFault(
                        f"the OATH applet of the key in {name} is blocked: it accepts no password any more, not even "
                        "the right one",
                        remedy(
                            "use another key, or delete all credentials and the password of this one",
                            command("ykman oath reset"),
                            reader=self.wire.reader,
                        ),
                    ) from None
                tries = f"; {error.sw & 0xF} tries are left" if error.sw & 0xFFF0 == SW.VERIFY_FAIL_NO_RETRY else ""
                raise DeviceFault(
                    f"wrong OATH password for the key in {name}{tries}", "find out the right password, then try again"
                ) from None

    def set_key(self, key: Secret[bytes] | None) -> None:
        """Set the access key, and with it the password (SET CODE). None removes the password.

        The applet stays unlocked until the card is reset.
        """
        self.wire.unlocked = True
        with card_faults(self.wire.reader):
            if key is None:
                self._session.unset_key()
            else:
                self._session.set_key(key.reveal())


def _untouched() -> DeviceFault:
    return DeviceFault(f"the key was not touched within {TOUCH:.0f} s", "try again and touch the key")


def _countdown(say: Callable[[str], None], marks: tuple[float, ...]) -> Callable[[float], None]:
    to_come = list(marks)

    def tick(seconds: float) -> None:
        if to_come and seconds <= to_come[0]:
            to_come.pop(0)
            say(Message(f"touch the key now ({seconds:.0f} s)", action=UserAction.TOUCH))

    return tick


def read_device_info(wire: Wire) -> DeviceInfo | None:
    """Return what the management applet reports, or None if the key has no such applet or reports nothing usable."""
    try:
        return ManagementSession(wire).read_device_info()
    except (*NONSENSE, DeviceFault):
        return None


log = logging.getLogger(__name__)


class Keys:
    """The OATH keys that are plugged in.

    `password` asks for the password of a locked key, once per key. `say` shows messages to the user. `seen` contains
    every key that was found so far, by identity.
    """

    def __init__(self, *, say: Callable[[str], None], password: Callable[[OathKey], Secret[str]]) -> None:
        self._say, self._password = say, password
        self._access: dict[str, Secret[bytes]] = {}
        self.seen: dict[str, OathKey] = {}

    @staticmethod
    def state() -> object:
        """Return a value that changes when a card is inserted or removed. No command is sent to a card."""
        return reader_states()

    def look(self, reader_name: str | None = None) -> tuple[list[OathKey], list[DeviceFault]]:
        """Return the keys that respond, and a DeviceFault for each other card.

        Skip empty readers, and those whose card is removed meanwhile. If `reader_name` names a reader, only this reader
        is opened. Otherwise a card that another program has open is not opened, because selecting an applet ends the
        other program's session.
        """
        keys: list[OathKey] = []
        wrong: list[DeviceFault] = []
        readers = reader_names()
        named = [reader for reader in readers if reader_name in {reader, without_controls(reader)}]
        busy = [] if named else busy_readers()
        for reader in named or readers:
            try:
                if reader in busy:
                    raise in_use_fault(reader)
                with suppress(NoCardException), self._wire(reader) as wire, card_faults(reader):
                    info = read_device_info(wire)
                    keys.append(Applet(wire, say=self._say).describe(info))
            except DeviceFault as error:
                if isinstance(error, InUse | NoApplet) or not is_empty(reader):
                    wrong.append(error)
        self.seen |= {key.identity: key for key in keys}
        return keys, wrong

    @contextmanager
    def _wire(self, reader: str) -> Iterator[Wire]:
        """Connect to the card in a reader. Raise NoCardException if the reader is empty."""
        self._await_stuck()
        wire = None
        try:
            try:
                wire = Wire(reader)
            except NoCardException:
                raise
            except (TimeoutError, *SCARD) as error:
                with card_faults(reader):
                    raise error from None
            yield wire
        finally:
            if wire is not None:
                wire.close()
                log.debug("%s: %s exchanges", without_controls(reader), wire.exchanges)

    def _await_stuck(self) -> None:
        """Wait for interrupted calls that still keep a card busy, such as one that waits for a touch after Ctrl-C."""
        for hanging in list(DeadlineThread.stuck):
            if hanging.thread.is_alive():
                self._say("waiting for the key to finish the previous command: touch it, or pull it out")
            if hanging.await_stuck():
                DeadlineThread.stuck.remove(hanging)

    @contextmanager
    def open(self, key: OathKey) -> Iterator[Applet]:
        """Open and unlock a key that was found in a reader. Raise DeviceFault if another key is in the reader now."""
        try:
            with self._wire(key.reader) as wire:
                with card_faults(key.reader):
                    applet = Applet(wire, say=self._say, writes_touched=not key.yubikey)
                if applet.identity != key.identity:
                    raise DeviceFault(f"another key is now in {key.where}", "plug in the key that you chose")
                if applet.locked:
                    self.unlock(applet, key)
                yield applet
        except NoCardException:
            raise DeviceFault(f"the key in {key.where} was removed", "plug it in and try again") from None

    def unlock(self, applet: Applet, key: OathKey) -> None:
        """Unlock an applet. Ask for the password if it is not known. Raise DeviceFault if the password is wrong."""
        access = self._access.pop(key.identity, None) or applet.derive_key(self._password(key))
        applet.unlock(access)
        self._access[key.identity] = access

    def remember_password(self, key: OathKey, access: Secret[bytes]) -> None:
        """Keep the access key derived from a key's new password, so that `open` need not ask for the password."""
        self._access[key.identity] = access
