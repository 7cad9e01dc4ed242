"""Tests of the verbs of `mfa-kit break-glass` without a terminal, or with a person who types lines."""

import hashlib
import json
import stat
import subprocess
from pathlib import Path

import pyrage
import pytest

from mfa_kit.adapters.files.layers import RecoveryKeyFolders
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from tests import age_plugin_demo as demo
from tests.backups.conftest import SEED
from tests.backups.test_age_plugins import program_in
from tests.break_glass.conftest import Desk, Typed, peel, seed_in
from tests.conftest import judge, local
from tests.letters.judges import text_of

THREE = ("alice", "bob", "carol")


def test_create_prints_the_recipient_and_records_the_custodians(desk: Desk) -> None:
    """Files have mode 0600, and the manifest has no secret."""
    row = desk.create(2, THREE)
    assert (row["outcome"], row["threshold"], row["custodians"], row["files"]) == ("created", 2, [*THREE], 3)
    folder = Path(row["folder"])
    assert folder.parent == desk.home / "break-glass"
    names = {"manifest.json", "set-01-alice-bob.age", "set-02-alice-carol.age", "set-03-bob-carol.age"}
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == dict.fromkeys(names, 0o600)
    assert "AGE-SECRET-KEY" not in (folder / "manifest.json").read_text().upper()
    [record] = desk.records()
    assert (record.action, record.recipient, record.threshold) == (RecoveryKeyAction.SEALED, row["recipient"], 2)
    assert record.custodians == {name: desk.key(name).public for name in THREE}


def test_a_dry_run_shows_the_sets_and_writes_nothing(desk: Desk) -> None:
    rows = desk.break_glass("create", *desk.group(2, THREE), "--dry-run")["rows"]
    assert [row["custodians"] for row in rows] == [["alice", "bob"], ["alice", "carol"], ["bob", "carol"]]
    assert all(500 < row["octets"] < 1500 for row in rows)
    assert not desk.home.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("dave", "the custodian dave has no public key"),
        ("dave=", "the custodian dave has no public key"),
        ("dave=age1nonsense", "for the custodian dave, age1nonsense is not a recipient"),
        ("dave=AGE-SECRET-KEY-1X4Y", "the recipient is a private key"),
        ("AGE-SECRET-KEY-1X4Y", "--custodian contains a private key"),
        ("age-secret-key-1X4Y=age1", "--custodian contains a private key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "--custodian contains a private key"),
        ("d/e=age1", "for the custodian d/e, age1 is not a recipient"),
    ],
)
def test_a_custodian_without_a_good_key_is_refused(desk: Desk, given: str, said: str) -> None:
    """Nothing is written."""
    done = desk.run("break-glass", "create", *desk.group(2, THREE), "--custodian", given)
    assert done.code == 2
    assert said in done.err.splitlines()[0]
    assert given.partition("SECRET-KEY-")[2] not in done.err or "SECRET" not in given
    assert not desk.home.exists()


def test_an_existing_folder_is_not_overwritten(desk: Desk) -> None:
    """A file of that name is not overwritten either."""
    place = desk.folder / "usb"
    assert desk.break_glass("create", *desk.group(1, THREE), "--dir", place)["folder"] == str(place)
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    desk.break_glass("create", *desk.group(1, THREE), "--dir", place, code=5)
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    (desk.folder / "file").write_text("x")
    desk.break_glass("create", *desk.group(1, THREE), "--dir", desk.folder / "file", code=5)
    assert (desk.folder / "file").read_text() == "x"


def test_a_drill_opens_every_backup_and_records_it(desk: Desk) -> None:
    """Backups of others, and those without a record that the identity does not open, are not part of it."""
    row = desk.create(2, [*THREE, "ssh"])
    desk.sealed("root", row["recipient"])
    desk.sealed("ada", row["recipient"], desk.key("admin").public)
    desk.sealed("eve", row["recipient"], recorded=False)
    desk.sealed("other", desk.key("admin").public)
    desk.sealed("unknown", desk.key("admin").public, recorded=False)
    drilled = desk.break_glass("drill", *desk.here("ssh", "bob"))
    assert drilled["outcome"] == "passed"
    assert (drilled["custodians"], drilled["backups"], drilled["opened"]) == (["bob", "ssh"], 3, 3)
    record = desk.records()[-1]
    assert (record.action, record.backups, set(record.custodians)) == (RecoveryKeyAction.DRILLED, 3, {"bob", "ssh"})
    state = desk.break_glass("status")
    assert (state["last_drill"] is not None, state["last_opened"], state["due"], state["backups"]) == (
        True,
        None,
        None,
        2,
    )


