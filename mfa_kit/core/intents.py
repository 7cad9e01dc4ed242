"""The JSON of an intent (DeviceSpec), as the ledger and the record of a run store it."""

import json
from dataclasses import fields
from typing import TypeGuard

from mfa_kit.core.models import DeviceSpec, DeviceType, Method

# The fields of an intent that are stored unchanged (UNCHANGED), and all keys that its JSON object may have (FIELDS).
# The name of the enrollment method is stored under the key `kind`.
UNCHANGED = tuple(field.name for field in fields(DeviceSpec) if field.name != "method")
FIELDS = {*UNCHANGED, "kind"}
LAST_TIME = 253402300800.0


def intent_object(spec: DeviceSpec) -> dict[str, object]:
    """Return an intent as a JSON object.

    The enrollment method is stored as its name, under the key `kind`. The device type is not stored, because it follows
    from the serial.
    """
    return {**{name: getattr(spec, name) for name in UNCHANGED}, "kind": spec.method.name}


def intent_json(spec: DeviceSpec) -> str:
    """Return an intent as the text of a JSON object."""
    return json.dumps(intent_object(spec))


def parse_intent(document: object) -> DeviceSpec:
    """Parse an intent from the JSON object of `intent_object`.

    An intent without `known_serial` is for a virtual device: the device's serial is its ARN, which follows from the
    other fields. Raise KeyError, TypeError, ValueError or UsageFault for another object.
    """
    if not isinstance(document, dict) or not document.keys() <= FIELDS:
        raise TypeError("these are not the fields of an intent")
    serial = optional_text(document.get("known_serial"))
    return DeviceSpec(
        account=text_of(document["account"]),
        partition=text_of(document["partition"]),
        user=text_of(document["user"]),
        name=text_of(document["name"]),
        method=Method(text_of(document["kind"]), DeviceType.of(serial) if serial else DeviceType.VIRTUAL),
        path=text_of(document.get("path", "/")),
        known_serial=serial,
        hardware=optional_text(document.get("hardware")),
        card=optional_text(document.get("card")),
        replaces=optional_text(document.get("replaces")),
        replaces_run=optional_text(document.get("replaces_run")),
        replaces_since=optional_time(document.get("replaces_since")),
        recipient=optional_text(document.get("recipient")),
        tags=tuple((text_of(key), text_of(value)) for key, value in document.get("tags", ())),
        staged=bool(document.get("staged")),
    )


def text_of(value: object) -> str:
    """Return a value unchanged. Raise TypeError or ValueError if it is not text that a database can store."""
    if not isinstance(value, str) or "\0" in value:
        raise TypeError("a name is not text")
    value.encode()  # raises UnicodeEncodeError, which is a ValueError, for half of a surrogate pair
    return value


def optional_text(value: object) -> str | None:
    """Return None, or the text as `text_of` does."""
    return None if value is None else text_of(value)


def optional_time(value: object) -> float | None:
    """Return None or a Unix time unchanged. Raise TypeError for another value."""
    if value is not None and not is_time(value):
        raise TypeError("this is not a time")
    return value


def is_time(value: object) -> TypeGuard[float]:
    """Return whether a value is a Unix time in the years 1970 to 9999."""
    return isinstance(value, int | float) and 0 <= value < LAST_TIME
