"""Registering a security key: how the new key is recognized in IAM's list, and messages if it does not appear."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest

from mfa_kit.core.errors import AwsFault, NoSuchEntity, UsageFault
from mfa_kit.core.models import Caller, Device, DeviceSpec, Enrolled, JournalEntry, JournalState, Skipped
from mfa_kit.core.otp import Created, Pair
from mfa_kit.enrollment import fido_console
from mfa_kit.enrollment.enroll import enroll
from mfa_kit.enrollment.fido_console import (
    PACE,
    SLOWEST,
    ConsoleWatch,
    Recorded,
    RootEnrolled,
    registration_steps,
)
from mfa_kit.enrollment.planning import EnrollRequest
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, EnrollmentProcedure, Make
from mfa_kit.enrollment.revoke import look_to_replace, replace_device
from mfa_kit.lab.aws.server import Lab
from mfa_kit.wiring.methods.fido2 import FIDO2
from tests.enroll.conftest import At, AtDesk


class Key:
    """A security key for tests that need no hardware."""

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        return spec.on(hardware="BOX-7")

    def install(self, spec: DeviceSpec, created: Created) -> None:
        raise AssertionError

    def codes(self, spec: DeviceSpec) -> Pair:
        raise AssertionError

    def check_reachable(self, entry: JournalEntry) -> None:
        pass

    def remove(self, entry: JournalEntry) -> None:
        pass


def nothing_lacks(_: Mapping[str, str]) -> tuple[str, ...]:
    return ()


def watch(desk: At, *, seconds: float = 60, opened: list[str] | None = None) -> ConsoleWatch:
    """Return the EnrollmentProcedure. Its clock advances only by sleeping."""

    @contextmanager
    def page(spec: DeviceSpec) -> Iterator[None]:
        (opened if opened is not None else []).append(spec.name)
        yield
        (opened if opened is not None else []).append("closed")

    return ConsoleWatch(page=page, lacking=nothing_lacks, seconds=seconds, clock=lambda: sum(desk.person.slept))


def making(procedure: ConsoleWatch, recorded: Recorded = lambda _: None) -> Make:
    def make(spec: DeviceSpec, backend: DeviceBackend, *, ports: EnrollmentPorts, run: str) -> Enrolled:  # noqa: ARG001
        return procedure.make(spec, recorded, ports=ports, run=run)

    return make


def registering(
    desk: At, user: str, procedure: ConsoleWatch, recorded: Recorded = lambda _: None, **request: object
) -> object:
    return enroll(
        EnrollRequest(user=user, method=FIDO2, **request),  # type: ignore[arg-type]
        Key(),
        caller=desk.caller,
        ports=desk.desk,
        run=desk.run(),
        procedure=EnrollmentProcedure(making(procedure, recorded), registration_steps),
    )


def once(act: Callable[[], object], *, after: int = 1) -> Callable[[], None]:
    """Act only in the given pause."""
    waits = iter(range(10**6))

    def waiting() -> None:
        if next(waits) == after - 1:
            act()

    return waiting


def test_a_registered_key_is_found_recorded_and_reported(at: AtDesk, lab: Lab, user: str) -> None:
    """The output has IAM's certifications, the local description of the key, and how mfa-kit recognized the key."""
    opened: list[str] = []
    with at() as desk:
        desk.person.while_waiting = once(lambda: lab.register_fido(user, user), after=3)
        made = registering(desk, user, watch(desk, opened=opened))
        assert isinstance(made, Enrolled)
        assert made.registered
        entry = desk.ledger.find(made.spec.serial)
    assert made.spec.serial.startswith(f"arn:aws:iam::000000000000:u2f/user/{user}/{user}-")
    assert made.registered.levels == ("FIDO L1",)
    assert entry
    assert (entry.reached, entry.spec.hardware, entry.spec.method) == (JournalState.CONFIRMED, "BOX-7", FIDO2)
    assert fido_console.JOINED in desk.person.said
    assert opened == [user, "closed"]
    assert desk.person.slept == [PACE] * 3