def test_a_drill_fails_if_a_backup_cannot_be_opened(desk: Desk) -> None:
    """The others are opened, and the failed drill does not count as one."""
    row = desk.create(1, THREE)
    desk.sealed("good", row["recipient"])
    damaged, foreign = desk.sealed("damaged", row["recipient"]), desk.sealed("foreign", row["recipient"])
    local(damaged).write_bytes(local(damaged).read_bytes()[:-1])
    local(foreign).write_bytes(pyrage.encrypt(b"x", [pyrage.x25519.Identity.generate().to_public()]))
    drilled = desk.break_glass("drill", *desk.here("bob"), code=5)
    assert (drilled["outcome"], drilled["backups"], drilled["opened"]) == ("failed", 3, 1)
    assert [fault.partition(" ")[0] for fault in drilled["faults"]] == [str(damaged.path), str(foreign.path)]
    assert desk.records()[-1].action == RecoveryKeyAction.FAILED
    assert desk.break_glass("status")["last_drill"] is None


def test_a_drill_compares_the_phone_of_a_user(desk: Desk, typed: Typed) -> None:
    """A wrong phone fails the drill, and so does one that is not there. A right one counts as a test of the backup."""
    row = desk.create(1, THREE)
    desk.sealed("root", row["recipient"])
    code = subprocess.run(
        [judge("oathtool"), "--totp", SEED.reveal().hex()], capture_output=True, text=True, check=True
    ).stdout.strip()
    words = ("drill", *desk.here("bob"), "--phone", "root")
    typed("000000", "000000", "000000")
    assert "the codes of root's phone do not match the secret in" in desk.break_glass(*words, code=5)["faults"][0]
    typed("")
    assert "was not compared with the phone of root" in desk.break_glass(*words, code=5)["faults"][0]
    said = typed(code)
    assert desk.break_glass(*words)["outcome"] == "passed"
    assert "type the code that the phone of root now shows for root (" in said[0]


def test_a_phone_without_a_backup_is_refused_before_the_meeting(desk: Desk, typed: Typed) -> None:
    """With a typing mistake nothing would be compared, and the drill and its protocol must not say that it was."""
    row = desk.create(1, THREE)
    desk.sealed("root", row["recipient"])
    said = typed()
    protocol = desk.folder / "drill.pdf"
    done = desk.break_glass("drill", *desk.here("bob"), "--phone", "roott", "--protocol", protocol, code=2)
    assert "no backup of roott is encrypted to this identity" in done["err"]
    assert (said, protocol.exists()) == ([], False)
    assert [each.action for each in desk.records()] == [RecoveryKeyAction.SEALED]


def test_a_phone_whose_backup_does_not_open_fails_the_drill(desk: Desk, typed: Typed) -> None:
    """The recipients of dave's backup are not on record, and it is not encrypted to the identity."""
    row = desk.create(1, THREE)
    desk.sealed("root", row["recipient"])
    desk.sealed("dave", desk.key("stranger").public, recorded=False)
    said = typed()
    protocol = desk.folder / "drill.pdf"
    row = desk.break_glass("drill", *desk.here("bob"), "--phone", "dave", "--protocol", protocol, code=5)
    assert (row["faults"], row["opened"], said) == (["no backup of dave was compared with a phone"], 1, [])
    assert "Compared with phones" not in text_of(protocol)
    assert desk.records()[-1].action is RecoveryKeyAction.FAILED


@pytest.mark.parametrize(
    ("here", "code", "said"),
    [
        (("alice", "stranger"), 2, "this identity belongs to none of the custodians alice, bob, carol"),
        (("alice", "alice"), 2, "alice has already presented an identity"),
        (("alice",), 8, "identity file of the next custodian must be typed, but there is no terminal"),
        ((), 8, "identity file of the next custodian must be typed, but there is no terminal"),
    ],
)
def test_who_does_not_help_is_named_in_one_sentence(desk: Desk, here: tuple[str, ...], code: int, said: str) -> None:
    """The identity is not opened, and nothing is recorded."""
    row = desk.create(2, THREE)
    desk.sealed("root", row["recipient"])
    done = desk.run("break-glass", "drill", *desk.here(*here))
    assert (done.code, done.err.splitlines()[0]) == (code, f"mfa-kit: {said}")
    assert [each.action for each in desk.records()] == [RecoveryKeyAction.SEALED]


