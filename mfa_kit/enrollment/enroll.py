"""Enroll one user: finish or undo interrupted runs, look up the user's devices, make a device, and confirm it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from mfa_kit.core.errors import AlreadyExists, MfaKitError
from mfa_kit.core.message import Message
from mfa_kit.core.models import Caller, Device, DeviceSpec, Enrolled, Outcome, Skipped, check_user
from mfa_kit.enrollment.making import CREATING, make_reserved
from mfa_kit.enrollment.planning import EnrollRequest, plan_device, recorded_entry, serials_of
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, EnrollmentProcedure
from mfa_kit.enrollment.settling import settle_dead_runs


def enroll(
    request: EnrollRequest,
    backend: DeviceBackend,
    *,
    caller: Caller,
    ports: EnrollmentPorts,
    run: str,
    procedure: EnrollmentProcedure = CREATING,
) -> Outcome:
    """Settle the user's interrupted runs, and make a device unless the user already has one.

    Return Enrolled, or Skipped if the user already has a device and `request.add` is false. Raise MfaKitError if the
    device could not be made. The half-made device is then already removed, or a note of the error says what is left of
    it.
    """
    check_user(request.user)
    settled = settle_dead_runs(caller.account, request.user, ports=ports)
    unsettled = [ended for _, ended in settled if isinstance(ended, MfaKitError)]
    spec = look_to_enroll(request, backend, caller=caller, ports=ports)
    if isinstance(spec, Skipped):
        return spec
    try:
        return make_reserved(procedure, spec, backend, ports=ports, run=run)
    except MfaKitError as error:
        if isinstance(error, AlreadyExists) and (has := _skipped_meanwhile(request, caller=caller, ports=ports)):
            return has
        for earlier in unsettled:
            error.add_note(Message(f"an earlier run could not be settled: {earlier}; ", earlier.hint))
        raise


def look_to_enroll(
    request: EnrollRequest, backend: DeviceBackend, *, caller: Caller, ports: EnrollmentPorts
) -> DeviceSpec | Skipped:
    """Return the device to make for a user, or Skipped if the user already has one. Changes nothing.

    Raise MfaKitError if the device cannot be made. Does not check whether the name of the new device is taken: if
    it is, CreateVirtualMFADevice fails and changes nothing.
    """
    devices = ports.iam_reader.devices(request.user)
    return _skipped(request, devices, caller=caller, ports=ports) or plan_device(
        request, backend, devices=devices, caller=caller, ports=ports
    )


def _skipped(
    request: EnrollRequest, devices: Sequence[Device], *, caller: Caller, ports: EnrollmentPorts
) -> Skipped | None:
    """Return Skipped if a user with these devices gets no new device, otherwise None."""
    if request.add or not devices:
        return None
    entries = [recorded_entry(device, request.user, caller=caller, ports=ports) for device in devices]
    return Skipped(
        user=request.user,
        reason="already has an MFA device; --add adds one more, and replace --lost replaces a lost one",
        serials=serials_of(devices),
        backups=tuple(place for entry in entries if entry and (place := ports.store.find(entry))),
    )


def _skipped_meanwhile(request: EnrollRequest, *, caller: Caller, ports: EnrollmentPorts) -> Skipped | None:
    """Return Skipped if another process has just enrolled the user. Return None otherwise, or if this is unknown."""
    with suppress(MfaKitError):
        return _skipped(request, ports.iam_reader.devices(request.user), caller=caller, ports=ports)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolledUser:
    """The new device of a user, in the schema mfa-kit/enroll. `outcome` is `enrolled`."""

    outcome: str
    user: str
    device: str
    kind: str
    hardware: str | None
    backup: str | None
    run: str
    listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedUser:
    """A user who has a device already, in the schema mfa-kit/enroll. `outcome` is `skipped`."""

    outcome: str
    user: str
    reason: str
    devices: tuple[str, ...]
    backups: tuple[str, ...]


def enroll_result(outcome: Outcome) -> EnrolledUser | SkippedUser:
    """Return the result of an enrollment."""
    if isinstance(outcome, Enrolled):
        spec = outcome.spec
        return EnrolledUser(
            outcome="enrolled",
            user=spec.user,
            device=spec.serial,
            kind=spec.method.name,
            hardware=spec.hardware,
            backup=outcome.backup,
            run=outcome.run,
            listed=outcome.listed,
        )
    return SkippedUser(
        outcome="skipped",
        user=outcome.user,
        reason=outcome.reason,
        devices=outcome.serials,
        backups=outcome.backups,
    )