def test_nothing_is_written_to_iam(at: AtDesk, lab: Lab, user: str) -> None:
    """Only the person in the console changes IAM."""
    with at() as desk:
        desk.person.while_waiting = once(lambda: lab.register_fido(user, user))
        before = len(lab.calls)
        registering(desk, user, watch(desk))
    asked = {call.operation for call in lab.calls[before:]}
    assert asked == {"GetCallerIdentity", "ListMFADevices", "GetMFADevice", "ListAccessKeys"} & asked
    assert "GetMFADevice" in asked


def test_throttling_makes_polls_rarer_for_a_time(at: AtDesk, lab: Lab, user: str) -> None:
    """Each poll takes one call. Polls are 2 to 30 seconds apart, and become faster again."""
    with at() as desk:
        procedure = watch(desk, seconds=600)
        looks: list[int] = []

        def waiting() -> None:
            looks.append(sum(call.operation == "ListMFADevices" for call in lab.calls))
            if len(looks) == 1:
                lab.faults.add("ListMFADevices", "throttle", at="every")
            if len(looks) == 7:
                lab.faults.clear()
            if len(looks) == 9:
                lab.register_fido(user, user)

        desk.person.while_waiting = waiting
        registering(desk, user, procedure)
    assert desk.person.slept == [PACE, 4, 8, 16, SLOWEST, SLOWEST, SLOWEST, PACE, PACE]
    assert {later - sooner for sooner, later in pairwise(looks)} == {1}


def test_a_timeout_is_reported_and_nothing_is_recorded(at: AtDesk, user: str) -> None:
    """The remaining time is printed before."""
    with at() as desk:
        with pytest.raises(AwsFault, match="no new security key after 60 s"):
            registering(desk, user, watch(desk))
        assert list(desk.ledger.dead("000000000000", user=user)) == []
    waited = [line for line in desk.person.said if line.startswith("waiting")]
    assert [line.partition(", ")[2] for line in waited] == [f"{left} s left; press Ctrl-C to stop" for left in (60, 30)]


def test_a_key_with_another_name_is_accepted_and_reported(at: AtDesk, lab: Lab, user: str) -> None:
    """A person in the console can type any name."""
    with at() as desk:
        desk.person.while_waiting = once(lambda: lab.register_fido(user, "my-key"))
        made = registering(desk, user, watch(desk))
    assert isinstance(made, Enrolled)
    assert made.spec.name == "my-key"
    assert any(f"is named my-key, not {user}" in line for line in desk.person.said)


def test_of_several_new_keys_the_one_with_the_name_is_used(at: AtDesk, lab: Lab, user: str) -> None:
    """The other keys are reported."""
    with at() as desk:
        desk.person.while_waiting = once(lambda: (lab.register_fido(user, "other"), lab.register_fido(user, user)))
        made = registering(desk, user, watch(desk))
    assert isinstance(made, Enrolled)
    assert made.spec.name == user
    assert any("/other-" in line and "is also new" in line for line in desk.person.said)


@pytest.mark.parametrize("names", [("one", "two"), ("same", "same")])
def test_several_new_keys_without_the_name_are_an_error(
    at: AtDesk, lab: Lab, user: str, names: tuple[str, str]
) -> None:
    """The error lists all of them, and none is recorded in the journal."""
    with at() as desk:
        desk.person.while_waiting = once(lambda: [lab.register_fido(user, name) for name in names])
        with pytest.raises(AwsFault, match="2 new security keys appeared at once"):
            registering(desk, user, watch(desk), name="same" if names[0] == "same" else None)
        assert all(desk.ledger.find(device.serial) is None for device in desk.desk.iam_reader.devices(user))


