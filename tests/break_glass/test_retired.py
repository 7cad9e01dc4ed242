"""A rotation retires an identity: `status` never names it again, whatever folders are there."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.ledger.audit_records import BreakGlassRecords
from mfa_kit.break_glass.retired import current_recipient, retirement_of
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from tests.break_glass.conftest import Desk, Typed
from tests.break_glass.test_planted import LATER, THREE, finish, moved_to_another_computer, sit, unfinished
from tests.ledgers import open_at

__all__ = ["sit"]
Row = dict[str, Any]
QUERY = ("break-glass", "status", "--query", "recipient")


def rotated(desk: Desk) -> tuple[Row, Row]:
    """Make and rotate an identity. Return the rows of the old and the new folder."""
    old = desk.create(2, THREE)
    return old, desk.break_glass("rotate", *desk.here("alice", "bob"))


def write_as_before(desk: Desk) -> None:
    """Make the records those of version 1.1.0, which did not record what an identity replaces."""
    with closing(sqlite3.connect(desk.home / "ledger.sqlite")) as db:
        db.execute("update break_glass set replaces = null")
        db.commit()


def named(desk: Desk) -> tuple[int, str | None]:
    """Return the exit code of the documented query, and the recipient that it prints."""
    done = desk.run(*QUERY)
    assert ("null" in done.out, done.code == 0) == (False, bool(done.out))
    return done.code, json.loads(done.out) if done.out else None


def test_a_rotation_records_what_it_replaces(desk: Desk) -> None:
    """In both of its records, so that an interrupted rotation retires the old identity too."""
    old, new = rotated(desk)
    replaces = [(record.action, record.recipient, record.replaces) for record in desk.records()]
    assert replaces == [
        (RecoveryKeyAction.SEALED, old["recipient"], None),
        (RecoveryKeyAction.SEALED, new["recipient"], old["recipient"]),
        (RecoveryKeyAction.ROTATED, new["recipient"], old["recipient"]),
    ]


@pytest.mark.parametrize("before", [False, True])
def test_a_copy_of_the_retired_folder_is_not_the_current_one(desk: Desk, before: bool) -> None:
    """Its name is the newest. With the rows of 1.1.0, the identity that was recorded last is still the current one."""
    old, new = rotated(desk)
    if before:
        write_as_before(desk)
    shutil.copytree(old["folder"], Path(old["folder"]).with_name(LATER))
    assert named(desk) == (0, new["recipient"])
    assert desk.break_glass("status")["folder"] == new["folder"]


@pytest.mark.parametrize("before", [False, True])
def test_without_the_new_folder_no_recipient_is_named(desk: Desk, before: bool) -> None:
    """An older state of the disk has the old folder only. When the new one is back, it is the current one."""
    _, new = rotated(desk)
    if before:
        write_as_before(desk)
    moved = Path(new["folder"]).rename(desk.folder / "elsewhere")
    done = desk.run("break-glass", "status")
    assert (done.code, done.out) == (5, "")
    assert f"the folder of the current identity, {new['recipient']}, is missing" in " ".join(done.err.split())
    assert named(desk) == (5, None)
    moved.rename(new["folder"])
    assert named(desk) == (0, new["recipient"])


def test_an_interrupted_rotation_names_the_new_identity(desk: Desk) -> None:
    """It can be continued, also with the folder of the old one, and then retires it."""
    old, begun = unfinished(desk)
    assert named(desk) == (0, begun["recipient"])
    finish(desk)
    done = desk.run("break-glass", "rotate", "--dir", old["folder"], *desk.here("alice", "bob"), "--output", "json")
    assert (done.code, json.loads(done.out)["recipient"]) == (0, begun["recipient"])
    assert f"the recipient {old['recipient']} is retired" in " ".join(done.err.split())
    assert named(desk) == (0, begun["recipient"])


def test_a_rotation_whose_folder_was_never_written_begins_anew(desk: Desk) -> None:
    """The process was killed after it recorded the new identity."""
    _, lost = rotated(desk)
    shutil.rmtree(lost["folder"])
    assert named(desk) == (5, None)
    again = desk.break_glass("rotate", *desk.here("alice", "bob"))
    assert again["recipient"] != lost["recipient"]
    assert named(desk) == (0, again["recipient"])


def test_a_retired_folder_still_opens_its_backups(desk: Desk, typed: Typed) -> None:
    """In an emergency nothing may close the way in. One line says that the identity is retired."""
    old, _ = rotated(desk)
    backup = desk.sealed("dave", old["recipient"])
    line = f"note: {old['folder']}: the recipient {old['recipient']} is retired"
    [file] = Path(old["folder"]).glob("set-01-*")
    typed("")
    here = ("--dir", old["folder"], *desk.here("alice", "bob"))
    for words in (
        ("drill", *here),
        ("open", "--backup", str(backup.path), "--codes", *here),
        ("pass", file, *desk.here("alice"), "-o", desk.folder / "set-01.age", "--dir", old["folder"]),
        ("custodians", *here, *desk.group(1, ["dave"])),
    ):
        done = desk.run("break-glass", *words)
        assert " ".join(done.err.split()).count(line) == 1, done
        if words[0] != "open":  # which needs a window for the codes
            assert done.code == 0, done
    actions = [record.action for record in desk.records() if record.recipient == old["recipient"]]
    assert {RecoveryKeyAction.OPENED, RecoveryKeyAction.DRILLED, RecoveryKeyAction.PASSED} <= set(actions)
    assert named(desk)[1] != old["recipient"]


def test_a_retired_folder_that_is_accepted_stays_retired(desk: Desk, typed: Typed) -> None:
    """Other custodians of it are recorded again, and it is still not the current identity."""
    old, new = rotated(desk)
    file = Path(old["folder"], "manifest.json")
    file.write_text(file.read_text().replace(desk.key("bob").public, desk.key("eve").public))
    typed(old["recipient"])
    assert desk.run("break-glass", "status", "--dir", old["folder"], "--accept-unrecorded").code == 0
    assert named(desk) == (0, new["recipient"])


def test_two_identities_without_a_link_are_both_current(desk: Desk) -> None:
    """`status` names the one that was recorded last."""
    first, second = desk.create(2, THREE), desk.create(1, THREE)
    assert named(desk) == (0, second["recipient"])
    assert not any(retirement_of(row["recipient"], desk.records()) for row in (first, second))


def test_a_manifest_is_a_reason_to_stop_and_never_to_choose(desk: Desk) -> None:
    """With the rows of 1.1.0, the ledger does not say which of the two replaced the other."""
    old, new = rotated(desk)
    write_as_before(desk)
    words = ("custodians", "--dir", old["folder"], *desk.here("alice", "bob"), *desk.group(1, ["dave"]))
    desk.break_glass(*words)
    assert named(desk) == (5, None)
    assert f"{new['folder']} says that its identity replaced {old['recipient']}" in " ".join(
        desk.run(*QUERY).err.split()
    )


def test_an_empty_ledger_names_no_recipient(desk: Desk) -> None:
    """Nothing is known of the folders, so the new one is not named either."""
    rotated(desk)
    moved_to_another_computer(desk)
    assert named(desk) == (5, None)


def test_a_record_of_another_computer_stops_and_does_not_choose(desk: Desk, sit: Callable[[str, str], str]) -> None:
    """It names its role. The forged identity is never recommended."""
    row, forged = desk.create(2, THREE), desk.key("eve").public
    add_forged(sit, row["recipient"], forged)
    done = desk.run("break-glass", "status")
    told = " ".join(done.err.split())
    assert (done.code, done.out, "berlin_2 on oslo recorded on" in told, forged in told) == (5, "", True, False)
    assert named(desk) == (5, None)


def add_forged(sit: Callable[[str, str], str], old: str, new: str) -> None:
    """Let another role and computer record that a new identity replaces an old one."""
    with open_at(sit("berlin_2", "oslo")) as ledger:
        for action in (RecoveryKeyAction.SEALED, RecoveryKeyAction.ROTATED):
            record = Record(at=1.0, recipient=new, action=action, custodians={"eve": new}, threshold=1, replaces=old)
            BreakGlassRecords(ledger).add(record)
    sit("berlin_1", "rome")


def use(recipient: str, *, replaces: str | None = None, own: bool = True) -> Record:
    action = RecoveryKeyAction.SEALED
    return Record(at=1.0, recipient=recipient, action=action, custodians={}, replaces=replaces, own=own)


@pytest.mark.parametrize(
    ("records", "current"),
    [
        ([], None),
        ([use("a")], "a"),
        ([use("a"), use("b", replaces="a")], "b"),
        ([use("a"), use("b", replaces="a"), use("a")], "b"),
        ([use("a"), use("b", replaces="a"), use("c", replaces="b")], "c"),
        ([use("a"), use("b", replaces="a", own=False)], "a"),
        ([use("a", own=False)], None),
        ([use("a", replaces="a")], "a"),
    ],
)
def test_the_current_recipient_is_the_last_own_one_that_was_not_replaced(
    records: Sequence[Record], current: str | None
) -> None:
    """Records of others choose nothing, and an identity does not replace itself."""
    assert current_recipient(records) == current


def test_an_own_record_of_a_retirement_is_preferred() -> None:
    """Only this one may name the new identity."""
    own = use("b", replaces="a")
    for records in ([own, replace(own, own=False)], [replace(own, own=False), own]):
        found = retirement_of("a", records)
        assert found is own
