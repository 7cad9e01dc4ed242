"""Register a security key. IAM has no API for this: a person registers it in the console, and mfa-kit polls IAM's list.

mfa-kit writes nothing to IAM here. AWS does not return the credential ID. mfa-kit therefore assumes that the connected
key is the key in IAM that has the right name and registration time.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from mfa_kit.core.errors import AwsFault, MfaKitError, OutcomeUnknownError, Throttled, UsageFault
from mfa_kit.core.local_servers import is_loopback
from mfa_kit.core.message import END_WAIT, Message, UserAction, mfa_kit, suggest
from mfa_kit.core.models import (
    ROOT,
    ROOTLESS,
    Caller,
    Device,
    DeviceSpec,
    DeviceType,
    Enrolled,
    JournalEntry,
    Registered,
    Skipped,
    is_root,
)
from mfa_kit.core.notes import Note
from mfa_kit.enrollment.planning import look_up_serials, serials_of
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, EnrollmentProcedure
from mfa_kit.enrollment.settling import record_confirmed

T = TypeVar("T")

# Seconds between two polls, and the maximum to which throttling raises this pause.
PACE, SLOWEST = 2.0, 30.0
# The remaining time is printed when it reaches one of these numbers of seconds.
MARKS = (30, 60, 120, 180, 240, 300, 420, 600, 900, 1200, 1800, 3600)
JOINED = "AWS does not return the credential ID, so mfa-kit matches the key only by its name and registration time"


class Hosts(NamedTuple):
    """The host names of a partition's federation endpoint (`signin`) and console."""

    signin: str
    console: str


# The hosts of each partition (IAM user guide, "Enable custom identity broker access to the AWS console"; AWS GovCloud
# and China guides).
HOSTS = {
    "aws": Hosts("signin.aws.amazon.com", "console.aws.amazon.com"),
    "aws-us-gov": Hosts("signin.amazonaws-us-gov.com", "console.amazonaws-us-gov.com"),
    "aws-cn": Hosts("signin.amazonaws.cn", "console.amazonaws.cn"),
}


def hosts_of(partition: str, *, endpoint: str) -> Hosts | None:
    """Return the URLs of a partition's federation endpoint and console, or None if they are unknown.

    `endpoint` is the URL of IAM. If it is on this computer, it is a lab's, which has both.
    """
    if is_loopback(endpoint):
        return Hosts(f"{endpoint}/federation", f"{endpoint}/console")
    hosts = HOSTS.get(partition)
    return hosts and Hosts(f"https://{hosts.signin}/federation", f"https://{hosts.console}")


