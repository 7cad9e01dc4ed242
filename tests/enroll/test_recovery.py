"""Cases of `settle` in the lab: whose device it is, whether an Enable took effect, which entries stay open."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.core import models, otp
from mfa_kit.core.errors import IntegrityFault, NoSuchEntity, OutcomeUnknownError, UnlistedError, Unsettled, UsageFault
from mfa_kit.core.models import RUN_TAG, DeviceSpec, JournalEntry, JournalState, Method, RunKind, RunTag
from mfa_kit.core.otp import Created, KeyUri, Seed
from mfa_kit.enrollment import revoke
from mfa_kit.enrollment.orphans import Cleaned, remove_orphans
from mfa_kit.enrollment.planning import EnrollRequest
from mfa_kit.enrollment.settling import LostDevice, remove_copies, settle, settle_each
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
        with pytest.raises(UsageFault, match="has no MFA device"):
            replaced(desk, user, lost=False)
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