def test_a_new_device_that_is_not_a_key_is_reported(at: AtDesk, lab: Lab, user: str) -> None:
    """An authenticator app that appears at the same time is not mistaken for the key."""
    with at() as desk:

        def both() -> None:
            with at() as another:
                another.enroll(user)
            lab.register_fido(user, f"{user}-key")

        desk.person.while_waiting = once(both)
        made = registering(desk, user, watch(desk), name=f"{user}-key")
    assert isinstance(made, Enrolled)
    assert made.spec.name == f"{user}-key"
    assert any(f":mfa/{user} is also new" in line for line in desk.person.said)


@pytest.mark.parametrize("finished", [False, True])
def test_after_ctrl_c_the_list_is_read_once_more(at: AtDesk, lab: Lab, user: str, *, finished: bool) -> None:
    """If the key is registered, it is recorded. Other new devices are reported."""

    def stop() -> None:
        if finished:
            lab.register_fido(user, user)
        raise KeyboardInterrupt

    recorded: list[JournalEntry] = []
    with at() as desk:
        desk.person.while_waiting = once(stop)
        with pytest.raises(KeyboardInterrupt) as stopped:
            registering(desk, user, watch(desk), recorded.append)
        found = [desk.ledger.find(device.serial) for device in desk.desk.iam_reader.devices(user)]
    [note] = stopped.value.__notes__
    assert ("is nevertheless registered" in note) is finished
    assert [entry.reached for entry in found if entry] == ([JournalState.CONFIRMED] if finished else [])
    assert [entry.spec.serial for entry in recorded] == [entry.spec.serial for entry in found if entry]


def test_after_ctrl_c_a_failed_check_is_reported(at: AtDesk, lab: Lab, user: str) -> None:
    """The message says that the result is unknown."""

    def stop() -> None:
        lab.faults.add("ListMFADevices", "denied")
        raise KeyboardInterrupt

    with at() as desk:
        desk.person.while_waiting = once(stop)
        with pytest.raises(KeyboardInterrupt) as stopped:
            registering(desk, user, watch(desk))
    assert "cannot check" in stopped.value.__notes__[0]


def test_the_wait_ends_if_the_user_is_deleted(at: AtDesk, lab: Lab, user: str) -> None:
    """A deleted user cannot register a key."""
    with at() as desk:
        desk.person.while_waiting = once(lambda: lab.account.backend.delete_user(user))
        with pytest.raises(NoSuchEntity):
            registering(desk, user, watch(desk))


def test_unreadable_certifications_are_a_warning(at: AtDesk, lab: Lab, user: str) -> None:
    """The key is enabled, even if other data cannot be read."""
    with at() as desk:
        desk.person.while_waiting = once(lambda: lab.register_fido(user, user))
        lab.faults.add("GetMFADevice", "denied")
        lab.faults.add("ListAccessKeys", "denied")
        made = registering(desk, user, watch(desk))
    assert isinstance(made, Enrolled)
    assert made.registered
    assert made.registered.certifications == {}
    assert [line.partition(":")[0] for line in made.registered.warnings] == [
        "the key's certifications cannot be read from IAM",
        f"cannot check whether {user} has access keys",
    ]


def test_certifications_that_violate_the_policy_are_reported(at: AtDesk, lab: Lab, user: str) -> None:
    """The key stays enabled, because the user decides whether to remove it."""
    with at() as desk:
        desk.person.while_waiting = once(lambda: lab.register_fido(user, user))
        made = registering(desk, user, replace(watch(desk), lacking=lambda found: (f"not enough: {found['FIDO']}",)))
    assert isinstance(made, Enrolled)
    assert made.registered
    assert made.registered.missing == ("not enough: L1",)
    assert "warning: not enough: L1" in desk.person.said


def test_an_unknown_console_is_described_in_words() -> None:
    """No incomplete address is printed for a partition without a published address."""
    spec = DeviceSpec(user="alice", name="alice", account="000000000000", partition="aws-iso", method=FIDO2)
    first, *_ = fido_console.click_instructions(spec, address=None)
    assert first == "1  open IAM, Users, alice in the console of aws-iso, as a user who may change alice's MFA"
    assert "http" not in "".join(fido_console.root_click_instructions("root-key", address=None))


