"""Prepares a key for its user as a profile says, so that one insertion is enough.

A random PIN is encrypted before it is set. The order is that of CTAP: reset, PIN, minimum length, alwaysUv. Then the
key is enrolled. A forced PIN change is last, because the key refuses its PIN afterward. Each step looks first at what
the key reports, so a later run continues after any interruption.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from mfa_kit.core.errors import DeviceFault, RefusedPin
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import Message, command
from mfa_kit.security_keys.authenticator import KeyInfo, Pin
from mfa_kit.security_keys.pin import (
    ask_pin,
    check_same,
    read_after_reset,
    reset_key,
    set_pin,
    set_pin_policy,
    unsure,
)
from mfa_kit.security_keys.ports import NewPinEntry, OpenedKey, PluggedKeys
from mfa_kit.security_keys.profile import KeyProfile, KeyState, NewPin, compare_profile

# How many random PINs a key may refuse before it is given up.
TRIES = 5
ANOTHER = "use another key, or another profile"


class PinFile(Protocol):
    """The file with the encrypted PIN of the key for one device. `name` is its path."""

    @property
    def name(self) -> str: ...

    def exists(self) -> bool:
        """Return whether a PIN was written. The key has it unless the run ended before it was set."""
        ...

    def seal(self, pin: Pin, info: KeyInfo) -> None:
        """Encrypt a PIN into the file, with the name of the key. An older PIN in the file is replaced."""
        ...

    def keep(self, pin: Pin, info: KeyInfo) -> None:
        """Write the letter with the PIN, if there is to be one, because the key now has the PIN."""
        ...

    def remove(self) -> None:
        """Remove the file and the letter, because no key has their PIN."""
        ...


@dataclass(slots=True)
class PreparedKey:
    """A NewPinEntry for the key that is being prepared. It asks `entry` only if the PIN is not `known`."""

    entry: NewPinEntry
    known: Pin | None = None

    def pin(self, tries_left: int | None) -> Pin:
        """Return the PIN of the key that is being prepared, or ask for it."""
        return self.known or self.entry.pin(tries_left)

    def new(self, shortest: int) -> Pin:
        """Ask for a new PIN."""
        return self.entry.new(shortest)

    def risk(self, tries_left: int) -> None:
        """Ask the user to confirm that one of the last PIN tries may be used."""
        self.entry.risk(tries_left)

    def replugged(self, tries_left: int | None) -> bool:
        """Return whether the user wants to try one PIN although the key still asks to be unplugged."""
        return self.entry.replugged(tries_left)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPreparation:
    """Prepares keys for a profile. `random_pin` returns a random PIN of the given length that keys accept.

    The PIN of the key that is being prepared is in `pins`.
    """

    profile: KeyProfile
    keys: PluggedKeys
    pins: PreparedKey
    random_pin: Callable[[int], Pin]
    progress: Progress

    def reset(self, before: KeyInfo, file: PinFile, *, oath: bool | None, erased: Callable[[], None]) -> None:
        """Erase the key that reported `before`, and remove the file with its PIN. Call `erased` when it is erased.

        `oath` says whether the key has an OATH applet. Raise DeviceFault if the key lacks a part of the profile, or is
        certainly another key than before, and ResetTooLate if it was plugged in too long ago; nothing was erased then.
        """
        place = before.plugged.where
        with self.keys.open(place) as key:
            info = key.info()
            check_same(before, info)
            self._check(self.profile, info, oath=oath, known=file.exists())
            reset_key(key)
        erased()
        file.remove()
        read_after_reset(self.keys, place)

    def prepare(self, place: str, file: PinFile, *, oath: bool | None, known: Pin | None = None) -> None:
        """Prepare the key at a path or in a reader for its enrollment.

        `oath` is as in `reset`, and `known` the PIN that this process has set on the key, if it did. Raise DeviceFault
        if the key lacks a part of the profile; nothing was written then.
        """
        self.pins.known = known
        with self.keys.open(place) as key:
            self._check(replace(self.profile, reset=False), key.info(), oath=oath, known=file.exists())
            if self.profile.pin is None:
                return
            self._give_pin(key, file)
            self._configure(key)

    def finish(self, place: str) -> None:
        """Check that an enrolled key has what the profile asks for, and require a new PIN if the profile does so.

        Raise DeviceFault if something is missing.
        """
        if self.profile.pin is None:
            return
        with self.keys.open(place) as key:
            info = key.info()
            self._check_applied(info)
            if self.profile.force_pin_change and not info.force_pin_change:
                set_pin_policy(key, self.pins, shortest=None, force_change=True, confirm=lambda _: None)
        self.pins.known = None

    def _check(self, profile: KeyProfile, info: KeyInfo, *, oath: bool | None, known: bool) -> None:
        """Raise DeviceFault if the key lacks a part of the profile."""
        if lacks := compare_profile(profile, KeyState(info=info, oath=oath, pin_known=known)):
            raise DeviceFault(f"the key lacks parts of profile {profile.name}: {'; '.join(lacks)}", ANOTHER)

    def _give_pin(self, key: OpenedKey, file: PinFile) -> None:
        """Give the key its PIN, or ask for the PIN that it has, and remember it."""
        info = key.info()
        if info.pin_set:
            if self.profile.pin is NewPin.RANDOM and not self.pins.known:
                self.progress.alert(
                    Message(
                        f"the key already has a PIN. If an earlier run set it, it is encrypted in {file.name}: decrypt "
                        "it and type it",
                        command("age -d -i IDENTITY {}", file.name),
                    )
                )
            pin = ask_pin(info, self.pins)
            key.try_pin(pin)
        elif self.profile.pin is NewPin.TYPED:
            pin = self.pins.new(max(info.min_pin_length, self.profile.min_pin_length or 0))
            self._check_length(pin)
            set_pin(key, partial(_given, pin))
        else:
            pin = self._set_random(key, info, file)
        self._check_length(pin)
        self.pins.known = pin
        if self.profile.pin is NewPin.RANDOM:
            file.keep(pin, info)

    def _set_random(self, key: OpenedKey, info: KeyInfo, file: PinFile) -> Pin:
        """Encrypt a random PIN, set it and return it. If the key refuses it, remove the file and try another PIN."""
        for _ in range(TRIES):
            pin = self.random_pin(self.profile.pin_length)
            file.seal(pin, info)
            try:
                set_pin(key, partial(_given, pin))
            except RefusedPin:
                file.remove()
            else:
                asked = f"the key now has the PIN that is encrypted in {file.name}; when a browser asks for it"
                self.progress.note(Message(asked, command("age -d -i IDENTITY {}", file.name)))
                return pin
        raise RefusedPin(
            f"the key refused {TRIES} random PINs of {self.profile.pin_length} digits, so it has none", ANOTHER
        )

    def _check_length(self, pin: Pin) -> None:
        if not pin.fits(self.profile.min_pin_length or 0):
            raise DeviceFault(
                f"profile {self.profile.name} needs a PIN of at least {self.profile.min_pin_length} characters",
                "insert the key again and choose a longer PIN; a key that has a shorter one must get another one first",
            )

    def _configure(self, key: OpenedKey) -> None:
        """Raise the minimum PIN length and switch alwaysUv on, unless the key already has both."""
        profile, info = self.profile, key.info()
        if (profile.min_pin_length or 0) > info.min_pin_length:
            info = set_pin_policy(
                key, self.pins, shortest=profile.min_pin_length, force_change=False, confirm=lambda _: None
            )
        if profile.always_uv and not info.always_uv:
            # The key only knows a toggle, so an answer that was lost must not be repeated before the key was read.
            with unsure("it is not known whether the key has alwaysUv; insert it again to continue"):
                key.toggle_always_uv(ask_pin(info, self.pins))
        self._check_applied(key.info())

    def _check_applied(self, info: KeyInfo) -> None:
        """Raise DeviceFault if the key does not report what was written to it."""
        profile = self.profile
        missing = [
            part
            for part, is_missing in (
                ("a PIN", not info.pin_set),
                (
                    f"a minimum PIN length of {profile.min_pin_length}",
                    info.min_pin_length < (profile.min_pin_length or 0),
                ),
                ("alwaysUv", profile.always_uv and not info.always_uv),
            )
            if is_missing
        ]
        if missing:
            raise DeviceFault(
                f"the key does not report what profile {profile.name} wrote to it: {', '.join(missing)} is missing",
                "insert the key again, or use another key",
            )


def _given(pin: Pin, _shortest: int) -> Pin:
    return pin