# Is called with the journal entry of a registered key, also if Ctrl-C came while mfa-kit waited for it.
Recorded = Callable[[JournalEntry], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleWatch:
    """Polls the user's list of devices in IAM until it shows the security key that a person registers in the console.

    `page` opens the console or prints its address, and cleans up afterwards. `lacking` takes the key's certifications
    in IAM (levels by name), and returns a sentence for each requirement of the key policy that the certifications do
    not meet. The polling lasts at most `seconds`, measured by `clock`.
    """

    page: Callable[[DeviceSpec], AbstractContextManager[None]]
    lacking: Callable[[Mapping[str, str]], tuple[str, ...]]
    seconds: float
    clock: Callable[[], float]

    def make(self, spec: DeviceSpec, recorded: Recorded, *, ports: EnrollmentPorts, run: str) -> Enrolled:
        """Wait until the key is registered, record it in the journal, call `recorded`, and return the result.

        Raise AwsFault if IAM does not list a new key within `seconds`.
        """
        before = set(look_up_serials(spec.user, iam_reader=ports.iam_reader))

        def look() -> Device | None:
            return choose_new_key(spec.name, _new_devices(spec.user, before, ports=ports), ports=ports)

        with self.page(spec):
            try:
                device = wait_until(
                    look, f"the key of {spec.user}", seconds=self.seconds, clock=self.clock, ports=ports
                )
            except KeyboardInterrupt as stop:
                _look_after_stop(stop, look, spec, recorded, ports=ports, run=run)
                raise
        return self._report(_record(spec, device, recorded, ports=ports, run=run), device, ports=ports)

    def _report(self, entry: JournalEntry, device: Device, *, ports: EnrollmentPorts) -> Enrolled:
        """Read IAM's data on a registered key, and print warnings about the key and the user's other devices.

        Return the result of the enrollment, with these data and warnings.
        """
        user = entry.spec.user
        warnings: list[str] = []
        registered = Registered(since=device.since or ports.iam_reader.now(), certifications={})
        try:
            registered = ports.iam_reader.registered(user, device.serial)
        except MfaKitError as error:
            warnings.append(f"the key's certifications cannot be read from IAM: {error}")
        try:
            warnings += missing_devices(user, ports.iam_reader.devices(user), keys=ports.iam_reader.active_keys(user))
        except MfaKitError as error:
            warnings.append(f"cannot check whether {user} has access keys: {error}")
        registered = replace(registered, missing=self.lacking(registered.certifications), warnings=tuple(warnings))
        ports.progress.note(JOINED)
        for warning in (*registered.missing, *warnings):
            ports.progress.alert(f"warning: {warning}")
        return Enrolled(spec=entry.spec, run=entry.run, backup=None, registered=registered)


def registration_steps(spec: DeviceSpec, _backup: str | None) -> list[str]:
    """Return the steps that register a security key, one phrase each, for a dry run."""
    return [
        "verify the connected key, unless --skip-key-check is given",
        f"print what to click in the console: a security key named {spec.name} for {spec.user}",
        "wait until IAM lists the key, and read the key's certifications",
    ]


@runtime_checkable
class ConsoleBackend(Protocol):
    """A DeviceBackend whose device a person registers in the console."""

    def register(self, spec: DeviceSpec, *, ports: EnrollmentPorts, run: str) -> Enrolled:
        """Wait until the key is registered in the console, and return the enrolled device."""
        ...


def _register(spec: DeviceSpec, backend: DeviceBackend, *, ports: EnrollmentPorts, run: str) -> Enrolled:
    assert isinstance(backend, ConsoleBackend)  # noqa: S101 - the only method with this procedure has such a backend
    return backend.register(spec, ports=ports, run=run)


# The procedure of a security key: a person registers the key in the console.
REGISTERING = EnrollmentProcedure(_register, registration_steps)


def wait_until(
    look: Callable[[], T | None],
    description: str,
    *,
    seconds: float,
    clock: Callable[[], float],
    ports: EnrollmentPorts,
) -> T:
    """Call `look` until its result is not None, and return that result.

    The calls are two seconds apart, or more while IAM throttles them or does not respond. Raise AwsFault if there is no
    result within `seconds`, measured by `clock`. `description` names the key in messages, such as "root's key".
    """
    end, pause, last_reported = clock() + seconds, PACE, seconds + 1
    while True:
        try:
            if (result := look()) is not None:
                return result
            pause = PACE
        except (Throttled, OutcomeUnknownError) as error:
            pause = min(pause * 2, SLOWEST)
            ports.progress.note(f"{error}; checking again in {pause:.0f} s")
        remaining = end - clock()
        if remaining <= 0:
            raise AwsFault(
                f"IAM lists no new security key after {seconds:.0f} s, so {description} is not registered",
                "finish in the console and check with mfa-kit status, or start over with a longer --timeout",
            )
        if any(remaining <= mark < last_reported for mark in MARKS) or last_reported > seconds:
            waiting = f"waiting for {description}, {remaining:.0f} s left; "
            ports.progress.note(Message(waiting, END_WAIT, action=UserAction.END_WAIT))
            last_reported = remaining
        ports.sleep(pause)


def choose_new_key(name: str, new: Sequence[Device], *, ports: EnrollmentPorts) -> Device | None:
    """Return the security key among new devices, or None if there is none.

    Of several keys, return the one named `name`.

    Raise AwsFault if several keys are new, and not exactly one of them has this name.
    """
    keys = [device for device in new if device.type is DeviceType.FIDO2]
    named = [device for device in keys if device.name == name]
    match keys, named:
        case [], _:
            return None
        case [device], []:
            ports.progress.alert(
                f"warning: the new key is named {device.name}, not {name}; mfa-kit treats it as the requested key"
            )
        case _, [device]:
            pass
        case _:
            serials = ", ".join(device.serial for device in keys)
            raise AwsFault(
                f"{len(keys)} new security keys appeared at once, of which {len(named)} are named {name}: {serials}",
                Message(
                    "remove the unwanted keys",
                    mfa_kit("revoke USER --mfa-device ARN"),
                    "mfa-kit recorded none of the keys",
                ),
            )
    for other in new:
        if other != device:
            ports.progress.alert(f"warning: {other.serial} is also new, but was not registered by this command")
    return device


def _look_after_stop(
    stop: KeyboardInterrupt,
    look: Callable[[], Device | None],
    spec: DeviceSpec,
    recorded: Recorded,
    *,
    ports: EnrollmentPorts,
    run: str,
) -> None:
    """After Ctrl-C, check once more for the key. If it is registered, record it. Add the result to `stop` as a note."""
    try:
        device = look()
    except MfaKitError as error:
        stop.add_note(Note(f"cannot check whether {spec.user} has the key now: {error}"))
    else:
        if device is None:
            stop.add_note(
                Note(
                    f"no key was registered for {spec.user}; if you still finish in the console, the key works, but "
                    "mfa-kit does not record it"
                )
            )
        else:
            _record(spec, device, recorded, ports=ports, run=run)
            stop.add_note(Note(f"{device.serial} is nevertheless registered for {spec.user}"))


def _record(spec: DeviceSpec, device: Device, recorded: Recorded, *, ports: EnrollmentPorts, run: str) -> JournalEntry:
    entry = JournalEntry(run=run, spec=replace(spec, name=device.name, known_serial=device.serial), since=device.since)
    record_confirmed(entry, device, ports=ports)
    recorded(entry)
    return entry


def missing_devices(user: str, devices: Sequence[Device], *, keys: int) -> list[str]:
    """Return a warning for each reason why the user of a security key needs another device; [] if there is none.

    The AWS CLI cannot use a security key, because STS accepts only codes (IAM user guide). `keys` is the number of the
    user's active access keys.
    """
    warnings: list[str] = []
    if keys and all(device.type is DeviceType.FIDO2 for device in devices):
        warnings.append(
            suggest(
                f"{user} has {keys} active access key{'s' if keys > 1 else ''}, which cannot use a security key for "
                "MFA; add a virtual device",
                "enroll {} --with virtual --add",
                user,
            )
        )
    if len(devices) == 1:
        warnings.append(
            suggest(f"this is {user}'s only device; add a second one", "enroll {} --with fido2 --add", user)
        )
    return warnings


def session_policy(*, account: str, partition: str, user: str) -> dict[str, object]:
    """Return the session policy for the console: it allows only viewing one user, and assigning MFA devices to them.

    The policy's resources match the user with any path, because IAM's lists of devices do not contain the user's path.
    That is safe, because a user name is unique in its account.
    """
    start = f"arn:{partition}:iam::{account}:user"
    actions = [f"iam:{action}" for action in ("GetUser", "ListMFADevices", "GetMFADevice", "EnableMFADevice")]
    allow = {"Effect": "Allow", "Action": actions, "Resource": [f"{start}/{user}", f"{start}/*/{user}"]}
    return {"Version": "2012-10-17", "Statement": [allow]}


def click_instructions(spec: DeviceSpec, *, address: str | None) -> list[str]:
    """Return the four instructions for registering a key in the console, as the lines to print.

    `address` is the URL of the user's page in the console; None if it is not known.
    """
    first_step = f"open {address}" if address else f"open IAM, Users, {spec.user} in the console of {spec.partition},"
    return _instructions(
        f"{first_step} as a user who may change {spec.user}'s MFA",
        f"on {spec.user}'s page, Security credentials, choose Assign MFA device",
        name=spec.name,
    )


def root_click_instructions(name: str, *, address: str | None) -> list[str]:
    """Return the four instructions for registering root's key in the console, as the lines to print.

    `address` is the URL of root's page in the console; None if it is not known.
    """
    first_step = f"open {address}" if address else "open My security credentials in the console,"
    return _instructions(
        f"{first_step} signed in as root, with its email address and password",
        "under Multi-factor authentication (MFA) choose Assign MFA device",
        name=name,
    )


def _instructions(first: str, second: str, *, name: str) -> list[str]:
    return [
        f"1  {first}",
        f"2  {second}",
        f"3  name it {name}, choose Passkey or security key, then Next",
        "4  connect the key, choose the security key when the browser asks, and touch it",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class RootEnrolled:
    """Root now has MFA. `device` is the new security key, or None for a caller who is not root.

    Only root can list root's devices.
    """

    device: Device | None


def enroll_root(
    name: str,
    *,
    address: str | None,
    add: bool,
    seconds: float,
    clock: Callable[[], float],
    caller: Caller,
    ports: EnrollmentPorts,
) -> RootEnrolled | Skipped:
    """Print instructions for registering a security key named `name`, and wait until root has it.

    Return Skipped if root already has MFA, unless the caller is root and `add` is true. If the caller is root, the key
    is looked up in root's list of devices. Other callers cannot read that list. For them, the account summary shows
    whether root has MFA. Raise UsageFault in a partition without root users, and AwsFault if root has no new key within
    `seconds`, measured by `clock`.
    """
    if caller.partition in ROOTLESS:
        raise UsageFault(
            "AWS GovCloud has no root user that can sign in", "use the linked account in the commercial partition"
        )
    own = is_root(caller.arn)
    before = set(serials_of(ports.iam_reader.devices(None))) if own else set()
    if ports.iam_reader.root_has_mfa() and not (own and add):
        more = "--add adds one more" if own else "to add another device, use root's own credentials"
        return Skipped(user=ROOT, reason=f"already has MFA; {more}", serials=tuple(sorted(before)))
    for line in root_click_instructions(name, address=address):
        ports.progress.alert(line)

    look = partial(_find_own_key, name, before, ports=ports) if own else partial(_find_in_summary, ports=ports)
    return wait_until(look, "root's key", seconds=seconds, clock=clock, ports=ports)


def _find_own_key(name: str, before: Container[str], *, ports: EnrollmentPorts) -> RootEnrolled | None:
    device = choose_new_key(name, _new_devices(None, before, ports=ports), ports=ports)
    return RootEnrolled(device=device) if device else None


def _find_in_summary(*, ports: EnrollmentPorts) -> RootEnrolled | None:
    return RootEnrolled(device=None) if ports.iam_reader.root_has_mfa() else None


def _new_devices(user: str | None, before: Container[str], *, ports: EnrollmentPorts) -> list[Device]:
    """Return the devices of a user whose serials are not in `before`. The request is not retried.

    If `user` is None, return those of the caller.
    """
    return [device for device in ports.iam_reader.devices(user, patient=False) if device.serial not in before]
