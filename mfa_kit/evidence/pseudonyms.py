"""Replaces names of users, devices and custodians in a snapshot by pseudonyms, which depend on a key.

The same key gives the same pseudonyms, so two exports can be compared. Without the key, names cannot be guessed by
computing the pseudonyms of likely names.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mfa_kit.account.snapshot import Snapshot

LENGTH = 12
# The end of an ARN of a virtual device or of a security key, with the device's name.
DEVICE = re.compile(r"(:mfa/|:u2f/user/)([\w+=,.@/-]+)")
IN_ARN = r"(:user/(?:[\w+=,.@-]+/)*){}(?![\w+=,.@-])"
IN_TEXT = r"(\buser )'?{}'?(?![\w+=,.@-])"


def pseudonym(kind: str, name: str, key: bytes) -> str:
    """Return the pseudonym of a name, such as `user-0123456789ab`."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need
    import hmac  # noqa: PLC0415

    return f"{kind}-{hmac.new(key, f'{kind}:{name}'.encode(), hashlib.sha256).hexdigest()[:LENGTH]}"


def names_of(snapshot: Snapshot) -> dict[str, str]:
    """Return the names to replace, each with its kind: users, custodians, and serials of hardware tokens."""
    held = [each for devices in snapshot.listed.values() for each in devices]
    found = {one.name: "user" for one in snapshot.users}
    found |= {device.user: "user" for device in (*held, *snapshot.virtual) if device.user}
    found |= {key.name: "custodian" for use in snapshot.break_glass or () for key in use.custodians}
    found |= {device.serial: "token" for device in held if not device.serial.startswith("arn:")}
    return found


def replacer(names: Mapping[str, str], key: bytes) -> Callable[[str], str]:
    """Return a function that replaces these names in a text.

    The function replaces a text that is a name as a whole. Within other texts, it replaces user names in ARNs and after
    the word user, and the device name in each ARN of a device, because devices are often named after their user.
    """
    known = {name: pseudonym(kind, name, key) for name, kind in names.items()}
    users = sorted((re.escape(name) for name, kind in names.items() if kind == "user"), key=len, reverse=True)
    either = f"(?P<name>{'|'.join(users)})" if users else r"(?P<name>(?!))"
    patterns = [re.compile(pattern.format(either)) for pattern in (IN_ARN, IN_TEXT)]

    def replace(text: str) -> str:
        if text in known:
            return known[text]
        for pattern in patterns:
            text = pattern.sub(lambda found: f"{found[1]}{known[found['name']]}", text)
        return DEVICE.sub(lambda found: f"{found[1]}{pseudonym('device', found[2], key)}", text)

    return replace


def replaced(value: Any, replace: Callable[[str], str]) -> Any:
    """Return a JSON value with `replace` applied to each text and to each key of an object."""
    match value:
        case str():
            return replace(value)
        case dict():
            return {replace(str(name)): replaced(each, replace) for name, each in value.items()}
        case list() | tuple():
            return [replaced(each, replace) for each in value]
        case _:
            return value


def left_over(texts: Iterable[str], names: Mapping[str, str], *, least: int = 4) -> list[str]:
    """Return the names that still occur in the texts as whole words. Names shorter than `least` are not looked for."""
    whole = "\n".join(texts)
    return [
        name
        for name in names
        if len(name) >= least and re.search(rf"(?<![\w+=,.@-]){re.escape(name)}(?![\w+=,.@-])", whole)
    ]