def test_at_a_terminal_a_wrong_identity_does_not_end_the_meeting(desk: Desk, typed: Typed) -> None:
    """Each one is answered with a sentence, and the next custodian is asked for."""
    row = desk.create(2, THREE)
    desk.sealed("root", row["recipient"])
    files = [str(desk.key(name).file) for name in ("stranger", "carol", "carol", "alice")]
    said = typed(str(desk.folder / "missing"), "~no-such-user/key", "AGE-SECRET-KEY-1X4Y", *files)
    assert desk.break_glass("drill")["custodians"] == ["alice", "carol"]
    told = "\n".join(said)
    for sentence in (
        "missing cannot be read: No such file",
        "a private key was given instead of the name of its file",
        "~no-such-user/key cannot be read: No such file",
        "this identity belongs to none of the custodians alice, bob, carol",
        "carol has already presented an identity",
        "present: carol; needed: 1 more",
    ):
        assert sentence in told
    assert "1X4Y" not in told
    typed(str(desk.key("bob").file), "")
    assert "the identity needs 1 more custodian" in desk.break_glass("drill", code=8)["err"]


def test_a_damaged_file_is_replaced_by_that_of_another_set(desk: Desk) -> None:
    """With a third custodian, another set is complete."""
    row = desk.create(2, THREE)
    desk.sealed("root", row["recipient"])
    file = Path(row["folder"], "set-01-alice-bob.age")
    file.write_bytes(file.read_bytes()[:-1])
    assert desk.run("break-glass", "drill", *desk.here("alice", "bob")).code == 8
    assert desk.break_glass("drill", *desk.here("alice", "bob", "carol"))["custodians"] == ["alice", "carol"]
    for each in Path(row["folder"]).glob("set-*"):
        each.unlink()
    done = desk.run("break-glass", "drill", *desk.here(*THREE))
    assert (done.code, "set-03-bob-carol.age cannot be read: No such file" in done.err) == (5, True)


def test_the_file_of_another_identity_is_refused(desk: Desk) -> None:
    """It has the same custodians, so they can decrypt it."""
    first = desk.create(1, THREE)
    second = desk.create(1, THREE)
    desk.sealed("root", second["recipient"])
    Path(second["folder"], "set-01-alice.age").write_bytes(Path(first["folder"], "set-01-alice.age").read_bytes())
    done = desk.run("break-glass", "drill", *desk.here("alice"))
    assert done.code == 8
    done = desk.run("break-glass", "drill", *desk.here("alice", "bob"))
    assert done.code == 0


def test_custodians_pass_a_file_on(desk: Desk) -> None:
    """Each learns who is next, and what the last one will hold. age opens the rest."""
    row = desk.create(3, [*THREE, "ssh"])
    file = Path(row["folder"], "set-02-alice-bob-ssh.age")
    before, after = desk.folder / "set-02-bob.age", desk.folder / "set-02-ssh.age"
    done = desk.run("break-glass", "pass", file, *desk.here("alice"), "-o", before)
    assert done.code == 0, done
    assert "ssh is the last custodian of this set: when the file reaches them, they can open the" in done.err
    assert f"send {before} to bob" in done.err
    planned = desk.break_glass("pass", before, *desk.here("bob"), "-o", after, "--dry-run")
    assert (planned["outcome"], planned["next"], after.exists()) == ("planned", "ssh", False)
    done = desk.run("break-glass", "pass", before, *desk.here("bob"), "-o", after)
    assert f"send {after} to ssh, then delete it; ssh needs no other custodian" in done.err
    assert f"--from {after.name} --dir FOLDER -i IDENTITY" in " ".join(done.err.split())
    assert peel(after.read_bytes(), [desk.key("ssh").file]) == desk.identity(row, "alice", "bob", "ssh")
    assert stat.S_IMODE(after.stat().st_mode) == 0o600
    assert [each.action for each in desk.records()] == [
        RecoveryKeyAction.SEALED,
        RecoveryKeyAction.PASSED,
        RecoveryKeyAction.PASSED,
    ]
    assert "rotate the identity, because a custodian removed a layer of it on" in desk.break_glass("status")["due"][0]


