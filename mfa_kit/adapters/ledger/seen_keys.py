"""The ledger's records about physical keys: one row each time that a key was seen, with or without a device on it."""

import json
import secrets
from functools import lru_cache

from mfa_kit.adapters.ledger.tables import SqlRow, Tables
from mfa_kit.adapters.ledger.usage_records import OWN
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.models import DeviceType
from mfa_kit.core.recorded_keys import (
    FACTS,
    KeyDevice,
    KeyEvent,
    KeyFacts,
    KeySighting,
    RecordedKey,
    merge_sightings,
)

COLUMNS = f'at, key_id, event, {", ".join(FACTS)}, attested, account, "user", device, run, since'
SEEN = f"insert into seen_keys ({COLUMNS}) values ({', '.join([f'${place}' for place in range(1, 18)])})"  # noqa: S608
# The last three columns are the computer, whether this role and computer wrote the row, and whether mfa-kit has revoked
# the device. Names of devices are used again.
ALL = f"""
    select {COLUMNS}, {{}}, case when (device, run) in (select serial, run from journal where reached = 'revoked')
        or (device, since) in (select serial, since from journal where reached = 'revoked') then 1 else 0 end
    from seen_keys order by at, id
"""  # noqa: S608 - our own names
TYPES = (
    "time text event text? text? text? text? strings text? text? text? strings text? text? text? text? time? text?"
    " integer integer"
)


class SeenKeyRecords:
    """The ledger's records about physical keys. Implements the port KeyRecords."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def add(self, facts: KeyFacts, event: KeyEvent, *, now: float, device: KeyDevice | None = None) -> None:
        """Record that a key was seen at a Unix time, and the device that is on it, if there is one.

        A key that reports nothing by which it can be recognized gets a random identity. With PostgreSQL, the time of
        the record is the server's.
        """
        identity = facts.identity or f"unnamed:{secrets.token_hex(8)}"
        known = [json.dumps(fact) if isinstance(fact := getattr(facts, name), tuple) else fact for name in FACTS]
        on_it = (device.account, device.user, device.serial, device.run, device.since) if device else (None,) * 5
        attested = json.dumps(sorted(facts.attested))
        self._tables.write((SEEN, [(now, identity, event, *known, attested, *on_it)]))

    def all(self) -> list[RecordedKey]:
        """Return all recorded keys with their devices, the key that was seen first, first. This takes one query."""
        written_by = f"computer, {OWN}" if self._tables.shared else "null, 1"
        return merge_sightings(map(_sighting, self._tables.select(ALL.format(written_by), types=TYPES)))


@lru_cache
def _strings(text: str) -> tuple[str, ...]:
    """Return the strings in a JSON list. Most keys have the same lists as another key."""
    return tuple(read_json(text))


def _sighting(row: SqlRow) -> KeySighting:
    seen_at, identity, event, *facts, attested, account, user, device, run, since, computer, own, revoked = row
    known = dict(zip(FACTS, facts, strict=True))
    known["certifications"] = _strings(known["certifications"])
    return KeySighting(
        identity=identity,
        at=seen_at,
        event=KeyEvent(event),
        facts=KeyFacts(**known, attested=frozenset(_strings(attested))),
        device=KeyDevice(
            account=account,
            user=user,
            serial=device,
            at=seen_at,
            run=run,
            since=since,
            card=None if DeviceType.of(device) is DeviceType.FIDO2 else known["card"],
            revoked=bool(revoked),
        )
        if device and account and user
        else None,
        computer=computer,
        own=bool(own),
    )
