"""Unassigned devices: how each is described, and how `clean` handles changes that happen while it runs."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.core import models, otp
from mfa_kit.core.errors import DeviceFault, MfaKitError, OutcomeUnknownError
from mfa_kit.core.models import DeviceSpec, JournalState
from mfa_kit.enrollment import orphans
from mfa_kit.enrollment.enroll import look_to_enroll
from mfa_kit.enrollment.making import stage_device
from mfa_kit.enrollment.orphans import OrphanStanding
from mfa_kit.enrollment.planning import EnrollRequest
from mfa_kit.lab.aws.server import Lab
from tests.conftest import ACCOUNT, MfaKit, local
from tests.enroll.conftest import At, AtDesk
from tests.faults.worker import Cut

ARN = "arn:aws:iam::000000000000:mfa/"
LONG_AGO = "20200101T000000Z-00000000"
DAY = 86400.0


@pytest.fixture
def aws(at_lab: Lab) -> Any:
    """Return the client of an administrator."""
    del at_lab  # it sets the endpoint
    return boto3.Session().client("iam")


def stray(aws: Any, name: str, **tags: str) -> str:
    """Make a device as another computer or tool does, and leave it unassigned."""
    rows = [{"Key": f"mfa-kit:{key}", "Value": value} for key, value in tags.items()]
    made: str = aws.create_virtual_mfa_device(VirtualMFADeviceName=name, Tags=rows)["VirtualMFADevice"]["SerialNumber"]
    return made


def give(aws: Any, lab: Lab, serial: str, user: str) -> None:
    pair = otp.pair(otp.Seed(lab.seed(serial)), lab.account.now())
    aws.enable_mfa_device(
        UserName=user, SerialNumber=serial, AuthenticationCode1=pair.first, AuthenticationCode2=pair.second
    )


def orphan(desk: At, serial: str) -> orphans.Orphan | None:
    return next((each for each in orphans.find_orphans(ports=desk.desk) if each.serial == serial), None)


def standing(desk: At, serial: str) -> OrphanStanding | None:
    found = orphan(desk, serial)
    return found.standing if found else None


def clean(desk: At, *serials: str) -> dict[str, tuple[str, MfaKitError | None]]:
    """Clean only these devices."""
    found = [each for each in orphans.find_orphans(ports=desk.desk) if each.serial in serials]
    done = orphans.remove_orphans(found, account=desk.caller.account, older_than=DAY, limit=50, ports=desk.desk)
    return {each.serial: (each.ended, each.error) for each in done}


def half_made(user: str) -> DeviceSpec:
    return models.intent_of(ARN + user, user=user, account="000000000000", partition="aws")


def begun(desk: At, user: str, reached: JournalState) -> models.JournalEntry:
    """Record a run that made a user's device, and let its process die."""
    entry = models.JournalEntry(run=desk.run(), spec=half_made(user), reached=reached)
    desk.ledger.record(entry)
    desk.ledger.close()
    return entry


@pytest.mark.parametrize(
    ("reached", "tagged", "said"),
    [
        (JournalState.INTENT, True, OrphanStanding.DEAD),
        (JournalState.CREATED, True, OrphanStanding.DEAD),
        (JournalState.REVOKING, True, OrphanStanding.DEAD),
        (JournalState.STAGED, True, OrphanStanding.STAGED),
        (JournalState.UNDONE, True, OrphanStanding.LATE),
        (JournalState.CONFIRMED, True, OrphanStanding.LEFT),
        (JournalState.CREATED, False, OrphanStanding.UNPROVEN),
        (JournalState.CONFIRMED, False, OrphanStanding.FOREIGN),
    ],
)
def test_the_state_follows_from_the_journal_and_the_tag(
    reached: JournalState, tagged: bool, said: OrphanStanding, at: AtDesk, user: str, aws: Any
) -> None:
    """Of this computer's own devices, half-made ones are settled; staged and deactivated ones stay."""
    with at() as desk:
        entry = begun(desk, user, reached)
    serial = stray(aws, user, **({"run": entry.run, "user": user} if tagged else {}))
    with at() as desk:
        found = orphan(desk, serial)
    assert found
    assert found.standing is said
    assert found.goes(older_than=DAY, now=time.time()) is (said in {OrphanStanding.DEAD, OrphanStanding.LATE})


