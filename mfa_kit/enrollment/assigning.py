"""Assigns a display token to a user. AWS already has the seed of the token."""

from mfa_kit.core.errors import (
    AwsFault,
    DeviceFault,
    InvalidCode,
    InvalidValue,
    NoSuchEntity,
    Note,
    OutcomeUnknownError,
    Throttled,
)
from mfa_kit.core.models import DeviceSpec, Enrolled, JournalEntry, JournalState
from mfa_kit.core.otp import Pair
from mfa_kit.enrollment.making import CONFIRM_STEP, confirm_enabled, settle_failed_enable
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, EnrollmentProcedure

OTHER_MAKERS = (
    "AWS accepts only hardware tokens sold for AWS and cannot import seeds, so tokens of other makers cannot be used; "
    "see docs/hardware-tokens.md"
)


def assign_token(spec: DeviceSpec, backend: DeviceBackend, *, ports: EnrollmentPorts, run: str) -> Enrolled:
    """Enable a token whose seed AWS already has, with two codes from `backend`, and return the enabled device.

    No device is created, so no device has to be deleted after an error. If the request gets no response, IAM's list of
    the user's devices shows whether the request took effect. Raise MfaKitError if the token could not be enabled.
    """
    entry = ports.journal.record(JournalEntry(run=run, spec=spec))
    sent = False

    def read() -> Pair:
        nonlocal sent
        pair = backend.codes(spec)
        sent = True
        return pair

    try:
        ports.device_writer.enable(spec, read)
    except BaseException as error:
        if not sent or (isinstance(error, AwsFault | Throttled) and not isinstance(error, OutcomeUnknownError)):
            ports.journal.record(entry.at(JournalState.UNDONE))
            raise _explain(error, spec) from None
        enabled = settle_failed_enable(entry, backend, error, ports=ports)
        if enabled is None:
            raise
        entry = enabled
    return confirm_enabled(entry, ports=ports)


def _assignment_steps(spec: DeviceSpec, _backup: str | None) -> list[str]:
    return [f"enable {spec.serial} for {spec.user} with two codes from its display", CONFIRM_STEP]


ASSIGNING = EnrollmentProcedure(assign_token, _assignment_steps)


def _explain(error: BaseException, spec: DeviceSpec) -> BaseException:
    """Return the error to raise: `error`, or an error that replaces it and explains why IAM may have refused the token.

    AWS does not document its response to an unknown serial.
    """
    match error:
        case NoSuchEntity():
            return DeviceFault(
                f"AWS has no token with the serial {spec.serial}",
                f"compare it with the serial printed on the token; {OTHER_MAKERS}",
            )
        case InvalidCode():
            return InvalidCode(
                f"AWS rejected the codes of {spec.serial}, or does not accept this token",
                f"check that you are reading this token, and type each code as it is shown; {OTHER_MAKERS}",
            )
        case AwsFault() if type(error) in {AwsFault, InvalidValue}:
            error.add_note(Note(OTHER_MAKERS))
            return error
        case _:
            return error