def test_the_last_layer_is_never_removed_into_a_file(desk: Desk) -> None:
    """The error names the command that opens the backup instead."""
    row = desk.create(2, THREE)
    file, rest = Path(row["folder"], "set-01-alice-bob.age"), desk.folder / "set-01-bob.age"
    desk.break_glass("pass", file, *desk.here("alice"), "-o", rest)
    done = desk.run("break-glass", "pass", rest, *desk.here("bob"), "-o", desk.folder / "set-01-x.age")
    assert (done.code, "bob is the last custodian of set-01-bob.age" in done.err) == (2, True)
    # A file that somebody else made with fewer layers than its name says
    single = desk.folder / "set-01-forged.age"
    key = pyrage.x25519.Recipient.from_str(desk.key("alice").public)
    single.write_bytes(pyrage.encrypt(b"AGE-SECRET-KEY-1...", [key]))
    done = desk.run("break-glass", "pass", single, *desk.here("alice"), "-o", desk.folder / "set-01-x.age")
    assert (done.code, "has fewer layers than its set" in done.err) == (5, True)
    assert not (desk.folder / "set-01-x.age").exists()


@pytest.mark.parametrize(
    ("who", "out", "code", "said"),
    [
        ("carol", "set-01-x.age", 2, "belongs to none of the custodians alice, bob of set-01-alice-bob.age"),
        ("alice", "rest.age", 2, "the name rest.age does not say that the file is for set-01"),
        ("alice", "set-02.age", 2, "does not say that the file is for set-01"),
    ],
)
def test_a_wrong_pass_is_refused(desk: Desk, who: str, out: str, code: int, said: str) -> None:
    row = desk.create(2, THREE)
    file = Path(row["folder"], "set-01-alice-bob.age")
    done = desk.run("break-glass", "pass", file, *desk.here(who), "-o", desk.folder / out)
    assert (done.code, said in done.err) == (code, True), done
    assert not (desk.folder / out).exists()


def test_a_rotation_replaces_the_identity_in_every_backup(desk: Desk) -> None:
    """Other recipients stay, other backups are unchanged, and the old identity opens none of the new files."""
    row = desk.create(2, THREE)
    admin = desk.key("admin").public
    exclusively, both = desk.sealed("root", row["recipient"]), desk.sealed("ada", admin, row["recipient"])
    unrecorded, other = desk.sealed("eve", row["recipient"], recorded=False), desk.sealed("other", admin)
    unchanged = local(other).read_bytes()
    rotated = desk.break_glass("rotate", *desk.here("carol", "alice"))
    assert (rotated["outcome"], rotated["replaces"], rotated["rekeyed"]) == ("rotated", row["recipient"], 3)
    old, new = desk.identity(row, "alice", "bob"), desk.identity(rotated, "bob", "carol")
    for each in (exclusively, both, unrecorded):
        assert seed_in(each, new, desk.folder) == SEED
        with pytest.raises(subprocess.CalledProcessError):
            seed_in(each, old, desk.folder)
    assert seed_in(both, desk.key("admin").file.read_bytes(), desk.folder) == SEED
    assert local(other).read_bytes() == unchanged
    assert desk.recipients() == {
        exclusively.name: {rotated["recipient"]},
        unrecorded.name: {rotated["recipient"]},
        both.name: {admin, rotated["recipient"]},
        other.name: {admin},
    }
    assert desk.break_glass("drill", *desk.here("bob", "alice"))["backups"] == 3
    assert desk.break_glass("status")["due"] is None


def test_a_rotation_records_the_hash_of_each_new_file(desk: Desk) -> None:
    """The old file is no longer one that the ledger knows."""
    backup = desk.sealed("root", desk.create(1, THREE)["recipient"])
    desk.break_glass("rotate", *desk.here("carol"))
    with sqlite_ledger(desk.home) as ledger:
        hashes = BackupRecords(ledger, now=3.0).hashes()
    assert hashes == {backup.name: {hashlib.sha256(local(backup).read_bytes()).hexdigest()}}


