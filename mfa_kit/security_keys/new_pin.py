"""Sources of a security key's PIN, and of a new one: a person at the terminal, a script, or mfa-kit itself.

A generated PIN is shown or written to a file before the key gets it, so it is never lost.
"""

import unicodedata
from collections.abc import Callable
from pathlib import Path

from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import count_of
from mfa_kit.core.timestamps import iso_time
from mfa_kit.security_keys.authenticator import KeyInfo, Pin
from mfa_kit.security_keys.pin import New
from mfa_kit.security_keys.ports import NewPinEntry, NewPinSource, PinAuthenticator, PluggedKeys

# The length of a generated PIN. Eight digits are enough, because a key allows only eight tries.
DIGITS = 8
INSTEAD = "-r RECIPIENT -o FILE"

# A function that returns the given number of random digits.
RandomDigits = Callable[[int], Secret[str]]


def check_new_pin(*, generated: bool, sealed: bool, filed: bool, printed: bool) -> None:
    """Raise UsageFault if the options for a new PIN conflict.

    `generated` means that mfa-kit generates the PIN, `sealed` that there are recipients to encrypt it to, `filed` that
    there is a new file for the encrypted PIN, and `printed` that there is one for a letter with the PIN.
    """
    if sealed != filed or (sealed and not generated):
        raise UsageFault(
            "to encrypt a generated PIN, both recipients and a new file are required",
            "use --generate with -r or -R and with -o FILE; without -r and -o the PIN is shown once",
        )
    if printed and (sealed or not generated):
        raise UsageFault(
            "a PIN on a letter is always generated, and never encrypted",
            "use --generate with --letter FILE, and neither -r nor -o",
        )


class GivenPin:
    """A source of new PINs: a person or a script chooses the PIN."""

    kept = ""

    def __init__(self, entry: NewPinEntry) -> None:
        self._entry = entry

    def check(self) -> None:
        """Do nothing: a given PIN need not be shown or stored, because the user or script already has it."""

    def new_pin(self, shortest: int, info: KeyInfo) -> Pin:
        """Ask for the PIN, and return it."""
        return self._entry.new(shortest)


class ShownPin:
    """A source of new PINs: generates a PIN, and shows it to the user, who writes it down."""

    kept = "was shown"

    def __init__(self, random_digits: RandomDigits, interaction: Interaction) -> None:
        self._random_digits, self._interaction = random_digits, interaction

    def check(self) -> None:
        """Raise Declined without a terminal, and UsageFault if the terminal is too small or cannot erase the PIN."""
        self._interaction.check(_page(Secret("0" * DIGITS)), instead=INSTEAD)

    def new_pin(self, shortest: int, info: KeyInfo) -> Pin:
        """Generate a PIN, show it until the user presses Enter, and return it."""
        pin = self._random_digits(max(DIGITS, shortest))
        try:
            self._interaction.show(_page(pin), instead=INSTEAD)
            self._interaction.pause("write it down, then press Enter to set it on the key", instead=INSTEAD)
        finally:
            self._interaction.clear()
        return Pin(pin.reveal())


class SealedPin:
    """A source of new PINs: generates a PIN, and encrypts it into a new file.

    `check_new` raises an error if the file cannot be written. `seal` encrypts a text into the file. `now` returns the
    Unix time.
    """

    def __init__(
        self,
        random_digits: RandomDigits,
        out: Path,
        *,
        check_new: Callable[[Path], None],
        seal: Callable[[Path, Secret[str]], None],
        now: Callable[[], float],
        progress: Progress,
    ) -> None:
        self._random_digits, self._out, self._progress = random_digits, out, progress
        self._check_new, self._seal, self._now = check_new, seal, now

    @property
    def kept(self) -> str:
        """What happened to the PIN, as the end of a sentence: `is encrypted in FILE`."""
        return f"is encrypted in {self._out}"

    def check(self) -> None:
        """Raise UsageFault or IntegrityFault if the file cannot be written."""
        self._check_new(self._out)

    def new_pin(self, shortest: int, info: KeyInfo) -> Pin:
        """Generate a PIN, encrypt it into the file together with the name of the key, and return it."""
        pin = self._random_digits(max(DIGITS, shortest))
        self._seal(self._out, Secret(f"{pin.reveal()}\nPIN of {_described(info)}, {iso_time(self._now())}\n"))
        self._progress.note(
            f"the new PIN is encrypted in {self._out}; the PIN is not valid until mfa-kit reports that the key has it"
        )
        return Pin(pin.reveal())


