"""Display tokens as carriers; the inventory says whether one may be given to a user."""

from mfa_kit.enrollment.phone import Phone, PhoneProof
from mfa_kit.enrollment.ports import Carrier
from mfa_kit.tokens.display import DisplayToken
from mfa_kit.tokens.programmable import INSTEAD, SCAN, UNSEEN, CheckedToken, ProgrammableToken
from mfa_kit.wiring.methods.recipe import Context
from mfa_kit.wiring.qr_code import draw
from mfa_kit.wiring.this_computer import harden
from mfa_kit.wiring.token_records import check_free


def read_display(serial: str, context: Context) -> Carrier:
    """Return the token with this serial, whose codes a person reads off its display."""
    settings = context.settings
    token = DisplayToken(
        serial, now=context.inventory.now, interaction=settings.interaction, progress=settings.progress
    )
    return CheckedToken(serial, token, check=check_free)


def burn_seed(serial: str, context: Context, *, capacity: int | None, show_secret: bool) -> Carrier:
    """Return the token with this serial as one into which a person burns the seed that the QR code holds.

    `capacity` is the longest seed in octets that its model takes; None has it asked.
    """
    harden()
    person = context.settings.interaction
    proof = PhoneProof(grouped=show_secret, shown_by=f"token {serial}", scan=SCAN, instead=INSTEAD, unseen=UNSEEN)
    phone = Phone(context.inventory.now, interaction=person, draw=draw, proof=proof)
    token = ProgrammableToken(serial, phone, capacity=capacity, interaction=person)
    return CheckedToken(serial, token, check=check_free)
