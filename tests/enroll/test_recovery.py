"""Cases of `settle` in the lab: whose device it is, whether an Enable took effect, which entries stay open."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mfa_kit.core import models, otp
from mfa_kit.core.errors import (
    DeviceFault,
    IntegrityFault,
    NoSuchEntity,
    OutcomeUnknownError,
    UnlistedError,
    Unsettled,
    UsageFault,
)
from mfa_kit.core.models import RUN_TAG, Device, DeviceSpec, JournalEntry, JournalState, Method, RunKind, RunTag
from mfa_kit.core.otp import Created, KeyUri, Seed
from mfa_kit.enrollment import revoke
from mfa_kit.enrollment.orphans import Cleaned, remove_orphans
from mfa_kit.enrollment.planning import EnrollRequest
from mfa_kit.enrollment.settling import (
    LostDevice,
    is_complete,
    record_all_confirmed,
    record_confirmed,
    remove_copies,
    replaced_entry,
    settle,
    settle_each,
    still_stands,
)
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri
from tests.conftest import ACCOUNT
from tests.enroll.conftest import At, AtDesk
from tests.enroll.test_cut import raiser
from tests.faults.worker import Cut

OTHER_RUN = "20200101T000000Z-ffffffff"


def serial_of(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:mfa/{name}"


def entry_of(user: str, *, seconds_ago: float = 0, **how: Any) -> JournalEntry:
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user=user, name=user)
    run = models.run_id(time.time() - seconds_ago, user.encode()[-4:])
    return JournalEntry(**{"run": run, "spec": spec, "reached": JournalState.CREATED, **how})


def make(desk: At, entry: JournalEntry, *, run: str | None = "its own", enabled_for: str | None = None) -> Created:
    """Make the device of an entry. Its tags have its own run, another run or no run. Enable it if requested."""
    tags = {RUN_TAG: entry.run if run == "its own" else run} if run else {}
    created = desk.desk.device_writer.create(entry.spec, tags)
    if enabled_for:
        spec = DeviceSpec(account=ACCOUNT, partition="aws", user=enabled_for, name=entry.spec.name)
        desk.desk.device_writer.enable(spec, partial(otp.pair, created.seed, time.time()))
    return created


def settled(desk: At, entry: JournalEntry) -> JournalState:
    desk.ledger.record(entry)
    reached = settle(entry, desk.backend(), ports=desk.desk)
    noted = desk.ledger.find(entry.spec.serial, run=entry.run)
    assert noted
    assert noted.reached is reached
    return reached


class Key:
    """Stands for the backend of a key. It remembers for which runs a credential was removed."""

    def __init__(self) -> None:
        self.removed: list[str] = []

    def remove(self, entry: JournalEntry) -> None:
        self.removed.append(entry.run)


@pytest.mark.parametrize(("other", "is_removed"), [("card-1", False), ("card-2", True), (None, False)])
def test_the_credential_of_another_run_stays_on_the_same_key(
    other: str | None, is_removed: bool, at: AtDesk, user: str
) -> None:
    """Both runs used this name. The credential is removed only if the ledger shows that theirs is on another key."""
    with at() as desk:
        ours, theirs = entry_of(user, seconds_ago=60), entry_of(user)
        ours = replace(ours, spec=replace(ours.spec, hardware="1001", card="card-1"))
        theirs = replace(theirs, spec=replace(theirs.spec, hardware="1001", card=other))
        make(desk, theirs)
        desk.ledger.record(ours)
        desk.ledger.record(theirs)
        key = Key()
        remove_copies(ours, key, JournalState.UNDONE, mine=None, ports=desk.desk)  # type: ignore[arg-type]
        assert key.removed == [ours.run] * is_removed


def test_a_half_made_device_is_deleted_with_its_backup(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The device is deleted in IAM before the copies are removed."""
    with at() as desk:
        entry = entry_of(user)
        entry = JournalEntry(run=entry.run, spec=entry.spec, reached=entry.reached, backup=place(desk, entry))
        created = make(desk, entry)
        desk.desk.store.seal(entry, created.uri)
        assert entry.backup
        assert Path(entry.backup).exists()
        assert settled(desk, entry) is JournalState.UNDONE
        assert not Path(entry.backup).exists()
    assert serial_of(user) not in at_lab.serials()


def place(desk: At, entry: JournalEntry) -> str | None:
    return desk.desk.store.place(entry.spec, entry.run)


def test_a_device_whose_enable_took_effect_is_kept(at: AtDesk, user: str) -> None:
    """IAM's list shows it before anything is deleted."""
    with at() as desk:
        entry = entry_of(user)
        make(desk, entry, enabled_for=user)
        assert settled(desk, entry) is JournalState.CONFIRMED


def test_a_device_that_no_longer_exists_is_undone(at: AtDesk, user: str) -> None:
    """It does not matter which process deleted it."""
    with at() as desk:
        assert settled(desk, entry_of(user)) is JournalState.UNDONE


