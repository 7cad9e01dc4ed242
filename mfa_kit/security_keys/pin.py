"""Sets and changes the PIN of a security key, and resets a key. mfa-kit never repeats a PIN that the key rejected.

After a write, mfa-kit does not rely on the key's answer. It reads again what the key reports about itself, and has the
key check a new PIN once. A key accepts the reset command only in the first ten seconds after it was plugged in. The
user therefore unplugs the key and plugs it in again.

A PIN, and a new one, comes from a person at the terminal, from a script, or from mfa-kit itself. A generated PIN is
shown or written to a file before the key gets it, so it is never lost.
"""

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mfa_kit.core.errors import Declined, DeviceFault, LostError, UsageFault
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.core.message import Message, UserAction, suggest
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import count_of, iso_time
from mfa_kit.security_keys.authenticator import (
    DIGITS,
    LONGEST_PIN,
    PIN_LOCKED,
    SHORTEST_PIN,
    KeyInfo,
    Pin,
    PluggedKey,
    check_reset,
)
from mfa_kit.security_keys.ports import LOOK, NewPinEntry, NewPinSource, PinAuthenticator, PinEntry, PluggedKeys

# With this many tries left or fewer, the user has to confirm by typing.
LAST_TRIES = 2
SET_PIN = suggest("set a PIN first", "key pin set")
CHANGE_PIN = suggest("change the PIN first", "key pin change")
ANOTHER_KEY = suggest("check what is plugged in", "key list")

New = Callable[[int], Pin]
Confirm = Callable[[str], None]


def ask_pin(info: KeyInfo, pins: PinEntry, *, to_change: bool = False) -> Pin:
    """Ask for the PIN of a key and return it. Nothing is sent to the key.

    `to_change` says that the PIN is needed to change it. Then the key may require a new PIN, and the PIN may be shorter
    than the key's minimum. Raise DeviceFault if the key could not accept the PIN. Raise Declined if only a few tries
    are left and the user does not want to risk one.
    """
    if not _has_pin(info):
        raise DeviceFault("the key requires a PIN, but has none", SET_PIN)
    if info.force_pin_change and not to_change:
        raise DeviceFault("the key requires a new PIN first", CHANGE_PIN)
    _check_tries(info, pins)
    pin = pins.pin(info.pin_retries)
    shortest = SHORTEST_PIN if to_change else info.min_pin_length
    if not pin.fits(shortest):
        raise DeviceFault(
            f"a PIN of this key has at least {shortest} characters and at most {LONGEST_PIN} bytes; no PIN was sent",
            "repeat the command with the key's PIN",
        )
    return pin


def _check_tries(info: KeyInfo, pins: PinEntry) -> None:
    """Raise DeviceFault if the key accepts no PIN now.

    Raise Declined if only a few tries are left and the user does not want to risk one.
    """
    if info.pin_retries == 0:
        raise DeviceFault(*PIN_LOCKED)
    if info.replug and not pins.replugged(info.pin_retries):
        raise DeviceFault(
            "the key accepts no PIN until it is unplugged",
            "unplug the key, plug it in again and repeat the command, at a terminal if the error persists",
        )
    if info.pin_retries is not None and info.pin_retries <= LAST_TRIES:
        pins.risk(info.pin_retries)


def set_pin(key: PinAuthenticator, new: New) -> KeyInfo:
    """Set the PIN of a key that has none, and return what the key reports about itself afterwards.

    `new` takes the key's minimum length and returns the PIN. Raise DeviceFault if the key already has a PIN, and
    UsageFault if the new PIN is too short or too long.
    """
    info = key.info()
    if _has_pin(info):
        raise DeviceFault("the key already has a PIN", suggest("change it", "key pin change"))
    pin = _fitting(new(info.min_pin_length), info)
    with unsure(suggest("it is not known whether the key has the new PIN; to see whether it has one", "key info")):
        key.set_pin(pin)
        return _proven(key, pin)


def change_pin(key: PinAuthenticator, pins: PinEntry, new: New) -> KeyInfo:
    """Change the PIN of a key, and return what the key reports about itself afterwards.

    The user is asked for both PINs before either is sent to the key. `new` takes the key's minimum length and returns
    the new PIN. Raise DeviceFault if the key has no PIN, and UsageFault if the new PIN is too short, too long or the
    same as the old one.
    """
    info = key.info()
    if not _has_pin(info):
        raise DeviceFault("the key has no PIN yet", suggest("set one", "key pin set"))
    old = ask_pin(info, pins, to_change=True)
    pin = _fitting(new(info.min_pin_length), info)
    if pin == old:
        raise UsageFault("the new PIN is the same as the old one, so nothing was changed", "choose another PIN")
    with unsure("it is not known whether the key has the new PIN or the old one; try the new one first"):
        key.change_pin(old, pin)
        return _proven(key, pin)


