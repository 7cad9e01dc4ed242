"""Carriers for display tokens. They refuse a token that belongs to another user or that a check rejected."""

from mfa_kit.enrollment.phone import Phone, PhoneProof
from mfa_kit.enrollment.ports import Carrier
from mfa_kit.tokens.display import DisplayToken
from mfa_kit.tokens.programmable import INSTEAD, SCAN, UNSEEN, CheckedToken, ProgrammableToken
from mfa_kit.wiring.methods.recipe import Context
from mfa_kit.wiring.qr_code import draw
from mfa_kit.wiring.this_computer import harden


def read_display(serial: str, context: Context) -> Carrier:
    """Return the carrier for a token with a fixed seed. The user types the codes from its display."""
    settings = context.settings
    token = DisplayToken(
        serial, now=context.inventory.now, interaction=settings.interaction, progress=settings.progress
    )
    return CheckedToken(serial, token, check=context.check_token)


def burn_seed(serial: str, context: Context, *, capacity: int | None, show_secret: bool) -> Carrier:
    """Return the carrier for a programmable token. The user programs the token with the seed in the QR code.

    `capacity` is the maximum length of a seed, in octets, that the token can store. If it is None, the user is asked.
    """
    harden()
    person = context.settings.interaction
    proof = PhoneProof(grouped=show_secret, shown_by=f"token {serial}", scan=SCAN, instead=INSTEAD, unseen=UNSEEN)
    phone = Phone(context.inventory.now, interaction=person, draw=draw, proof=proof)
    token = ProgrammableToken(serial, phone, capacity=capacity, interaction=person)
    return CheckedToken(serial, token, check=context.check_token)
