"""A ledger that is lost, and a record that somebody changed: nobody gets the secret of another user."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mfa_kit.cli import terminal
from mfa_kit.core.otp import Seed, code_at
from tests.conftest import ACCOUNT
from tests.rollout.conftest import Rollout, key_file
from tests.rollout.test_lost_ledger import ARN, command
from tests.rollout.test_passphrases import cheap, files_of, without_keys, write  # noqa: F401 - a fixture
from tests.tokens.person import Person

People = Callable[[int], list[str]]


def change(rollout: Rollout, act: Callable[[dict[str, dict[str, Any]]], object]) -> None:
    """Change the lines of the only record. `act` gets the lines about devices by user."""
    [record] = rollout.results.glob("record-*.jsonl")
    first, *others = [json.loads(line) for line in record.read_text().splitlines()]
    act({line["user"]: line for line in others})
    record.write_text("".join(json.dumps(line) + "\n" for line in (first, *others)))


def backup_of(rollout: Rollout, user: str) -> Path:
    [file] = (rollout.desk.home / "backups" / ACCOUNT / user).iterdir()
    return file


def with_backups_of(user: str, other: str) -> Callable[[dict[str, dict[str, Any]]], object]:
    """Return a change after which the line of `user` names the files and the hashes of `other`."""
    return lambda lines: lines[user].update(backups=lines[other]["backups"])


def exchange(first: str, second: str) -> Callable[[dict[str, dict[str, Any]]], object]:
    """Return a change that exchanges the paths, the hashes, and so the users' copies, of two users."""

    def act(lines: dict[str, dict[str, Any]]) -> None:
        lines[first]["backups"], lines[second]["backups"] = lines[second]["backups"], lines[first]["backups"]

    return act


def test_a_line_with_the_backup_of_another_user_is_refused(rollout: Rollout, people: People) -> None:
    """Her file would have his secret. The other users go on, and `reconcile --adopt` leaves her device too."""
    alice, bob = people(2)
    without_keys(rollout, [alice, bob])
    change(rollout, with_backups_of(alice, bob))
    rollout.lose_ledger()
    done = write(rollout, "--record", rollout.results)
    assert (done.code, [*files_of(rollout)]) == (1, [bob]), done.err
    assert f"has a file for {alice} that is not theirs: " in done.err
    adopt = rollout.desk.run("ledger", "reconcile", "--adopt", "--record", rollout.results)
    assert (adopt.code, f"{ARN}{alice} is not adopted: the record of run" in adopt.err) == (1, True), adopt.err
    done = command(rollout, "activate", "-i", key_file(rollout.identity, rollout.folder), "--record", rollout.results)
    assert (done.code, rollout.lab.assigned(ARN + alice), rollout.lab.assigned(ARN + bob)) == (1, None, bob), done.err
    assert f"{ARN}{alice} is left as it is: the record of run" in done.err


def test_the_files_of_a_run_are_compared_too(rollout: Rollout, people: People) -> None:
    """`handover RUN` names the user, and exits with 1."""
    alice, bob = people(2)
    without_keys(rollout, [alice, bob])
    change(rollout, with_backups_of(alice, bob))
    rollout.lose_ledger()
    run = backup_of(rollout, alice).name.removesuffix(".png.age")[-25:]
    done = command(rollout, "handover", run, "-o", rollout.folder / "out", "--record", rollout.results)
    assert (done.code, f"({alice}): the record of run {run}" in done.err) == (1, True), done.err


def test_path_hash_and_copy_exchanged_together(rollout: Rollout, people: People) -> None:
    alice, bob, carol = people(3)
    rollout.enroll([alice, bob, carol], "--stage")
    change(rollout, exchange(alice, bob))
    rollout.lose_ledger()
    done = command(rollout, "handover", rollout.file, "-o", rollout.folder / "out", "--record", rollout.results)
    assert done.code == 1, done.err
    assert [path.parent.name for path in (rollout.folder / "out").glob("*/*.age")] == [carol]
    done = command(rollout, "activate", "-i", key_file(rollout.identity, rollout.folder), "--record", rollout.results)
    assert done.code == 1, done.err
    assert [rollout.lab.assigned(ARN + user) for user in (alice, bob, carol)] == [None, None, carol]


def test_an_older_backup_of_the_same_name_is_refused(rollout: Rollout, people: People) -> None:
    """The path and the hash are those of a device that is gone, of the same user and name."""
    alice, bob = people(2)
    without_keys(rollout, [alice, bob])
    kept = rollout.folder / "kept"
    shutil.copytree(rollout.desk.home / "backups", kept)
    [record] = rollout.results.glob("record-*.jsonl")
    old = {line["user"]: line for line in map(json.loads, record.read_text().splitlines()[1:])}
    record.unlink()
    assert command(rollout, "undo", rollout.file, "--yes").code == 0
    assert rollout.apply("--stage").code == 0
    shutil.copytree(kept, rollout.desk.home / "backups", dirs_exist_ok=True)
    change(rollout, lambda lines: lines[alice].update(backups=old[alice]["backups"]))
    rollout.lose_ledger()
    done = write(rollout, "--record", rollout.results)
    assert (done.code, [*files_of(rollout)]) == (1, [bob]), done.err
    done = command(rollout, "activate", "-i", key_file(rollout.identity, rollout.folder), "--record", rollout.results)
    assert (done.code, rollout.lab.assigned(ARN + alice), rollout.lab.assigned(ARN + bob)) == (1, None, bob), done.err