def test_custodians_do_not_open_the_backup_of_another_device(desk: Desk, typed: Typed) -> None:
    """The file in the place of root's backup is ada's. Only `--accept-label` opens it."""
    row = desk.create(1, THREE)
    root, ada = desk.sealed("root", row["recipient"]), desk.sealed("ada", row["recipient"])
    local(root).write_bytes(local(ada).read_bytes())
    words = ("open", "--backup", str(root.path), "--codes", *desk.here("bob"))
    typed()
    assert "is not the backup of root of root in account" in desk.break_glass(*words, code=5)["err"]
    assert "accepted, although its label is" in desk.break_glass(*words, "--accept-label", code=8)["err"]


def test_a_rotation_keeps_what_it_cannot_reencrypt(desk: Desk) -> None:
    """A damaged backup, and one with other recipients that are not on record, stay. The rotation is then unfinished."""
    row = desk.create(1, THREE)
    damaged = desk.sealed("damaged", row["recipient"])
    local(damaged).write_bytes(local(damaged).read_bytes()[:-1])
    shared = desk.sealed("shared", row["recipient"], desk.key("admin").public, recorded=False)
    before = [local(damaged).read_bytes(), local(shared).read_bytes()]
    rotated = desk.break_glass("rotate", *desk.here("alice"), code=5)
    assert (rotated["outcome"], rotated["failed"]) == ("unfinished", 2)
    assert "is damaged" in rotated["faults"][0]
    assert "has other recipients, which the ledger does not name" in rotated["faults"][1]
    assert [local(damaged).read_bytes(), local(shared).read_bytes()] == before
    assert "finish the rotation: break-glass rotate" in desk.break_glass("status")["due"]
    refused = desk.run("break-glass", "custodians", *desk.here("alice"), *desk.group(1, ["bob"]))
    assert (refused.code, "a rotation of this identity is not finished" in refused.err) == (2, True)
    for each in (damaged, shared):
        local(each).unlink()
    again = desk.break_glass("rotate", *desk.here("bob"))
    assert (again["outcome"], again["recipient"]) == ("rotated", rotated["recipient"])
    assert desk.break_glass("rotate", *desk.here("bob"))["replaces"] == rotated["recipient"]


def test_a_backup_is_opened_with_the_identity_that_is_on_record(desk: Desk, typed: Typed) -> None:
    """During an unfinished rotation, some backups are still encrypted to the old identity."""
    row = desk.create(1, THREE)
    moved, damaged = desk.sealed("root", row["recipient"]), desk.sealed("damaged", row["recipient"])
    local(damaged).write_bytes(local(damaged).read_bytes()[:-1])
    rotated = desk.break_glass("rotate", *desk.here("alice"), code=5)
    typed()
    for backup, recipient in ((moved, rotated["recipient"]), (damaged, row["recipient"])):
        assert desk.break_glass("open", "--backup", str(backup.path), "--dry-run")["recipient"] == recipient


def test_a_rotation_does_not_use_a_folder_that_a_killed_one_left(desk: Desk) -> None:
    """Such a folder may have all files and the manifest, but the next folder that is written removes it."""
    row = desk.create(1, THREE)
    backup = desk.sealed("root", row["recipient"])
    rotated = desk.break_glass("rotate", *desk.here("alice"))
    killed = Path(rotated["folder"]).with_name(f".whole-{Path(rotated['folder']).name}.partial")
    Path(rotated["folder"]).rename(killed)
    with sqlite_ledger(desk.home) as ledger:
        ledger.write(("delete from break_glass where action = $1", [(RecoveryKeyAction.ROTATED,)]))
        BackupRecords(ledger, now=3.0).record_only([backup.name], [row["recipient"]])
        BackupRecords(ledger, now=3.0).record_sealed([backup.name], [row["recipient"]])
    local(backup).unlink()
    desk.sealed("root", row["recipient"])
    again = desk.break_glass("rotate", *desk.here("alice"))
    assert again["recipient"] != rotated["recipient"]
    assert seed_in(backup, desk.identity(again, "bob"), desk.folder) == SEED
    assert not killed.exists()


def test_an_identity_is_rotated_once(desk: Desk) -> None:
    """The old folder names the new one."""
    row = desk.create(1, THREE)
    rotated = desk.break_glass("rotate", *desk.here("alice"))
    done = desk.run("break-glass", "rotate", "--dir", row["folder"], *desk.here("alice"))
    assert done.code == 2
    assert f"name the new folder: --dir {rotated['folder']}" in done.err


