"""A programmable display token, which stores the secret of a virtual device as its seed."""

from dataclasses import dataclass, field

from mfa_kit.core.models import Method
from mfa_kit.enrollment.making import CREATING
from mfa_kit.wiring.methods.recipe import Context, Equipment, Options, Recipe, option


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammableOptions(Options):
    """The options of `--with programmable`."""

    serial: str = field(metadata=option(help="The serial number printed on it.", metavar="SERIAL"))
    capacity: int | None = field(
        default=None,
        metadata=option(
            help="The longest seed that its model takes; AWS's have 40 octets [asked].",
            metavar="OCTETS",
            least=1,
            most=999,
        ),
    )
    show_secret: bool = field(
        default=False, metadata=option(help="Show the seed too, for a tool that takes no QR code.")
    )

    def equip(self, context: Context) -> Equipment:
        """Return the token given with `--serial`, to be programmed with a seed."""
        from mfa_kit.wiring.methods.token_carriers import burn_seed

        carrier = burn_seed(self.serial, context, capacity=self.capacity, show_secret=self.show_secret)
        return Equipment(carrier=carrier, maker=CREATING)


METHOD = Recipe(
    method=Method("programmable"),
    help="a display token into which AWS's seed is burned",
    options=ProgrammableOptions,
)