@pytest.mark.parametrize("tagged", [True, False])
def test_a_device_that_a_process_is_making_is_alive(tagged: bool, at: AtDesk, user: str, aws: Any) -> None:
    """The run's lock shows it, with or without tags. `clean` leaves the device alone."""
    with at() as desk:
        entry = models.JournalEntry(run=desk.run(), spec=half_made(user))
        desk.ledger.record(entry.at(JournalState.CREATED))
        serial = stray(aws, user, **({"run": entry.run} if tagged else {}))
        assert standing(desk, serial) is OrphanStanding.ALIVE
        assert clean(desk, serial) == {}
        desk.ledger.record(entry.at(JournalState.UNDONE))


@pytest.mark.parametrize(
    ("tags", "said", "goes"),
    [
        ({"run": LONG_AGO}, OrphanStanding.DESK, True),
        ({"run": LONG_AGO, "staged": "yes"}, OrphanStanding.STAGED, False),
        ({"run": "20991231T000000Z-00000000"}, OrphanStanding.DESK, False),
        ({"run": "whatever"}, OrphanStanding.FOREIGN, False),
        ({}, OrphanStanding.FOREIGN, False),
    ],
    ids=["old", "staged", "young", "no run", "no tag"],
)
def test_the_state_follows_from_tags_alone(
    tags: dict[str, str], said: OrphanStanding, goes: bool, at: AtDesk, users: Callable[[], str], aws: Any
) -> None:
    """The devices are not in this computer's journal."""
    serial = stray(aws, users(), **tags)
    with at() as desk:
        assert standing(desk, serial) is said
        assert clean(desk, serial) == ({serial: ("deleted", None)} if goes else {})


def test_devices_with_unreadable_tags_are_kept(at: AtDesk, user: str, aws: Any, at_lab: Lab) -> None:
    """Such a device could belong to anyone."""
    serial = stray(aws, user, run=LONG_AGO)
    at_lab.faults.add("ListMFADeviceTags", "denied", at="every")
    with at() as desk:
        assert standing(desk, serial) is OrphanStanding.FOREIGN
        assert clean(desk, serial) == {}


def test_a_device_deleted_meanwhile_is_not_an_orphan(at: AtDesk, user: str, aws: Any) -> None:
    """The device is deleted between the request for the list and the request for its tags."""
    serial = stray(aws, user, run=LONG_AGO)

    class Meanwhile(Cut):
        def step(self, name: str, call: Callable[[], Any]) -> Any:
            if name == "inventory.tags" and not self.fired:
                self.fired = True
                aws.delete_virtual_mfa_device(SerialNumber=serial)
            return super().step(name, call)

    with at(cut=Meanwhile()) as desk:
        assert standing(desk, serial) is None


@pytest.mark.parametrize(
    ("what", "step", "ended"),
    [
        ("tagged anew", "inventory.tags", "changed in the meantime; kept"),
        ("deleted", "inventory.tags", "changed in the meantime; kept"),
        ("deleted", "registrar.delete", "already deleted"),
        ("assigned", "registrar.delete", "assigned in the meantime; kept"),
    ],
)
def test_a_device_that_changed_meanwhile_is_reported(
    what: str, step: str, ended: str, at: AtDesk, user: str, aws: Any, at_lab: Lab
) -> None:
    """The device is checked again just before the deletion. After that, IAM's response decides."""
    serial = stray(aws, user, run=LONG_AGO)

    def change() -> None:
        match what:
            case "tagged anew":
                aws.tag_mfa_device(SerialNumber=serial, Tags=[{"Key": "mfa-kit:run", "Value": "20200101T000000Z-1"}])
            case "deleted":
                aws.delete_virtual_mfa_device(SerialNumber=serial)
            case _:
                give(aws, at_lab, serial, user)

    class When(Cut):
        """Acts at the first step of this name after the devices were listed."""

        listed = False

        def step(self, name: str, call: Callable[[], Any]) -> Any:
            if name == step and not self.fired and (self.listed or step == "registrar.delete"):
                self.fired = True
                change()
            return super().step(name, call)

    with at(cut=(when := When())) as desk:
        found = [each for each in orphans.find_orphans(ports=desk.desk) if each.serial == serial]
        when.listed = True
        done = orphans.remove_orphans(found, account=desk.caller.account, older_than=DAY, limit=50, ports=desk.desk)
        assert [(each.ended, each.error) for each in done] == [(ended, None)]
    assert (at_lab.assigned(serial) == user) is (what == "assigned")


