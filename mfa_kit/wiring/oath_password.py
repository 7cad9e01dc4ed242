"""The password of a key's OATH applet: given, changed and taken away, and each seen to be so."""

from typing import Any

from mfa_kit.cli import keys as options
from mfa_kit.cli import options as flags
from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.wiring.files import secret_line
from mfa_kit.wiring.oath_keys import choose, keys


def password(wanted: str | None, *, had: bool) -> dict[str, Any]:
    """Give a key a new password, and see that it is the one that opens it."""
    key = choose(wanted)
    if key.password is not had:
        raise UsageFault(
            f"{key.told} has {'a' if key.password else 'no'} password", f"mfa-kit key password {_verb(key.password)}"
        )
    with keys().open(key) as applet:
        access = applet.key_of(_new_password(key))
        applet.set_key(access)
    keys().knows(key, access)
    with keys().open(key) as applet:
        if not applet.guarded:
            raise DeviceFault(f"{key.told} took a password, and asks for none", "do not use this key")
    return {"serial": key.serial, "where": key.where}


def _verb(has: bool) -> str:
    return "change" if has else "set"


def clear(wanted: str | None) -> dict[str, Any]:
    """Take a key's password away, and see that it asks for none."""
    key = choose(wanted)
    if not key.password:
        raise UsageFault(f"{key.told} has no password", "leave it as it is, or set one: mfa-kit key password set")
    with keys().open(key) as applet:
        applet.set_key(None)
    with keys().open(key) as applet:
        if applet.guarded:
            raise DeviceFault(f"{key.told} still asks for its password", "do not use this key")
    return {"serial": key.serial, "where": key.where}


def _new_password(key: OathKey) -> Secret[str]:
    new = (
        secret_line()
        if options.given("password_stdin")
        else flags.common().interaction.ask_new_secret(f"new OATH password of {key.told}", instead="--password-stdin")
    )
    if new == Secret(""):
        raise UsageFault("the new password is empty", "type one, or take the old one away: mfa-kit key password clear")
    return new
