"""How each kind of cli/kinds.py is made: what carries its seed, in which order, and how it is used from then on.

What a kind needs is imported when it is asked for, so that no kind pays for another: docs/decisions/002.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mfa_kit.core.models import Intent, Kind
from mfa_kit.enrollment.enroll import Maker, assign, make
from mfa_kit.enrollment.ports import Carrier, Inventory

if TYPE_CHECKING:
    from mfa_kit.rollout.station import Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """One kind: the carrier made from its options' values, the use case, lines that tell how it is used.

    `slot` is where what it lives on is put in, if it is.
    """

    carrier: Callable[[Mapping[str, Any], Inventory], Carrier]
    maker: Maker = make
    usage: Callable[[Intent], Sequence[str]] = lambda _: ()
    slot: Callable[[Mapping[str, Any]], Slot | None] = lambda _: None


def of(kit: str, name: str) -> Callable[..., Any]:
    """Return a function of a file of the kit, which is imported when the function is called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(f"mfa_kit.wiring.{kit}"), name)(*args, **kwargs)

    return call


MAKING: dict[Kind, Making] = {
    Kind.VIRTUAL: Making(carrier=of("phone", "virtual")),
    Kind.OATH: Making(carrier=of("oath_keys", "carrier"), usage=of("oath_keys", "usage"), slot=of("oath_keys", "slot")),
    Kind.FIDO2: Making(
        carrier=of("fido_console", "AtConsole"), maker=of("fido_console", "register"), slot=of("fido_console", "slot")
    ),
    Kind.HARDWARE_TOTP: Making(carrier=of("token", "carrier"), maker=assign),
    Kind.PROGRAMMABLE: Making(carrier=of("token", "programmable")),
}
