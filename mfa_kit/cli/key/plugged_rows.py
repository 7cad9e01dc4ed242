"""The keys that are plugged in: one row per key, even if the key is of several kinds (FIDO and OATH)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mfa_kit.cli.key.sources import KeyRow, KeySource
from mfa_kit.core.errors import MfaKitError, NoApplet


@dataclass(frozen=True, slots=True)
class PluggedRows:
    """The keys that were found (`rows`), and an error for each key that could not be read (`faults`).

    `missing` has an error for each kind of key for which mfa-kit cannot search at all.
    """

    rows: list[KeyRow]
    faults: list[MfaKitError]
    missing: list[MfaKitError]


def look(sources: Sequence[KeySource]) -> PluggedRows:
    """Return the keys of all sources, and the errors.

    If a key was found, errors of cards without an OATH applet are left out. An error that several sources report is
    returned once.
    """
    found: list[KeyRow] = []
    faults: list[MfaKitError] = []
    missing: list[MfaKitError] = []
    for source in sources:
        try:
            rows, wrong = source.rows()
        except MfaKitError as fault:
            missing.append(fault)
            continue
        faults = [*{str(fault): fault for fault in [*faults, *wrong]}.values()]
        found = join_rows(found, rows)
    return PluggedRows(found, [fault for fault in faults if not (found and isinstance(fault, NoApplet))], missing)


def join_rows(found: Sequence[KeyRow], rows: Sequence[KeyRow]) -> list[KeyRow]:
    """Add the keys in `rows`, which come from one source, to the keys in `found`, which come from earlier sources.

    If two rows are about the same key, they become one row. Two rows with the same serial are about the same key if
    they come from different sources. If they come from the same source, they are about two keys.
    """
    joined, free = [*found], list(range(len(found)))
    for row in rows:
        at = _same(row, [(number, found[number]) for number in free], rows)
        if at is None:
            joined.append(row)
        else:
            free.remove(at)
            joined[at] = joined[at].joined(row)
    return joined


def _same(row: KeyRow, others: Sequence[tuple[int, KeyRow]], rows: Sequence[KeyRow]) -> int | None:
    """Return the index of the row in `others` that is about the same key as `row`, or None if there is no such row.

    `others` has pairs of an index and a row. `rows` are all rows of the source of `row`. Two rows are about the same
    key in each of these cases: they have the same reader name or USB path, they have the same serial, `row.beside`
    returns a reader name or USB path of the other row, or the reader is named after the key (see `_by_name`).
    """
    by_place = [number for number, other in others if set(row.where) & set(other.where)]
    by_serial = [number for number, other in others if row.serial and row.serial == other.serial]
    if by_place or by_serial or not others:
        return next(iter(by_place or by_serial), None)
    beside = row.beside()
    by_device = next((number for number, other in others if beside in other.where), None)
    return _by_name(row, others, rows) if by_device is None else by_device


def _by_name(row: KeyRow, others: Sequence[tuple[int, KeyRow]], rows: Sequence[KeyRow]) -> int | None:
    """Return the index of the row in `others` after whose key the reader of `row` is named.

    A USB key is its own reader, so the name of the reader begins with the name of the key. Return None unless exactly
    one row in `others` matches. Also return None if several rows in `rows` match that row.
    """
    named = [(number, other) for number, other in others if _named_after(row, other)]
    if len(named) != 1 or sum(_named_after(each, named[0][1]) for each in rows) != 1:
        return None
    return named[0][0]


def _named_after(row: KeyRow, other: KeyRow) -> bool:
    return any(place.startswith(other.key) for place in row.where)
