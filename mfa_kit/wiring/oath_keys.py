"""The connected OATH keys, for one command."""

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.identities import open_line, seal_text
from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.models import DeviceSpec, JournalEntry
from mfa_kit.core.otp import Pair, Secret, Seed
from mfa_kit.core.stopping import sleep
from mfa_kit.oath_keys.applet import OathApplet
from mfa_kit.oath_keys.choosing import choose_key, compute_code, credential_names, find_holder, seal_password
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.wiring.age_keys import Identities, open_plugins
from mfa_kit.wiring.files import read_secret_line
from mfa_kit.wiring.settings import Settings, command_for_extra, harden

if TYPE_CHECKING:
    from mfa_kit.adapters.oath.applet import Applet, Keys
    from mfa_kit.adapters.oath.card import OathCard

# mfa-kit reports the errors of libraries itself. Python would print their warnings to stderr if they had no handler.
for _library in ("yubikit", "smartcard"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


class OathKeys:
    """The OATH keys that one command can use. A command creates one such object, so the user types each password once.

    With `password_stdin`, passwords are lines of standard input; otherwise the user types them. `set_here` is the
    folder with the encrypted passwords that mfa-kit has set, to name it when a password is asked for.
    """

    def __init__(self, settings: Settings, *, password_stdin: bool = False, set_here: Path | None = None) -> None:
        self._settings, self._password_stdin, self._set_here = settings, password_stdin, set_here

    @cached_property
    def _keys(self) -> "Keys":
        keys = _adapter()
        harden()
        return keys(say=self._settings.progress.alert, password=self._ask_password)

    def _read(self, ask: Callable[..., Secret[str]], prompt: str) -> Secret[str]:
        return read_secret_line() if self._password_stdin else ask(prompt, instead="--password-stdin")

    def _ask_password(self, key: OathKey) -> Secret[str]:
        if self._set_here and self._set_here.is_dir():
            self._settings.interaction.say(
                f"if the station set it, it is in the newest file of this key's user in {self._set_here}: "
                "age -d -i IDENTITY FILE"
            )
        password = self._read(self._settings.interaction.ask_secret, f"OATH password of {key.description}")
        if password == Secret(""):  # trying an empty password is useless, and some keys count attempts
            raise UsageFault(
                f"no OATH password was given for {key.description}, so none was tried", "give the key's OATH password"
            )
        return password

    def ask_new_password(self, key: OathKey) -> Secret[str]:
        """Return a new password for a key, from standard input or the user. Raise UsageFault if it is empty."""
        new = self._read(self._settings.interaction.ask_new_secret, f"new OATH password of {key.description}")
        if new == Secret(""):
            raise UsageFault(
                "the new password is empty",
                suggest("type a password, or remove the old password", "key password clear"),
            )
        return new

    def remember_password(self, key: OathKey, access: Secret[bytes]) -> None:
        """Unlock a key with its new password from now on. `access` is the access key derived from that password."""
        self._keys.remember_password(key, access)

    def look(self, reader_name: str | None = None) -> tuple[list[OathKey], Sequence[DeviceFault]]:
        """Return the keys that respond, and an error for each other card. Empty readers are skipped.

        If `reader_name` names a reader, only this reader is opened. Otherwise a card that another program has open
        is not opened.
        """
        return self._keys.look(reader_name)

    def seen(self, identity: str) -> OathKey | None:
        """Return the key with this identity if an earlier call found it, otherwise None."""
        return self._keys.seen.get(identity)

    def state(self) -> object:
        """Return a value that changes when a card is inserted or removed. Does not access the cards.

        Raise UsageFault if the libraries for OATH keys are not installed.
        """
        return _adapter().state()

    def choose(self, key_name: str | None) -> OathKey:
        """Return the key whose serial, reader or identity is `key_name`, or the only key if `key_name` is None.

        If several keys match, the user chooses. Raise DeviceFault if no key matches, and Declined if there is no
        terminal on which to choose.
        """
        keys, faults = self.look(key_name)
        return choose_key(key_name, keys, faults, person=self._settings.interaction, progress=self._settings.progress)

    def open(self, key: OathKey) -> AbstractContextManager["Applet"]:
        """Return a context that opens the OATH applet of a key, and unlocks it with the key's password.

        Raise DeviceFault if the key was removed, if another key is in its place, or if the password is wrong.
        """
        return self._keys.open(key)

    def card(
        self,
        key: OathKey | None,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], None] = sleep,
        touch: bool = True,
        asset: str | None = None,
        wait: bool = False,
        consent: Callable[[DeviceSpec, list[bytes]], None] = lambda _intent, _names: None,
    ) -> "OathCard":
        """Return a DeviceBackend that stores a device's secret on a key and reads codes from it.

        For devices of interrupted runs, `key` is None: the DeviceBackend then uses the key that the journal entry of
        the device names. `now` returns the Unix time, and `sleep` waits for a number of seconds. `touch` means that
        each code needs a touch of the key. `asset` is the key's name in the device's tag. `wait` means that the
        DeviceBackend waits for the next code instead of computing the previous code. `consent` is called before
        anything is made, with the intent of the device and the names of the credentials on the key. It raises Declined
        to prevent that.
        """
        keys = self._keys
        from mfa_kit.adapters.oath import card

        return card.OathCard(
            keys,
            key,
            options=card.CredentialOptions(touch=touch, asset=asset, wait=wait, consent=consent),
            now=now,
            sleep=sleep,
        )


