"""Carriers for display tokens: objects that supply the codes with which a token is enrolled.

A Carrier raises an error if its token belongs to another user, or if an earlier check rejected the token.
"""

from mfa_kit.enrollment.backends import Phone, PhoneProof
from mfa_kit.enrollment.ports import Carrier
from mfa_kit.tokens.backends import INSTEAD, SCAN, UNSEEN, CheckedToken, DisplayToken, ProgrammableToken
from mfa_kit.wiring.methods.recipe import Context
from mfa_kit.wiring.qr_code import draw
from mfa_kit.wiring.this_computer import harden


def read_display(serial: str, context: Context) -> Carrier:
    """Return the Carrier for a display token whose seed cannot be changed. It asks the user for the token's codes."""
    settings = context.settings
    token = DisplayToken(
        serial, now=context.inventory.now, interaction=settings.interaction, progress=settings.progress
    )
    return CheckedToken(serial, token, check=context.check_token)


def burn_seed(serial: str, context: Context, *, capacity: int | None, show_secret: bool) -> Carrier:
    """Return the Carrier for a programmable token. It shows the seed as a QR code, and the user programs the token.

    With `show_secret`, the seed is also shown as text. `capacity` is the length, in octets, of the longest seed that
    the token can store. If `capacity` is None, the user is asked for it.
    """
    harden()
    person = context.settings.interaction
    proof = PhoneProof(grouped=show_secret, shown_by=f"token {serial}", scan=SCAN, instead=INSTEAD, unseen=UNSEEN)
    phone = Phone(context.inventory.now, interaction=person, draw=draw, proof=proof)
    token = ProgrammableToken(serial, phone, capacity=capacity, interaction=person)
    return CheckedToken(serial, token, check=context.check_token)
