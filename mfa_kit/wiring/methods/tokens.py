"""The enrollment methods for display tokens: `hardware-totp`, whose seed AWS already has, and `programmable`.

The DeviceBackends raise an error if the token belongs to another user, or if an earlier check rejected the token.
"""

from dataclasses import dataclass, field

from mfa_kit.core.models import DeviceType, Method, RosterMethod
from mfa_kit.enrollment.backends import Phone, PhoneSetup
from mfa_kit.enrollment.making import ASSIGNING
from mfa_kit.enrollment.ports import DeviceBackend
from mfa_kit.tokens.backends import INSTEAD, SCAN, UNSEEN, CheckedToken, DisplayToken, ProgrammableToken
from mfa_kit.wiring.files import draw
from mfa_kit.wiring.methods.method import OPTION, Context, EnrollmentMethod, Option, Options
from mfa_kit.wiring.settings import harden


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions(Options):
    """The options of `--with hardware-totp`."""

    serial: str = field(
        metadata={OPTION: Option(help="Serial number printed on the token.", metavar="SERIAL", single=True)}
    )

    def backend(self, context: Context) -> DeviceBackend:
        """Return a DeviceBackend that asks the user for the codes that the token displays."""
        settings = context.settings
        token = DisplayToken(
            self.serial, now=context.iam_reader.now, interaction=settings.interaction, progress=settings.progress
        )
        return CheckedToken(self.serial, token, check=context.check_token)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammableOptions(Options):
    """The options of `--with programmable`."""

    serial: str = field(
        metadata={OPTION: Option(help="Serial number printed on the token.", metavar="SERIAL", single=True)}
    )
    capacity: int | None = field(
        default=None,
        metadata={
            OPTION: Option(
                help="Longest seed that the token can store [you are asked]. Seeds from AWS have 40 octets.",
                metavar="OCTETS",
                least=1,
                most=999,
            )
        },
    )
    show_secret: bool = field(
        default=False,
        metadata={OPTION: Option(help="Also show the seed as text, for a tool that cannot read QR codes.")},
    )

    def backend(self, context: Context) -> DeviceBackend:
        """Return a DeviceBackend that shows the seed as a QR code, with which the user programs the token."""
        harden()
        person = context.settings.interaction
        setup = PhoneSetup(
            grouped=self.show_secret, shown_by=f"token {self.serial}", scan=SCAN, instead=INSTEAD, unseen=UNSEEN
        )
        phone = Phone(context.iam_reader.now, interaction=person, draw=draw, proof=setup)
        token = ProgrammableToken(self.serial, phone, capacity=self.capacity, interaction=person)
        return CheckedToken(self.serial, token, check=context.check_token)


HARDWARE_TOTP = Method("hardware-totp", DeviceType.HARDWARE_TOTP)
DISPLAYED = EnrollmentMethod(
    method=HARDWARE_TOTP,
    procedure=ASSIGNING,
    help="a display token sold for AWS",
    options=TokenOptions,
    roster_method=RosterMethod(method=HARDWARE_TOTP, by_serial=True),
    call="take token {serial} for {user}, and {enter}",
    call_user="Take your token with the number {serial}.",
)
PROGRAMMABLE = Method("programmable")
PROGRAMMED = EnrollmentMethod(
    method=PROGRAMMABLE,
    help="a display token to which the seed from AWS is written",
    options=ProgrammableOptions,
    roster_method=RosterMethod(method=PROGRAMMABLE, by_serial=True),
    call="take token {serial} for {user}, and {enter}",
    call_user="Take your token with the number {serial}.",
)
