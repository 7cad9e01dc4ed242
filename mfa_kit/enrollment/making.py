"""Make a virtual device: create it, encrypt its backup, install its secret, enable it, and confirm it.

A display token whose seed AWS already has is only assigned. A half-made device is continued from its encrypted backup,
and a staged device, which is created but not assigned, is enabled.

After an error, the half-made device is settled: it is deleted, or confirmed if IAM has already enabled it. Then the
error is raised.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

from mfa_kit.core.errors import (
    AccessDenied,
    AlreadyExists,
    AwsFault,
    DeviceFault,
    InvalidCode,
    InvalidValue,
    MfaKitError,
    NoSuchEntity,
    OutcomeUnknownError,
    Throttled,
    UnlistedError,
    Unsettled,
    UsageFault,
)
from mfa_kit.core.message import STOP_NOW, Message, mfa_kit, suggest
from mfa_kit.core.models import (
    CARD_TAG,
    HARDWARE_TAG,
    KIND_TAG,
    RUN_TAG,
    STAGED_TAG,
    USER_TAG,
    Caller,
    DeviceSpec,
    DeviceType,
    Enrolled,
    JournalEntry,
    JournalState,
    RunKind,
    RunTag,
    check_user,
)
from mfa_kit.core.notes import Note
from mfa_kit.core.otp import Created, Pair
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.core.wrong_codes import REJECTED_OF_BACKUP, REJECTED_ON_DISPLAY
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, EnrollmentProcedure
from mfa_kit.enrollment.settling import (
    COMPLETE,
    backend_of,
    delete_command,
    find_device,
    how_to_continue,
    is_complete,
    is_listed,
    record_confirmed,
    remove_copies,
    settle,
    wait_until_listed,
)

# The maximum number of attempts to create one device. The DeviceWriter's own retries after throttling are not counted.
CREATE_TRIES = 4
MADE = {JournalState.STAGED, JournalState.ENABLED, JournalState.CONFIRMED}
# Matches the values that IAM allows for a tag (IAM API reference, Tag). A user name may contain a comma, a tag may not.
TAG_VALUE = re.compile(r"[\w\s.:/=+@-]{0,256}")


def create_device(entry: JournalEntry, *, ports: EnrollmentPorts) -> Created:
    """Create a device and return its secret.

    If IAM denies the tags, create the device without tags. If the outcome of a request is unknown
    (OutcomeUnknownError), retry it. Two devices cannot have the same name, so the retry fails if the first request took
    effect. If the existing device has this run's tag, its secret was lost with the response, so the device is deleted
    and created again. Raise OutcomeUnknownError if a request may have taken effect. If this function raises Throttled
    or any AwsFault but OutcomeUnknownError, no device was created.
    """
    spec, tags = entry.spec, _tags(entry)
    lost: OutcomeUnknownError | None = None
    for attempt in range(CREATE_TRIES):
        try:
            return ports.device_writer.create(spec, tags)
        except OutcomeUnknownError as error:
            lost = error
            if attempt + 1 == CREATE_TRIES:
                break
            ports.progress.note(f"{error}; trying again, which also shows whether {spec.serial} was created")
            ports.sleep(attempt + 1)
        except (AwsFault, Throttled) as refused:
            if isinstance(refused, AccessDenied) and tags:
                tags = {}  # tags need a separate permission, which minimal policies omit
            elif lost is None:
                raise _explain_refusal(refused, spec, ports=ports) from None
            elif not (isinstance(refused, AlreadyExists) and _free_name(entry, ports=ports)):
                raise lost from None
    raise lost or AwsFault(f"IAM did not create {spec.serial}", "try again")


def _tags(entry: JournalEntry) -> dict[str, str]:
    """Return the tags for a device that a run makes. A tag whose value is empty or not allowed is omitted."""
    spec = entry.spec
    tags = (
        (RUN_TAG, entry.run),
        (USER_TAG, spec.user),
        (KIND_TAG, spec.method.name),
        (HARDWARE_TAG, spec.hardware),
        (CARD_TAG, spec.card),
        (STAGED_TAG, "yes" if spec.staged else None),
        *spec.tags,
    )
    return {key: value for key, value in tags if value and TAG_VALUE.fullmatch(value)}


def _explain_refusal(refused: AwsFault | Throttled, spec: DeviceSpec, *, ports: EnrollmentPorts) -> MfaKitError:
    """Return the error to raise: `refused`, or if the device's name is taken, an error about the existing device."""
    return _name_taken(spec, ports=ports) if isinstance(refused, AlreadyExists) else refused


