"""Tries the contracts on the one key that is plugged in. `python -m tests.hardware --contract` calls this."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from mfa_kit.adapters.fido import links
from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.otp import Secret
from mfa_kit.oath_keys.credential import OathKey
from tests.hardware import fido, oath
from tests.hardware.rows import Person, RowResult, Tell, Verdict, try_rows


@dataclass(frozen=True, slots=True)
class Plugged:
    """The OATH applet and the path of the FIDO key that are plugged in, which belong to one key.

    `faults` has what could not be opened.
    """

    oath: OathKey | None
    fido: str | None
    faults: tuple[DeviceFault, ...] = ()


def find_key(tell: Tell) -> Plugged:
    """Return the key that is plugged in. Raise DeviceFault if there is none, or more than one."""
    cards: list[OathKey] = []
    try:
        cards, unread = Keys(say=tell, password=lambda _: Secret("")).look()
    except DeviceFault as fault:  # no smart card service
        unread = [fault]
    keys, barred = links.find_keys()
    if len(cards) > 1 or len(keys) > 1:
        raise DeviceFault("several keys are plugged in", "leave only one plugged in")
    if not cards and not keys:
        raise DeviceFault("there is no key that can be opened", "plug one in")
    return Plugged(cards[0] if cards else None, keys[0].where if keys else None, (*unread, *barred))


def try_key(
    key: Plugged, person: Person, *, halves: Collection[str], blank: bool, erase: Callable[[], str] | None
) -> Iterator[RowResult]:
    """Try the rows of each contract that the key has an applet for.

    `halves` says which of oath and fido the key had when it was read. One that is gone is a row that differs. `blank`
    and `erase` are those of the benches. With `blank` or `erase`, the key has to be blank.
    """
    for half, opened in (("oath", key.oath), ("fido", key.fido)):
        if half in halves and not opened:
            why = "; ".join(map(str, key.faults)) or "it is not there"
            yield RowResult(f"{half} open", "it answers", why, Verdict.DIFFERS)
    if key.oath:
        bench = oath.OathBench(key.oath, person, blank=blank)
        yield from (replace(row, row=f"oath {row.row}") for row in try_rows(oath.ROWS, bench))
    if key.fido:
        try:
            keys = fido.FidoBench(key.fido, person, erase)
        except DeviceFault as fault:
            yield RowResult("fido open", "it answers", str(fault), Verdict.DIFFERS)
            return
        yield from (replace(row, row=f"fido {row.row}") for row in try_rows(fido.ROWS, keys))
