"""The enrollment method `programmable`: a display token to which the secret of a virtual device is written."""

from dataclasses import dataclass, field

from mfa_kit.core.models import Method
from mfa_kit.enrollment.making import CREATING
from mfa_kit.wiring.methods.recipe import Context, EnrollmentMethod, Equipment, Options, option


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammableOptions(Options):
    """The options of `--with programmable`."""

    serial: str = field(metadata=option(help="Serial number printed on the token.", metavar="SERIAL"))
    capacity: int | None = field(
        default=None,
        metadata=option(
            help="Longest seed that the token can store [you are asked]. Seeds from AWS have 40 octets.",
            metavar="OCTETS",
            least=1,
            most=999,
        ),
    )
    show_secret: bool = field(
        default=False, metadata=option(help="Also show the seed as text, for a tool that cannot read QR codes.")
    )

    def equip(self, context: Context) -> Equipment:
        """Return a DeviceBackend that shows the seed as a QR code, and the procedure for a virtual device.

        The user programs the token `--serial` with the seed.
        """
        from mfa_kit.wiring.methods.token_carriers import burn_seed

        backend = burn_seed(self.serial, context, capacity=self.capacity, show_secret=self.show_secret)
        return Equipment(backend=backend, procedure=CREATING)


METHOD = EnrollmentMethod(
    method=Method("programmable"),
    help="a display token to which the seed from AWS is written",
    options=ProgrammableOptions,
)
