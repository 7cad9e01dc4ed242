"""Resets a security key.

A key accepts the reset command only in the first ten seconds after it was plugged in. The user therefore unplugs the
key and plugs it in again.
"""

from collections.abc import Callable
from typing import TypeVar

from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.interaction import Progress
from mfa_kit.security_keys.authenticator import KeyInfo, PluggedKey
from mfa_kit.security_keys.pin import check_reset, check_same, reset_key
from mfa_kit.security_keys.ports import LOOK, PluggedKeys

T = TypeVar("T")
Confirm = Callable[[str, KeyInfo], None]

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

    def reset(self, wanted: str | None, *, confirm: Confirm, erased: Callable[[PluggedKey], None]) -> KeyInfo:
        """Erase a key after the user confirmed this, unplugged the key, plugged it in again and touched it.

        Return what the key reports about itself afterwards. `wanted` is the key's path or serial, or None for the only
        key. `confirm` takes a sentence that says what will be erased, and the KeyInfo of the key. It raises an error if
        the user does not agree. `erased` is called as soon as the key has answered that it was reset. Raise DeviceFault
        if the key cannot be reset, if the user is too late, or if another key was plugged in.
        """
        with self._keys.open(wanted) as opened:
            before = opened.info()
        check_reset(before)
        what = f"{before.plugged.product or 'this key'} at {before.plugged.where}"
        losses = "its PIN, and its credentials for every site and account"
        confirm(f"{what} will be erased: {losses}", before)
        self._progress.alert("unplug the key now")
        # Wait until this key is removed, whatever else is unplugged. The keys that are still plugged in at that moment
        # are `others`, so they are not mistaken for the key that is plugged in again.
        [others] = self.wait_for(lambda: self._without(before.plugged.where), "the key was not unplugged")
        touch = "keep touching it until it is erased" if before.long_touch_for_reset else "touch it when asked"
        self._progress.alert(f"plug the key in again, and {touch}")
        came = self.wait_for(lambda: self._places() - others, "no key was plugged in")
        if len(came) > 1:
            hint = "repeat the command, and plug in only the key to erase"
            raise DeviceFault("several keys were plugged in, so nothing was erased", hint)
        [place] = came
        with self._keys.open(place) as opened:
            check_same(before, again := opened.info())
            reset_key(opened)
        self._progress.alert("the key reports that it was reset")
        erased(again.plugged)
        return self._read_again(place)

    def _read_again(self, place: str) -> KeyInfo:
        """Return what a key reports about itself after a reset. Raise DeviceFault if it cannot be read or has a PIN."""
        try:
            with self._keys.open(place) as opened:
                after = opened.info()
        except DeviceFault as fault:
            raise DeviceFault(
                f"the key reported that it was reset, but it cannot be read now: {fault}",
                "unplug it, plug it in again and check that it has no PIN: mfa-kit key info",
            ) from None
        if after.pin_set:
            raise DeviceFault(
                "the key reported that it was reset, but it still has a PIN", "repeat the command, or use another key"
            )
        return after

    def wait_for(self, look: Callable[[], T], late: str) -> T:
        """Wait until `look` returns a true value, and return that value.

        After two minutes, raise a DeviceFault whose text begins with `late`.
        """
        end = self._clock() + PATIENCE
        while self._clock() < end:
            if found := look():
                return found
            self._sleep(LOOK)
        raise DeviceFault(f"{late} within {PATIENCE:.0f} s, so nothing was erased", "repeat the command")

    def _places(self) -> set[str]:
        return {each.where for each in self._keys.look()[0]}

    def _without(self, place: str) -> list[set[str]]:
        """Return a list whose only item is the set of the paths of all keys.

        While a key is still at the path `place`, the list is empty, so that `wait_for` continues.
        """
        places = self._places()
        return [] if place in places else [places]
