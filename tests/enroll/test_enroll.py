"""Tests of enrolling a user: the order of the steps, refusals before anything is made, and the output."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.core import models, otp
from mfa_kit.core.errors import (
    AccessDenied,
    AlreadyExists,
    AwsFault,
    IntegrityFault,
    MfaKitError,
    NoSuchEntity,
    OutcomeUnknownError,
    Throttled,
    UsageFault,
)
from mfa_kit.core.models import Caller, DeviceSpec, Enrolled, JournalState, Outcome, Skipped
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.enrollment.enroll import look_to_enroll
from mfa_kit.enrollment.making import CREATING
from mfa_kit.enrollment.planning import EnrollRequest, resolve_user
from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit
from tests.enroll.conftest import AtDesk
from tests.faults.conftest import Judge
from tests.faults.worker import Cut

CALLER = Caller("123456789012", "arn:aws:iam::123456789012:user/team/alice")
ROLE = Caller("123456789012", "arn:aws:sts::123456789012:assumed-role/admin/alice")
ORDER = [
    "journal.dead",
    "inventory.devices",
    "vault.place",
    "carrier.check",
    "vault.check",
    "vault.place",
    "journal.record",
    "registrar.create",
    "journal.record",
    "vault.seal",
    "journal.record",
    "carrier.install",
    "registrar.enable",
    "carrier.codes",
    "inventory.devices",
    "journal.record",
]


def serial_of(name: str) -> str:
    return f"arn:aws:iam::000000000000:mfa/{name}"


def test_the_steps_of_an_enrollment_are_in_order(at: AtDesk, user: str, judge: Judge, home: Path) -> None:
    """Settle, look, intent, create, created, encrypt, install, enable, confirm."""
    cut = Cut()
    with at(cut=cut) as desk:
        outcome = desk.enroll(user)
    assert cut.steps == ORDER
    assert isinstance(outcome, Enrolled)
    assert outcome.listed
    assert judge.works(user, home) == [serial_of(user)]


def test_an_enrollment_takes_six_requests_and_no_sleep(at: AtDesk, user: str, at_lab: Lab) -> None:
    """Caller, list, create, enable, list. No step waits."""
    before = len(at_lab.calls)
    with at() as desk:
        desk.enroll(user)
        assert desk.person.slept == []
    assert [call.operation for call in at_lab.calls[before:]] == [
        "GetCallerIdentity",
        "ListMFADevices",
        "CreateVirtualMFADevice",
        "EnableMFADevice",
        "ListMFADevices",
    ]


def test_the_device_has_tags_for_run_user_and_kind(at: AtDesk, user: str) -> None:
    """Other computers can thus find the user of the device."""
    with at() as desk:
        outcome = desk.enroll(user)
        assert isinstance(outcome, Enrolled)
        tags = desk.desk.iam_reader.tags(outcome.spec.serial)
    assert tags == {"mfa-kit:run": outcome.run, "mfa-kit:user": user, "mfa-kit:kind": "virtual"}


def test_a_user_name_with_a_comma_is_left_out_of_the_tags(at: AtDesk, user: str, at_lab: Lab) -> None:
    """A user name may contain a comma, but a tag value may not. The run tag is set nevertheless."""
    at_lab.add_user(f"{user},comma")
    with at() as desk:
        outcome = desk.enroll(f"{user},comma")
        assert isinstance(outcome, Enrolled)
        assert set(desk.desk.iam_reader.tags(outcome.spec.serial)) == {"mfa-kit:run", "mfa-kit:kind"}


def test_without_permission_for_tags_the_device_has_none(
    at: AtDesk, user: str, at_lab: Lab, judge: Judge, home: Path
) -> None:
    """Tags need a separate permission, which minimal policies omit."""
    at_lab.faults.add("CreateVirtualMFADevice", "denied")
    with at() as desk:
        outcome = desk.enroll(user)
        assert isinstance(outcome, Enrolled)
        assert desk.desk.iam_reader.tags(outcome.spec.serial) == {}
    assert judge.works(user, home) == [serial_of(user)]


def test_an_untagged_device_is_deleted_if_enable_fails(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The device belongs to this run, because the process received the response to its Create."""
    at_lab.faults.add("CreateVirtualMFADevice", "denied")
    at_lab.faults.add("EnableMFADevice", "denied")
    with at() as desk:
        with pytest.raises(AccessDenied):
            desk.enroll(user)
        assert desk.person.said == [f"removed {serial_of(user)}; {user} has no new device"]
    assert serial_of(user) not in at_lab.serials()


