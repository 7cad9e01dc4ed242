"""`mfa-kit backup rekey`: each file is complete and encrypted only to the new recipients; a failed one is unchanged."""

import errno
import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.adapters.files.agefile import AgeFiles, open_backup
from mfa_kit.adapters.files.identities import UnlockedIdentity, parse_recipients, read_identities
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import Backup
from mfa_kit.core.otp import Png, Secret
from mfa_kit.qr_codes import key_uri, symbol
from tests.backups.conftest import SEED, Pair, sealed
from tests.conftest import MfaKit, judge, local


def rekey(desk: MfaKit, *words: str | Path, code: int = 0) -> dict[str, Any]:
    done = desk.run("backup", "rekey", "--unproven", *words, "--output", "json")
    assert done.code == code, done.err
    row: dict[str, Any] = json.loads(done.out)
    return row


def opens(file: Path, key: Pair) -> bool:
    """Return whether Debian's age decrypts a file with a key, and finds the secret in it."""
    done = subprocess.run([judge("age"), "-d", "-i", key.file, file], capture_output=True, check=False)
    return done.returncode == 0 and key_uri.seed_of(symbol.read(Png(done.stdout))) == SEED


def counts(row: dict[str, Any]) -> tuple[int, int, int, int]:
    return row["backups"], row["rekeyed"], row["already_done"], row["failed"]


def test_only_the_new_key_decrypts_after_a_rekey(desk: MfaKit, old: Pair, new: Pair) -> None:
    """Each file has mode 0600 and its old name, and no other file remains."""
    files = [local(sealed(desk, user, old.recipient)) for user in ("alice", "bob")]
    assert counts(rekey(desk, "-i", old.file, "-r", new.recipient)) == (2, 2, 0, 0)
    for file in files:
        assert opens(file, new)
        assert not opens(file, old)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert list(file.parent.iterdir()) == [file]


def test_a_new_recipient_that_no_identity_opens_needs_a_decision(
    desk: MfaKit, old: Pair, new: Pair, pair: Callable[[str], Pair]
) -> None:
    """A recipient that the backups had before, or that an identity opens, needs none. Without a terminal, it fails."""
    file = local(sealed(desk, "alice", old.recipient))
    words = ("backup", "rekey", "-i", old.file, "-r", new.recipient, "-r", old.recipient)
    done = desk.run(*words)
    assert (done.code, new.recipient in done.err, old.recipient in done.err) == (8, True, False)
    assert "--unproven" in done.err
    assert opens(file, old)
    assert not opens(file, new)
    assert desk.run(*words, "-i", new.file).code == 0
    assert desk.run(*words).code == 0
    assert desk.run("backup", "rekey", "-i", new.file, "-r", pair("third").recipient, "--yes").code == 8
    assert desk.run("backup", "rekey", "-i", new.file, "-r", pair("fourth").recipient, "--dry-run").code == 0


