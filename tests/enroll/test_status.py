"""Status, resync and a resumed enrollment, with data from IAM and from this computer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mfa_kit.core import otp
from mfa_kit.core.errors import (
    AccessDenied,
    AlreadyExists,
    InvalidCode,
    MfaKitError,
    NoSuchEntity,
    OutcomeUnknownError,
    Unsettled,
    UsageFault,
)
from mfa_kit.core.models import (
    RUN_TAG,
    Device,
    DeviceSpec,
    DeviceType,
    Enrolled,
    JournalEntry,
    JournalState,
    Method,
    RunTag,
)
from mfa_kit.core.otp import Created, KeyUri, Seed
from mfa_kit.enrollment.device_status import DeviceStatus, MadeBy, read_status, read_status_while_there
from mfa_kit.enrollment.making import resume_device
from mfa_kit.enrollment.resync import resync_device
from mfa_kit.lab.aws.server import Lab
from tests.enroll.conftest import At, AtDesk
from tests.faults.worker import Cut


def serial_of(name: str) -> str:
    return f"arn:aws:iam::000000000000:mfa/{name}"


def opened(lab: Lab) -> Callable[[JournalEntry], Created]:
    """Decrypt a backup as an identity would."""
    return lambda entry: Created(Seed(lab.seed(entry.spec.serial)), KeyUri("otpauth://totp/x"))


def half_made(at: AtDesk, lab: Lab, user: str) -> None:
    """Leave a device that could not be enabled or deleted, and its encrypted backup."""
    lab.faults.add("EnableMFADevice", "denied")
    lab.faults.add("DeleteVirtualMFADevice", "denied")
    with at() as desk, pytest.raises(AccessDenied):
        desk.enroll(user)
    lab.faults.clear()


def test_a_user_without_devices_has_one_line(at: AtDesk, user: str) -> None:
    """The output is one line."""
    with at() as desk:
        assert read_status(user, caller=desk.caller, ports=desk.desk) == [DeviceStatus(user=user)]


def test_a_user_deleted_since_the_list_is_skipped(at: AtDesk, user: str) -> None:
    """A deleted user is an error if named, and is skipped in a status of all users."""
    with at() as desk:
        with pytest.raises(NoSuchEntity):
            read_status(f"{user}-left", caller=desk.caller, ports=desk.desk)
        assert read_status_while_there(f"{user}-left", caller=desk.caller, ports=desk.desk) == []
        assert read_status_while_there(user, caller=desk.caller, ports=desk.desk) == [DeviceStatus(user=user)]


def test_unreadable_certifications_are_left_out(at: AtDesk, lab: Lab, user: str) -> None:
    """Without permission to read a key's certifications, the key is listed nevertheless."""
    lab.register_fido(user, "key")
    lab.faults.add("GetMFADevice", "denied")
    with at() as desk:
        (found,) = read_status(user, caller=desk.caller, ports=desk.desk)
    assert found.device
    assert (found.device.type, found.certifications) == (DeviceType.FIDO2, None)


def test_a_device_of_this_computer_has_its_backup(at: AtDesk, user: str) -> None:
    """The journal has the device, and the file exists."""
    with at() as desk:
        made = desk.enroll(user)
        (found,) = read_status(user, caller=desk.caller, ports=desk.desk)
    assert isinstance(made, Enrolled)
    assert (found.made, found.backup) == (MadeBy.HERE, made.backup)
    assert found.device
    assert found.device.serial == serial_of(user)


def test_a_device_of_another_computer_is_known_by_its_tag(at: AtDesk, user: str, home: Path) -> None:
    """There is no journal entry and no backup."""
    with at() as desk:
        desk.enroll(user)
    home.rename(home.with_name("another"))
    with at() as desk:
        (found,) = read_status(user, caller=desk.caller, ports=desk.desk)
    assert (found.made, found.backup) == (MadeBy.ELSEWHERE, None)