def _name_taken(spec: DeviceSpec, *, ports: EnrollmentPorts) -> AlreadyExists:
    """Return the error for a device name that is taken, with what is known about the existing device.

    If a run made that device, or is making it now, the hint contains no command to delete that device.
    """
    run = ports.iam_reader.run_of(spec.serial)
    entry = ports.journal.find(spec.serial, run=run) if isinstance(run, str) else None
    if entry is None:
        return _name_taken_by_other(spec, run)
    if entry.is_half_made and ports.journal.lives(entry.run):
        return AlreadyExists(
            f"an MFA device named {spec.name} already exists: another process is creating it",
            suggest("let it finish, then check", "status {}", entry.spec.user),
        )
    if entry.spec.user == spec.user and entry.reached in MADE:
        backup = ports.store.find(entry)
        return AlreadyExists(
            f"an MFA device named {spec.name} already exists: run {entry.run} made it for {entry.spec.user}"
            + (f", and its backup is {backup}" if backup else ""),
            Message(
                "see the user's devices",
                mfa_kit("status {}", entry.spec.user),
                "to see unassigned devices",
                mfa_kit("orphans list"),
            ),
        )
    if entry.is_half_made and is_complete(entry, ports=ports):
        return AlreadyExists(f"{spec.serial} {COMPLETE}", how_to_continue(entry))
    return _name_taken_by_other(spec, None)


def _name_taken_by_other(spec: DeviceSpec, run: str | RunTag | None) -> AlreadyExists:
    """Return the error for the name of a device that this ledger lacks, with the run in the device's tags."""
    if isinstance(run, str):  # that run may still be at work, on a computer with another ledger
        return AlreadyExists(
            f"an MFA device named {spec.name} already exists: run {run} made it, which is not in this ledger",
            Message(
                "choose another --name, or let that run finish and see what it left",
                mfa_kit("status {}", spec.user),
                "to see unassigned devices",
                mfa_kit("orphans list"),
            ),
        )
    return AlreadyExists(
        f"an MFA device named {spec.name} already exists and is not assigned to {spec.user}",
        Message(
            "choose another --name, or see whether the device is unassigned",
            mfa_kit("orphans list"),
            "to delete it if it is unused",
            delete_command(spec.serial),
        ),
    )


def _free_name(entry: JournalEntry, *, ports: EnrollmentPorts) -> bool:
    """Delete the device of an entry if the entry's run created it. Return whether the device's name is free now."""
    serial = entry.spec.serial
    try:
        if ports.iam_reader.run_of(serial) != entry.run:
            return False
        ports.device_writer.delete(serial)
    except NoSuchEntity:  # another process or user deleted it
        return True
    except MfaKitError as error:
        ports.progress.alert(f"this run created {serial}, but cannot delete it: {error}")
        return False
    return True


# The last step that a dry run lists, for each EnrollmentProcedure that sends EnableMFADevice.
CONFIRM_STEP = "confirm that IAM lists it"


def make_device(spec: DeviceSpec, backend: DeviceBackend, *, ports: EnrollmentPorts, run: str) -> Enrolled:
    """Make a device, confirm that IAM lists it, and return the result.

    Raise MfaKitError if the device could not be made. The half-made device is then already removed, or a note of the
    error says what is left of it.
    """
    return confirm_enabled(create_and_enable(spec, backend, ports=ports, run=run), ports=ports)


def create_and_enable(spec: DeviceSpec, backend: DeviceBackend, *, ports: EnrollmentPorts, run: str) -> JournalEntry:
    """Create a device, encrypt its backup, install its secret and enable it. Return its journal entry.

    Unlike `make_device`, do not check that IAM lists the device.
    """
    entry, created = _create_and_seal(spec, backend, ports=ports, run=run)
    try:
        backend.install(spec, created)
        ports.device_writer.enable(spec, lambda: backend.codes(spec))
    except BaseException as error:
        enabled = settle_failed_enable(entry, backend, error, ports=ports)
        if enabled is None:
            raise
        return enabled
    return entry


def _creation_steps(spec: DeviceSpec, backup: str | None) -> list[str]:
    return [
        f"create the virtual MFA device {spec.serial}",
        *([f"encrypt its QR code in {backup}"] if backup else []),
        *([f"store its secret on the key {spec.hardware}, as {spec.label}"] if spec.card else []),
        f"enable it for {spec.user} with two consecutive codes",
        CONFIRM_STEP,
    ]


CREATING = EnrollmentProcedure(make_device, _creation_steps)


