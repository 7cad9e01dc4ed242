"""Continue with a half-made device from its encrypted backup, and enable staged (created, but not assigned) devices."""

from collections.abc import Callable
from shlex import quote

from mfa_kit.core.errors import AlreadyExists, InvalidCode, NoSuchEntity, Unclear, Unsettled, UsageFault
from mfa_kit.core.models import Caller, Enrolled, Entry, Mark, Purpose, Reached, check_user
from mfa_kit.core.otp import Created
from mfa_kit.enrollment.devices import is_listed, wait_until_listed
from mfa_kit.enrollment.making import confirm_enabled
from mfa_kit.enrollment.ports import Carrier, Desk
from mfa_kit.enrollment.settling import carrier_of, remove_copies


def resume_device(
    user: str,
    carrier: Carrier,
    *,
    opened: Callable[[Entry], Created],
    caller: Caller,
    desk: Desk,
) -> Enrolled:
    """Enable the device that an interrupted run left half-made, with the secret from its backup. Return the result.

    `opened` returns the secret from the backup of an entry. IAM accepts only codes of the device's own secret, so a
    backup whose codes IAM accepts belongs to the device. If the interrupted run used an OATH key, the secret is stored
    on that key again.
    Raise UsageFault if the user has no half-made device with a backup, and NoSuchEntity if the device has been deleted.
    """
    check_user(user)
    for entry in desk.journal.dead(caller.account, user=user):
        if entry.purpose is Purpose.ENROLL and entry.intent.method.name in desk.resumable and desk.vault.find(entry):
            seat = carrier if entry.intent.card is None else carrier_of(entry, desk=desk)
            return confirm_enabled(enable_sealed(entry, seat, opened(entry), desk=desk), desk=desk)
    raise UsageFault(
        f"{user} has no half-made device with a backup on this computer",
        f"start over: mfa-kit enroll {quote(user)} --with virtual",
    )


def enable_sealed(entry: Entry, carrier: Carrier, created: Created, *, desk: Desk) -> Entry:
    """Enable a device with the secret from its backup (`created`), unless it is already enabled. Return its entry.

    The caller must hold the run's lock. Raise Unsettled if the device is enabled, but the backup belongs to another
    device, and NoSuchEntity if the device was deleted.
    """
    intent = entry.intent
    if is_listed(intent, desk=desk):
        _prove(entry, carrier, created, desk=desk)
    else:
        carrier.check(intent, sealed=True)
        carrier.install(intent, created)
        try:
            desk.registrar.enable(intent, lambda: carrier.codes(intent))
        except NoSuchEntity as gone:
            remove_copies(entry, carrier, Reached.UNDONE, desk=desk)
            gone.hint = f"the device was deleted, so start over: mfa-kit enroll {quote(intent.user)} --with virtual"
            raise
        except (AlreadyExists, Unclear) as error:
            if not wait_until_listed(intent, desk=desk):
                raise
            desk.progress.note(f"{error}; {intent.serial} is nevertheless enabled for {intent.user}")
    return entry


def _prove(entry: Entry, carrier: Carrier, created: Created, *, desk: Desk) -> None:
    """Raise Unsettled unless the enabled device is the one that the run of `entry` made.

    The run ID in the device's tags shows this. If the tags have no run ID, send IAM two codes of the backup in a resync
    request. If IAM accepts the codes, the backup belongs to the device.
    """
    intent = entry.intent
    match desk.inventory.run_of(intent.serial):
        case entry.run:
            return
        case Mark.UNTAGGED:
            carrier.check(intent, sealed=True)
            carrier.install(intent, created)
            try:
                desk.registrar.resync(intent.user, intent.serial, lambda: carrier.codes(intent))
            except InvalidCode:
                raise Unsettled(
                    f"{intent.serial} is enabled, and IAM rejects the codes of this backup",
                    "try again in two minutes, because IAM accepts no code twice; if IAM rejects the new codes too, "
                    "the backup belongs to another device, so replace the enabled device: "
                    f"mfa-kit replace {quote(intent.user)} --with KIND --mfa-device {quote(intent.name)}",
                ) from None
        case _:
            raise Unsettled(
                f"{intent.serial} is enabled, but another run created it, so this backup belongs to another device",
                f"see the user's devices: mfa-kit status {quote(intent.user)}",
            )