def set_pin_policy(
    key: PinAuthenticator, pins: PinEntry, *, shortest: int | None, force_change: bool, confirm: Confirm
) -> KeyInfo:
    """Raise the minimum length of the key's PIN to `shortest`, require a new PIN before the key's next use, or both.

    `shortest` is None if the minimum stays as it is. `confirm` asks the user before the minimum is raised, because only
    a reset lowers it again. Return what the key reports about itself afterwards. Raise DeviceFault if the key does not
    support or did not apply the policy, and UsageFault for a length out of range.
    """
    info = key.info()
    _check_policy(info, shortest=shortest, force_change=force_change)
    if shortest is not None and shortest > info.min_pin_length:
        confirm(
            f"PINs of this key will need at least {shortest} characters; to undo that, the key must be reset, "
            "which erases it"
        )
    pin = ask_pin(info, pins) if info.pin_set else None
    with unsure(suggest("it is not known whether the key has the policy; to see it", "key info")):
        key.set_pin_policy(pin, shortest=shortest, force_change=force_change)
        after = key.info()
    if after.min_pin_length != (shortest or info.min_pin_length) or (force_change and not after.force_pin_change):
        raise DeviceFault(
            "the key accepted the policy but did not apply it: its minimum PIN length is "
            f"{after.min_pin_length}, and it requires {'a' if after.force_pin_change else 'no'} new PIN",
            "its firmware does not support this policy: use another key",
        )
    return after


def _check_policy(info: KeyInfo, *, shortest: int | None, force_change: bool) -> None:
    """Raise DeviceFault if the key does not support this policy, and UsageFault for a length out of range."""
    if not info.options.get("setMinPINLength"):
        raise DeviceFault("this key does not support a PIN policy", "use a key with CTAP 2.1 and setMinPINLength")
    if shortest is not None and not info.min_pin_length <= shortest <= LONGEST_PIN:
        raise UsageFault(
            f"the minimum PIN length of this key is {info.min_pin_length}; it can only be raised, "
            f"to at most {LONGEST_PIN}",
            suggest("to lower it, reset the key, which erases it", "key reset"),
        )
    if force_change and not _has_pin(info):
        raise DeviceFault("the key has no PIN to change", suggest("set one", "key pin set"))


def confirm_by_name(action: str, info: KeyInfo, *, key_name: str | None, yes: bool, interaction: Interaction) -> None:
    """Ask the user to confirm an action by typing the key's serial, or its path if it has no serial.

    `action` describes it. A script confirms with --yes (`yes`) and --key (`key_name`) instead. Raise UsageFault for
    --yes without --key.
    """
    if not yes:
        interaction.confirm(action, typed=info.plugged.serial or info.plugged.where, instead="--yes with --key")
    elif key_name is None:
        raise UsageFault(
            "--yes needs --key, so nothing was done", suggest("add --key SERIAL; to see the serial", "key list")
        )


def check_same(before: KeyInfo, after: KeyInfo) -> None:
    """Raise DeviceFault if a key is certainly not the one that was unplugged.

    `before` and `after` are what the key reported before it was unplugged and after it was plugged in again. Many keys
    have no serial, so several reported values are compared. The path is not compared, because it may change.
    """

    def word(info: KeyInfo) -> tuple[object, ...]:
        """Return the values to compare, which do not change when a key is unplugged."""
        plugged = info.plugged
        pin = (info.pin_set, info.pin_retries, info.min_pin_length, info.force_pin_change)
        return (info.aaguid, info.firmware, plugged.product, plugged.serial, plugged.link, pin, info.resident_free)

    if word(before) != word(after):
        raise DeviceFault("this is not the key that was unplugged, so nothing was erased", ANOTHER_KEY)


def reset_key(key: PinAuthenticator) -> None:
    """Erase a key. To read it afterward, open it again: some firmware closes the session when it resets."""
    with unsure(suggest("it is not known whether the key was erased; to see whether it still has a PIN", "key info")):
        key.reset()


@contextmanager
def unsure(note: str) -> Iterator[None]:
    """If the key does not answer in the `with` block, add `note` to the error.

    `note` says what is then unknown, such as whether the key has the new PIN.
    """
    try:
        yield
    except LostError as lost:
        lost.add_note(note)
        raise


def _has_pin(info: KeyInfo) -> bool:
    if info.pin_set is None:
        raise DeviceFault("this key does not support a PIN", "use a FIDO2 key; U2F keys have no PIN")
    return info.pin_set


def _fitting(pin: Pin, info: KeyInfo) -> Pin:
    if not pin.fits(info.min_pin_length):
        raise UsageFault(
            f"a PIN of this key has at least {info.min_pin_length} characters and at most {LONGEST_PIN} bytes; "
            "nothing was sent",
            "choose another PIN",
        )
    return pin


def _proven(key: PinAuthenticator, pin: Pin) -> KeyInfo:
    """Check a key after its PIN was written, and return what the key reports about itself.

    Raise DeviceFault if the key has no PIN, requires a new PIN, or does not accept this PIN.
    """
    after = key.info()
    if not after.pin_set or after.force_pin_change:
        raise DeviceFault(
            "the key accepted the new PIN, but now reports no PIN or requires another one",
            suggest("unplug it, plug it in again and check it", "key info"),
        )
    key.try_pin(pin)
    return key.info()