def test_a_device_deleted_meanwhile_is_undone(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The Delete finds that it no longer exists."""
    with at() as desk:
        entry = entry_of(user)
        make(desk, entry)
        at_lab.faults.add("DeleteVirtualMFADevice", "lost-after")
        assert settled(desk, entry) is JournalState.UNDONE
        assert desk.person.slept == [1]


@pytest.mark.parametrize("answered_here", [False, True])
def test_another_runs_device_of_the_same_name_is_kept(answered_here: bool, at: AtDesk, user: str, at_lab: Lab) -> None:
    """ARNs are reused. Only this run's copies of its secret are removed."""
    with at() as desk:
        entry = entry_of(user, answered_here=answered_here)
        make(desk, entry, run=OTHER_RUN)
        assert settled(desk, entry) is JournalState.UNDONE
    assert serial_of(user) in at_lab.serials()


def test_an_untagged_device_is_deleted_only_after_a_response(at: AtDesk, user: str, at_lab: Lab) -> None:
    """Without a response to Create, no data shows which run made it. The hint has a command for an administrator."""
    with at() as desk:
        entry = entry_of(user)
        make(desk, entry, run=None)
        with pytest.raises(Unsettled, match="has no tag that shows whether run") as caught:
            settled(desk, entry)
        assert f"--serial-number {serial_of(user)}" in caught.value.hint
        assert serial_of(user) in at_lab.serials()
        assert settled(desk, entry_of(user, answered_here=True)) is JournalState.UNDONE
    assert serial_of(user) not in at_lab.serials()


def test_a_create_without_a_response_is_lost_after_15_minutes(at: AtDesk, user: str) -> None:
    """Until then, it may still take effect."""
    with at() as desk:
        with pytest.raises(Unsettled, match="may still take effect") as caught:
            settled(desk, entry_of(user, reached=JournalState.INTENT, seconds_ago=14 * 60))
        assert "15 minutes" in caught.value.hint
        assert settled(desk, entry_of(user, reached=JournalState.INTENT, seconds_ago=16 * 60)) is JournalState.UNDONE


def test_a_deleted_user_has_no_device(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The device that was made for the user is removed nevertheless."""
    with at() as desk:
        entry = entry_of(user)
        make(desk, entry)
        at_lab.account.backend.delete_user(user)
        assert settled(desk, entry) is JournalState.UNDONE
    assert serial_of(user) not in at_lab.serials()


def test_settle_waits_for_a_list_that_lags(at: AtDesk, user: str, at_lab: Lab) -> None:
    """IAM refuses the Delete, so the Enable took effect. IAM lists the device a moment later."""
    with at() as desk:
        entry = entry_of(user)
        at_lab.faults.add("*", "lag", seconds=600)
        make(desk, entry, enabled_for=user)
        desk.person.while_waiting = at_lab.faults.clear
        assert settled(desk, entry) is JournalState.CONFIRMED
        assert desk.person.slept == [1]


def test_an_assigned_device_that_is_never_listed_stays_open(at: AtDesk, users: Callable[[], str]) -> None:
    """It was assigned to another user, or IAM is very late. mfa-kit does not guess."""
    user, other = users(), users()
    with at() as desk:
        entry = entry_of(user)
        make(desk, entry, enabled_for=other)
        with pytest.raises(UnlistedError, match="does not list it for"):
            settled(desk, entry)
        assert sum(desk.person.slept) == 30


def test_a_lost_response_while_settling_is_retried(at: AtDesk, user: str, at_lab: Lab) -> None:
    """All requests of `settle` may be repeated. If no response comes, mfa-kit gives up and the entry stays open."""
    with at() as desk:
        entry = entry_of(user)
        make(desk, entry)
        at_lab.faults.add("DeleteVirtualMFADevice", "lost-before", at="every")
        with pytest.raises(OutcomeUnknownError):
            settled(desk, entry)
        assert desk.person.slept == [1, 2]
        assert desk.reached(serial_of(user)) is JournalState.CREATED
        at_lab.faults.clear()
        assert settled(desk, entry) is JournalState.UNDONE


def test_a_denied_delete_is_reported_with_a_command(at: AtDesk, user: str, at_lab: Lab) -> None:
    """If there is a backup, the hint also says how to continue with the device."""
    with at() as desk:
        entry = entry_of(user)
        make(desk, entry)
        at_lab.faults.add("DeleteVirtualMFADevice", "denied", at="every")
        with pytest.raises(Unsettled, match="does not let you delete") as caught:
            settled(desk, entry)
        assert "--resume" not in caught.value.hint
        sealed = JournalEntry(run=entry.run, spec=entry.spec, reached=entry.reached, backup="/b")
        with pytest.raises(Unsettled) as caught:
            settled(desk, sealed)
        assert "--resume" in caught.value.hint


def test_an_interrupted_revoke_is_finished(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The next run finishes it, even if half of its steps were already done."""
    with at() as desk:
        entry = entry_of(user, reached=JournalState.REVOKING, purpose=RunKind.REVOKE)
        make(desk, entry, enabled_for=user)
        assert settled(desk, entry) is JournalState.REVOKED
        make(desk, entry)
        assert settled(desk, entry) is JournalState.REVOKED
        assert settled(desk, entry) is JournalState.REVOKED
    assert serial_of(user) not in at_lab.serials()


def test_a_revoke_stops_at_another_users_device(at: AtDesk, users: Callable[[], str], at_lab: Lab) -> None:
    """Meanwhile the device was deactivated and assigned to another user."""
    user, other = users(), users()
    with at() as desk:
        entry = entry_of(user, reached=JournalState.REVOKING, purpose=RunKind.REVOKE)
        make(desk, entry, enabled_for=other)
        with pytest.raises(Unsettled, match="given to another user"):
            settled(desk, entry)
    assert at_lab.assigned(serial_of(user)) == other


def since(desk: At, user: str) -> float | None:
    """Return the EnableDate of a user's only device."""
    (device,) = desk.desk.iam_reader.devices(user)
    return device.since


@pytest.mark.parametrize("kind", ["virtual", "token"])
def test_a_revoke_continues_only_with_the_same_enable_date(kind: str, at: AtDesk, user: str, at_lab: Lab) -> None:
    """Without a tag, IAM's EnableDate distinguishes the device from one that was enabled later."""
    with at() as desk:
        entry = entry_of(user, seconds_ago=-7200, reached=JournalState.REVOKING)
        if kind == "token":
            serial = f"GAHT{user}"
            at_lab.add_token(serial, "A" * 64)
            entry = replace(entry, spec=models.intent_of(serial, user=user, account=ACCOUNT, partition="aws"))
            desk.desk.device_writer.enable(entry.spec, lambda: otp.pair(Seed(bytes(40)), time.time()))
        else:
            make(desk, entry, run=None, enabled_for=user)
        for other in (None, (since(desk, user) or 0) - 1):
            with pytest.raises(Unsettled, match="was enabled again after its revocation began") as caught:
                settled(desk, replace(entry, since=other))
            assert f"mfa-kit revoke {user} --mfa-device" in caught.value.hint
        assert len(desk.desk.iam_reader.devices(user)) == 1
        assert settled(desk, replace(entry, since=since(desk, user))) is JournalState.REVOKED
        assert desk.desk.iam_reader.devices(user) == []


def test_a_device_that_changed_during_the_prompt_is_kept(at: AtDesk, user: str, at_lab: Lab) -> None:
    """Another device now has its name, so nothing is changed or recorded."""
    with at() as desk:
        make(desk, entry_of(user), run=None, enabled_for=user)
        asked = revoke.look_to_revoke(
            user, None, leave_without_mfa=True, caller=desk.caller, ports=desk.desk, run=desk.run()
        )
        with pytest.raises(Unsettled, match="was enabled again after mfa-kit looked it up"):
            revoke.retire(replace(asked, since=(asked.since or 0) - 1), purpose=RunKind.REVOKE, ports=desk.desk)
        assert desk.reached(serial_of(user)) is None
        assert at_lab.assigned(serial_of(user)) == user
        revoke.retire(asked, purpose=RunKind.REVOKE, ports=desk.desk)
    assert serial_of(user) not in at_lab.serials()


def test_a_device_removed_during_the_prompt_counts_as_done(at: AtDesk, user: str, at_lab: Lab) -> None:
    """It does not matter which process removed it."""
    with at() as desk:
        make(desk, entry_of(user), enabled_for=user)
        asked = revoke.look_to_revoke(
            user, None, leave_without_mfa=True, caller=desk.caller, ports=desk.desk, run=desk.run()
        )
        desk.desk.device_writer.deactivate(user, serial_of(user))
        revoke.retire(asked, purpose=RunKind.REVOKE, ports=desk.desk)
    assert serial_of(user) not in at_lab.serials()


def step_of(name: str, at: AtDesk, act: Callable[[At], object]) -> int:
    """Return the number of this step in a run that completes."""
    whole = Cut()
    with at(cut=whole) as desk:
        act(desk)
    return whole.steps.index(name) + 1


def replaced(desk: At, user: str, *, lost: bool) -> revoke.Replaced:
    spec, old = revoke.look_to_replace(
        EnrollRequest(user=user),
        desk.backend(),
        device_name=None,
        lost=lost,
        caller=desk.caller,
        ports=desk.desk,
        run=desk.run(),
    )
    return revoke.replace_device(spec, old, desk.backend(), lost=lost, ports=desk.desk, run=desk.run())


def test_a_backup_is_removed_even_if_the_journal_was_lost(at: AtDesk, user: str, home: Path) -> None:
    """The backup's file name has the run ID of the tag, even if another computer made it and the folder is shared."""
    with at() as desk:
        desk.enroll(user)
        (backup,) = (home / "backups").rglob("*.png.age")
    for file in home.glob("ledger.sqlite*"):
        file.unlink()
    with at() as desk:
        entry = revoke.look_to_revoke(
            user, None, leave_without_mfa=True, caller=desk.caller, ports=desk.desk, run=desk.run()
        )
        assert f"remove its backup {backup}" in revoke.removal_steps(entry, lost=False, ports=desk.desk)
        revoke.retire(entry, purpose=RunKind.REVOKE, ports=desk.desk)
    assert not backup.exists()


def test_an_interrupted_revoke_says_how_it_continues(at: AtDesk, user: str, users: Callable[[], str]) -> None:
    """A deactivated device is not assigned again."""
    other = users()
    with at() as desk:
        desk.enroll(user)
        desk.enroll(other)
    number = step_of("registrar.delete", at, lambda desk: desk.revoke(other, other))
    with at(cut=Cut(at=number, act=raiser(first := KeyboardInterrupt()))) as desk, pytest.raises(KeyboardInterrupt):
        desk.revoke(user, user)
    assert first.__notes__ == [
        f"the removal of {serial_of(user)} is not finished; the next command for {user} continues it"
    ]


@pytest.mark.parametrize(
    ("lost", "step"), [(True, "carrier.codes"), (False, "registrar.deactivate")], ids=["lost", "works yet"]
)
def test_an_interrupted_replacement_names_both_devices(
    lost: bool, step: str, at: AtDesk, user: str, users: Callable[[], str], at_lab: Lab
) -> None:
    """A lost device is removed first. A working device is removed when the new device works."""
    other = users()
    with at() as desk:
        desk.enroll(user)
        desk.enroll(other)
    number = step_of(step, at, lambda desk: replaced(desk, other, lost=lost))
    with at(cut=Cut(at=number, act=raiser(first := KeyboardInterrupt()))) as desk, pytest.raises(KeyboardInterrupt):
        replaced(desk, user, lost=lost)
    said = f"{serial_of(user)} was already removed" if lost else f"only {serial_of(user)} still has to be revoked"
    assert any(said in note for note in first.__notes__)
    new = f"{serial_of(user)}-2"
    assert (at_lab.assigned(new) if new in at_lab.serials() else None) == (None if lost else user)


def test_a_revoke_of_an_untagged_device_survives_a_lost_delete(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The user had the device just before, so the result is certain."""
    with at() as desk:
        make(desk, entry_of(user), run=None, enabled_for=user)
        at_lab.faults.add("DeleteVirtualMFADevice", "error-before")
        desk.revoke(user, user)
    assert serial_of(user) not in at_lab.serials()


def test_a_device_recorded_for_another_user_is_reported(
    at: AtDesk, users: Callable[[], str], at_lab: Lab, home: Path
) -> None:
    """Someone assigned it by other means. The journal, the backup and IAM stay unchanged, and a command is printed."""
    alice, bob = users(), users()
    with at() as desk:
        desk.enroll(alice)
        (made,) = desk.desk.iam_reader.devices(alice)
        before = desk.ledger.find(made.serial)
        desk.desk.device_writer.deactivate(alice, made.serial)
        given = DeviceSpec(account=ACCOUNT, partition="aws", user=bob, name=alice)
        desk.desk.device_writer.enable(
            given, lambda: otp.pair(Seed(at_lab.seed(made.serial)), desk.desk.iam_reader.now() + 60)
        )
        with pytest.raises(UsageFault, match=f"created for {alice}") as caught:
            desk.revoke(bob, alice)
        assert f"deactivate-mfa-device --user-name {bob}" in caught.value.hint
        assert desk.ledger.find(made.serial) == before
        assert at_lab.assigned(made.serial) == bob
        assert list((home / "backups").rglob("*.age"))


def test_the_journal_s_user_may_have_another_case(at: AtDesk, user: str) -> None:
    """User names in IAM are case-insensitive."""
    with at() as desk:
        desk.enroll(user)
        (made,) = desk.desk.iam_reader.devices(user)
        typed = replace(made, user=user.upper())
        assert revoke.entry_of_device(typed, caller=desk.caller, ports=desk.desk, now=desk.run()).spec.user == user


def test_a_missing_backup_folder_keeps_the_entry_open(at: AtDesk, user: str, at_lab: Lab, home: Path) -> None:
    """The device is removed. The next command removes the backup when the folder is available again."""
    with at() as desk:
        desk.enroll(user)
        (home / "backups").rename(home / "unmounted")
        with pytest.raises(IntegrityFault, match="does not exist"):
            desk.revoke(user, user)
        assert desk.reached(serial_of(user)) is JournalState.REVOKING
    assert serial_of(user) not in at_lab.serials()
    (home / "unmounted").rename(home / "backups")
    with at() as desk:
        assert [how for _, how in settle_each(ACCOUNT, user, ports=desk.desk)] == [JournalState.REVOKED]
    assert not list(home.rglob("*.age"))


def test_an_untagged_device_of_a_deleted_user_gets_a_hint(at: AtDesk, user: str, at_lab: Lab) -> None:
    """Without a tag and a user, mfa-kit cannot know whether the device is the intended one."""
    with at() as desk:
        make(desk, entry_of(user), run=None)
        at_lab.account.backend.delete_user(user)
        with pytest.raises(Unsettled, match="has no tag") as caught:
            settled(desk, entry_of(user, reached=JournalState.REVOKING))
        assert "delete-virtual-mfa-device" in caught.value.hint


def test_a_token_is_recognized_without_tags(at: AtDesk, user: str, at_lab: Lab) -> None:
    """A token is deactivated if it is certainly the intended one, and never deleted."""
    spec = models.intent_of("GAHT12345678", user=user, account=ACCOUNT, partition="aws")
    before = len(at_lab.calls)
    with at() as desk:
        assert (
            settled(desk, JournalEntry(run=OTHER_RUN, spec=spec, reached=JournalState.CREATED)) is JournalState.UNDONE
        )
        assert "DeactivateMFADevice" not in [call.operation for call in at_lab.calls[before:]]
        entry = JournalEntry(run=OTHER_RUN, spec=spec, reached=JournalState.REVOKING, answered_here=True)
        assert settled(desk, entry) is JournalState.REVOKED
        gone = JournalEntry(run=OTHER_RUN, spec=spec, reached=JournalState.REVOKING)
        assert settled(desk, gone) is JournalState.REVOKED
    operations = [call.operation for call in at_lab.calls[before:]]
    assert operations.count("DeactivateMFADevice") == 1
    assert "DeleteVirtualMFADevice" not in operations


@pytest.mark.parametrize("tagged", [True, False], ids=["tagged", "untagged"])
@pytest.mark.parametrize("known", [True, False], ids=["filed here", "filed elsewhere"])
def test_the_old_device_is_removed_after_a_killed_replacement(
    known: bool, tagged: bool, at: AtDesk, user: str, at_lab: Lab
) -> None:
    """It is removed even if another computer made it."""
    with at() as desk:
        old = entry_of(user, reached=JournalState.CONFIRMED)
        make(desk, old, run="its own" if tagged else None, enabled_for=user)
        if known:
            desk.ledger.record(old)
        spec = DeviceSpec(
            account=ACCOUNT,
            partition="aws",
            user=user,
            name=f"{user}-2",
            replaces=old.spec.serial,
            replaces_run=old.run,
            replaces_since=since(desk, user),
        )
        new = JournalEntry(run=OTHER_RUN.replace("f", "e")[:-4] + user[-4:], spec=spec, reached=JournalState.CREATED)
        make(desk, new, enabled_for=user)
        desk.ledger.record(new)
    with at() as desk:
        ended = [(entry.run, how) for entry, how in settle_each(ACCOUNT, user, ports=desk.desk)]
        assert ended == [(new.run, JournalState.CONFIRMED)]
        gone = desk.ledger.find(old.spec.serial, run=old.run)
        assert gone
        assert gone.reached is JournalState.REVOKED
        assert not list(settle_each(ACCOUNT, user, ports=desk.desk))
    assert at_lab.assigned(f"{serial_of(user)}-2") == user
    assert serial_of(user) not in at_lab.serials()


def test_the_secret_in_the_lab_is_that_of_the_response(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The response to Create equals the secret in the lab. That is the control for the tests above."""
    with at() as desk:
        created = make(desk, entry_of(user))
        assert created.seed == Seed(at_lab.seed(serial_of(user)))
        assert key_uri.seed_of(created.uri) == created.seed
        with pytest.raises(NoSuchEntity):
            desk.desk.device_writer.deactivate(user, serial_of(user))


class Unseen(Cut):
    """Tags lag behind the device, so IAM reports that the device does not exist."""

    def step(self, name: str, call: Callable[[], Any]) -> Any:
        self.steps.append(name)
        return RunTag.ABSENT if name == "inventory.run_of" else call()


@pytest.mark.parametrize("enabled", [True, False], ids=["enabled", "not enabled"])
def test_a_created_device_with_missing_tags_is_looked_up(enabled: bool, at: AtDesk, user: str, at_lab: Lab) -> None:
    """Its Create got a response, so IAM's list and the response to Delete decide, not the tags alone."""
    with at(cut=Unseen()) as desk:
        entry = entry_of(user, backup=place(desk, entry_of(user)), answered_here=True)
        desk.desk.store.seal(entry, make(desk, entry, enabled_for=user if enabled else None).uri)
        assert settled(desk, entry) is (JournalState.CONFIRMED if enabled else JournalState.UNDONE)
        assert Path(str(entry.backup)).exists() is enabled
    assert (serial_of(user) in at_lab.serials()) is enabled


def test_an_enabled_device_with_missing_tags_is_found(at: AtDesk, user: str) -> None:
    """IAM lists it for the user for whom that run made it."""
    with at(cut=Unseen()) as desk:
        entry = entry_of(user)
        make(desk, entry, enabled_for=user)
        assert settled(desk, entry) is JournalState.CONFIRMED


def test_a_dry_run_does_not_settle_dead_runs(at: AtDesk, user: str, at_lab: Lab) -> None:
    """No request to IAM is made for it."""
    with at() as desk:
        entry = entry_of(user)
        make(desk, entry)
        desk.ledger.record(entry)
    with at() as desk:
        assert list(settle_each(ACCOUNT, user, ports=replace(desk.desk, dry=True))) == []
        assert desk.reached(serial_of(user)) is JournalState.CREATED
    assert serial_of(user) in at_lab.serials()


def cleaned(desk: At) -> list[Cleaned]:
    """Run `clean` without an orphan in the list. It settles dead runs nevertheless."""
    return list(remove_orphans([], account=ACCOUNT, older_than=0, limit=0, ports=desk.desk))


def test_clean_skips_a_revoke_of_an_assigned_device(at: AtDesk, user: str, at_lab: Lab) -> None:
    """`clean` removes no assigned device. If the device was deactivated by other means, the revocation continues."""
    with at() as desk:
        entry = entry_of(user, reached=JournalState.REVOKING, purpose=RunKind.REVOKE)
        make(desk, entry, enabled_for=user)
        desk.ledger.record(entry)
    with at() as desk:
        assert cleaned(desk) == []
        assert at_lab.assigned(serial_of(user)) == user
        desk.desk.device_writer.deactivate(user, serial_of(user))
        assert cleaned(desk) == [Cleaned(serial=serial_of(user), ended="revoked")]
    assert serial_of(user) not in at_lab.serials()


def test_a_lost_device_needs_neither_hardware_nor_library(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The carrier of its method is not requested."""
    with at() as desk:
        entry = entry_of(user, reached=JournalState.REVOKING, purpose=RunKind.LOST)
        entry = replace(entry, spec=entry.spec.on(hardware="12345678"))
        make(desk, entry, enabled_for=user)
        desk.ledger.record(entry)
    with at() as desk:
        keyless = replace(desk.desk, backend=lambda _: pytest.fail("asked for"))
        assert [how for _, how in settle_each(ACCOUNT, user, ports=keyless)] == [JournalState.REVOKED]
    assert serial_of(user) not in at_lab.serials()


def test_a_lost_device_stores_no_secret_and_shows_no_code(user: str) -> None:
    """The error asks for another device."""
    entry, gone = entry_of(user), LostDevice()
    assert gone.check(entry.spec, sealed=True) == entry.spec
    with pytest.raises(UsageFault, match="is lost"):
        gone.install(entry.spec, Created(Seed(bytes(40)), KeyUri("")))
    with pytest.raises(UsageFault, match="is lost"):
        gone.codes(entry.spec)


def test_nothing_is_created_for_a_user_without_a_device_to_replace(at: AtDesk, user: str, at_lab: Lab) -> None:
    """Only a lost device may have been removed already, by the same command before."""
    with at() as desk:
        with pytest.raises(UsageFault, match="has no MFA device") as refused:
            replaced(desk, user, lost=False)
        assert f"mfa-kit enroll {user} --with KIND" in str(refused.value.hint)
        assert serial_of(user) not in at_lab.serials()
        assert replaced(desk, user, lost=True).revoked is None
        assert serial_of(user) in at_lab.serials()


def test_a_new_device_is_revoked_although_an_old_one_of_its_name_was(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The interrupted revocation of the old device is finished first. It is not the one that was asked for."""
    with at() as desk:
        old = entry_of(user, seconds_ago=3600, reached=JournalState.REVOKING)
        desk.ledger.record(old)
        make(desk, entry_of(user), enabled_for=user)
    with at() as desk:
        desk.revoke(user, user)
        assert serial_of(user) not in at_lab.serials()
        finished = desk.ledger.find(serial_of(user), run=old.run)
        assert finished
        assert finished.reached is JournalState.REVOKED


def test_an_enrollment_that_was_undone_is_no_device_to_revoke(at: AtDesk, user: str) -> None:
    """Only a revocation that was just finished counts as the one that was asked for."""
    with at() as desk:
        half_made = entry_of(user, seconds_ago=3600)
        desk.ledger.record(half_made)
    with at() as desk:
        with pytest.raises(UsageFault, match="has no MFA device"):
            desk.revoke(user, user)
        undone = desk.ledger.find(serial_of(user), run=half_made.run)
        assert undone
        assert undone.reached is JournalState.UNDONE


def test_an_untagged_device_that_the_journal_has_for_another_user_is_revoked(
    at: AtDesk, users: Callable[[], str], at_lab: Lab
) -> None:
    """Another tool made it later, under the name of the other user's device, so nothing says that it is theirs."""
    alice, bob = users(), users()
    with at() as desk:
        desk.ledger.record(theirs := entry_of(alice, seconds_ago=3600, reached=JournalState.CONFIRMED))
        make(desk, entry_of(alice), run=None, enabled_for=bob)
        desk.revoke(bob, alice)
        assert serial_of(alice) not in at_lab.serials()
        assert desk.ledger.find(theirs.spec.serial, run=theirs.run) == theirs


@pytest.mark.parametrize(("lost", "steps"), [(False, ["remove its credential from key 1001"]), (True, [])])
def test_a_lost_key_keeps_its_credential(lost: bool, steps: list[str], at: AtDesk, user: str) -> None:
    """A dry run says what happens to the key."""
    entry = entry_of(user)
    entry = replace(entry, spec=replace(entry.spec, method=Method("oath"), hardware="key 1001"))
    with at() as desk:
        planned = revoke.removal_steps(entry, lost=lost, ports=desk.desk)
    assert [step for step in planned if "credential" in step] == steps


# What decides, one fact at a time. IAM, the store and the journal are lists here, so that nothing else differs.


@dataclass
class Lists:
    """Stands for the ports of IAM's reads, the store and the journal. `asked` has the names of the calls."""

    has: Sequence[Device] = ()
    run: str | RunTag = RunTag.ABSENT
    at: float = 0.0
    backup: str | None = None
    entries: Sequence[JournalEntry] = ()
    asked: list[str] = field(default_factory=list)
    recorded: list[Sequence[JournalEntry]] = field(default_factory=list)

    def devices(self, user: str) -> Sequence[Device]:
        self.asked.append("devices")
        return [device for device in self.has if device.user == user]

    def run_of(self, serial: str) -> str | RunTag:
        self.asked.append("run_of")
        return self.run

    def now(self) -> float:
        return self.at

    def find(self, entry: Any, *, run: str | None = None) -> Any:
        if isinstance(entry, JournalEntry):
            return self.backup
        return next((known for known in self.entries if (known.spec.serial, known.run) == (entry, run)), None)

    def remove(self, entry: JournalEntry) -> None:
        self.asked.append("remove")

    def record(self, entry: JournalEntry) -> JournalEntry:
        self.recorded.append([entry])
        return entry

    def record_all(self, entries: Sequence[JournalEntry]) -> None:
        self.recorded.append(entries)

    def dead(self, account: str, *, user: str | None) -> Iterator[JournalEntry]:
        yield from self.entries

    def note(self, text: str) -> None:
        self.asked.append("note")

    def backend(self, spec: DeviceSpec) -> Any:
        raise DeviceFault("the key is not here")

    @property
    def ports(self) -> Any:
        return SimpleNamespace(
            **dict.fromkeys(("iam_reader", "store", "journal", "progress"), self),
            dry=False,
            sleep=lambda _: None,
            backend=self.backend,
        )

    def settle(self, entry: JournalEntry) -> JournalState:
        return settle(entry, LostDevice(), ports=self.ports)


TOKEN = models.intent_of("GAHT12345678", user="alice", account=ACCOUNT, partition="aws")
RUN = models.run_id(1_800_000_000, bytes(4))


def filed(spec: DeviceSpec | None = None, **how: Any) -> JournalEntry:
    """Return an entry of the journal, of a virtual device of alice unless `spec` says otherwise."""
    plain = DeviceSpec(account=ACCOUNT, partition="aws", user="alice", name="alice")
    names = {each.name for each in fields(DeviceSpec)}
    changed = replace(spec or plain, **{name: how.pop(name) for name in list(how) if name in names})
    return JournalEntry(**{"run": RUN, "spec": changed, "reached": JournalState.CREATED, **how})


@pytest.mark.parametrize(("seconds", "reached"), [(899, None), (900, JournalState.UNDONE)])
@pytest.mark.parametrize("spec", [TOKEN, None], ids=["token", "virtual"])
def test_a_request_without_an_answer_is_lost_after_900_seconds(
    spec: DeviceSpec | None, seconds: int, reached: JournalState | None
) -> None:
    """IAM's list of a token's user is waited for. The list of a device that was never created is not read."""
    lists = Lists(at=1_800_000_000 + seconds)
    entry = filed(spec, reached=JournalState.INTENT)
    if reached is None:
        with pytest.raises(Unsettled, match="may still take effect"):
            lists.settle(entry)
        assert lists.recorded == []
    else:
        assert lists.settle(entry) is reached
        assert ("devices" in lists.asked) is (spec is TOKEN)


def test_a_token_that_is_listed_is_confirmed() -> None:
    """Its EnableDate is recorded. A token has no tags to ask for."""
    lists = Lists(has=[Device("GAHT12345678", "alice", since=5.0)])
    assert lists.settle(filed(TOKEN, reached=JournalState.INTENT)) is JournalState.CONFIRMED
    assert lists.asked == ["devices"]
    [[confirmed]] = lists.recorded
    assert confirmed.since == 5.0


def test_the_list_is_waited_for_until_it_has_the_token() -> None:
    """Another device of the user is not the token."""
    lists = Lists(has=[Device("GAHT99999999", "alice")], at=2_000_000_000)
    assert lists.settle(filed(TOKEN, reached=JournalState.INTENT)) is JournalState.UNDONE


def test_no_request_is_sent_to_delete_an_enabled_or_absent_device(at: AtDesk, user: str, at_lab: Lab) -> None:
    """IAM's answers show both before."""
    with at() as desk:
        settled(desk, entry_of(user))
        make(desk, entry_of(user), enabled_for=user)
        before = len(at_lab.calls)
        assert settled(desk, entry_of(user)) is JournalState.CONFIRMED
        assert "DeleteVirtualMFADevice" not in [call.operation for call in at_lab.calls[before:]]


@pytest.mark.parametrize(
    ("how", "complete"),
    [
        ({"staged": True}, True),
        ({}, False),
        ({"staged": True, "method": Method("oath")}, False),
        ({"staged": True, "answered_here": True}, False),
    ],
)
@pytest.mark.parametrize("backup", ["/a", None])
def test_a_staged_device_is_complete_with_its_backup(how: dict[str, Any], complete: bool, backup: str | None) -> None:
    """Its user may have the secret, so settling leaves it. A key by post, and a device of this process, it does not."""
    lists = Lists(backup=backup, run=RUN)
    entry = filed(**how)
    assert is_complete(entry, ports=lists.ports) is (complete and backup is not None)
    if complete and backup:
        with pytest.raises(Unsettled, match="its backup is complete"):
            lists.settle(entry)


@pytest.mark.parametrize(
    ("how", "mine", "other", "is_removed"),
    [
        ({"hardware": "1001", "card": "card-1"}, None, {"card": "card-2"}, True),
        ({"hardware": "1001", "card": "card-1"}, None, {"card": "card-1"}, False),
        ({"hardware": "1001", "card": "card-1"}, None, None, False),
        ({"hardware": "1001"}, None, {"card": "card-2"}, False),
        ({}, None, None, True),
        ({"hardware": "1001"}, True, None, True),
        ({"hardware": "1001"}, False, None, True),
    ],
)
def test_a_credential_that_may_be_of_another_run_stays(
    how: dict[str, Any], mine: bool | None, other: dict[str, Any] | None, is_removed: bool
) -> None:
    """It is on a key, another run uses the name, and nothing shows that the other run uses another key."""
    theirs = [filed(run=OTHER_RUN, hardware="1002", **other)] if other else []
    lists, key, ours = Lists(run=OTHER_RUN, entries=theirs), Key(), filed(**how)
    remove_copies(ours, key, JournalState.UNDONE, mine=mine, ports=lists.ports)  # type: ignore[arg-type]
    assert key.removed == [RUN] * is_removed
    assert ("note" in lists.asked) is not is_removed


@pytest.mark.parametrize(
    ("serial", "run", "stands"),
    [
        (serial_of("alice"), RUN, True),
        (serial_of("alice"), OTHER_RUN, False),
        (serial_of("alice"), RunTag.UNTAGGED, True),
        (serial_of("bob"), RUN, False),
    ],
)
def test_a_device_still_stands_if_it_is_listed_and_not_a_later_one(
    serial: str, run: str | RunTag, stands: bool
) -> None:
    """The tags name the run of a virtual device."""
    assert still_stands(filed(), ports=Lists(has=[Device(serial, "alice")], run=run).ports) is stands


def test_a_token_stands_without_a_look_at_tags() -> None:
    """It has none."""
    lists = Lists(has=[Device("GAHT12345678", "alice")], run=OTHER_RUN)
    assert still_stands(filed(TOKEN), ports=lists.ports)
    assert lists.asked == ["devices"]


REPLACING: dict[str, Any] = {
    "name": "alice-2",
    "replaces": serial_of("alice"),
    "replaces_run": OTHER_RUN,
    "replaces_since": 7.0,
}


def test_a_confirmed_replacement_begins_with_the_revocation_of_the_old_device() -> None:
    """After a kill, the next run goes on. What the journal has about the old device is kept."""
    old = filed(run=OTHER_RUN, backup="/a", reached=JournalState.CONFIRMED)
    lists = Lists(entries=[old])
    record_confirmed(filed(**REPLACING), None, ports=lists.ports)
    (first,), (then,) = lists.recorded
    assert first == replace(old, reached=JournalState.REVOKING, purpose=RunKind.REVOKE, since=7.0)
    assert (then.reached, then.since) == (JournalState.CONFIRMED, None)


@pytest.mark.parametrize("lacking", ["replaces", "replaces_run"])
def test_a_replacement_without_the_old_device_or_run_replaces_nothing(lacking: str) -> None:
    """Both say which device it was."""
    assert replaced_entry(filed(**{**REPLACING, lacking: None}), ports=Lists().ports) is None


def test_devices_are_confirmed_together_unless_they_replace_one() -> None:
    """One write for all others."""
    lists, plain, new = Lists(), [filed(name=name) for name in "ab"], filed(**REPLACING)
    record_all_confirmed([plain[0], new, plain[1]], ports=lists.ports)
    states = [[(entry.spec.name, entry.reached) for entry in entries] for entries in lists.recorded]
    done = JournalState.CONFIRMED
    assert states == [[("alice", JournalState.REVOKING)], [("alice-2", done)], [("a", done), ("b", done)]]


def test_an_enabled_device_without_tags_is_not_taken_for_one_to_revoke() -> None:
    """No revocation began, so nothing says that the device was enabled again."""
    lists = Lists(has=[Device(serial_of("alice"), "alice", since=5.0)], run=RunTag.UNTAGGED)
    with pytest.raises(Unsettled, match="has no tag that shows whether run"):
        lists.settle(filed())


def test_an_interrupted_enrollment_is_settled_although_its_device_is_assigned(at: AtDesk, user: str) -> None:
    """Only revocations of assigned devices are left."""
    with at() as desk:
        entry = entry_of(user)
        make(desk, entry, enabled_for=user)
        desk.ledger.record(entry)
    with at() as desk:
        ended = settle_each(ACCOUNT, user, ports=desk.desk, leave_assigned=True)
        assert [state for _, state in ended] == [JournalState.CONFIRMED]


def test_the_old_device_stays_if_its_replacement_is_undone(at: AtDesk, user: str, at_lab: Lab) -> None:
    """The user would have none."""
    with at() as desk:
        old = entry_of(user, reached=JournalState.CONFIRMED)
        make(desk, old, enabled_for=user)
        new = replace(old.spec, name=f"{user}-2", replaces=old.spec.serial, replaces_run=old.run)
        desk.ledger.record(replace(entry_of(user), run=OTHER_RUN, spec=new))
    with at() as desk:
        assert [state for _, state in settle_each(ACCOUNT, user, ports=desk.desk)] == [JournalState.UNDONE]
    assert at_lab.assigned(serial_of(user)) == user


@pytest.mark.parametrize(
    ("how", "lost", "without_key", "reached"),
    [
        ({"reached": JournalState.REVOKING}, None, {serial_of("alice")}, JournalState.REVOKED),
        ({"reached": JournalState.REVOKING}, None, {serial_of("bob")}, None),
        ({}, None, {serial_of("alice")}, None),
        ({"hardware": "1001"}, "1001", (), JournalState.UNDONE),
        ({"hardware": "1001"}, "1002", (), None),
        ({"hardware": "1001"}, None, (), None),
        ({}, None, (), None),
    ],
)
def test_an_absent_key_is_needed_unless_it_is_lost(
    how: dict[str, Any], lost: str | None, without_key: Collection[str], reached: JournalState | None
) -> None:
    """The lost key is named, or the device of an interrupted revocation is."""
    lists = Lists(entries=[filed(**how)])
    [(_, ended)] = settle_each(ACCOUNT, "alice", ports=lists.ports, lost=lost, without_key=without_key)
    if reached is None:
        assert isinstance(ended, DeviceFault)
    else:
        assert ended is reached