def device(kind: str, name: str = "x") -> Device:
    return Device(f"arn:aws:iam::000000000000:{kind}/{name}-ID", "alice")


@pytest.mark.parametrize(
    ("devices", "keys", "said"),
    [
        ([device("u2f/user/alice")], 0, ["only device"]),
        ([device("u2f/user/alice")], 1, ["1 active access key,", "only device"]),
        ([device("u2f/user/alice"), device("u2f/user/alice", "y")], 2, ["2 active access keys,"]),
        ([device("u2f/user/alice"), device("mfa")], 2, []),
    ],
)
def test_a_user_with_only_a_key_gets_warnings(devices: list[Device], keys: int, said: list[str]) -> None:
    """STS accepts no security keys, and a single device is too few."""
    warnings = fido_console.missing_devices("alice", devices, keys=keys)
    assert [each in line for each, line in zip(said, warnings, strict=True)] == [True] * len(said)


def test_the_name_of_an_existing_key_is_not_used_again(at: AtDesk, lab: Lab, user: str) -> None:
    """IAM appends an ID to the names of keys, so comparing whole names would not find the collision."""
    lab.register_fido(user, user)
    with at() as desk:
        desk.person.while_waiting = once(lambda: lab.register_fido(user, f"{user}-2"))
        made = registering(desk, user, watch(desk), add=True)
    assert isinstance(made, Enrolled)
    assert (made.spec.name, [line for line in desk.person.said if "is named" in line]) == (f"{user}-2", [])


def test_a_device_is_replaced_by_a_key(at: AtDesk, lab: Lab, user: str) -> None:
    """The old device is removed when IAM lists the key."""
    with at() as desk:
        old = desk.enroll(user)
        assert isinstance(old, Enrolled)
        request = EnrollRequest(user=user, method=FIDO2, name="desk-key")
        how = {"caller": desk.caller, "ports": desk.desk, "run": desk.run()}
        spec, entry = look_to_replace(request, Key(), device_name=None, lost=False, **how)  # type: ignore[arg-type]
        desk.person.while_waiting = once(lambda: lab.register_fido(user, "desk-key"))
        done = replace_device(
            spec,
            entry,
            Key(),
            lost=False,
            ports=desk.desk,
            run=desk.run(),
            procedure=EnrollmentProcedure(making(watch(desk)), registration_steps),
        )
        left = desk.desk.iam_reader.devices(user)
    assert done.revoked
    assert [each.serial for each in left] == [done.enrolled.spec.serial]


def test_a_key_is_replaced_by_another_device_and_revoked(at: AtDesk, lab: Lab, user: str) -> None:
    """Deactivating the key is enough, because IAM then deletes it."""
    serial = lab.register_fido(user, "desk-key")
    with at() as desk:
        request = EnrollRequest(user=user)
        how = {"caller": desk.caller, "ports": desk.desk, "run": desk.run()}
        spec, entry = look_to_replace(request, desk.backend(), device_name="desk-key", lost=False, **how)  # type: ignore[arg-type]
        done = replace_device(spec, entry, desk.backend(), lost=False, ports=desk.desk, run=desk.run())
        left = [each.serial for each in desk.desk.iam_reader.devices(user)]
    assert done.revoked
    assert (done.revoked.serial, left) == (serial, [f"arn:aws:iam::000000000000:mfa/{user}"])


def test_a_key_is_revoked_by_its_name(at: AtDesk, lab: Lab, user: str) -> None:
    """The ID that IAM appended to the name can be omitted."""
    lab.register_fido(user, "desk-key")
    with at() as desk:
        desk.revoke(user, "desk-key")
        assert desk.desk.iam_reader.devices(user) == []


