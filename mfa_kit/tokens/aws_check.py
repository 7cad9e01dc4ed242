"""Whether AWS can use a display token, and a test of a token whose seed only AWS has.

The test enables the token for a user reserved for such tests, then removes the device.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from mfa_kit.core import otp
from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.core.message import Message, command, suggest
from mfa_kit.core.models import SERIAL, Caller, DeviceSpec, DeviceType, JournalEntry, Method, RunKind, check_user
from mfa_kit.core.otp import AWS_OCTETS, Created, Pair
from mfa_kit.enrollment.making import assign_token
from mfa_kit.enrollment.planning import EnrollRequest, look_up_serials, plan_device
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.enrollment.revoke import retire
from mfa_kit.enrollment.settling import settle_dead_runs
from mfa_kit.tokens.seeds import Factor, Token


class TokenWithCodes:
    """A DeviceBackend for a token from which two codes were already read."""

    def __init__(self, serial: str, pair: Pair) -> None:
        self._serial, self._pair = serial, pair

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        """Return the intent, with the token's serial as both the name and the serial of the device.

        Raise UsageFault if the text cannot be the serial of a token.
        """
        if self._serial.startswith("arn:") or not SERIAL.fullmatch(self._serial):
            raise UsageFault(
                f"{self._serial!r} is not the serial number of a token", "type the number on the back of the token"
            )
        return replace(spec, name=self._serial, known_serial=self._serial)

    def install(self, spec: DeviceSpec, created: Created) -> None:
        """Never called, because AWS does not give out the seed of a token."""
        raise AssertionError("AWS does not give out the seed of a token")

    def codes(self, spec: DeviceSpec) -> Pair:
        """Return the two codes that were read earlier."""
        return self._pair

    def check_reachable(self, entry: JournalEntry) -> None:
        """Check nothing, because a removal does not need the token: nothing was written to it."""

    def remove(self, entry: JournalEntry) -> None:
        """Do nothing, because nothing was written to the token."""


def check_with_aws(
    serial: str, pair: Pair, *, user: str, caller: Caller, ports: EnrollmentPorts, runs: Callable[[], str]
) -> None:
    """Check that AWS knows a token and accepts its codes `pair`: enable the token for `user`, then remove the device.

    Raise MfaKitError if AWS does not accept the token. Raise UsageFault if `user` already has an MFA device, so that
    this test never removes a person's device. `runs` returns a new run ID each time. The removal has its own entry in
    the journal, so it gets a second run ID, created after the token was enabled.
    """
    check_user(user)
    settle_dead_runs(caller.account, user, ports=ports)
    if devices := look_up_serials(user, iam_reader=ports.iam_reader):
        raise UsageFault(
            f"{user} has MFA devices: {', '.join(devices)}",
            suggest(
                "name a user that is reserved for probing; to remove what an earlier probe left",
                "revoke {}",
                user,
            ),
        )
    method = Method("hardware-totp", DeviceType.HARDWARE_TOTP)
    request = EnrollRequest(user=user, method=method, add=True)
    backend = TokenWithCodes(serial, pair)
    enrolled = assign_token(
        plan_device(request, backend, devices=(), caller=caller, ports=ports), backend, ports=ports, run=runs()
    )
    try:
        entry = JournalEntry(run=runs(), spec=enrolled.spec, answered_here=True)
        retire(entry, purpose=RunKind.REVOKE, ports=ports, may_stay=False)
    except MfaKitError as error:
        remove = command(
            "aws iam deactivate-mfa-device --user-name {} --serial-number {}",
            user,
            serial,
        )
        error.add_note(Message(f"AWS accepted token {serial}, but {user} still has it; to remove it", remove))
        raise


# The issuer of a seed that AWS made for a virtual device.
AWS_ISSUER = "Amazon Web Services"


@dataclass(frozen=True, slots=True)
class AwsUse:
    """Whether AWS can use a token, and `why` or why not.

    `device_type` is the type of the MFA device in IAM, or None if AWS cannot use the token.
    """

    device_type: DeviceType | None
    why: str


def aws_use(token: Token) -> AwsUse:
    """Return whether AWS can use a token, and as which type of MFA device.

    AWS cannot import seeds, so it can use few of the tokens that come with a seed.
    """
    if not token.octets:
        return AwsUse(
            DeviceType.HARDWARE_TOTP, "hardware TOTP, if AWS knows its serial number; --probe-user checks that"
        )
    parameters = (token.factor, token.digest, token.digits, token.period)
    if token.capacity >= AWS_OCTETS:
        return AwsUse(DeviceType.VIRTUAL, "programmable: AWS creates the seed, and you write it to the token")
    if token.capacity:
        return AwsUse(
            None, f"programmable, but its seeds have at most {token.capacity} bytes and AWS's have {AWS_OCTETS}"
        )
    if token.maker == AWS_ISSUER and token.octets == AWS_OCTETS:
        if parameters == (Factor.TOTP, "sha1", otp.DIGITS, otp.PERIOD):
            return AwsUse(DeviceType.VIRTUAL, "it has a seed that AWS created for a virtual device")
        return AwsUse(None, "AWS uses TOTP with SHA-1, 6 digits and 30 s")
    return AwsUse(None, "AWS accepts only hardware tokens sold for AWS and cannot import seeds")