def test_new_custodians_open_the_same_identity(desk: Desk) -> None:
    """The output warns that the old files still open it. A removed custodian is named."""
    row = desk.create(2, THREE)
    desk.sealed("root", row["recipient"])
    words = ("custodians", *desk.here("alice", "bob"), *desk.group(2, ["alice", "dave"]))
    assert len(desk.break_glass(*words, "--dry-run")["rows"]) == 1
    done = desk.run("break-glass", *words, "--output", "json")
    written = json.loads(done.out)
    assert (written["outcome"], written["recipient"]) == ("sealed", row["recipient"])
    assert "2 of the earlier custodians can still open the identity with any copy of" in done.err
    assert desk.identity(written, "alice", "dave") == desk.identity(row, "bob", "carol")
    removed = desk.run("break-glass", "drill", *desk.here("alice", "carol"))
    assert (removed.code, removed.err.splitlines()[0]) == (
        2,
        "mfa-kit: this identity belongs to carol, who was removed from the custodians",
    )
    assert desk.break_glass("drill", *desk.here("dave", "alice"))["outcome"] == "passed"
    state = desk.break_glass("status")
    assert (state["custodians"], state["removed"]) == (["alice", "dave"], ["bob", "carol"])


def test_a_manifest_with_other_custodians_than_the_ledger_is_refused(desk: Desk) -> None:
    """Otherwise a person who can write the file would get the next identity."""
    row = desk.create(2, THREE)
    file = Path(row["folder"], "manifest.json")
    file.write_text(file.read_text().replace(desk.key("bob").public, desk.key("eve").public))
    done = desk.run("break-glass", "rotate", *desk.here("alice", "eve"))
    assert (done.code, "other custodians or another threshold than this computer recorded" in done.err) == (5, True)


def test_custodians_use_a_folder_on_their_own_computer_with_a_warning(desk: Desk, typed: Typed) -> None:
    """Its ledger has no record of the custodians. `pass`, `drill` and `open` make no new identity."""
    row = desk.create(2, THREE)
    backup = desk.sealed("root", row["recipient"])
    for file in desk.home.glob("ledger.sqlite*"):
        file.unlink()
    [file] = Path(row["folder"]).glob("set-01-*")
    typed()
    commands: list[tuple[str | Path, ...]] = [
        ("pass", file, *desk.here("alice"), "-o", desk.folder / "set-01-for-bob.age"),
        ("drill", *desk.here("alice", "bob")),
        ("open", "--backup", str(backup.path), "--dry-run"),
    ]
    for words in commands:
        done = desk.run("break-glass", *words)
        assert done.code == 0, done
        assert "this computer did not record who the custodians in" in done.err


def test_without_an_identity_or_a_backup_there_is_an_error_message(desk: Desk) -> None:
    """The first one says how to make one."""
    for verb in (("drill",), ("status",), ("rotate",), ("open", "--backup", "x.age")):
        done = desk.run("break-glass", *verb)
        assert (done.code, "this computer has no break-glass identity" in done.err) == (2, True)
    assert "there is no folder" in desk.run("break-glass", "status", "--dir", "nowhere").err
    desk.create(1, THREE)
    assert "no backup is encrypted to age1" in desk.run("break-glass", "drill", *desk.here("alice")).err


def test_a_dry_run_of_a_meeting_needs_no_custodian(desk: Desk) -> None:
    """It needs no terminal either, and asks nobody."""
    row = desk.create(2, THREE)
    backup = desk.sealed("root", row["recipient"])
    assert desk.break_glass("drill", "--dry-run")["backups"] == 1
    assert desk.break_glass("rotate", "--dry-run")["backups"] == 1
    assert desk.break_glass("open", "--backup", str(backup.path), "--dry-run")["outcome"] == "planned"
    assert desk.break_glass("create", *desk.group(1, THREE), "--dry-run")["rows"]
    [file] = Path(row["folder"]).glob("set-01-*")
    after = desk.folder / "set-01-next.age"
    assert desk.break_glass("pass", file, *desk.here("alice"), "-o", after, "--dry-run")["outcome"] == "planned"
    others = desk.group(2, ["alice", "dave"])
    assert desk.break_glass("custodians", *desk.here("alice", "bob"), *others, "--dry-run")["rows"]
    assert list((desk.home / "break-glass").iterdir()) == [Path(row["folder"])]
    assert [each.action for each in desk.records()] == [RecoveryKeyAction.SEALED]