def test_a_user_who_has_a_device_is_skipped(at: AtDesk, user: str, at_lab: Lab) -> None:
    """Nothing is written. The result lists the user's devices."""
    with at() as desk:
        first = desk.enroll(user)
        before = len(at_lab.calls)
        outcome = desk.enroll(user)
    assert isinstance(first, Enrolled)
    assert outcome == Skipped(
        user=user,
        reason="already has an MFA device; --add adds one more, and replace --lost replaces a lost one",
        serials=(serial_of(user),),
        backups=(str(first.backup),),
    )
    assert [call.operation for call in at_lab.calls[before:]] == ["ListMFADevices", "ListMFADeviceTags"]


def test_a_user_enrolled_by_another_process_is_skipped(at: AtDesk, user: str) -> None:
    """IAM gives the name to one of the two. The other process reports the device and its backup."""
    with at() as other:
        made: list[Outcome] = []
        cut = Cut(at=ORDER.index("registrar.create") + 1, act=lambda: made.append(other.enroll(user)))
        with at(cut=cut) as desk:
            outcome = desk.enroll(user)
    (first,) = made
    assert isinstance(first, Enrolled)
    assert isinstance(outcome, Skipped)
    assert (outcome.serials, outcome.backups) == ((serial_of(user),), (first.backup,))


def test_with_add_a_name_taken_by_another_process_is_an_error(at: AtDesk, user: str) -> None:
    """With --add, a user who has a device is not skipped. The error names the backup."""
    with at() as other:
        made: list[Outcome] = []
        cut = Cut(at=ORDER.index("registrar.create") + 1, act=lambda: made.append(other.enroll(user)))
        with at(cut=cut) as desk, pytest.raises(AlreadyExists) as caught:
            desk.enroll(user, add=True)
    (first,) = made
    assert isinstance(first, Enrolled)
    assert f"run {first.run} made it for {user}, and its backup is {first.backup}" in str(caught.value)
    assert f"mfa-kit status {user}" in caught.value.hint


def test_one_more_device_gets_the_next_free_name(at: AtDesk, user: str, judge: Judge, home: Path) -> None:
    """Names are USER, then USER-2 and so on. A gap is filled."""
    with at() as desk:
        for _ in range(3):
            desk.enroll(user, add=True)
        assert judge.works(user, home) == [serial_of(user), serial_of(f"{user}-2"), serial_of(f"{user}-3")]
        desk.revoke(user, f"{user}-2")
        outcome = desk.enroll(user, add=True)
        assert isinstance(outcome, Enrolled)
        assert outcome.spec.name == f"{user}-2"


def test_a_ninth_device_is_refused_before_anything_is_made(at: AtDesk, user: str, at_lab: Lab) -> None:
    """IAM allows eight devices per user, of all kinds together."""
    with at() as desk:
        for _ in range(8):
            desk.enroll(user, add=True)
        before = at_lab.serials()
        with pytest.raises(UsageFault, match="has 8 MFA devices") as caught:
            desk.enroll(user, add=True)
        assert isinstance(desk.enroll(user), Skipped)
    assert f"mfa-kit revoke {user} --mfa-device NAME; NAME is one of {user}, {user}-2," in caught.value.hint
    assert at_lab.serials() == before


def test_a_name_that_the_user_already_has_is_refused(at: AtDesk, user: str, at_lab: Lab) -> None:
    """IAM would refuse it too, but mfa-kit checks first."""
    with at() as desk:
        desk.enroll(user)
        before = len(at_lab.calls)
        with pytest.raises(UsageFault, match="already has a device named"):
            desk.enroll(user, add=True, name=user)
    assert [call.operation for call in at_lab.calls[before:]] == ["ListMFADevices"]


def test_a_device_of_another_user_with_the_name_is_kept(
    at: AtDesk, users: Callable[[], str], at_lab: Lab, judge: Judge, home: Path
) -> None:
    """Create itself finds the collision and changes nothing. The hint has the command that deletes an unused device."""
    first, second = users(), users()
    with at() as desk:
        desk.enroll(first)
        with pytest.raises(AlreadyExists, match=f"an MFA device named {first} already exists") as caught:
            desk.enroll(second, name=first)
        assert "--name" in caught.value.hint
        assert "mfa-kit orphans list" in caught.value.hint
        assert f"delete-virtual-mfa-device --serial-number {serial_of(first)}" in caught.value.hint
        assert desk.reached(serial_of(first)) is JournalState.CONFIRMED
    assert judge.works(first, home) == [serial_of(first)]
    assert at_lab.assigned(serial_of(first)) == first