def test_the_content_of_a_file_is_compared_with_the_row(rollout: Rollout, people: People) -> None:
    """His file is in her place, and the record has its hash: the label shows that it is his."""
    alice, bob = people(2)
    without_keys(rollout, [alice, bob])
    backup_of(rollout, alice).write_bytes(backup_of(rollout, bob).read_bytes())
    change(rollout, lambda lines: lines[alice]["backups"][0].update(sha256=lines[bob]["backups"][0]["sha256"]))
    rollout.lose_ledger()
    done = write(rollout, "--record", rollout.results)
    assert (done.code, [*files_of(rollout)]) == (1, [bob]), done.err
    assert f"its label is 'AWS:{bob}@" in done.err or f"its label is 'Amazon Web Services:{bob}@" in done.err
    done = command(rollout, "activate", "-i", key_file(rollout.identity, rollout.folder), "--record", rollout.results)
    assert (done.code, rollout.lab.assigned(ARN + alice), rollout.lab.assigned(ARN + bob)) == (1, None, bob), done.err
    assert f"is not the backup of {alice}" in done.err


@pytest.mark.parametrize("verb", ["activate", "handover"])
def test_a_row_of_the_ledger_with_the_backup_of_another_user_is_refused(
    rollout: Rollout, people: People, verb: str
) -> None:
    """In a shared ledger, another computer of the team could have written this row."""
    alice, bob = people(2)
    without_keys(rollout, [alice, bob])
    with sqlite3.connect(rollout.desk.home / "ledger.sqlite") as tables:
        changed = tables.execute(
            "update journal set backup = ? where backup like ?", (str(backup_of(rollout, bob)), f"%/{alice}/%")
        )
        assert changed.rowcount > 0
    if verb == "handover":
        done = write(rollout)
        assert (done.code, [*files_of(rollout)]) == (1, [bob]), done.err
        return
    done = command(rollout, "activate", "-i", key_file(rollout.identity, rollout.folder))
    assert (done.code, rollout.lab.assigned(ARN + alice), rollout.lab.assigned(ARN + bob)) == (1, None, bob), done.err


def test_a_line_without_hashes_is_refused_if_another_has_them(rollout: Rollout, people: People) -> None:
    """Otherwise whoever can change the record need not know a hash: any file would be accepted."""
    alice, bob = people(2)
    rollout.enroll([alice, bob], "--stage")
    change(rollout, lambda lines: lines[alice].update(backups=[]))
    rollout.lose_ledger()
    done = command(rollout, "activate", "-i", key_file(rollout.identity, rollout.folder), "--record", rollout.results)
    assert (done.code, rollout.lab.assigned(ARN + alice), rollout.lab.assigned(ARN + bob)) == (1, None, bob), done.err
    # Also after an adoption, without the record.
    adopt = rollout.desk.run("ledger", "reconcile", "--adopt", "--record", rollout.results)
    assert (adopt.code, f"{ARN}{alice} is not adopted: " in adopt.err) == (1, True), adopt.err
    done = command(rollout, "activate", "-i", key_file(rollout.identity, rollout.folder))
    assert rollout.lab.assigned(ARN + alice) is None, done.err


def test_a_file_without_a_hash_is_refused_until_its_backup_passed_a_test(rollout: Rollout, people: People) -> None:
    """The ledger has the hash of every file but one. The printed way on works."""
    alice, bob = people(2)
    without_keys(rollout, [alice, bob])
    activate = ("activate", "-i", key_file(rollout.identity, rollout.folder))
    with sqlite3.connect(rollout.desk.home / "ledger.sqlite") as tables:
        assert tables.execute("delete from hashes where backup like ?", (f"%/{alice}/%",)).rowcount == 1
    done = command(rollout, *activate)
    assert (done.code, rollout.lab.assigned(ARN + alice), rollout.lab.assigned(ARN + bob)) == (1, None, bob), done.err
    assert "has no SHA-256 on record, although other files of its run have one" in done.err
    seed = Seed(rollout.lab.seed(ARN + alice))
    with mock.patch.object(terminal, "find_person", return_value=Person(code_at(seed, time.time()) for _ in range(3))):
        drill = rollout.desk.run("backup", "drill", backup_of(rollout, alice), *activate[1:])
    assert drill.code == 0, drill.err
    done = command(rollout, *activate)
    assert (done.code, rollout.lab.assigned(ARN + alice)) == (0, alice), done.err


def test_a_copy_without_a_hash_is_refused(rollout: Rollout, people: People) -> None:
    alice, bob = people(2)
    rollout.enroll([alice, bob], "--stage")
    change(rollout, lambda lines: lines[alice].update(backups=lines[alice]["backups"][:1]))
    rollout.lose_ledger()
    done = command(rollout, "handover", rollout.file, "-o", rollout.folder / "out", "--record", rollout.results)
    assert (done.code, [path.parent.name for path in (rollout.folder / "out").glob("*/*.age")]) == (1, [bob]), done.err
    assert "has no SHA-256 on record, although other files of its run have one" in done.err
