"""Sets, changes and removes the password of a key's OATH applet. The key is opened again to check the result."""

from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.oath_keys.applet import LockableKeys
from mfa_kit.oath_keys.credential import OathKey


def give_password(keys: LockableKeys, wanted: str | None, *, had: bool) -> OathKey:
    """Set a new password on a key, and check that it opens the key.

    `had` says whether the key is expected to have a password already. Raise UsageFault if this is wrong.
    """
    key = keys.choose(wanted)
    if key.password is not had:
        has, verb = ("a", "change") if key.password else ("no", "set")
        raise UsageFault(f"{key.description} has {has} password", f"mfa-kit key password {verb}")
    with keys.open(key) as applet:
        access = applet.derive_key(keys.ask_new_password(key))
        applet.set_key(access)
    keys.remember_password(key, access)
    with keys.open(key) as applet:
        if not applet.guarded:
            raise DeviceFault(f"{key.description} accepted a password, but does not ask for it", "do not use this key")
    return key


def clear_password(keys: LockableKeys, wanted: str | None) -> OathKey:
    """Remove a key's password, and check that the key no longer asks for one."""
    key = keys.choose(wanted)
    if not key.password:
        raise UsageFault(f"{key.description} has no password", "to set one: mfa-kit key password set")
    with keys.open(key) as applet:
        applet.set_key(None)
    with keys.open(key) as applet:
        if applet.guarded:
            raise DeviceFault(f"{key.description} still asks for its password", "do not use this key")
    return key