@pytest.mark.parametrize(
    ("enroll_request", "kind"),
    [
        ({"user": "root"}, UsageFault),
        ({"user": "no such user"}, UsageFault),
        ({"user": "nobody-here"}, NoSuchEntity),
        ({"name": "a b"}, UsageFault),
        ({"name": "x" * 227}, UsageFault),
        ({"path": "desk"}, UsageFault),
        ({"name": "x" * 226}, UsageFault),
    ],
)
def test_an_invalid_request_is_refused_before_the_journal(
    enroll_request: dict[str, str], kind: type[MfaKitError], at: AtDesk, user: str, at_lab: Lab, home: Path
) -> None:
    """IAM and the disk are unchanged."""
    before = at_lab.serials()
    with at() as desk:
        with pytest.raises(kind) as caught:
            desk.enroll(**{"user": user, **enroll_request})
        assert desk.ledger.history() == []
    assert caught.value.hint
    assert at_lab.serials() == before
    assert not (home / "backups").exists()


def test_without_a_backup_generated_codes_are_refused(at: AtDesk, user: str, at_lab: Lab) -> None:
    """Otherwise the secret would be lost."""
    with at(to=()) as desk, pytest.raises(UsageFault, match="is the only copy of the secret") as caught:
        desk.enroll(user)
    assert "-r" in caught.value.hint
    assert serial_of(user) not in at_lab.serials()


@pytest.mark.parametrize("call", ["ListMFADevices", "CreateVirtualMFADevice", "EnableMFADevice"])
@pytest.mark.parametrize("fault", ["denied", "expired"])
def test_a_refusal_in_the_middle_changes_nothing(
    call: str, fault: str, at: AtDesk, user: str, at_lab: Lab, home: Path
) -> None:
    """Each call is refused once. The error is IAM's."""
    at_lab.faults.add(call, fault, at="every")
    with at() as desk, pytest.raises(AwsFault):
        desk.enroll(user)
    at_lab.faults.clear()
    with at() as desk:
        assert list(desk.desk.journal.dead("000000000000")) == [] or call == "ListMFADevices"
    assert serial_of(user) not in at_lab.serials()
    assert not list(home.rglob("*.age"))


def test_a_lost_create_that_cannot_be_deleted_is_reported(
    at: AtDesk, user: str, at_lab: Lab, judge: Judge, home: Path
) -> None:
    """The secret is lost and the device remains.

    Its entry stays open, and the hint has a command for an administrator.
    """
    at_lab.faults.add("CreateVirtualMFADevice", "lost-after")
    at_lab.faults.add("DeleteVirtualMFADevice", "denied", at="every")
    with at() as desk, pytest.raises(OutcomeUnknownError) as caught:
        desk.enroll(user)
    assert f"delete-virtual-mfa-device --serial-number {serial_of(user)}" in caught.value.__notes__[0]
    at_lab.faults.clear()
    with at() as desk:
        assert desk.reached(serial_of(user)) is JournalState.INTENT
        desk.enroll(user)
        assert desk.person.said[0].endswith(f"final state of {serial_of(user)}: undone")
    assert judge.works(user, home) == [serial_of(user)]


def test_a_lost_create_with_unreadable_tags_stays_open(
    at: AtDesk, user: str, at_lab: Lab, judge: Judge, home: Path
) -> None:
    """Credentials may expire in between. If the device's state is not known, its entry stays open."""
    at_lab.faults.add("CreateVirtualMFADevice", "lost-after")
    at_lab.faults.add("ListMFADeviceTags", "expired", at="every")
    with at() as desk, pytest.raises(OutcomeUnknownError) as caught:
        desk.enroll(user)
    assert "is not settled yet" in caught.value.__notes__[0]
    at_lab.faults.clear()
    with at() as desk:
        assert desk.reached(serial_of(user)) is JournalState.INTENT
        desk.enroll(user)
    assert judge.works(user, home) == [serial_of(user)]


