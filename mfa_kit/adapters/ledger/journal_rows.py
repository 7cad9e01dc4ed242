"""Converts journal entries to database rows and back. An intent is stored as JSON."""

import json
from dataclasses import fields

from mfa_kit.adapters.ledger.column_types import is_time
from mfa_kit.adapters.ledger.tables import DamagedRow, SqlRow
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.json_text import read_json
from mfa_kit.core.models import DeviceType, Entry, Intent, Method, Purpose, Reached, run_time

# The columns of an entry, in the order that `entry_of` expects.
COLUMNS = "run, intent, verb, reached, backup, since, sealed"
# The fields of an intent that are stored unchanged (UNCHANGED), and all keys that its JSON object may have (FIELDS).
# The name of the enrollment method is stored under the key `kind`.
UNCHANGED = tuple(field.name for field in fields(Intent) if field.name != "method")
FIELDS = {*UNCHANGED, "kind"}


def entry_of(row: SqlRow) -> Entry:
    """Return the journal entry in a row with the columns COLUMNS.

    Raise DamagedRow if the row has values that mfa-kit does not write.
    """
    try:
        run, intent, verb, reached, backup, since, sealed = row
        run_time(_name(run))
        return Entry(
            run=run,
            intent=_intent(read_json(intent)),
            purpose=Purpose(verb),
            reached=Reached(reached),
            backup=_text(backup),
            since=_moment(since),
            sealed=bool(sealed),
        )
    except (KeyError, TypeError, ValueError, UsageFault):
        raise DamagedRow("a row of the journal was changed or damaged") from None


def intent_json(intent: Intent) -> str:
    """Return an intent as JSON.

    The enrollment method is stored as its name, under the key `kind`. The device type is not stored, because it follows
    from the serial.
    """
    written = {name: getattr(intent, name) for name in UNCHANGED}
    return json.dumps({**written, "kind": intent.method.name})


def _intent(said: object) -> Intent:
    """Parse an intent from the JSON of `intent_json`.

    An intent without `known_serial` is for a virtual device: the device's serial is its ARN, which follows from the
    other fields. Raise KeyError, TypeError, ValueError or UsageFault for other JSON.
    """
    if not isinstance(said, dict) or not said.keys() <= FIELDS:
        raise TypeError("these are not the fields of an intent")
    serial = _text(said.get("known_serial"))
    return Intent(
        account=_name(said["account"]),
        partition=_name(said["partition"]),
        user=_name(said["user"]),
        name=_name(said["name"]),
        method=Method(_name(said["kind"]), DeviceType.of(serial) if serial else DeviceType.VIRTUAL),
        path=_name(said.get("path", "/")),
        known_serial=serial,
        hardware=_text(said.get("hardware")),
        card=_text(said.get("card")),
        replaces=_text(said.get("replaces")),
        replaces_run=_text(said.get("replaces_run")),
        replaces_since=_moment(said.get("replaces_since")),
        recipient=_text(said.get("recipient")),
        tags=tuple((_name(key), _name(value)) for key, value in said.get("tags", ())),
        staged=bool(said.get("staged")),
    )


def _name(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError("a name is not text")
    value.encode()  # raises UnicodeEncodeError, which is a ValueError, for half of a surrogate pair
    return value


def _text(value: object) -> str | None:
    return None if value is None else _name(value)


def _moment(value: object) -> float | None:
    if value is not None and not is_time(value):
        raise TypeError("this is not a time")
    return value
