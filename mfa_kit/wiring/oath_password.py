"""The password of a key's OATH applet: given, changed and taken away, and each seen to be so."""

from typing import Any

from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.wiring.oath_keys import OathKeys


def password(keys: OathKeys, wanted: str | None, *, had: bool) -> dict[str, Any]:
    """Give a key a new password, and see that it is the one that opens it."""
    key = keys.choose(wanted)
    if key.password is not had:
        raise UsageFault(
            f"{key.told} has {'a' if key.password else 'no'} password", f"mfa-kit key password {_verb(key.password)}"
        )
    with keys.open(key) as applet:
        access = applet.derive_key(keys.ask_new_password(key))
        applet.set_key(access)
    keys.remember_password(key, access)
    with keys.open(key) as applet:
        if not applet.guarded:
            raise DeviceFault(f"{key.told} took a password, and asks for none", "do not use this key")
    return {"serial": key.serial, "where": key.where}


def _verb(has: bool) -> str:
    return "change" if has else "set"


def clear(keys: OathKeys, wanted: str | None) -> dict[str, Any]:
    """Take a key's password away, and see that it asks for none."""
    key = keys.choose(wanted)
    if not key.password:
        raise UsageFault(f"{key.told} has no password", "leave it as it is, or set one: mfa-kit key password set")
    with keys.open(key) as applet:
        applet.set_key(None)
    with keys.open(key) as applet:
        if applet.guarded:
            raise DeviceFault(f"{key.told} still asks for its password", "do not use this key")
    return {"serial": key.serial, "where": key.where}
