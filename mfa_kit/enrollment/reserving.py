"""Reserves a display token while a process gives it to a user, so that no other process gives it to another user.

People type the serials of tokens, so the same serial may be typed at two computers. The ledger shows which tokens were
given to users, but if both computers look at the same moment, both see that the token is free. A key needs no
reservation, because it can be plugged into only one computer at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import DeviceType, Enrolled, Intent
from mfa_kit.enrollment.ports import Carrier, Desk, Maker

# Replaces the account ID in the name of a token's lock. A token can be in only one account, so all accounts use the
# same lock for a token.
ANY_ACCOUNT = "0" * 12


def make_reserved(maker: Maker, intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Enrolled:
    """Make a device with `maker`, and return the result.

    If a display token stores the device's secret, reserve the token until `maker` has finished.

    Raise UsageFault if another process has reserved the token, and the errors of the maker.
    """
    serial = _token_of(intent)
    if serial is None:
        return maker.make(intent, carrier, desk=desk, run=run)
    with _reserved(serial, desk=desk):
        return maker.make(intent, carrier, desk=desk, run=run)


def _token_of(intent: Intent) -> str | None:
    """Return the serial of the display token that stores a device's secret, or None if no display token does."""
    if intent.card is not None or intent.method.device_type is DeviceType.FIDO2:
        return None
    return intent.known_serial or intent.hardware


@contextmanager
def _reserved(serial: str, *, desk: Desk) -> Iterator[None]:
    """Reserve a token until the context ends. Case and spaces in its serial do not matter."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    digest = hashlib.sha256("".join(serial.split()).lower().encode()).hexdigest()
    with desk.journal.claimed(f"{digest}-{ANY_ACCOUNT}") as ours:
        if not ours:
            raise UsageFault(
                f"another process is giving token {serial} to a user",
                "use another token, or wait until that process ends and run this again",
            )
        yield