def test_an_untagged_device_has_an_unknown_maker(at: AtDesk, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tool made it, or reading tags is denied. Another user's journal entry of that name is ignored."""
    with at() as desk:
        desk.enroll(user)
        monkeypatch.setattr(desk.desk.journal, "find", lambda *_, **__: None)
        monkeypatch.setattr(desk.desk.iam_reader, "run_of", lambda _: RunTag.UNTAGGED)
        (found,) = read_status(user, caller=desk.caller, ports=desk.desk)
    assert (found.made, found.backup) == (MadeBy.UNKNOWN, None)


def test_resync_sends_iam_two_codes(at: AtDesk, user: str, lab: Lab) -> None:
    """IAM accepts them."""
    with at() as desk:
        desk.enroll(user)
        (device,) = desk.desk.iam_reader.devices(user)
        soon = desk.desk.iam_reader.now() + 2 * otp.PERIOD
        resync_device(user, device, lambda: otp.pair(Seed(lab.seed(device.serial)), soon), ports=desk.desk)
    assert lab.calls[-1].operation == "ResyncMFADevice"
    assert lab.calls[-1].error == ""


@pytest.mark.parametrize(
    "serial",
    ["arn:aws:iam::000000000000:u2f/user/a/key-X", "arn:aws:iam::000000000000:sms-mfa/a"],
    ids=["fido2", "sms"],
)
def test_a_device_without_codes_cannot_be_resynced(serial: str, at: AtDesk, user: str) -> None:
    """The user is not asked for codes."""
    with at() as desk, pytest.raises(UsageFault, match="devices of this type show no codes"):
        resync_device(user, Device(serial, user), lambda: pytest.fail("asked"), ports=desk.desk)


@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [("lost-after", OutcomeUnknownError, "may have accepted the codes"), ("", InvalidCode, "accepts no code twice")],
    ids=["lost", "spent"],
)
def test_an_unclear_resync_is_reported_and_not_repeated(
    fault: str, error: type[MfaKitError], told: str, at: AtDesk, user: str, lab: Lab
) -> None:
    """The same pair is never sent again, because IAM accepts it only once."""
    with at() as desk:
        desk.enroll(user)
        (device,) = desk.desk.iam_reader.devices(user)
        if fault:
            lab.faults.add("ResyncMFADevice", fault)
        with pytest.raises(error) as caught:
            resync_device(
                user,
                device,
                lambda: otp.pair(Seed(lab.seed(device.serial)), desk.desk.iam_reader.now()),
                ports=desk.desk,
            )
    assert told in " ".join([caught.value.hint, *getattr(caught.value, "__notes__", [])])


def test_a_half_made_device_is_enabled_from_its_backup(at: AtDesk, at_lab: Lab, user: str) -> None:
    """No new device or backup is made."""
    half_made(at, at_lab, user)
    with at() as desk:
        done = resume_device(user, desk.backend(), opened=opened(at_lab), caller=desk.caller, ports=desk.desk)
        assert desk.reached(serial_of(user)) is JournalState.CONFIRMED
    assert done.listed
    assert at_lab.assigned(serial_of(user)) == user


