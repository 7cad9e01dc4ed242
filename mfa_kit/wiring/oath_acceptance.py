"""Functions for `verify oath` and `verify user`: a random seed, a check of a key's manufacturer, and two codes."""

import secrets
from collections.abc import Callable

from mfa_kit.core.checks import Check
from mfa_kit.core.otp import Pair, Seed
from mfa_kit.oath_keys.acceptance import NOT_BESIDE, maker_check
from mfa_kit.oath_keys.applet import OathApplet
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.security_keys.key_policy import KeyPolicy
from mfa_kit.wiring.security_keys import SecurityKeys

# The length of AWS's seeds in octets.
SEED_OCTETS = 40


def random_seed() -> Seed:
    """Return a random seed of 40 octets, like those from AWS."""
    return Seed(secrets.token_bytes(SEED_OCTETS))


def check_maker(key: OathKey, fido: SecurityKeys) -> Check:
    """Check the manufacturer of an OATH key by the FIDO attestation of the same key. The user touches the key twice.

    The check fails if the FIDO applet of the same key is not found.
    """
    place = fido.find_same_device(key.reader)
    if place is None:
        return NOT_BESIDE
    with fido.metadata() as published:
        examined = fido.examiner(published, KeyPolicy()).examine_one(place)
    model = examined.evidence.model
    return maker_check(examined.answer, model.name if model else None)


def consecutive_codes(applet: OathApplet, label: str, *, touch: bool | None, now: Callable[[], float]) -> Pair:
    """Return a credential's codes for the previous and the current time step. The user may have to touch the key.

    `now` is called after the last touch, to find the current time step. `touch` says whether touches are needed; None
    means that this is unknown.
    """
    from mfa_kit.adapters.oath import card

    return card.compute_pair(applet, label, touch=touch, now=now)