def test_two_rotations_at_once_do_not_interfere(desk: Desk) -> None:
    """The second one ends with an error before it makes an identity."""
    row = desk.create(1, THREE)
    desk.sealed("root", row["recipient"])
    with RecoveryKeyFolders(desk.home).exclusively(Path(row["folder"])):
        done = desk.run("break-glass", "rotate", *desk.here("alice"))
    assert (done.code, "another mfa-kit process is changing" in done.err) == (5, True)
    assert len(list((desk.home / "break-glass").iterdir())) == 1


def test_two_meetings_at_once_do_not_interfere(desk: Desk) -> None:
    """Two drills and two creations run at the same time; each has its own result, and all are recorded."""
    row = desk.create(1, THREE)
    for user in ("root", "ada"):
        desk.sealed(user, row["recipient"])
    words = ("drill", "--dir", row["folder"])
    running = [desk.fork("break-glass", *words, *desk.here(name), "--output", "json") for name in ("alice", "bob")]
    running += [desk.fork("break-glass", "create", *desk.group(2, THREE), "--output", "json") for _ in range(2)]
    rows = [json.loads(process.communicate()[0]) for process in running]
    assert [each["outcome"] for each in rows] == ["passed", "passed", "created", "created"]
    assert [each["custodians"] for each in rows[:2]] == [["alice"], ["bob"]]
    assert len({row["recipient"], *(each["recipient"] for each in rows[2:])}) == 3
    assert sorted(each.action for each in desk.records()) == sorted(
        [RecoveryKeyAction.SEALED] * 3 + [RecoveryKeyAction.DRILLED] * 2
    )
    assert sum(each.is_dir() for each in (desk.home / "break-glass").iterdir()) == 3


def test_the_key_of_a_custodian_can_need_a_plugin(desk: Desk) -> None:
    """The plugin encrypts and removes a layer, and Debian's age removes the others."""
    program = program_in(desk.folder / "plugins")
    desk.home.mkdir(mode=0o700)
    (desk.home / "config.toml").write_text(f'age-plugins = ["{program}"]\n')
    bob = desk.key("bob")
    (desk.folder / "demo.txt").write_text(f"{demo.identity(bob.file.read_text().strip())}\n")
    row = desk.break_glass(
        "create", *desk.group(2, ["alice", "carol"]), "--custodian", f"bob={demo.recipient(bob.public)}"
    )
    ada = desk.sealed("ada", row["recipient"])
    file, rest = Path(row["folder"], "set-03-carol-bob.age"), desk.folder / "set-03-bob.age"
    desk.break_glass("pass", file, *desk.here("carol"), "-o", rest)
    assert rest.read_bytes().startswith(b"age-encryption.org/v1\n-> demo\n")
    rotated = desk.break_glass("rotate", *desk.here("alice"), "-i", desk.folder / "demo.txt")
    assert desk.recipients()[ada.name] == {rotated["recipient"]}


def test_a_wrong_pin_at_a_plugin_does_not_end_the_meeting(desk: Desk, typed: Typed) -> None:
    """The custodians who are present need not begin again."""
    program = program_in(desk.folder / "plugins")
    desk.home.mkdir(mode=0o700)
    (desk.home / "config.toml").write_text(f'age-plugins = ["{program}"]\n')
    bob = desk.key("bob")
    right, wrong = desk.folder / "right.txt", desk.folder / "wrong.txt"
    right.write_text(f"{demo.identity(bob.file.read_text().strip())}\n")
    wrong.write_text(f"{demo.identity(bob.file.read_text().strip(), fail='wrong PIN')}\n")
    row = desk.break_glass("create", *desk.group(2, ["alice"]), "--custodian", f"bob={demo.recipient(bob.public)}")
    desk.sealed("root", row["recipient"])
    said = typed(str(wrong), str(right))
    assert desk.break_glass("drill", *desk.here("alice"))["custodians"] == ["alice", "bob"]
    assert "age-plugin-demo could not decrypt: age-plugin-demo says: wrong PIN" in "\n".join(said)