def test_a_device_that_cannot_be_deleted_is_reported(at: AtDesk, users: Callable[[], str], aws: Any) -> None:
    """The other devices are deleted. Each failure is reported with its error."""
    one, two = (stray(aws, users(), run=LONG_AGO) for _ in range(2))

    class Once(Cut):
        def step(self, name: str, call: Callable[[], Any]) -> Any:
            if name == "registrar.delete" and not self.fired:
                self.fired = True
                raise OutcomeUnknownError("no answer", "check the network")
            return super().step(name, call)

    with at(cut=Once()) as desk:
        done = clean(desk, one, two)
    assert sorted(ended for ended, _ in done.values()) == ["deleted", "still exists"]
    assert {type(error) for _, error in done.values()} == {OutcomeUnknownError, type(None)}


@pytest.mark.usefixtures("aws")
def test_a_staged_device_is_kept_on_its_own_computer_too(at: AtDesk, user: str) -> None:
    """It waits for `rollout activate`."""
    with at() as desk:
        spec = look_to_enroll(EnrollRequest(user=user), desk.backend(), caller=desk.caller, ports=desk.desk)
        assert isinstance(spec, DeviceSpec)
        stage_device(spec, desk.backend(), ports=desk.desk, run=desk.run())
    with at() as desk:
        assert standing(desk, ARN + user) is OrphanStanding.STAGED
        assert clean(desk, ARN + user) == {}


def test_a_dead_run_that_cannot_be_settled_is_reported(at: AtDesk, user: str, aws: Any) -> None:
    """Its device still exists, and the reason is reported."""
    with at() as desk:
        entry = begun(desk, user, JournalState.CREATED)
    serial = stray(aws, user, run=entry.run)

    class Away(Cut):
        def step(self, name: str, call: Callable[[], Any]) -> Any:
            if name == "carrier.remove":
                raise DeviceFault("the key is not here", "plug it in")
            return super().step(name, call)

    with at(cut=Away()) as desk:
        done = clean(desk, serial)
    assert done[serial][0] == "still exists"
    assert isinstance(done[serial][1], DeviceFault)
    with at() as desk:
        assert clean(desk, serial) == {serial: ("undone", None)}


STRANGE = [f"/{path}/" for path in ("!$%&'()*;<=>?", "[]^_`{|}~", "a;reboot", '\\"#')]


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Run a lab with devices whose paths only CreateVirtualMFADevice accepts. ListMFADeviceTags refuses them."""
    with Lab() as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        iam = boto3.Session().client("iam")
        for number, path in enumerate(STRANGE):
            iam.create_virtual_mfa_device(Path=path, VirtualMFADeviceName=f"strange{number}")
            with pytest.raises(ClientError, match="ValidationError"):
                iam.list_mfa_device_tags(SerialNumber=f"arn:aws:iam::{ACCOUNT}:mfa{path}strange{number}")
        iam.create_virtual_mfa_device(VirtualMFADeviceName="plain")
        yield lab


def test_a_device_with_an_unusual_path_is_foreign(mfa_kit: MfaKit, strange: Lab) -> None:
    """The other devices of the account are listed too."""
    listed = mfa_kit.run("orphans", "list", "--output", "json")
    assert listed.code == 0, listed.err
    rows = json.loads(listed.out)["rows"]
    assert {row["device"]: row["standing"] for row in rows} == dict.fromkeys(strange.serials(), OrphanStanding.FOREIGN)
    assert len(rows) == len(STRANGE) + 1


def test_a_device_with_an_unusual_path_stops_no_command(
    mfa_kit: MfaKit, strange: Lab, recipient: str, tmp_path: Path
) -> None:
    """It is in every list of the account's devices, and one such device has the name of a backup's device."""
    strange.add_user("strange0")
    path = local(
        AgeFiles(mfa_kit.home / "backups", []).new(ACCOUNT, "gone", "strange0", run="20250101T000000Z-0a1b2c3d")
    )
    path.parent.mkdir(parents=True)
    path.touch()
    for words in (
        ("orphans", "clean", "--yes"),
        ("backup", "prune", "--yes"),
        ("rollout", "plan", "--only", "strange0", "-o", tmp_path / "plan.json"),
        ("enroll", "strange0", "--with", "virtual", "--codes", "generated", "-r", recipient),
        ("status",),
        ("audit",),
    ):
        done = mfa_kit.run(*words)
        assert done.code in {0, 1}, (words, done.err)
    assert len(strange.serials()) == len(STRANGE) + 2