def test_a_lost_create_that_was_deleted_is_made_again(at: AtDesk, user: str, at_lab: Lab) -> None:
    """Another process deleted the device between two requests of mfa-kit."""
    at_lab.faults.add("CreateVirtualMFADevice", "lost-after")

    def clean_up() -> None:
        with at() as other:
            other.desk.device_writer.delete(serial_of(user))

    cut = Cut(at=11, act=clean_up)
    with at(cut=cut) as desk:
        outcome = desk.enroll(user)
    assert cut.fired
    assert cut.steps[7:11] == ["registrar.create", "registrar.create", "inventory.run_of", "registrar.delete"]
    assert isinstance(outcome, Enrolled)


def test_a_name_taken_by_another_computer_is_left_alone(at: AtDesk, users: Callable[[], str], at_lab: Lab) -> None:
    """The first request never arrived, and another computer took the name. Its device is left alone."""
    user, other = users(), users()
    at_lab.faults.add("CreateVirtualMFADevice", "lost-before")

    def be_quicker() -> None:
        with at() as desk:
            desk.enroll(other, name=user)

    with at() as desk:
        desk.person.while_waiting = be_quicker
        with pytest.raises(OutcomeUnknownError):
            desk.enroll(user)
    assert at_lab.assigned(serial_of(user)) == other


@pytest.mark.parametrize("fault", ["lost-before", "lost-after", "error-before", "error-after"])
def test_an_enable_without_a_response_is_checked(
    fault: str, at: AtDesk, user: str, at_lab: Lab, judge: Judge, home: Path
) -> None:
    """mfa-kit never repeats it with the same codes. IAM's list shows whether it took effect."""
    at_lab.faults.add("EnableMFADevice", fault)
    before = len(at_lab.calls)
    with at() as desk:
        if fault.endswith("after"):
            outcome = desk.enroll(user)
            assert isinstance(outcome, Enrolled)
            assert "enabled" in desk.person.said[-1]
        else:
            with pytest.raises(OutcomeUnknownError):
                desk.enroll(user)
            assert serial_of(user) not in at_lab.serials()
    assert [call.operation for call in at_lab.calls[before:]].count("EnableMFADevice") == 1
    with at() as desk:
        desk.enroll(user)
    assert judge.works(user, home) == [serial_of(user)]


def test_a_device_that_is_listed_only_later_is_success_with_a_warning(
    at: AtDesk, user: str, at_lab: Lab, judge: Judge, home: Path
) -> None:
    """mfa-kit polls for 30 seconds. The entry stays open, and the next run closes it."""
    at_lab.faults.add("*", "lag", seconds=600)
    with at() as desk:
        outcome = desk.enroll(user)
        assert sum(desk.person.slept) == 30
        assert desk.person.said[-1].startswith("warning: ")
        assert desk.reached(serial_of(user)) is JournalState.CREATED
    assert isinstance(outcome, Enrolled)
    assert not outcome.listed
    at_lab.faults.clear()
    with at() as desk:
        assert isinstance(desk.enroll(user), Skipped)
        assert desk.person.said[0].endswith(f"final state of {serial_of(user)}: confirmed")
        assert desk.reached(serial_of(user)) is JournalState.CONFIRMED
    assert judge.works(user, home) == [serial_of(user)]


def test_a_lost_enable_that_is_listed_only_later_is_success_with_a_warning(
    at: AtDesk, user: str, at_lab: Lab, judge: Judge, home: Path
) -> None:
    """IAM refuses the Delete, so the Enable took effect. mfa-kit polls once, removes nothing, keeps the entry open."""
    at_lab.faults.add("EnableMFADevice", "lost-after")
    at_lab.faults.add("*", "lag", seconds=600)
    with at() as desk:
        outcome = desk.enroll(user)
        assert sum(desk.person.slept) == 30
        assert desk.person.said[-1].startswith("warning: ")
        assert desk.reached(serial_of(user)) is JournalState.CREATED
    assert isinstance(outcome, Enrolled)
    assert not outcome.listed
    at_lab.faults.clear()
    assert judge.works(user, home) == [serial_of(user)]


