"""A key's PIN and its reset, for the verbs that change them: who confirms, where a new PIN comes from and goes."""

import secrets
import string
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfa_kit.cli import messages, options
from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.security_keys import pin as keypin
from mfa_kit.security_keys.authenticator import KeyInfo, Pin
from mfa_kit.wiring import files, security_keys
from mfa_kit.wiring.vault import read_recipients

# Of ten digits each, against a key's eight tries.
DIGITS = 8
# Seconds to unplug a key, and to plug it in.
PATIENCE = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a new PIN comes from, and for whom a generated one is sealed."""

    generate: bool
    to: Sequence[str]
    to_files: Sequence[Path]
    out: Path | None

    def check(self) -> None:
        """Raise UsageFault for options that do not belong together, before anything is asked."""
        sealed = bool(self.to or self.to_files)
        if sealed != bool(self.out) or (sealed and not self.generate):
            raise UsageFault(
                "a generated PIN is sealed to recipients and into a new file",
                "say all of --generate, -r or -R, and -o FILE; without -r and -o it is shown once",
            )
        if self.out:
            files.check_new(self.out)
        elif self.generate:
            _person().check(_shown("0" * DIGITS), instead=INSTEAD)

    def new(self, shortest: int, info: KeyInfo) -> Pin:
        """Return a new PIN. A generated one is sealed or shown before the key has it, so that it is never nowhere."""
        if not self.generate:
            return security_keys.entry().new(shortest)
        pin = Secret("".join(secrets.choice(string.digits) for _ in range(max(DIGITS, shortest))))
        if self.out:
            _seal(pin, self.to, self.to_files, self.out, info)
        else:
            _show(pin)
        return Pin(pin.reveal())


INSTEAD = "-r RECIPIENT -o FILE"


def _person() -> Any:
    return options.common().interaction


def _shown(pin: str) -> Secret[str]:
    return Secret(f"\n  PIN of this key, shown once:\n\n      {pin}\n")


def _show(pin: Secret[str]) -> None:
    person = _person()
    try:
        person.show(_shown(pin.reveal()), instead=INSTEAD)
        person.pause("write it down, then press Enter: the key gets it now", instead=INSTEAD)
    finally:
        person.clear()


def _seal(pin: Secret[str], to: Sequence[str], to_files: Sequence[Path], out: Path, info: KeyInfo) -> None:
    from mfa_kit.adapters.files.agefile import seal_text

    key = f"{info.plugged.product or 'security key'}, {info.plugged.serial or 'no serial'}"
    text = Secret(f"{pin.reveal()}\nPIN of {key}, {options.written(time.time())}\n")
    seal_text(out, text, read_recipients(to, to_files))
    messages.Talk().note(f"the new PIN is sealed in {out}; it counts when it is told that the key has it")


def set_pin(wanted: str | None, source: Source) -> dict[str, Any]:
    """Give a PIN to a key that has none."""
    return _changed(wanted, source, keypin.set_pin)


def change_pin(wanted: str | None, source: Source) -> dict[str, Any]:
    """Give a key another PIN."""
    return _changed(wanted, source, lambda key, new: keypin.change_pin(key, security_keys.entry(), new))


def _changed(wanted: str | None, source: Source, act: Callable[[Any, keypin.New], KeyInfo]) -> dict[str, Any]:
    from mfa_kit.adapters.fido import key

    security_keys.entry()
    source.check()
    talk = messages.Talk()
    with key.open_key(wanted, tell=talk.note) as opened:
        info = opened.info()
        row = _row(act(opened, lambda shortest: source.new(shortest, info)))
    if source.generate:
        # Before the result, which may go to a full disk: whoever then takes the PIN for void has lost the key.
        talk.note(f"the key has the PIN that {f'is sealed in {source.out}' if source.out else 'was shown'}")
    return row


def set_policy(wanted: str | None, *, shortest: int | None, force_change: bool) -> dict[str, Any]:
    """Raise the shortest PIN, or have the PIN changed by its next user."""
    from mfa_kit.adapters.fido import key

    with key.open_key(wanted, tell=messages.Talk().note) as opened:
        info = opened.info()
        return _row(
            keypin.set_policy(
                opened,
                security_keys.entry(),
                shortest=shortest,
                force_change=force_change,
                confirm=lambda what: _confirm(what, info, wanted=wanted),
            )
        )


def reset(wanted: str | None) -> dict[str, Any]:
    """Erase a key: confirmed, unplugged, plugged in again, touched, and read back."""
    from mfa_kit.adapters.fido import key, links

    talk = messages.Talk()
    with key.open_key(wanted, tell=talk.note) as opened:
        before = opened.info()
    keypin.check_reset(before)
    what = f"{before.plugged.product or 'this key'} at {before.plugged.where}"
    _confirm(
        f"{what} will be erased: its PIN, and each credential for every site and account that it is registered with",
        before,
        wanted=wanted,
    )
    talk.note("unplug the key now")
    # This one, whatever else is unplugged; what is there in the same look is none that comes back.
    [others] = _until(lambda: _without(links, before.plugged.where), "the key was not unplugged")
    talk.note("plug it in again, and touch it when you are told to: there are ten seconds")
    came = _until(lambda: _places(links) - others, "no key was plugged in")
    if len(came) > 1:
        raise DeviceFault("several keys were plugged in, so nothing was erased", "repeat the command with this one key")
    with key.open_key(*came, tell=talk.note) as opened:
        keypin.check_same(before, opened.info())
        return _row(keypin.reset(opened))


def _places(links: Any) -> set[str]:
    return {each.where for each in links.find_keys()[0]}


def _without(links: Any, place: str) -> list[set[str]]:
    """Return the places of the other keys, in a list, when none is at this one any more."""
    places = _places(links)
    return [] if place in places else [places]


def _until(look: Callable[[], Any], late: str) -> Any:
    """Look until something is there. Raise DeviceFault after two minutes."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(security_keys.LOOK)
    raise DeviceFault(f"{late} within {PATIENCE:.0f} s, so nothing was erased", "repeat the command")


def _confirm(what: str, info: KeyInfo, *, wanted: str | None) -> None:
    """Have the key's serial typed, or its place where it has none. A script names the key and says --yes."""
    common = options.common()
    if common.yes:
        if wanted is None:
            raise UsageFault(
                "--yes alone could mean any key, so nothing was done", "name it too: --key SERIAL, or its place"
            )
        return
    _person().confirm(what, typed=info.plugged.serial or info.plugged.where, instead="--yes with --key")


def _row(info: KeyInfo) -> dict[str, Any]:
    return {
        "key": info.plugged.product or "security key",
        "serial": info.plugged.serial,
        "where": info.plugged.where,
        "pin": bool(info.pin_set),
        "tries_left": info.pin_retries,
        "min_pin_length": info.min_pin_length,
        "force_pin_change": info.force_pin_change,
    }
