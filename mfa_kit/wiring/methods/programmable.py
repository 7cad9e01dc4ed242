"""A display token into which the seed is burned that AWS makes for a virtual device."""

from dataclasses import dataclass, field

from mfa_kit.core.models import Method
from mfa_kit.enrollment.making import CREATING
from mfa_kit.enrollment.phone import Phone, PhoneProof
from mfa_kit.tokens.programmable import INSTEAD, SCAN, UNSEEN, CheckedToken, ProgrammableToken
from mfa_kit.wiring.image import draw
from mfa_kit.wiring.methods.recipe import Context, Equipment, Options, Recipe, option
from mfa_kit.wiring.this_computer import harden
from mfa_kit.wiring.token_records import check_free


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
        """Return the token that `--serial` names, as one into which a seed is burned."""
        harden()
        person = context.settings.interaction
        way = PhoneProof(
            grouped=self.show_secret, shown_by=f"token {self.serial}", scan=SCAN, instead=INSTEAD, unseen=UNSEEN
        )
        phone = Phone(context.inventory.now, interaction=person, draw=draw, way=way)
        token = ProgrammableToken(self.serial, phone, capacity=self.capacity, interaction=person)
        return Equipment(carrier=CheckedToken(self.serial, token, check=check_free), maker=CREATING)


METHOD = Recipe(
    method=Method("programmable"),
    help="a display token into which AWS's seed is burned",
    options=ProgrammableOptions,
)