def test_a_listing_that_fails_at_the_end_is_success_with_a_warning(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The device is enabled, whatever the request for the list returns."""
    at_lab.faults.add("ListMFADevices", "denied", at=2)
    with at() as desk:
        outcome = desk.enroll(user)
        assert "is enabled, but not confirmed: AWS answers AccessDenied" in desk.person.said[-1]
    assert isinstance(outcome, Enrolled)
    assert not outcome.listed


def test_codes_are_computed_again_for_each_attempt(at: AtDesk, user: str, at_lab: Lab) -> None:
    """They are computed when the request is sent, not when the wait begins."""
    at_lab.faults.add("EnableMFADevice", "throttle", at=1)
    at_lab.faults.add("EnableMFADevice", "throttle", at=1)
    cut = Cut()
    with at(cut=cut) as desk:
        desk.enroll(user)
        assert desk.person.slept
    assert cut.steps.count("carrier.codes") == cut.steps.count("registrar.enable") > 1


def test_throttling_that_does_not_end_exits_with_7(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The error comes after a minute of waiting. Nothing was made."""
    at_lab.faults.add("CreateVirtualMFADevice", "throttle", at="every")
    with at() as desk:
        with pytest.raises(Throttled):
            desk.enroll(user)
        assert desk.person.slept == [1, 2, 4, 8, 15, 30]
        assert desk.reached(serial_of(user)) is None
    assert serial_of(user) not in at_lab.serials()


def test_a_concurrent_change_is_waited_for(at: AtDesk, user: str, at_lab: Lab) -> None:
    """AWS asks to retry. The codes of the second attempt are new."""
    for operation in ("CreateVirtualMFADevice", "EnableMFADevice"):
        at_lab.faults.add(operation, "busy")
    cut = Cut()
    with at(cut=cut) as desk:
        desk.enroll(user)
        assert desk.person.slept == [5, 5]
        assert "ConcurrentModification" in desk.person.said[0]
    assert cut.steps.count("carrier.codes") == 2
    assert at_lab.assigned(serial_of(user)) == user


@pytest.mark.parametrize("seconds", [-200, 200])
def test_codes_are_for_awss_time(seconds: int, at: AtDesk, user: str, at_lab: Lab) -> None:
    """Otherwise a wrong clock of this computer would enroll a device that the phone cannot use."""
    at_lab.faults.add("*", "clock", seconds=seconds)
    with at() as desk:
        began = time.time()
        outcome = desk.enroll(user)
        assert isinstance(outcome, Enrolled)
        assert began - 2 < models.run_time(outcome.run) - seconds < time.time() + 2
    assert at_lab.account.backend.codes(serial_of(user)).skew == 0


def test_no_delete_command_for_a_device_being_created_here(at: AtDesk, user: str, at_lab: Lab) -> None:
    """Another process is creating the device, so the device remains. It may be on another computer."""
    told: list[AlreadyExists] = []

    class Meanwhile(Cut):
        def step(self, name: str, call: Callable[[], object]) -> object:
            if name == "registrar.enable":
                with at() as other, pytest.raises(AlreadyExists, match="is creating it") as caught:
                    other.enroll(user)
                told.append(caught.value)
            return super().step(name, call)

    with at(cut=Meanwhile()) as desk:
        assert isinstance(desk.enroll(user), Enrolled)
    assert [each.hint for each in told] == [f"let it finish, then check: mfa-kit status {user}"]
    assert at_lab.assigned(serial_of(user)) == user


def test_an_unsettled_run_is_a_note_on_a_later_error(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The note is added to any later error."""
    at_lab.faults.add("CreateVirtualMFADevice", "denied", at=1)
    at_lab.faults.add("CreateVirtualMFADevice", "lost-after", at=2)
    with at() as desk, pytest.raises(OutcomeUnknownError):
        desk.enroll(user)
    with at() as desk, pytest.raises(AlreadyExists) as caught:
        desk.enroll(user)
    assert "an earlier run could not be settled" in caught.value.__notes__[0]
    assert "delete-virtual-mfa-device" in caught.value.__notes__[0]


def test_a_broken_backup_folder_leaves_iam_as_it_was(at: AtDesk, user: str, at_lab: Lab, home: Path) -> None:
    """The account's folder is a file, so the created device is deleted again."""
    (home / "backups").mkdir(parents=True)
    (home / "backups" / "000000000000").touch()
    with at() as desk:
        with pytest.raises(IntegrityFault, match="cannot be written"):
            desk.enroll(user)
        assert desk.reached(serial_of(user)) is None
    assert serial_of(user) not in at_lab.serials()


@pytest.mark.parametrize(
    ("text", "caller", "user"),
    [
        ("bob", CALLER, "bob"),
        ("@me", CALLER, "alice"),
        ("arn:aws:iam::123456789012:user/bob", ROLE, "bob"),
        ("arn:aws:iam::123456789012:user/team/a/bob", CALLER, "bob"),
        ("arn:aws:iam::123456789012:root", CALLER, "root"),
    ],
)
def test_a_user_is_a_name_an_arn_or_me(text: str, caller: Caller, user: str, at: AtDesk) -> None:
    """The path of a user is not part of the name."""
    with at() as desk:
        assert resolve_user(text, caller=caller, iam_reader=desk.desk.iam_reader) == user


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@me", "you are not an IAM user but arn:aws:sts"),
        ("arn:aws:iam::999999999999:user/bob", "is not in this account"),
        ("arn:aws-cn:iam::123456789012:user/bob", "is not in this account"),
        ("arn:aws:iam::123456789012:role/bob", "is not a user"),
        ("arn:aws:iam::123456789012:group/user/bob", "is not a user"),
    ],
)
def test_text_that_is_not_a_user_is_an_error(text: str, said: str, at: AtDesk) -> None:
    """The hint says what to give instead."""
    with at() as desk, pytest.raises(UsageFault, match=said) as caught:
        resolve_user(text, caller=ROLE, iam_reader=desk.desk.iam_reader)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["{user}", "{USER}", "arn:aws:iam::000000000000:user/{USER}"])
