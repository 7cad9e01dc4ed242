"""The enrollment method `hardware-totp`: a display token that was sold for AWS, so AWS already has its seed."""

from dataclasses import dataclass, field

from mfa_kit.core.models import DeviceType, Method
from mfa_kit.enrollment.assigning import ASSIGNING
from mfa_kit.rollout.roster import RosterMethod
from mfa_kit.wiring.methods.recipe import Context, EnrollmentMethod, Equipment, Options, option


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions(Options):
    """The options of `--with hardware-totp`."""

    serial: str = field(metadata=option(help="Serial number printed on the token.", metavar="SERIAL", single=True))

    def equip(self, context: Context) -> Equipment:
        """Return a DeviceBackend that asks the user for the token's codes, and the procedure that assigns it."""
        from mfa_kit.wiring.methods.token_carriers import read_display

        return Equipment(backend=read_display(self.serial, context), procedure=ASSIGNING)


HARDWARE_TOTP = Method("hardware-totp", DeviceType.HARDWARE_TOTP)
METHOD = EnrollmentMethod(
    method=HARDWARE_TOTP,
    help="a display token sold for AWS",
    options=TokenOptions,
    how=RosterMethod(method=HARDWARE_TOTP, by_serial=True),
    call="take token {serial} for {user}, and {enter}",
    call_user="Take your token with the number {serial}.",
)
