"""Tests a token whose seed only AWS has: enables it for a user reserved for such tests, then removes the device."""

from collections.abc import Callable
from dataclasses import replace
from shlex import quote

from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.core.models import Caller, DeviceType, Entry, Intent, Method, Purpose, check_user
from mfa_kit.core.otp import Created, Pair
from mfa_kit.core.unforeseen import Note
from mfa_kit.enrollment.assigning import assign_token
from mfa_kit.enrollment.devices import look_up_serials
from mfa_kit.enrollment.planning import Wish, plan_device
from mfa_kit.enrollment.ports import Desk
from mfa_kit.enrollment.recovery import settle_dead_runs
from mfa_kit.enrollment.revoke import retire
from mfa_kit.tokens.display import SERIAL


class TokenWithCodes:
    """A Carrier (the object that supplies a device's codes) for a token from which two codes were already read."""

    def __init__(self, serial: str, pair: Pair) -> None:
        self._serial, self._pair = serial, pair

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
        """Return the intent, with the token's serial as both the name and the serial of the device.

        Raise UsageFault if the text cannot be the serial of a token.
        """
        if self._serial.startswith("arn:") or not SERIAL.fullmatch(self._serial):
            raise UsageFault(
                f"{self._serial!r} is not the serial number of a token", "type the number on the back of the token"
            )
        return replace(intent, name=self._serial, known_serial=self._serial)

    def install(self, intent: Intent, created: Created) -> None:
        """Never called, because AWS does not give out the seed of a token."""
        raise AssertionError("AWS does not give out the seed of a token")

    def codes(self, intent: Intent) -> Pair:
        """Return the two codes that were read earlier."""
        return self._pair

    def reach(self, entry: Entry) -> None:
        """Check nothing, because a removal does not need the token: nothing was written to it."""

    def remove(self, entry: Entry) -> None:
        """Do nothing, because nothing was written to the token."""


def check_with_aws(serial: str, pair: Pair, *, user: str, caller: Caller, desk: Desk, runs: Callable[[], str]) -> None:
    """Check that AWS knows a token and accepts its codes `pair`: enable the token for `user`, then remove the device.

    Raise MfaKitError if AWS does not accept the token. Raise UsageFault if `user` already has an MFA device, so that
    this test never removes a person's device. `runs` returns a new run ID each time. The removal has its own entry in
    the journal, so it gets a second run ID, created after the token was enabled.
    """
    check_user(user)
    settle_dead_runs(caller.account, user, desk=desk)
    if devices := look_up_serials(user, inventory=desk.inventory):
        raise UsageFault(
            f"{user} has MFA devices: {', '.join(devices)}",
            "name a user that is reserved for probing; "
            f"to remove what an earlier probe left: mfa-kit revoke {quote(user)}",
        )
    method = Method("hardware-totp", DeviceType.HARDWARE_TOTP)
    wish = Wish(user=user, method=method, add=True)
    carrier = TokenWithCodes(serial, pair)
    made = assign_token(
        plan_device(wish, carrier, devices=(), caller=caller, desk=desk), carrier, desk=desk, run=runs()
    )
    try:
        entry = Entry(run=runs(), intent=made.intent, answered_here=True)
        retire(entry, purpose=Purpose.REVOKE, desk=desk, may_stay=False)
    except MfaKitError as error:
        command = f"aws iam deactivate-mfa-device --user-name {quote(user)} --serial-number {quote(serial)}"
        error.add_note(Note(f"AWS accepted token {serial}, but {user} still has it; to remove it: {command}"))
        raise