def test_a_user_name_is_spelled_as_in_iam(text: str, user: str, at: AtDesk) -> None:
    """User names in IAM are case-insensitive, so a name typed in another case is the same user."""
    with at() as desk:
        text = text.format(user=user, USER=user.upper())
        assert resolve_user(text, caller=desk.caller, iam_reader=desk.desk.iam_reader) == user


def test_the_callers_name_is_not_looked_up(at: AtDesk, at_lab: Lab) -> None:
    """STS has already returned the name in IAM's spelling."""
    with at() as desk:
        before = len(at_lab.calls)
        assert resolve_user("LAB-admin", caller=desk.caller, iam_reader=desk.desk.iam_reader) == "lab-admin"
        assert len(at_lab.calls) == before


def test_without_get_user_a_name_stays_as_typed(user: str, at: AtDesk, at_lab: Lab) -> None:
    """Minimal policies omit iam:GetUser. Enrolling works without it."""
    at_lab.faults.add("GetUser", "denied", at="every")
    with at() as desk:
        assert resolve_user(user.upper(), caller=desk.caller, iam_reader=desk.desk.iam_reader) == user.upper()


@pytest.mark.parametrize("verb", ["enroll", "replace"])
def test_a_user_whom_iam_does_not_know_gets_no_device(
    verb: str, mfa_kit: MfaKit, at_lab: Lab, recipient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GetUser decides. Another server may return an empty list of devices for such a user instead of an error."""
    monkeypatch.setattr(Iam, "devices", lambda *_, **__: [])
    before = len(at_lab.calls)
    done = mfa_kit.run(verb, "Nobody.of.this.name", "--with", "virtual", "--codes", "generated", "-r", recipient)
    assert (done.code, "NoSuchEntity" in done.err) == (4, True)
    assert {call.operation for call in at_lab.calls[before:]} <= {"GetCallerIdentity", "GetUser"}


def test_look_to_enroll_changes_nothing(at: AtDesk, user: str, at_lab: Lab, home: Path) -> None:
    """It returns the device that would be made. The maker describes the steps in words."""
    before = at_lab.serials()
    with at() as desk:
        spec = look_to_enroll(EnrollRequest(user=user), desk.backend(), caller=desk.caller, ports=desk.desk)
        assert isinstance(spec, DeviceSpec)
        assert desk.ledger.history() == []
    steps = CREATING.steps(spec, "/b")
    assert [step.split()[0] for step in steps] == ["create", "encrypt", "enable", "confirm"]
    assert steps[2].endswith(" with two consecutive codes")
    assert len(CREATING.steps(spec, None)) == 3
    assert at_lab.serials() == before
    assert not (home / "backups").exists()


def test_the_carrier_backup_alone_forgets_one_seed(user: str) -> None:
    """Removing a secret that was never installed is harmless."""
    backend = BackupAlone(lambda: 59.0)
    spec = DeviceSpec(account="000000000000", partition="aws", user=user, name=user)
    entry = models.JournalEntry(run="r", spec=spec)
    backend.remove(entry)
    backend.install(spec, otp.Created(otp.Seed(b"12345678901234567890"), otp.KeyUri("")))
    assert backend.codes(spec) == ("755224", "287082")
    backend.remove(entry)
    with pytest.raises(KeyError):
        backend.codes(spec)
