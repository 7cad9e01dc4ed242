"""How each kind of cli/kinds.py is made: what carries its seed, in which order, and how it is used from then on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mfa_kit.bench import Slot
from mfa_kit.cli.kit import console, oath, phone, token
from mfa_kit.enrollment import Maker, assign, make
from mfa_kit.models import Intent, Kind
from mfa_kit.ports import Carrier, Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """One kind: the carrier made from its options' values, the use case, lines that tell how it is used.

    `slot` is where what it lives on is put in, if it is.
    """

    carrier: Callable[[Mapping[str, Any], Inventory], Carrier]
    maker: Maker = make
    usage: Callable[[Intent], Sequence[str]] = lambda _: ()
    slot: Callable[[Mapping[str, Any]], Slot | None] = lambda _: None


MAKING: dict[Kind, Making] = {
    Kind.VIRTUAL: Making(carrier=phone.virtual),
    Kind.OATH: Making(carrier=oath.carrier, usage=oath.usage, slot=lambda _: oath.Slot()),
    Kind.FIDO2: Making(carrier=console.AtConsole, maker=console.register, slot=console.slot),
    Kind.HARDWARE_TOTP: Making(carrier=token.carrier, maker=assign),
    Kind.PROGRAMMABLE: Making(carrier=token.programmable),
}
