"""Tests of what is due, of who may be a custodian, and of the backups of a rotation."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mfa_kit.backups.rekeying import KnownRecipients
from mfa_kit.break_glass.custodians import Custodian, CustodianSet, Group, Manifest, RecoveryKey, set_of_file
from mfa_kit.break_glass.meeting import meet
from mfa_kit.break_glass.proof import Doubt, accept_one, fault_of, find_for_backup, locate
from mfa_kit.break_glass.rotating import old_key, plan_rotation
from mfa_kit.break_glass.uses import DAY, DRILL_EVERY, Record, due
from mfa_kit.core.errors import IntegrityFault, Unrecorded, UsageFault
from mfa_kit.core.models import Backup, backup_name
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from tests.backups.conftest import RUN
from tests.conftest import ACCOUNT

GROUP = Group(2, (Custodian("alice", "a"), Custodian("bob", "b"), Custodian("carol", "c")))
NOW = 400 * DAY


def manifest(replaces: str | None = None) -> Manifest:
    return Manifest(recipient="new", made=1.0, group=GROUP, replaces=replaces)


def record(action: RecoveryKeyAction, at: float = NOW, recipient: str = "new") -> Record:
    return Record(at=at, recipient=recipient, action=action, custodians={})


@pytest.mark.parametrize(
    ("records", "replaces", "words"),
    [
        ([], None, ["hold a drill"]),
        ([record(RecoveryKeyAction.DRILLED)], None, []),
        ([record(RecoveryKeyAction.DRILLED, NOW - DRILL_EVERY - 1)], None, ["hold a drill"]),
        ([record(RecoveryKeyAction.DRILLED), record(RecoveryKeyAction.FAILED)], None, []),
        ([record(RecoveryKeyAction.DRILLED, recipient="old")], None, ["hold a drill"]),
        (
            [record(RecoveryKeyAction.DRILLED), record(RecoveryKeyAction.OPENED)],
            None,
            ["rotate the identity, because it was opened"],
        ),
        (
            [record(RecoveryKeyAction.DRILLED), record(RecoveryKeyAction.PASSED)],
            None,
            ["rotate the identity, because a custodian removed a layer of it"],
        ),
        ([record(RecoveryKeyAction.DRILLED), record(RecoveryKeyAction.OPENED, recipient="old")], None, []),
        (
            [record(RecoveryKeyAction.DRILLED, NOW - 2), record(RecoveryKeyAction.SEALED, NOW - 1)],
            None,
            ["hold a drill, because the"],
        ),
        ([record(RecoveryKeyAction.SEALED, NOW - 2), record(RecoveryKeyAction.DRILLED, NOW - 1)], None, []),
        ([record(RecoveryKeyAction.DRILLED)], "old", ["finish the rotation"]),
        ([record(RecoveryKeyAction.DRILLED), record(RecoveryKeyAction.ROTATED)], "old", []),
    ],
)
def test_what_is_due_follows_from_the_ledger(records: list[Record], replaces: str | None, words: list[str]) -> None:
    """Each sentence begins with what to do."""
    found = due(manifest(replaces), records, now=NOW)
    assert len(found) == len(words)
    assert all(sentence.startswith(word) for sentence, word in zip(found, words, strict=True))


RECOVERY_KEY = RecoveryKey(Path("/g"), manifest())


def sealed(threshold: int, *, own: bool = True, **keys: str) -> Record:
    """Return a record of the group, with another threshold or other keys."""
    role, computer = ("desk-a", "rome") if own else ("desk-b", "paris")
    custodians = {"alice": "a", "bob": "b", "carol": "c", **keys}
    return replace(
        record(RecoveryKeyAction.SEALED),
        custodians=custodians,
        threshold=threshold,
        role=role,
        computer=computer,
        own=own,
    )


def test_the_last_record_of_the_custodians_counts() -> None:
    """The same identity may be written for several groups, one after the other."""
    assert fault_of(RECOVERY_KEY, [sealed(1), sealed(2, bob="x"), sealed(2)]) is None
    for wrong in (sealed(1), sealed(2, bob="x")):
        fault = fault_of(RECOVERY_KEY, [sealed(2), wrong])
        assert "/g/manifest.json has other custodians or another threshold than this computer" in str(fault)


def test_only_the_records_of_this_computer_prove_the_custodians() -> None:
    """Those of other actions and of others do not. A person may accept the folder."""
    others: list[list[Record]] = [
        [],
        *([record(action)] for action in RecoveryKeyAction if action is not RecoveryKeyAction.SEALED),
        [sealed(2, own=False)],
        [replace(sealed(2), recipient="other")],
    ]
    for records in others:
        fault = fault_of(RECOVERY_KEY, records)
        assert isinstance(fault, Unrecorded)
        assert str(fault) == "this computer did not record who the custodians in /g/manifest.json are"


@pytest.mark.parametrize("changed", [{"threshold": 1}, {"bob": "x"}])
def test_a_later_record_of_others_is_an_error_until_it_is_accepted(changed: dict[str, Any]) -> None:
    """The error names both writers. It does not matter which of the two groups the folder has."""
    own, foreign = sealed(2), sealed(**{"threshold": 2, **changed}, own=False)
    assert fault_of(RECOVERY_KEY, [foreign, own]) is None
    assert fault_of(RECOVERY_KEY, [own, sealed(2, own=False)]) is None
    for before, after in ((own, foreign), (sealed(**{"threshold": 2, **changed}), sealed(2, own=False))):
        fault = fault_of(RECOVERY_KEY, [before, after])
        assert isinstance(fault, Unrecorded)
        assert "desk-b on paris recorded other custodians or another threshold" in str(fault)
        assert "than desk-a on rome before" in str(fault)
        assert fault_of(RECOVERY_KEY, [before, after, own]) is None
    assert "than desk-b on paris recorded" in str(fault_of(RECOVERY_KEY, [foreign]))


def known(user: str, *recipients: str) -> KnownRecipients:
    backup = Backup(account=ACCOUNT, user=user, device=user, run=RUN, path=Path("/", user))
    return KnownRecipients(backup=backup, recipients=recipients or None)


def test_a_rotation_changes_the_backups_of_the_old_identity_only() -> None:
    """A backup with both identities on record belongs to a run that was killed, so it is encrypted again."""
    alone, shared, begun = known("a", "old"), known("b", "old", "x"), known("c", "old", "new", "x")
    done, other, unknown = known("d", "new"), known("e", "x"), known("f")
    plan = plan_rotation([alone, shared, begun, done, other, unknown], old="old", new="new")
    assert plan.groups == {("new",): [alone], ("x", "new"): [shared, begun]}
    assert plan.unknown == [unknown.backup]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("set-01-alice-bob.age", 0),
        ("for-carol-set-02.age", 1),
        ("set-1.age", None),
        ("x.age", None),
        ("set-04.age", None),
    ],
)
def test_the_number_in_a_file_name_names_the_set(name: str, number: int | None) -> None:
    """The rest of the name may change."""
    sets = GROUP.sets()
    expected: CustodianSet | None = None if number is None else sets[number]
    assert set_of_file(name, sets) == expected


def test_a_rotation_without_the_earlier_folder_is_refused(tmp_path: Path) -> None:
    """The earlier identity is needed to re-encrypt the backups."""
    group = Group(1, (Custodian("alice", "age1a"),))
    new = RecoveryKey(tmp_path / "new", Manifest(recipient="age1new", made=2.0, group=group, replaces="age1old"))
    ports = SimpleNamespace(records=list, folders=SimpleNamespace(beside=lambda _: [new]))
    with pytest.raises(IntegrityFault, match="the folder of the earlier identity is missing"):
        old_key(new, cast("Any", ports))


def test_a_file_name_without_the_number_of_its_set_is_refused(tmp_path: Path) -> None:
    group = Group(1, (Custodian("alice", "age1a"),))
    recovery_key = RecoveryKey(tmp_path, Manifest(recipient="age1x", made=2.0, group=group))
    with pytest.raises(UsageFault, match="does not say which set of custodians the file is for"):
        meet(recovery_key, [], cast("Any", SimpleNamespace()), only=tmp_path / "alice.age")


# Which folder a command uses.


def ports_with(*folders: RecoveryKey, records: list[Record] | None = None) -> Any:
    """Return ports for folders, the oldest first."""
    by_path = {each.folder: each for each in folders}
    return SimpleNamespace(
        folders=SimpleNamespace(
            newest=lambda: folders[-1].folder if folders else None,
            is_there=lambda path: path.name in {known.name for known in by_path},
            read=by_path.__getitem__,
            beside=lambda _: [*folders],
        ),
        records=lambda: records or [],
        progress=SimpleNamespace(alert=lambda _: None),
        dry_run=False,
    )


OLD, MIDDLE, NEW = (RecoveryKey(Path(name), replace(manifest(), recipient=name)) for name in ("old", "middle", "new"))
FILE = Path("/backups", ACCOUNT, "alice", f"alice-{RUN}.png.age")


def seal(recipient: str, *, backup: str = backup_name(FILE), until: float | None = None) -> Any:
    return SimpleNamespace(backup=backup, recipient=recipient, until=until)


@pytest.mark.parametrize(
    ("seals", "folder", "used"),
    [
        ([], None, NEW),
        ([seal("old")], None, OLD),
        ([seal("old"), seal("middle")], None, MIDDLE),
        ([seal("old"), seal("middle", until=1.0)], None, OLD),
        ([seal("old", backup="another")], None, NEW),
        ([seal("old")], Path("middle"), MIDDLE),
    ],
)
def test_a_backup_is_opened_with_the_newest_identity_that_is_its_recipient(
    seals: list[Any], folder: Path | None, used: RecoveryKey
) -> None:
    """A recipient that was removed from it does not count. A folder that is named is used in any case."""
    assert find_for_backup(FILE, folder, ports_with(OLD, MIDDLE, NEW), seals=lambda: seals) == used


def test_a_folder_that_is_not_there_is_named() -> None:
    """Without any, the hint says how to make an identity."""
    with pytest.raises(UsageFault, match="there is no folder gone"):
        locate(Path("gone"), ports_with(OLD))
    for find_one in (locate, partial(find_for_backup, FILE, seals=list)):
        with pytest.raises(UsageFault, match="this computer has no break-glass identity"):
            find_one(None, ports_with())
    assert locate(None, ports_with(OLD, NEW)) == NEW


def test_a_person_is_asked_with_the_names_and_keys_of_the_custodians() -> None:
    """They are compared one by one."""
    said: list[str] = []
    recorded: list[Any] = []
    ports = ports_with(NEW)
    ports.person = SimpleNamespace(say=said.append, ask_code=lambda *_, **__: "new")
    ports.record = lambda *what: recorded.append(what)
    fault = fault_of(NEW, [])
    assert fault
    assert accept_one([Doubt(NEW, fault)], ports, accept=True) == NEW
    assert "its identity can be opened by 2 of these custodians: alice a, bob b, carol c" in said
    assert recorded == [(NEW.manifest, RecoveryKeyAction.SEALED, ("alice", "bob", "carol"))]
