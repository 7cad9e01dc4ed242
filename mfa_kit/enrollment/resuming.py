"""Continue with a half-made device from its encrypted backup, and enable staged (created, but not assigned) devices."""

from collections.abc import Callable

from mfa_kit.core.errors import AlreadyExists, InvalidCode, NoSuchEntity, OutcomeUnknownError, Unsettled, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.models import Caller, Enrolled, JournalEntry, JournalState, RunKind, RunTag, check_user
from mfa_kit.core.otp import Created
from mfa_kit.enrollment.devices import is_listed, wait_until_listed
from mfa_kit.enrollment.making import confirm_enabled
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts
from mfa_kit.enrollment.settling import carrier_of, remove_copies


def resume_device(
    user: str,
    backend: DeviceBackend,
    *,
    opened: Callable[[JournalEntry], Created],
    caller: Caller,
    ports: EnrollmentPorts,
) -> Enrolled:
    """Enable the device that an interrupted run left half-made, with the secret from its backup. Return the result.

    `opened` returns the secret from the backup of an entry. IAM accepts only codes of the device's own secret, so a
    backup whose codes IAM accepts belongs to the device. If the interrupted run used an OATH key, the secret is stored
    on that key again.
    Raise UsageFault if the user has no half-made device with a backup, and NoSuchEntity if the device has been deleted.
    """
    check_user(user)
    for entry in ports.journal.dead(caller.account, user=user):
        if entry.purpose is RunKind.ENROLL and entry.spec.method.name in ports.resumable and ports.store.find(entry):
            seat = backend if entry.spec.card is None else carrier_of(entry, ports=ports)
            return confirm_enabled(enable_sealed(entry, seat, opened(entry), ports=ports), ports=ports)
    raise UsageFault(
        f"{user} has no half-made device with a backup on this computer",
        suggest("start over", "enroll {} --with virtual", user),
    )


def enable_sealed(
    entry: JournalEntry, backend: DeviceBackend, created: Created, *, ports: EnrollmentPorts
) -> JournalEntry:
    """Enable a device with the secret from its backup (`created`), unless it is already enabled. Return its entry.

    The caller must hold the run's lock. Raise Unsettled if the device is enabled, but the backup belongs to another
    device, and NoSuchEntity if the device was deleted.
    """
    spec = entry.spec
    if is_listed(spec, ports=ports):
        _prove(entry, backend, created, ports=ports)
    else:
        backend.check(spec, sealed=True)
        backend.install(spec, created)
        try:
            ports.device_writer.enable(spec, lambda: backend.codes(spec))
        except NoSuchEntity as gone:
            remove_copies(entry, backend, JournalState.UNDONE, ports=ports)
            gone.hint = suggest("the device was deleted, so start over", "enroll {} --with virtual", spec.user)
            raise
        except (AlreadyExists, OutcomeUnknownError) as error:
            if not wait_until_listed(spec, ports=ports):
                raise
            ports.progress.note(f"{error}; {spec.serial} is nevertheless enabled for {spec.user}")
    return entry


def _prove(entry: JournalEntry, backend: DeviceBackend, created: Created, *, ports: EnrollmentPorts) -> None:
    """Raise Unsettled unless the enabled device is the one that the run of `entry` made.

    The run ID in the device's tags shows this. If the tags have no run ID, send IAM two codes of the backup in a resync
    request. If IAM accepts the codes, the backup belongs to the device.
    """
    spec = entry.spec
    match ports.iam_reader.run_of(spec.serial):
        case entry.run:
            return
        case RunTag.UNTAGGED:
            backend.check(spec, sealed=True)
            backend.install(spec, created)
            try:
                ports.device_writer.resync(spec.user, spec.serial, lambda: backend.codes(spec))
            except InvalidCode:
                raise Unsettled(
                    f"{spec.serial} is enabled, and IAM rejects the codes of this backup",
                    suggest(
                        "try again in two minutes, because IAM accepts no code twice; if IAM rejects the new codes "
                        "too, the backup belongs to another device, so replace the enabled device",
                        "replace {} --with KIND --mfa-device {}",
                        spec.user,
                        spec.name,
                    ),
                ) from None
        case _:
            raise Unsettled(
                f"{spec.serial} is enabled, but another run created it, so this backup belongs to another device",
                suggest("see the user's devices", "status {}", spec.user),
            )
