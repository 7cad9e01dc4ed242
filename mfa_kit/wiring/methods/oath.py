"""An OATH credential on a YubiKey or another key, in a reader or on USB."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mfa_kit.core.models import Intent, Method
from mfa_kit.enrollment.ports import Carrier
from mfa_kit.rollout.roster import How
from mfa_kit.rollout.station import Slot
from mfa_kit.wiring import oath_keys
from mfa_kit.wiring.methods.recipe import Context, Equipment, Options, Recipe, option


@dataclass(frozen=True, slots=True, kw_only=True)
class OathOptions(Options):
    """The options of `--with oath`."""

    key: str | None = field(
        default=None,
        metadata=option(help="Which key, when several are plugged in.", metavar="SERIAL|READER", single=True),
    )
    touch: bool = field(default=True, metadata=option(help="Whether each code takes a touch.", off="--no-touch"))
    asset: str | None = field(
        default=None,
        metadata=option(help="What to call the key in its tag [its serial].", metavar="LABEL", single=True),
    )
    wait: bool = field(
        default=False, metadata=option(help="Wait for the next code in place of computing the last one.")
    )
    password_stdin: bool = field(
        default=False,
        metadata=option(
            help="Read the OATH password of the key from standard input, a line; "
            "to change it, the old one and the new.",
            single=True,
        ),
    )

    def equip(self, context: Context) -> Equipment:
        """Return the key that `--key` and the person choose."""
        carrier = oath_keys.carrier(context.inventory, key=self.key, asset=self.asset, touch=self.touch, wait=self.wait)
        return Equipment(carrier=carrier)

    def slot(self, context: Context) -> Slot:
        """Return where such keys are put in, whatever the options are."""
        return oath_keys.Slot()


def _of_dead(context: Context) -> Carrier:
    return oath_keys.carrier_of_dead(context.inventory)


def _usage(intent: Intent, _context: Context) -> Sequence[str]:
    return oath_keys.usage(intent)


OATH = Method("oath")
METHOD = Recipe(
    method=OATH,
    help="a YubiKey or another key with OATH, in a reader or on USB",
    options=OathOptions,
    how=How(method=OATH),
    call="insert the key for {user}",
    of_dead=_of_dead,
    on_key=True,
    resumable=True,
    usage=_usage,
)