def stage_device(spec: DeviceSpec, backend: DeviceBackend, *, ports: EnrollmentPorts, run: str) -> JournalEntry:
    """Create a device, encrypt its backup, and return its journal entry. `enable_sealed` enables the device later.

    Until then, AWS does not ask the user for this device's codes.
    """
    entry, _ = _create_and_seal(spec, backend, ports=ports, run=run)
    return ports.journal.record(entry.at(JournalState.STAGED))


def prepare_device(
    spec: DeviceSpec,
    backend: DeviceBackend,
    *,
    ports: EnrollmentPorts,
    run: str,
    lock: Callable[[JournalEntry], None],
    record: Callable[[JournalEntry], None],
) -> Enrolled:
    """Create a device for a key or token that is sent to its user, write its secret there, and return the result.

    The codes that the key or token computes are checked, but the device is not enabled. `lock` protects the key with a
    password, and `record` records that the key is prepared. Raise MfaKitError as `make_device`.
    """
    entry, created = _create_and_seal(spec, backend, ports=ports, run=run)
    try:
        backend.install(spec, created)
        backend.codes(spec)
        lock(entry)
        record(entry)
        ports.journal.record(entry.at(JournalState.STAGED))
    except BaseException as error:
        _settle_after(entry, backend, error, ports=ports)
        raise
    return Enrolled(spec=entry.spec, run=run, backup=entry.backup, listed=False)


def preparing(*, lock: Callable[[JournalEntry], None], record: Callable[[JournalEntry], None]) -> EnrollmentProcedure:
    """Return the procedure that prepares a key or token to be sent by post, with the functions of `prepare_device`."""
    return EnrollmentProcedure(partial(prepare_device, lock=lock, record=record), _preparation_steps)


def _preparation_steps(spec: DeviceSpec, backup: str | None) -> list[str]:
    return [*_creation_steps(spec, backup)[:-2], "check its codes"]


def _create_and_seal(
    spec: DeviceSpec, backend: DeviceBackend, *, ports: EnrollmentPorts, run: str
) -> tuple[JournalEntry, Created]:
    """Create a device, encrypt its backup, and return the journal entry and the secret.

    After an error, delete the device again (or confirm it if it is enabled), then raise the error.
    """
    entry = ports.journal.record(JournalEntry(run=run, spec=spec, backup=ports.store.place(spec, run)))
    try:
        try:
            created = create_device(entry, ports=ports)
        except OutcomeUnknownError:
            raise
        except (AwsFault, Throttled):  # IAM refused, so nothing was made
            entry = ports.journal.record(entry.at(JournalState.UNDONE))
            raise
        entry = replace(entry, reached=JournalState.CREATED, answered_here=True)
        ports.journal.record(entry)
        if entry.backup:
            ports.store.seal(entry, created.uri)
            entry = ports.journal.record(replace(entry, sealed=True))
    except BaseException as error:
        if entry.reached is not JournalState.UNDONE:
            _settle_after(entry, backend, error, ports=ports)
        raise
    return entry, created


def confirm_enabled(entry: JournalEntry, *, ports: EnrollmentPorts) -> Enrolled:
    """Wait until IAM lists an enabled device, record it as confirmed, and return the result.

    If IAM does not list it, or if the check fails, print a warning, do not record the device as confirmed, and return a
    result whose `listed` is False.
    """
    enrolled = Enrolled(spec=entry.spec, run=entry.run, backup=entry.backup)
    try:
        find = find_device if entry.looked_for else wait_until_listed
        if device := find(entry.spec, ports=ports):
            record_confirmed(entry, device, ports=ports)
            return enrolled
        reason = "IAM does not list it yet"
    except MfaKitError as error:
        reason = str(error)
    except BaseException as error:
        error.add_note(Note(f"{entry.spec.serial} is enabled for {entry.spec.user}, but was not confirmed"))
        raise
    ports.progress.alert(f"warning: {entry.spec.serial} is enabled, but not confirmed: {reason}")
    return replace(enrolled, listed=False)


def settle_failed_enable(
    entry: JournalEntry, backend: DeviceBackend, error: BaseException, *, ports: EnrollmentPorts
) -> JournalEntry | None:
    """Settle a device after an error while it was being enabled.

    Return its entry if the device is enabled nevertheless and the error is an MfaKitError. Otherwise, for example after
    a Ctrl-C, return None. The caller then has to raise the error again.
    """
    enabled = _settle_after(entry, backend, error, ports=ports)
    serial, user = entry.spec.serial, entry.spec.user
    if enabled and not isinstance(error, MfaKitError):
        error.add_note(Note(f"{serial} is nevertheless enabled for {user}"))
        return None
    if enabled:
        ports.progress.note(f"{error}; {serial} is nevertheless enabled for {user}")
    return enabled


