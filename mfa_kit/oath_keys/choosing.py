"""Chooses the OATH key that a command uses, from the keys that are plugged in.

A password that was set, changed or removed is checked: the key is opened again.
"""

from collections.abc import Callable, Sequence

from mfa_kit.core.errors import Declined, DeviceFault, NoApplet, UsageFault
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.core.message import mfa_kit, suggest
from mfa_kit.core.otp import Secret
from mfa_kit.oath_keys.applet import LockableKeys, PluggedOathKeys
from mfa_kit.oath_keys.credential import OathKey

KEY = "--key SERIAL|READER"


def choose_key(
    key_name: str | None,
    keys: Sequence[OathKey],
    faults: Sequence[DeviceFault],
    *,
    person: Interaction,
    progress: Progress,
) -> OathKey:
    """Return the key whose serial, reader or identity is `key_name`. If `key_name` is None, every key matches.

    If several keys match, the user chooses one. `faults` are the errors of the readers without a usable key. Raise
    DeviceFault if no key matches, and Declined if several match and there is no terminal to choose at.
    """
    match [key for key in keys if key_name is None or key.answers_to(key_name)]:
        case []:
            raise _no_key(key_name, keys, faults)
        case [key]:
            for fault in faults if key_name is None else ():
                if not isinstance(fault, NoApplet):
                    progress.alert(f"{fault}; using {key.description}")
            return key
        case several:
            return several[choose_line([_line(key) for key in several], person)]


def choose_line(lines: Sequence[str], person: Interaction) -> int:
    """Return the index of the line that the user chooses; each line describes a key.

    If there is no terminal to choose at, raise Declined with the lines as its notes.
    """
    try:
        return person.choose(f"key to use ({len(lines)} are plugged in)", lines, instead=KEY)
    except Declined as declined:
        for line in lines:
            declined.add_note(f"plugged in: {line}")
        raise


def _no_key(key_name: str | None, keys: Sequence[OathKey], faults: Sequence[DeviceFault]) -> DeviceFault:
    silent = _silent(faults)
    if len(faults) == 1 and (key_name is None or key_name in str(faults[0])):
        return faults[0]
    if key_name is not None and silent:
        fault = DeviceFault(f"key {key_name} was not found; it may be the key that cannot be read", silent[0].hint)
    else:
        fault = DeviceFault(
            "no key with an OATH applet is plugged in" if key_name is None else f"no key {key_name} is plugged in",
            suggest("plug it in and try again; to see what is plugged in", "key list"),
        )
    for key in keys:
        fault.add_note(f"plugged in: {_line(key)}")
    for reader_fault in faults:
        fault.add_note(str(reader_fault))
    return fault


def _silent(faults: Sequence[DeviceFault]) -> list[DeviceFault]:
    """Return the faults of cards that may be keys, although they cannot be read."""
    return [fault for fault in faults if not isinstance(fault, NoApplet)]


def _line(key: OathKey) -> str:
    return f"{key.description}, in {key.where}, identity {key.identity}"


def credential_names(device: str) -> tuple[str, ...]:
    """Return the names that the credential of an MFA device may have on a key, mfa-kit's own name first.

    `device` is the device's serial. The others are the name in AWS's QR code, and the one that aws-vault uses.
    """
    account, _, path = device.rpartition(":mfa/")
    name = f":{path}@{account.rpartition(':')[2]}"
    return (f"AWS{name}", f"Amazon Web Services{name}", device) if path else (device,)


def find_holder(keys: PluggedOathKeys, labels: Sequence[str], key_name: str | None) -> OathKey | None:
    """Return the key whose serial, reader or identity is `key_name`.

    If `key_name` is None, return the only key with a credential that has one of the `labels`, or None if no key has
    one. If a key without a password has the credential, keys with a password are not opened, so that the user is not
    asked for the password of another user's key. Raise UsageFault if several keys have the credential, and DeviceFault
    if no key can be read, or if none has the credential but a card that cannot be read may have it.
    """
    if key_name is not None:
        return keys.choose(key_name)
    plugged_keys, wrong = keys.look()
    if not plugged_keys and wrong:
        raise wrong[0]
    holders = _holders(keys, plugged_keys, labels)
    if len(holders) > 1:
        raise UsageFault(f"{len(holders)} keys have the credential {labels[0]}", f"select one with {KEY}")
    if not holders and (silent := _silent(wrong)):
        silent[0].add_note(f"no other key has the credential {labels[0]}")
        raise silent[0]
    return holders[0] if holders else None


def _holders(keys: PluggedOathKeys, plugged_keys: Sequence[OathKey], labels: Sequence[str]) -> list[OathKey]:
    without_password = [key for key in plugged_keys if not {*labels}.isdisjoint(key.labels)]
    return without_password or [key for key in plugged_keys if key.password and _holds(keys, key, labels)]


def _holds(keys: PluggedOathKeys, key: OathKey, labels: Sequence[str]) -> bool:
    with keys.open(key) as applet:
        return not {label.encode() for label in labels}.isdisjoint(applet.names())


def code_on_key(keys: PluggedOathKeys, label: str, key_name: str | None, *, time: float) -> str | None:
    """Return the code of the credential `label` at a Unix time, or None if no key has this credential.

    `key_name` is the serial, reader or identity of the key to use; None means the only key with the credential.
    """
    key = find_holder(keys, [label], key_name)
    return compute_code(keys, key, [label], time=lambda: time) if key else None


def compute_code(
    keys: PluggedOathKeys, key: OathKey, labels: Sequence[str], *, time: Callable[[], float]
) -> str | None:
    """Return the code of the credential with the first of the `labels` that a key has, or None if it has none.

    `time` returns the Unix time. It is called just before the code is computed.
    """
    with keys.open(key) as applet:
        touch_by_name = applet.held()
        label = next((label for label in labels if label.encode() in touch_by_name), None)
        return applet.code(label, time(), touch=touch_by_name[label.encode()]) if label else None


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
    _set_password(keys, key, lambda: keys.ask_new_password(key))
    return key


def seal_password(
    keys: LockableKeys, key: OathKey, *, generate: Callable[[], Secret[str]], seal: Callable[[Secret[str]], None]
) -> None:
    """Generate a password, encrypt it with `seal`, and only then set it on a key.

    If this is interrupted, the encrypted password opens the key, or the key has the password that it had before, or
    none. A key that already has a password is opened with it first. Raise the errors of `seal`, and DeviceFault if the
    key does not ask for the new password.
    """

    def sealed() -> Secret[str]:
        seal(password := generate())
        return password

    _set_password(keys, key, sealed)


def _set_password(keys: LockableKeys, key: OathKey, choose: Callable[[], Secret[str]]) -> None:
    """Set the password that `choose` returns, and check that the key asks for it and accepts it."""
    with keys.open(key) as applet:
        access = applet.derive_key(choose())
        applet.set_key(access)
    keys.remember_password(key, access)
    with keys.open(key) as applet:
        if not applet.guarded:
            raise DeviceFault(f"{key.description} accepted a password, but does not ask for it", "do not use this key")


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