def test_resume_without_a_half_made_device_is_an_error(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The hint says how to start over."""
    with at() as desk, pytest.raises(UsageFault) as caught:
        resume_device(user, desk.backend(), opened=opened(at_lab), caller=desk.caller, ports=desk.desk)
    assert f"mfa-kit enroll {user}" in caught.value.hint


def test_a_half_made_device_without_a_backup_is_skipped(at: AtDesk, at_lab: Lab, user: str, home: Path) -> None:
    """Its secret is lost, so it can only be deleted."""
    half_made(at, at_lab, user)
    for backup in home.rglob("*.age"):
        backup.unlink()
    with at() as desk, pytest.raises(UsageFault, match="no half-made device"):
        resume_device(user, desk.backend(), opened=opened(at_lab), caller=desk.caller, ports=desk.desk)


def test_resume_of_a_deleted_device_removes_its_backup(at: AtDesk, at_lab: Lab, user: str, home: Path) -> None:
    """No Enable can use the backup any more."""
    half_made(at, at_lab, user)
    with at() as desk:
        desk.desk.device_writer.delete(serial_of(user))
        seed = Created(Seed(bytes(40)), KeyUri("otpauth://totp/x"))
        with pytest.raises(NoSuchEntity) as caught:
            resume_device(user, desk.backend(), opened=lambda _: seed, caller=desk.caller, ports=desk.desk)
        assert desk.reached(serial_of(user)) is None
    assert "start over" in caught.value.hint
    assert not list((home / "backups").rglob("*.age"))


def test_resume_of_an_enabled_device_confirms_it(at: AtDesk, at_lab: Lab, user: str) -> None:
    """The user is not asked for codes."""
    half_made(at, at_lab, user)
    with at() as desk:
        enable(desk, at_lab, user)
        cut = Cut()
        backend = cut.wrap(desk.backend(), "carrier")
        resume_device(user, backend, opened=opened(at_lab), caller=desk.caller, ports=desk.desk)
        assert desk.reached(serial_of(user)) is JournalState.CONFIRMED
    assert cut.steps == []


def test_resume_does_not_confuse_devices_of_one_name(at: AtDesk, at_lab: Lab, user: str) -> None:
    """Names are reused: this backup does not belong to the user's current device."""
    half_made(at, at_lab, user)
    with at() as desk:
        desk.desk.device_writer.delete(serial_of(user))
        spec = DeviceSpec(account="000000000000", partition="aws", user=user, name=user)
        desk.desk.device_writer.create(spec, {RUN_TAG: "20200101T000000Z-ffffffff"})
        enable(desk, at_lab, user)
        with pytest.raises(Unsettled, match="another run created it"):
            resume_device(user, desk.backend(), opened=opened(at_lab), caller=desk.caller, ports=desk.desk)
        assert desk.reached(serial_of(user)) is JournalState.CREATED


def test_an_enabled_untagged_device_is_proved_by_its_codes(at: AtDesk, at_lab: Lab, user: str) -> None:
    """IAM accepts no codes of another secret: ResyncMFADevice is called with a pair from the backup."""
    at_lab.faults.add("CreateVirtualMFADevice", "denied")
    half_made(at, at_lab, user)
    with at() as desk:
        enable(desk, at_lab, user)
        resume_device(user, desk.backend(), opened=opened(at_lab), caller=desk.caller, ports=desk.desk)
        assert desk.reached(serial_of(user)) is JournalState.CONFIRMED


def test_an_untagged_device_with_another_secret_is_reported(at: AtDesk, at_lab: Lab, user: str, home: Path) -> None:
    """It is not taken for the run's own device, and the backup stays."""
    at_lab.faults.add("CreateVirtualMFADevice", "denied")
    half_made(at, at_lab, user)
    with at() as desk:
        sealed = opened(at_lab)(next(desk.ledger.dead("000000000000", user=user)))
        desk.desk.device_writer.delete(serial_of(user))
        desk.desk.device_writer.create(DeviceSpec(account="000000000000", partition="aws", user=user, name=user), {})
        enable(desk, at_lab, user)
        with pytest.raises(Unsettled, match="rejects the codes of this backup") as caught:
            resume_device(user, desk.backend(), opened=lambda _: sealed, caller=desk.caller, ports=desk.desk)
        assert f"mfa-kit replace {user} --with KIND --mfa-device {user}" in caught.value.hint
        assert desk.reached(serial_of(user)) is JournalState.CREATED
    assert list((home / "backups").rglob("*.age"))


def test_a_programmable_token_cannot_be_resumed(at: AtDesk, at_lab: Lab, user: str) -> None:
    """Its codes come from the display, not from a phone, a key or the backup."""
    half_made(at, at_lab, user)
    with at() as desk:
        (entry,) = desk.ledger.dead("000000000000", user=user)
        on_token = replace(
            entry, run="20261125T000000Z-00000001", spec=replace(entry.spec, method=Method("programmable"))
        )
        desk.ledger.record(entry.at(JournalState.UNDONE))
        desk.ledger.record(on_token)
    with at() as desk, pytest.raises(UsageFault, match="no half-made device"):
        resume_device(user, desk.backend(), opened=opened(at_lab), caller=desk.caller, ports=desk.desk)


def enable(desk: At, lab: Lab, user: str) -> None:
    spec = DeviceSpec(account="000000000000", partition="aws", user=user, name=user)
    desk.desk.device_writer.enable(
        spec, lambda: otp.pair(Seed(lab.seed(spec.serial)), desk.desk.iam_reader.now() - 5 * otp.PERIOD)
    )


def test_an_enable_without_a_response_is_looked_up(at: AtDesk, at_lab: Lab, user: str) -> None:
    """The device is enabled nevertheless."""
    half_made(at, at_lab, user)
    at_lab.faults.add("EnableMFADevice", "lost-after")
    with at() as desk:
        resume_device(user, desk.backend(), opened=opened(at_lab), caller=desk.caller, ports=desk.desk)
        assert any("nevertheless" in each for each in desk.person.said)
        assert desk.reached(serial_of(user)) is JournalState.CONFIRMED


def test_a_lost_request_leaves_the_device_half_made(at: AtDesk, at_lab: Lab, user: str) -> None:
    """The enrollment can be resumed again."""
    half_made(at, at_lab, user)
    at_lab.faults.add("EnableMFADevice", "lost-before")
    with at() as desk:
        with pytest.raises((OutcomeUnknownError, AlreadyExists)):
            resume_device(user, desk.backend(), opened=opened(at_lab), caller=desk.caller, ports=desk.desk)
        assert desk.reached(serial_of(user)) is JournalState.CREATED
    assert at_lab.assigned(serial_of(user)) is None
