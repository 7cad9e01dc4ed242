"""Tries the contracts on the one key that is plugged in. `python -m tests.hardware --contract` calls this."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from mfa_kit.adapters.fido import links
from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.otp import Secret
from mfa_kit.oath_keys.credential import OathKey
from tests.hardware import fido, oath
from tests.hardware.rows import Done, Person, Tell, Verdict, try_rows


@dataclass(frozen=True, slots=True)
class Plugged:
    """The OATH applet and the path of the FIDO key that are plugged in, which belong to one key."""

    oath: OathKey | None
    fido: str | None


def find_key(tell: Tell) -> Plugged:
    """Return the key that is plugged in. Raise DeviceFault if there is none, or more than one."""
    cards: list[OathKey] = []
    with suppress(DeviceFault):  # no smart card service
        cards, _ = Keys(say=tell, password=lambda _: Secret("")).look()
    keys, _ = links.find_keys()
    if len(cards) > 1 or len(keys) > 1:
        raise DeviceFault("several keys are plugged in", "leave only one plugged in")
    if not cards and not keys:
        raise DeviceFault("there is no key that can be opened", "plug one in")
    return Plugged(cards[0] if cards else None, keys[0].where if keys else None)


def try_key(key: Plugged, person: Person, *, blank: bool, erase: Callable[[], str] | None) -> Iterator[Done]:
    """Try the rows of each contract that the key has an applet for.

    `blank` and `erase` are those of the benches. With `blank` or `erase`, the key has to be blank.
    """
    if key.oath:
        bench = oath.OathBench(key.oath, person, blank=blank)
        yield from (replace(row, row=f"oath {row.row}") for row in try_rows(oath.ROWS, bench))
    if key.fido:
        try:
            keys = fido.FidoBench(key.fido, person, erase)
        except DeviceFault as fault:
            yield Done("fido open", "it answers", str(fault), Verdict.DIFFERS)
            return
        yield from (replace(row, row=f"fido {row.row}") for row in try_rows(fido.ROWS, keys))