class PrintedPin:
    """A source of new PINs: generates a PIN, and writes it to a letter.

    `check` checks the file and asks for a confirmation. `write` takes a description of the key and the PIN, and writes
    the letter.
    """

    def __init__(
        self,
        random_digits: RandomDigits,
        out: Path,
        *,
        check: Callable[[], None],
        write: Callable[[str, Secret[str]], None],
        progress: Progress,
    ) -> None:
        self._random_digits, self._out, self._progress = random_digits, out, progress
        self._check, self._write = check, write

    @property
    def kept(self) -> str:
        """What happened to the PIN, as the end of a sentence: `is in the letter FILE`."""
        return f"is in the letter {self._out}"

    def check(self) -> None:
        """Raise UsageFault or IntegrityFault if the file cannot be written, and Declined without a confirmation."""
        self._check()

    def new_pin(self, shortest: int, info: KeyInfo) -> Pin:
        """Generate a PIN, write it to the letter together with the name of the key, and return it."""
        pin = self._random_digits(max(DIGITS, shortest))
        self._write(_described(info), pin)
        self._progress.alert(
            f"{self._out} contains the new PIN unencrypted: print it, and delete the file; "
            "the PIN is not valid until mfa-kit reports that the key has it"
        )
        return Pin(pin.reveal())


def _described(info: KeyInfo) -> str:
    return f"{info.plugged.product or 'security key'}, {info.plugged.serial or 'no serial'}"


def _page(pin: Secret[str]) -> Secret[str]:
    return Secret(f"\n  PIN of this key, shown once:\n\n      {pin.reveal()}\n")


def give_pin(
    keys: PluggedKeys,
    key_name: str | None,
    source: NewPinSource,
    give: Callable[[PinAuthenticator, New], KeyInfo],
    *,
    progress: Progress,
) -> KeyInfo:
    """Open a key, and call `give`, which gives the key a new PIN from `source`.

    `key_name` is the path or serial of the key; None for the only key. Return what `give` returns: what the key reports
    about itself afterwards.
    """
    source.check()
    with keys.open(key_name) as opened:
        info = opened.info()
        after = give(opened, lambda shortest: source.new_pin(shortest, info))
    if source.kept:
        # Print this before the result, because writing the result may fail on a full disk. A user who then believed
        # that the PIN was not set would lose the key.
        progress.note(f"the key now has the PIN that {source.kept}")
    return after


def _pin(typed: Secret[str]) -> Pin:
    return Pin(unicodedata.normalize("NFC", typed.reveal()))


class TypedPins:
    """A PinEntry that asks a person at the terminal for each PIN."""

    def __init__(self, interaction: Interaction) -> None:
        self._interaction = interaction

    def pin(self, tries_left: int | None) -> Pin:
        """Ask for the PIN. The prompt shows how many tries are left."""
        tries = "" if tries_left is None else f", {count_of(tries_left, 'try', 'tries')} left"
        return _pin(self._interaction.ask_secret(f"PIN of the key{tries}", instead="--pin-stdin"))

    def new(self, shortest: int) -> Pin:
        """Ask for a new PIN, twice."""
        prompt = f"new PIN of the key, at least {shortest} characters"
        return _pin(self._interaction.ask_new_secret(prompt, instead="--pin-stdin or --generate"))

    def risk(self, tries_left: int) -> None:
        """Ask the user to confirm, by typing `LAST`, that one of the `tries_left` remaining PIN tries may be used.

        After too many wrong PINs, the key is locked and can only be erased. Raise Declined without the confirmation.
        """
        self._interaction.confirm(
            f"{count_of(tries_left, 'try', 'tries')} left: after too many wrong PINs this key can only be erased",
            typed="LAST",
            instead="another key",
        )

    def replugged(self, tries_left: int | None) -> bool:
        """Return whether the user confirms, by typing `REPLUGGED`, that one PIN may be tried.

        Some keys report that their PIN is blocked even after they were unplugged, until they get the right PIN.
        """
        tries = "" if tries_left is None else f"; {count_of(tries_left, 'try', 'tries')} left"
        try:
            self._interaction.confirm(
                "the key accepts no PIN until it is unplugged; if you already unplugged it, "
                f"you can try one PIN{tries}",
                typed="REPLUGGED",
                instead="a terminal",
            )
        except Declined:
            return False
        return True


class PipedPins:
    """A PinEntry that reads each PIN as a line from a script. `read_line` returns the next line.

    The key's last PIN tries are never used, because that needs the confirmation of a person.
    """

    def __init__(self, read_line: Callable[[], Secret[str]]) -> None:
        self._read_line = read_line

    def pin(self, tries_left: int | None) -> Pin:
        """Read the next line, and return it as the PIN."""
        return _pin(self._read_line())

    def new(self, shortest: int) -> Pin:
        """Read the next line, and return it as the new PIN. Its length is not checked here."""
        return self.pin(None)

    def risk(self, tries_left: int) -> None:
        """Raise Declined, because only a person may decide to use one of the last PIN tries."""
        raise Declined(
            f"this key has {count_of(tries_left, 'PIN try', 'PIN tries')} left, "
            "so a person has to confirm the next try",
            "run the command at a terminal without --pin-stdin, or enter the right PIN elsewhere first",
        )

    def replugged(self, tries_left: int | None) -> bool:
        """Return False, because only a person can confirm that the key was unplugged."""
        return False
