"""Sets, changes and removes the password of a key's OATH applet, then opens the key again to check the result."""

from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.message import mfa_kit, suggest
from mfa_kit.oath_keys.applet import LockableKeys
from mfa_kit.oath_keys.credential import OathKey


def give_password(keys: LockableKeys, key_name: str | None, *, had: bool) -> OathKey:
    """Ask for a new password, set it on a key, and check that it opens the key. Return the key.

    `key_name` is the key's serial, reader or identity; None means the only key, or the one that the user chooses. `had`
    says whether the caller expects the key to have a password already. Raise UsageFault if this expectation is wrong,
    and DeviceFault if the key does not ask for the new password.
    """
    key = keys.choose(key_name)
    if key.password is not had:
        has, verb = ("a", "change") if key.password else ("no", "set")
        raise UsageFault(f"{key.description} has {has} password", mfa_kit(f"key password {verb}"))
    with keys.open(key) as applet:
        access = applet.derive_key(keys.ask_new_password(key))
        applet.set_key(access)
    keys.remember_password(key, access)
    with keys.open(key) as applet:
        if not applet.guarded:
            raise DeviceFault(f"{key.description} accepted a password, but does not ask for it", "do not use this key")
    return key


def clear_password(keys: LockableKeys, key_name: str | None) -> OathKey:
    """Remove a key's password, check that the key no longer asks for one, and return the key.

    `key_name` is the key's serial, reader or identity; None means the only key, or the one that the user chooses. Raise
    UsageFault if the key has no password, and DeviceFault if the key still asks for a password afterwards.
    """
    key = keys.choose(key_name)
    if not key.password:
        raise UsageFault(f"{key.description} has no password", suggest("to set one", "key password set"))
    with keys.open(key) as applet:
        applet.set_key(None)
    with keys.open(key) as applet:
        if applet.guarded:
            raise DeviceFault(f"{key.description} still asks for its password", "do not use this key")
    return key