def read_after_reset(keys: PluggedKeys, place: str) -> KeyInfo:
    """Return what a key reports about itself after a reset. Raise DeviceFault if it cannot be read or has a PIN."""
    try:
        with keys.open(place) as opened:
            after = opened.info()
    except DeviceFault as fault:
        raise DeviceFault(
            f"the key reported that it was reset, but it cannot be read now: {fault}",
            suggest("unplug it, plug it in again and check that it has no PIN", "key info"),
        ) from None
    if after.pin_set:
        raise DeviceFault(
            "the key reported that it was reset, but it still has a PIN", "repeat the command, or use another key"
        )
    return after


T = TypeVar("T")
ConfirmReset = Callable[[str, KeyInfo], None]

# How many seconds to wait until a key is unplugged, and until it is plugged in.
PATIENCE = 120.0


class KeyReset:
    """Erases a key that the user unplugs and plugs in again.

    `clock` returns a time in seconds, and `sleep` waits a number of seconds.
    """

    def __init__(
        self, keys: PluggedKeys, *, progress: Progress, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._keys, self._progress, self._clock, self._sleep = keys, progress, clock, sleep

    def reset(self, key_name: str | None, *, confirm: ConfirmReset, erased: Callable[[PluggedKey], None]) -> KeyInfo:
        """Erase a key after the user confirmed this, unplugged the key, plugged it in again and touched it.

        Return what the key reports about itself afterwards. `key_name` is the key's path or serial, or None for the
        only key. `confirm` takes a sentence that says what will be erased, and the KeyInfo of the key. It raises an
        error if the user does not agree. `erased` is called as soon as the key has answered that it was reset. Raise
        DeviceFault if the key cannot be reset, if the user is too late, or if another key was plugged in.
        """
        with self._keys.open(key_name) as opened:
            before = opened.info()
        check_reset(before)
        description = f"{before.plugged.product or 'this key'} at {before.plugged.where}"
        losses = "its PIN, and its credentials for every site and account"
        confirm(f"{description} will be erased: {losses}", before)
        self._progress.alert("unplug the key now")
        # Wait until this key is removed, whatever else is unplugged. The keys that are still plugged in at that moment
        # are `others`, so they are not mistaken for the key that is plugged in again.
        [others] = self.wait_for(lambda: self._without(before.plugged.where), "the key was not unplugged")
        touch = "keep touching it until it is erased" if before.long_touch_for_reset else "touch it when asked"
        self._progress.alert(f"plug the key in again, and {touch}")
        new_places = self.wait_for(lambda: self._places() - others, "no key was plugged in")
        if len(new_places) > 1:
            hint = "repeat the command, and plug in only the key to erase"
            raise DeviceFault("several keys were plugged in, so nothing was erased", hint)
        [place] = new_places
        with self._keys.open(place) as opened:
            check_same(before, again := opened.info())
            reset_key(opened)
        self._progress.alert("the key reports that it was reset")
        erased(again.plugged)
        return read_after_reset(self._keys, place)

    def wait_for(self, look: Callable[[], T], late: str) -> T:
        """Wait until `look` returns a true value, and return that value.

        After two minutes, raise a DeviceFault whose text begins with `late`.
        """
        end = self._clock() + PATIENCE
        while self._clock() < end:
            if result := look():
                return result
            self._sleep(LOOK)
        raise DeviceFault(f"{late} within {PATIENCE:.0f} s, so nothing was erased", "repeat the command")

    def _places(self) -> set[str]:
        return {key.where for key in self._keys.look()[0]}

    def _without(self, place: str) -> list[set[str]]:
        """Return a list whose only item is the set of the paths of all keys.

        While a key is still at the path `place`, the list is empty, so that `wait_for` continues.
        """
        places = self._places()
        return [] if place in places else [places]


INSTEAD = "-r RECIPIENT -o FILE"

# A function that returns the given number of random digits.
RandomDigits = Callable[[int], Secret[str]]


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
        self._seal(self._out, pin_text(pin, info, self._now()))
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
        self._write(description_of(info), pin)
        self._progress.alert(
            f"{self._out} contains the new PIN unencrypted: print it, and delete the file; "
            "the PIN is not valid until mfa-kit reports that the key has it"
        )
        return Pin(pin.reveal())


def pin_text(pin: Secret[str], info: KeyInfo, time: float) -> Secret[str]:
    """Return the text of a file with a key's PIN: the PIN, then a line that names the key and the Unix time."""
    return Secret(f"{pin.reveal()}\nPIN of {description_of(info)}, {iso_time(time)}\n")


def description_of(info: KeyInfo) -> str:
    """Return the product and the serial of a key, for a letter or a file with its PIN."""
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
        prompt = Message(f"PIN of the key{tries}", action=UserAction.PIN)
        return _pin(self._interaction.ask_secret(prompt, instead="--pin-stdin"))

    def new(self, shortest: int) -> Pin:
        """Ask for a new PIN, twice."""
        prompt = Message(f"new PIN of the key, at least {shortest} characters", action=UserAction.PIN)
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
