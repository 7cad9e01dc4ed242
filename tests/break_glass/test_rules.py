"""Tests of what is due, of who may be a custodian, and of the backups of a rotation."""

from pathlib import Path

import pytest

from mfa_kit.backups.exposure import KnownRecipients
from mfa_kit.break_glass.custodians import Custodian, CustodianSet, Group, set_of_file
from mfa_kit.break_glass.manifest import Manifest
from mfa_kit.break_glass.rotating import plan_rotation
from mfa_kit.break_glass.uses import DAY, DRILL_EVERY, Record, check_custodians, due
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import Backup, GlassAction
from tests.backups.conftest import RUN
from tests.conftest import ACCOUNT

GROUP = Group(2, (Custodian("alice", "a"), Custodian("bob", "b"), Custodian("carol", "c")))
NOW = 400 * DAY


def manifest(replaces: str | None = None) -> Manifest:
    return Manifest(recipient="new", made=1.0, group=GROUP, replaces=replaces)


def record(action: GlassAction, at: float = NOW, recipient: str = "new") -> Record:
    return Record(at=at, recipient=recipient, action=action, custodians={})


@pytest.mark.parametrize(
    ("records", "replaces", "words"),
    [
        ([], None, ["hold a drill"]),
        ([record(GlassAction.DRILLED)], None, []),
        ([record(GlassAction.DRILLED, NOW - DRILL_EVERY - 1)], None, ["hold a drill"]),
        ([record(GlassAction.DRILLED), record(GlassAction.FAILED)], None, []),
        ([record(GlassAction.DRILLED, recipient="old")], None, ["hold a drill"]),
        (
            [record(GlassAction.DRILLED), record(GlassAction.OPENED)],
            None,
            ["rotate the identity, because it was opened"],
        ),
        (
            [record(GlassAction.DRILLED), record(GlassAction.PASSED)],
            None,
            ["rotate the identity, because a custodian removed a layer of it"],
        ),
        ([record(GlassAction.DRILLED), record(GlassAction.OPENED, recipient="old")], None, []),
        (
            [record(GlassAction.DRILLED, NOW - 2), record(GlassAction.SEALED, NOW - 1)],
            None,
            ["hold a drill, because the"],
        ),
        ([record(GlassAction.SEALED, NOW - 2), record(GlassAction.DRILLED, NOW - 1)], None, []),
        ([record(GlassAction.DRILLED)], "old", ["finish the rotation"]),
        ([record(GlassAction.DRILLED), record(GlassAction.ROTATED)], "old", []),
    ],
)
def test_what_is_due_follows_from_the_ledger(records: list[Record], replaces: str | None, words: list[str]) -> None:
    """Each sentence begins with what to do."""
    found = due(manifest(replaces), records, now=NOW)
    assert len(found) == len(words)
    assert all(sentence.startswith(word) for sentence, word in zip(found, words, strict=True))


def test_the_last_record_of_the_custodians_counts() -> None:
    """The same identity may be written for several groups, one after the other."""
    keys = {"alice": "a", "bob": "b", "carol": "c"}

    def sealed(threshold: int, custodians: dict[str, str]) -> Record:
        return Record(at=1.0, recipient="new", action=GlassAction.SEALED, custodians=custodians, threshold=threshold)

    good, weaker, other = sealed(2, keys), sealed(1, keys), sealed(2, {**keys, "bob": "x"})
    assert check_custodians(manifest(), [weaker, other, good], where="m")
    assert not check_custodians(manifest(), [record(GlassAction.OPENED)], where="m")
    for wrong in (weaker, other):
        with pytest.raises(IntegrityFault, match="m has other custodians"):
            check_custodians(manifest(), [good, wrong], where="m")


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
