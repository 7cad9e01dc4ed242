"""Sets and changes the PIN of a security key, and resets a key. mfa-kit never repeats a PIN that the key rejected.

After a write, mfa-kit does not rely on the key's answer. It reads again what the key reports about itself, and has the
key check a new PIN once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mfa_kit.core.errors import DeviceFault, Lost, UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.security_keys.authenticator import LONGEST_PIN, PIN_LOCKED, SHORTEST_PIN, KeyInfo, Link, Pin
from mfa_kit.security_keys.ports import PinAuthenticator, PinEntry

# With this many tries left or fewer, the user has to confirm by typing.
LAST_TRIES = 2
SET_PIN = "set a PIN first: mfa-kit key pin set"
CHANGE_PIN = "change the PIN first: mfa-kit key pin change"
ANOTHER_KEY = "check what is plugged in: mfa-kit key list"

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
        raise DeviceFault("the key already has a PIN", "change it: mfa-kit key pin change")
    pin = _fitting(new(info.min_pin_length), info)
    with _unsure("it is not known whether the key has the new PIN; to see whether it has one: mfa-kit key info"):
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
        raise DeviceFault("the key has no PIN yet", "set one: mfa-kit key pin set")
    old = ask_pin(info, pins, to_change=True)
    pin = _fitting(new(info.min_pin_length), info)
    if pin == old:
        raise UsageFault("the new PIN is the same as the old one, so nothing was changed", "choose another PIN")
    with _unsure("it is not known whether the key has the new PIN or the old one; try the new one first"):
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
    with _unsure("it is not known whether the key has the policy; to see it: mfa-kit key info"):
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
            "to lower it, reset the key, which erases it: mfa-kit key reset",
        )
    if force_change and not _has_pin(info):
        raise DeviceFault("the key has no PIN to change", "set one: mfa-kit key pin set")


def confirm_by_name(what: str, info: KeyInfo, *, wanted: str | None, yes: bool, interaction: Interaction) -> None:
    """Ask the user to confirm an action by typing the key's serial, or its path if it has no serial.

    `what` describes the action. A script confirms with --yes (`yes`) and --key (`wanted`) instead. Raise UsageFault for
    --yes without --key.
    """
    if not yes:
        interaction.confirm(what, typed=info.plugged.serial or info.plugged.where, instead="--yes with --key")
    elif wanted is None:
        raise UsageFault(
            "--yes needs --key, so nothing was done", "add --key SERIAL; to see the serial: mfa-kit key list"
        )


# For each kind of connection, the transports that it may use (WebAuthn Level 3, 5.8.4). A USB key can also appear as a
# card reader.
RESETS_OVER = {Link.HID: {"usb"}, Link.PCSC: {"nfc", "smart-card", "usb"}}


def check_reset(info: KeyInfo) -> None:
    """Raise DeviceFault for a key that cannot be reset at all, or not over its present connection."""
    if not info.ctap2:
        raise DeviceFault("a U2F key cannot be reset", "use it as it is: it has nothing to erase")
    here = RESETS_OVER[info.plugged.link]
    if info.transports_for_reset and not here & set(info.transports_for_reset):
        raise DeviceFault(
            f"this key can be reset only over {' or '.join(info.transports_for_reset)}",
            "connect it in that way, and repeat the command",
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
    with _unsure("it is not known whether the key was erased; to see whether it still has a PIN: mfa-kit key info"):
        key.reset()


@contextmanager
def _unsure(what: str) -> Iterator[None]:
    """If the key does not answer in the `with` block, add the note `what` to the error.

    `what` says what is then unknown, such as whether the key has the new PIN.
    """
    try:
        yield
    except Lost as lost:
        lost.add_note(what)
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
            "unplug it, plug it in again and check it: mfa-kit key info",
        )
    key.try_pin(pin)
    return key.info()