def as_root(desk: EnrollmentPorts, caller: Caller, *, add: bool = False, slept: list[float]) -> RootEnrolled | Skipped:
    return fido_console.enroll_root(
        "root-key", address="A", add=add, seconds=20, clock=lambda: sum(slept), caller=caller, ports=desk
    )


def test_the_account_summary_shows_that_root_has_a_key(at: AtDesk, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator can see that root has MFA, but not which device."""
    monkeypatch.setattr(lab.account.root, "mfa", False)
    with at() as desk:
        desk.person.while_waiting = once(lambda: setattr(lab.account.root, "mfa", True))
        done = as_root(desk.desk, desk.caller, slept=desk.person.slept)
        assert done == RootEnrolled(device=None)
        assert any("signed in as root" in line for line in desk.person.said)
        again = as_root(desk.desk, desk.caller, slept=desk.person.slept)
    assert isinstance(again, Skipped)
    assert "use root's own credentials" in again.reason


def test_a_timeout_for_root_is_an_error(at: AtDesk, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait ends after its time limit."""
    monkeypatch.setattr(lab.account.root, "mfa", False)
    with at() as desk, pytest.raises(AwsFault, match="root's key is not registered"):
        as_root(desk.desk, desk.caller, slept=desk.person.slept)


class OfRoot:
    """An inventory that behaves as for a session of root. The lab has no root sessions."""

    def __init__(self, *devices: str) -> None:
        self.found = list(devices)

    def devices(self, user: str | None, *, patient: bool = True) -> list[Device]:
        assert user is None
        return [Device(serial, "root") for serial in self.found]

    def root_has_mfa(self) -> bool:
        return bool(self.found)


ROOT = Caller("000000000000", "arn:aws:iam::000000000000:root")
ROOT_KEY = "arn:aws:iam::000000000000:u2f/root-account/root-key-ID"


def test_a_session_of_root_lists_roots_own_devices(at: AtDesk) -> None:
    """ListMFADevices is called without a user name."""
    with at() as desk:
        iam_reader = OfRoot()
        mine = replace(desk.desk, iam_reader=iam_reader)  # type: ignore[arg-type]
        desk.person.while_waiting = once(lambda: iam_reader.found.append(ROOT_KEY))
        done = as_root(mine, ROOT, slept=desk.person.slept)
        assert isinstance(done, RootEnrolled)
        assert done.device
        assert done.device.serial == ROOT_KEY
        skipped = as_root(mine, ROOT, slept=desk.person.slept)
        assert isinstance(skipped, Skipped)
        assert (skipped.serials, "--add" in skipped.reason) == ((ROOT_KEY,), True)
        desk.person.while_waiting = once(lambda: iam_reader.found.append(f"{ROOT_KEY}2"))
        more = as_root(mine, ROOT, add=True, slept=desk.person.slept)
    assert isinstance(more, RootEnrolled)
    assert more.device
    assert more.device.serial == f"{ROOT_KEY}2"


def test_there_is_no_root_in_govcloud(at: AtDesk) -> None:
    """A GovCloud account is linked to an account of the commercial partition, which has the root user."""
    caller = Caller("000000000000", "arn:aws-us-gov:iam::000000000000:user/admin")
    with at() as desk, pytest.raises(UsageFault, match="no root user"):
        as_root(desk.desk, caller, slept=[])


def test_a_lost_key_is_removed_first(at: AtDesk, lab: Lab, user: str) -> None:
    """The lost key does not have to be plugged in."""
    lab.register_fido(user, "desk-key")
    with at() as desk:
        how = {"caller": desk.caller, "ports": desk.desk, "run": desk.run()}
        spec, entry = look_to_replace(EnrollRequest(user=user), desk.backend(), device_name=None, lost=True, **how)  # type: ignore[arg-type]
        replace_device(spec, entry, desk.backend(), lost=True, ports=desk.desk, run=desk.run())
        left = [each.serial for each in desk.desk.iam_reader.devices(user)]
    assert left == [f"arn:aws:iam::000000000000:mfa/{user}"]
