"""DeviceBackends for display tokens: objects that supply the codes with which a token is enrolled.

A DeviceBackend raises an error if its token belongs to another user, or if an earlier check rejected the token.
"""

from mfa_kit.enrollment.backends import Phone, PhoneSetup
from mfa_kit.enrollment.ports import DeviceBackend
from mfa_kit.tokens.backends import INSTEAD, SCAN, UNSEEN, CheckedToken, DisplayToken, ProgrammableToken
from mfa_kit.wiring.methods.recipe import Context
from mfa_kit.wiring.qr_codes import draw
from mfa_kit.wiring.settings import harden


def read_display(serial: str, context: Context) -> DeviceBackend:
    """Return the DeviceBackend for a display token whose seed cannot be changed. It asks the user for codes."""
    settings = context.settings
    token = DisplayToken(
        serial, now=context.iam_reader.now, interaction=settings.interaction, progress=settings.progress
    )
    return CheckedToken(serial, token, check=context.check_token)


def burn_seed(serial: str, context: Context, *, capacity: int | None, show_secret: bool) -> DeviceBackend:
    """Return the DeviceBackend for a programmable token. The user programs it from a QR code.

    With `show_secret`, the seed is also shown as text. `capacity` is the length, in octets, of the longest seed that
    the token can store. If `capacity` is None, the user is asked for it.
    """
    harden()
    person = context.settings.interaction
    proof = PhoneSetup(grouped=show_secret, shown_by=f"token {serial}", scan=SCAN, instead=INSTEAD, unseen=UNSEEN)
    phone = Phone(context.iam_reader.now, interaction=person, draw=draw, proof=proof)
    token = ProgrammableToken(serial, phone, capacity=capacity, interaction=person)
    return CheckedToken(serial, token, check=context.check_token)