def _adapter() -> "type[Keys]":
    """Import the adapter. Raise UsageFault if its libraries are not installed."""
    try:
        from mfa_kit.adapters.oath.applet import Keys
    except ImportError:
        raise UsageFault("OATH keys need the 'oath' extra, which is not installed", command_for_extra("oath")) from None
    return Keys


def code_of_own_device(
    device: str,
    settings: Settings,
    *,
    now: Callable[[], float],
    key_name: str | None = None,
    using: Callable[[str], None],
) -> str | None:
    """Return a code of the user's MFA device from the key that holds its credential, or None to have the code typed.

    `now` returns AWS's time. `using` is called with a message before the key is used. Return None if no key with the
    credential is plugged in, or if keys cannot be used at all. Raise UsageFault if several keys hold it, and
    DeviceFault if the key named `key_name` does not, or if the key fails or is not touched.
    """
    names, keys = credential_names(device), OathKeys(settings)
    try:
        key = find_holder(keys, names, key_name)
    except DeviceFault:
        if key_name:
            raise
        key = None
    except UsageFault as fault:
        if key_name or fault.hint != command_for_extra("oath"):
            raise
        key = None
    if key is None:
        return None
    using(f"the code of {device} comes from {key.description}")
    code = compute_code(keys, key, names, time=now)
    if code is None:
        raise DeviceFault(
            f"{key.description} has no credential of {device}", "plug in the key of this device, or omit --key"
        )
    return code


# The characters of a generated password, without those that look alike in print, and their number: 79 bits.
PASSWORD_CHARACTERS, PASSWORD_LENGTH = "23456789abcdefghjkmnpqrstuvwxyz", 16


def random_password() -> Secret[str]:
    """Return a random OATH password."""
    return Secret("".join(secrets.choice(PASSWORD_CHARACTERS) for _ in range(PASSWORD_LENGTH)))


class PasswordFiles:
    """The encrypted OATH passwords of keys that are sent by post: a file for each time that a key gets one.

    `to` and the lines of `to_files` are the recipients' public keys.
    """

    def __init__(self, folder: Path, *, to: Sequence[str] = (), to_files: Sequence[Path] = ()) -> None:
        self._folder, self._to, self._to_files = folder, to, to_files

    def lock_key(self, keys: OathKeys, entry: JournalEntry) -> None:
        """Set a random password on the key with an entry's device. Encrypt it into a new file before that.

        Do nothing if the device is on a token. Raise DeviceFault if this process does not know the key.
        """
        if entry.spec.card is None:
            return
        key = keys.seen(entry.spec.card)
        if key is None:
            raise DeviceFault(f"{entry.spec.hardware} is not found, so it has no password", "insert the key again")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(entry, len(self.find(entry)))

        def seal(password: Secret[str]) -> None:
            text = _password_text(password, f"{key.description}, for {entry.spec.serial}, run {entry.run}")
            seal_text(path, text, self._to, self._to_files, plugins=open_plugins())

        seal_password(keys, key, generate=random_password, seal=seal)

    def find(self, entry: JournalEntry) -> list[Path]:
        """Return the files with the passwords for an entry's device, oldest first. Only the last password was set."""
        paths = (self._path(entry, number) for number in count())
        return [*takewhile(Path.exists, paths)]

    def _path(self, entry: JournalEntry, number: int) -> Path:
        again = f"-{number + 1}" if number else ""
        return self._folder / f"{entry.spec.name[:LONGEST_NAME]}-{entry.run}{again}.password.age"


class PasswordOpener:
    """Decrypts the OATH passwords of keys that are sent by post. They are in files in `folders`."""

    def __init__(self, keys: Sequence[Path], folders: Sequence[Path], settings: Settings) -> None:
        self._identities = Identities(keys, passphrase_fd=None, person=settings.interaction).read()
        self._files = [PasswordFiles(folder) for folder in folders]

    def open(self, entry: JournalEntry) -> Secret[str]:
        """Return the password of the key with an entry's device. Raise UsageFault if no folder has it."""
        paths = [path for files in self._files for path in files.find(entry)[-1:]]
        if not paths:
            raise UsageFault(
                f"the encrypted password of run {entry.run} is not in the results",
                "name the results of the station that prepared the key: --results DIR, or --record DIR",
            )
        return self.open_file(paths[0])

    def open_file(self, path: Path) -> Secret[str]:
        """Return the first line of an encrypted file, such as the PIN of a security key."""
        return open_line(path, self._identities)


# The longest beginning of a device's name in the name of a file with a password.
LONGEST_NAME = 180


def _password_text(password: Secret[str], of_what: str) -> Secret[str]:
    """Return the text of a file with a password: the password, then a line that says of which key."""
    return Secret(f"{password.reveal()}\nOATH password of {of_what}\n")


# The length of AWS's seeds in octets.
SEED_OCTETS = 40


def random_seed() -> Seed:
    """Return a random seed of 40 octets, like those from AWS."""
    return Seed(secrets.token_bytes(SEED_OCTETS))


def consecutive_codes(applet: OathApplet, label: str, *, touch: bool | None, now: Callable[[], float]) -> Pair:
    """Return a credential's codes for the previous and the current time step. The user may have to touch the key.

    `now` is called after the last touch, to find the current time step. `touch` says whether touches are needed; None
    means that this is unknown.
    """
    from mfa_kit.adapters.oath import card

    return card.compute_pair(applet, label, touch=touch, now=now)