def _settle_after(
    entry: JournalEntry, backend: DeviceBackend, error: BaseException, *, ports: EnrollmentPorts
) -> JournalEntry | None:
    """Settle a device after an error.

    Return its entry if the device is enabled nevertheless, otherwise None. If the device cannot be settled, add the
    reason to the error as a note.
    """
    try:
        # Without this message, a Ctrl-C has no visible effect while IAM is slow, and users press Ctrl-C again. Worker
        # threads do not print it, because only a second Ctrl-C interrupts them.
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            ports.progress.note(Message(f"cancelling: removing {entry.spec.serial} from AWS first. ", STOP_NOW))
        with INTERRUPTS.settling():
            if settle(entry, backend, ports=ports) is JournalState.CONFIRMED:
                return entry
    except UnlistedError:
        return replace(entry, looked_for=True)
    except BaseException as second:  # noqa: BLE001 - even a second Ctrl-C must not hide the first error
        hint = (second.hint if isinstance(second, MfaKitError) else "") or "run the same command again to continue"
        error.add_note(Note(f"{entry.spec.serial} is not settled yet: {_why(second)}; ", hint))
        return None
    ports.progress.note(f"removed {entry.spec.serial}; {entry.spec.user} has no new device")
    return None


def _why(error: BaseException) -> str:
    match error:
        case MfaKitError():
            return str(error)
        case KeyboardInterrupt():
            return "the removal was interrupted too"
        case _:
            return type(error).__name__


# Replaces the account ID in the name of a token's lock. A token can be in only one account, so all accounts use the
# same lock for a token.
ANY_ACCOUNT = "0" * 12


def make_reserved(
    procedure: EnrollmentProcedure, spec: DeviceSpec, backend: DeviceBackend, *, ports: EnrollmentPorts, run: str
) -> Enrolled:
    """Make a device with `procedure`, and return the result.

    If a display token stores the device's secret, reserve the token until `procedure` has finished.

    Raise UsageFault if another process has reserved the token, and the errors of the procedure.
    """
    serial = _token_of(spec)
    with _reserved(serial, ports=ports) if serial else nullcontext():
        return procedure.make(spec, backend, ports=ports, run=run)


def _token_of(spec: DeviceSpec) -> str | None:
    """Return the serial of the display token that stores a device's secret, or None if no display token does."""
    if spec.card is not None or spec.method.device_type is DeviceType.FIDO2:
        return None
    return spec.known_serial or spec.hardware


@contextmanager
def _reserved(serial: str, *, ports: EnrollmentPorts) -> Iterator[None]:
    """Reserve a token until the context ends. Case and spaces in its serial do not matter."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    digest = hashlib.sha256("".join(serial.split()).lower().encode()).hexdigest()
    with ports.journal.claimed(f"{digest}-{ANY_ACCOUNT}") as ours:
        if not ours:
            raise UsageFault(
                f"another process is giving token {serial} to a user",
                "use another token, or wait until that process ends and run this again",
            )
        yield


OTHER_MAKERS = suggest(
    "AWS accepts only hardware tokens sold for AWS and cannot import seeds, so tokens of other makers cannot be used; "
    "see",
    "help tokens/hardware-totp-tokens",
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
                f"{REJECTED_ON_DISPLAY}; {OTHER_MAKERS}",
            )
        case AwsFault() if type(error) in {AwsFault, InvalidValue}:
            error.add_note(Note(OTHER_MAKERS))
            return error
        case _:
            return error


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
    A device for a key that is to be sent by post is left out, because it must not be enabled yet.
    Raise UsageFault if the user has no half-made device with a backup, and NoSuchEntity if the device has been deleted.
    """
    check_user(user)
    for entry in ports.journal.dead(caller.account, user=user):
        may_resume = entry.purpose is RunKind.ENROLL and not entry.spec.posted
        if may_resume and entry.spec.method.name in ports.resumable and ports.store.find(entry):
            seat = backend if entry.spec.card is None else backend_of(entry, ports=ports)
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
                    suggest(REJECTED_OF_BACKUP, "replace {} --with KIND --mfa-device {}", spec.user, spec.name),
                ) from None
        case _:
            raise Unsettled(
                f"{spec.serial} is enabled, but another run created it, so this backup belongs to another device",
                suggest("see the user's devices", "status {}", spec.user),
            )