def test_the_output_says_what_a_rekey_does_not_change(desk: MfaKit, old: Pair, new: Pair) -> None:
    """The output mentions older copies.

    Without the identity of the new recipient, the output says that nothing was checked.
    """
    sealed(desk, "alice", old.recipient)
    blind = desk.run("backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient)
    assert "can still be opened with the old key" in blind.err
    assert "mfa-kit backup exposed -r OLD" in blind.err
    assert "none of your identities can open 1 of the new files" in blind.err
    seen = desk.run("backup", "rekey", "-i", new.file, "-i", old.file, "-r", old.recipient)
    assert "none of your identities can open" not in seen.err


def test_a_second_rekey_changes_nothing(desk: MfaKit, old: Pair, new: Pair) -> None:
    """The second run has only the old key, or the new key too."""
    file = local(sealed(desk, "alice", old.recipient))
    rekey(desk, "-i", old.file, "-r", new.recipient)
    before = file.read_bytes()
    assert counts(rekey(desk, "-i", old.file, "-r", new.recipient)) == (1, 0, 1, 0)
    assert counts(rekey(desk, "-i", old.file, "-i", new.file, "-r", new.recipient)) == (1, 0, 1, 0)
    assert file.read_bytes() == before


def test_a_recipient_is_added_with_the_present_key(desk: MfaKit, old: Pair, new: Pair) -> None:
    """-r OLD -r NEW keeps the old recipient."""
    file = local(sealed(desk, "alice", old.recipient))
    rekey(desk, "-i", old.file, "-r", old.recipient, "-r", new.recipient)
    assert opens(file, old)
    assert opens(file, new)


def test_a_recipient_is_added_whatever_other_identities_are_given(
    desk: MfaKit, old: Pair, new: Pair, pair: Callable[[str], Pair]
) -> None:
    """Decrypting with the new recipient's identity proves nothing about the other recipients."""
    file = local(sealed(desk, "alice", old.recipient))
    words = ("-i", pair("third").file, "-i", old.file, "-r", old.recipient, "-r", new.recipient)
    assert counts(rekey(desk, *words)) == (1, 1, 0, 0)
    assert opens(file, new)
    before = file.read_bytes()
    assert counts(rekey(desk, *words)) == (1, 0, 1, 0)
    assert file.read_bytes() == before


def test_an_identity_that_decrypts_nothing_removes_no_record(
    desk: MfaKit, old: Pair, new: Pair, pair: Callable[[str], Pair]
) -> None:
    """A recipient is not removed from the record, and a backup does not count as rekeyed."""
    file = local(sealed(desk, "alice", old.recipient))
    rekey(desk, "-i", old.file, "-r", old.recipient, "-r", new.recipient)
    before = file.read_bytes()
    row = rekey(desk, "-i", pair("third").file, "-r", new.recipient, code=5)
    assert (counts(row), row["faults"]) == ((1, 0, 0, 1), [f"{file} was encrypted to a different key"])
    assert file.read_bytes() == before
    [told] = json.loads(desk.run("backup", "recipients", "--output", "json").out)["rows"]
    assert set(told["recipients"]) == {old.recipient, new.recipient}


def test_a_rekeyed_backup_is_checked_with_the_new_key(desk: MfaKit, old: Pair, new: Pair) -> None:
    """The record may be older than the file, because another computer may have encrypted the file again."""
    backup = sealed(desk, "alice", old.recipient)
    rekey(desk, "-i", old.file, "-r", new.recipient)
    third = pyrage.x25519.Identity.generate()
    local(backup).write_bytes(pyrage.encrypt(b"x", [third.to_public()]))
    row = rekey(desk, "-i", old.file, "-i", new.file, "-r", new.recipient, code=5)
    assert row["faults"] == [f"{local(backup)} was encrypted to a different key"]


def test_an_ssh_key_is_replaced_by_another_one(desk: MfaKit, new: Pair, tmp_path: Path) -> None:
    """Recipients are recorded without their comments."""
    subprocess.run(
        [judge("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "a@b", "-f", tmp_path / "key"], check=True
    )
    public = (tmp_path / "key.pub").read_text().strip()
    file = local(sealed(desk, "alice", new.recipient))
    rekey(desk, "-i", new.file, "-r", public)
    assert opens(file, Pair(tmp_path / "key", public))
    [row] = json.loads(desk.run("backup", "recipients", "--output", "json").out)["rows"]
    assert row["recipients"] == [public.removesuffix(" a@b")]
    assert counts(rekey(desk, "-i", tmp_path / "key", "-r", new.recipient)) == (1, 1, 0, 0)


def test_failed_files_are_unchanged_and_the_others_are_rekeyed(
    desk: MfaKit, old: Pair, new: Pair, pair: Callable[[str], Pair]
) -> None:
    """One file has other recipients, one is damaged, and one is not a backup.

    The ledger lists the new key for none of the three.
    """
    good, other, damaged, foreign = (local(sealed(desk, user, old.recipient)) for user in "abcd")
    other.write_bytes(pyrage.encrypt(b"x", [pyrage.x25519.Recipient.from_str(pair("third").recipient)]))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    foreign.write_bytes(b"not a backup")
    before = {file: file.read_bytes() for file in (other, damaged, foreign)}
    row = rekey(desk, "-i", old.file, "-r", new.recipient, code=5)
    assert counts(row) == (4, 1, 0, 3)
    assert [fault.partition(" ")[0] for fault in row["faults"]] == [str(each) for each in before]
    assert {file: file.read_bytes() for file in before} == before
    assert opens(good, new)
    rows = json.loads(desk.run("backup", "recipients", "--output", "json").out)["rows"]
    assert [each["recipients"] for each in rows] == [[new.recipient], None, None, None]
    events = [json.loads(line) for line in desk.run("ledger", "export").out.splitlines()]
    assert sorted((each["what"], each["answer"]) for each in events) == [
        *[("RekeyBackup", "Failed")] * 3,
        ("RekeyBackup", "OK"),
    ]


def test_symlinks_are_not_followed(desk: MfaKit, old: Pair, new: Pair, tmp_path: Path) -> None:
    """A symlink does not count as a backup.

    A folder that is a symlink is refused, and the target of the symlink is not changed.
    """
    elsewhere = local(sealed(MfaKit(tmp_path / "other"), "bob", old.recipient))
    before = elsewhere.read_bytes()
    folder = desk.home / "backups" / elsewhere.parts[-3]
    folder.mkdir(parents=True)
    (folder / "bob").symlink_to(elsewhere.parent)
    (folder / "eve").mkdir()
    (folder / "eve" / elsewhere.name).symlink_to(elsewhere)
    row = rekey(desk, "-i", old.file, "-r", new.recipient, code=5)
    assert counts(row) == (1, 0, 0, 1)
    assert "Not a directory" in row["faults"][0]
    assert elsewhere.read_bytes() == before


def test_a_folder_is_rekeyed_by_one_process_at_a_time(desk: MfaKit, old: Pair, new: Pair) -> None:
    """The second process reports that another process is changing the backups, and ends."""
    sealed(desk, "alice", old.recipient)
    with AgeFiles(desk.home / "backups", []).exclusively():
        done = desk.run("backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient)
    assert done.code == 5
    assert "another mfa-kit process is changing" in done.err


def test_an_identity_is_changed_by_one_process_at_a_time(tmp_path: Path) -> None:
    """Two processes at once could replace the file with the partly written temporary file of the other process."""
    file = tmp_path / "identity.age"
    file.write_bytes(b"sealed")
    unlocked = UnlockedIdentity(file, Secret(b"sealed"), Secret(b"text"))
    with (
        AgeFiles(tmp_path, []).exclusively(),
        pytest.raises(IntegrityFault, match="another mfa-kit process is changing"),
    ):
        unlocked.reencrypt(Secret("new"))
    assert file.read_bytes() == b"sealed"


def test_an_identity_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """Another process may change the passphrase while this process asks for a new one."""
    file = tmp_path / "identity.age"
    file.write_bytes(b"newer")
    unlocked = UnlockedIdentity(file, Secret(b"sealed"), Secret(b"text"))
    with pytest.raises(IntegrityFault, match="another process changed"):
        unlocked.reencrypt(Secret("new"))
    assert file.read_bytes() == b"newer"


@pytest.mark.parametrize("words", [["-r", "nonsense"], []])
def test_without_a_good_recipient_nothing_is_touched(words: list[str], desk: MfaKit, old: Pair) -> None:
    file = local(sealed(desk, "alice", old.recipient))
    before = file.read_bytes()
    assert desk.run("backup", "rekey", "-i", old.file, *words).code == 2
    assert file.read_bytes() == before


def test_a_dry_run_counts(desk: MfaKit, old: Pair, new: Pair) -> None:
    sealed(desk, "alice", old.recipient)
    done = desk.run(
        "backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient, "--dry-run", "--output", "json"
    )
    assert json.loads(done.out) == {
        "schema": "mfa-kit/backup-rekey",
        "version": 1,
        "outcome": "planned",
        "backups": 1,
    }


def many(desk: MfaKit, key: Pair) -> list[Backup]:
    """Encrypt more backups than a batch has, and record their recipients."""
    with ThreadPoolExecutor(16) as pool:
        files = list(pool.map(lambda number: sealed(desk, f"u{number:03}", key.recipient), range(250)))
    with sqlite_ledger(desk.home) as ledger:
        BackupRecords(ledger, now=1.0).record_sealed([each.name for each in files], [key.recipient])
    return files


@pytest.mark.slow
def test_a_killed_rekey_is_finished_by_the_next_run(desk: MfaKit, old: Pair, new: Pair) -> None:
    """Whenever the rekey is killed, each file can be decrypted with one of the keys, and the ledger names that key."""
    files = many(desk, old)
    keys = read_identities([old.file]), read_identities([new.file])
    inodes = {local(each): local(each).stat().st_ino for each in files}
    for after in (1, 99, 150, 230):
        process = desk.fork("backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient)
        while process.poll() is None and sum(path.stat().st_ino != inode for path, inode in inodes.items()) < after:
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode in {-signal.SIGKILL, 0}  # it may have finished before the kill
        with sqlite_ledger(desk.home) as ledger:
            seals = BackupRecords(ledger, now=2.0).seals()
        for each in files:
            may = {seal.recipient for seal in seals if seal.backup == each.name and seal.until is None}
            assert (old, new)[opened_by(local(each), keys)].recipient in may
    row = rekey(desk, "-i", old.file, "-r", new.recipient)
    assert row["rekeyed"] + row["already_done"] == len(files)
    assert all(opened_by(local(each), keys) == 1 for each in files)
    assert not list((desk.home / "backups").rglob(".*"))
    with sqlite_ledger(desk.home) as ledger:
        assert {seal.recipient for seal in BackupRecords(ledger, now=3.0).seals() if seal.until is None} == {
            new.recipient
        }


@pytest.mark.slow
def test_ctrl_c_leaves_a_record_of_what_was_done(desk: MfaKit, old: Pair, new: Pair) -> None:
    """Files in progress are finished, the others are unchanged, and the ledger shows which are which."""
    files = many(desk, old)
    inodes = {local(each): local(each).stat().st_ino for each in files}
    process = desk.fork("backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient)
    while process.poll() is None and all(path.stat().st_ino == inode for path, inode in inodes.items()):
        pass
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode in {130, 0}
    keys = read_identities([old.file]), read_identities([new.file])
    with sqlite_ledger(desk.home) as ledger:
        seals = [each for each in BackupRecords(ledger, now=2.0).seals() if each.until is None]
    told = {each.backup: each.recipient for each in seals}
    assert len(seals) == len(told) == len(files)
    assert told == {each.name: (old, new)[opened_by(local(each), keys)].recipient for each in files}
    assert not list((desk.home / "backups").rglob(".*"))


def test_possible_recipients_are_recorded_after_a_second_ctrl_c(
    desk: MfaKit, old: Pair, new: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a second Ctrl-C, files that were encrypted but not yet counted are known, and the next run continues."""
    files = [sealed(desk, f"u{number}", old.recipient) for number in range(40)]
    local(files[0]).write_bytes(b"no age file")
    with sqlite_ledger(desk.home) as ledger:
        BackupRecords(ledger, now=1.0).record_sealed([each.name for each in files], [old.recipient])

    def broken(items: Sequence[Backup], **_: object) -> Iterator[Backup]:
        yield from items[:2]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mfa_kit.cli.backup.rekey.counted", broken)
        assert desk.run("backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient).code == 130
    keys = read_identities([old.file]), read_identities([new.file])
    anew = {each.name for each in files[1:] if opened_by(local(each), keys) == 1}
    assert len(anew) > 1
    with sqlite_ledger(desk.home) as ledger:
        seals = BackupRecords(ledger, now=2.0).seals()
    assert anew <= {seal.backup for seal in seals if seal.recipient == new.recipient and seal.until is None}
    local(files[0]).unlink()
    row = rekey(desk, "-i", old.file, "-r", new.recipient)
    assert row["rekeyed"] + row["already_done"] == len(files) - 1


def opened_by(file: Path, keys: tuple[Secret[Any], Secret[Any]]) -> int:
    """Return which of two keys decrypts a file. Raise if neither does."""
    try:
        open_backup(file, keys[0])
    except IntegrityFault:
        open_backup(file, keys[1])
        return 1
    return 0


def test_a_file_that_reads_back_differently_replaces_nothing(
    desk: MfaKit, old: Pair, new: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk replaces no backup either."""
    file = local(sealed(desk, "alice", old.recipient))
    before, real = file.read_bytes(), os.fdopen

    def lying(number: int, mode: str) -> Any:
        opened = real(number, mode)
        if mode == "wb":
            opened.write(b"a")
        return opened

    monkeypatch.setattr(os, "fdopen", lying)
    assert "was not stored correctly, so" in rekey(desk, "-i", old.file, "-r", new.recipient, code=5)["faults"][0]

    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", real)
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in rekey(desk, "-i", old.file, "-r", new.recipient, code=5)["faults"][0]
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_backup_that_another_process_changed_is_left_alone(
    desk: MfaKit, old: Pair, new: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that a revocation removed is not written again."""
    backup = sealed(desk, "alice", old.recipient)
    real = pyrage.encrypt

    def meanwhile(*words: Any) -> bytes:
        local(backup).unlink()
        return real(*words)

    monkeypatch.setattr(pyrage, "encrypt", meanwhile)
    store = AgeFiles(desk.home / "backups", parse_recipients([new.recipient]))
    key = read_identities([old.file])
    with pytest.raises(IntegrityFault):
        store.rekey(backup, key, proof=key)
    assert not list(local(backup).parent.iterdir())
