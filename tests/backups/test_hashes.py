"""The SHA-256 of each encrypted file in the ledger: recorded before the file is written, and compared by verify."""

import json
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import Backup
from mfa_kit.qr_codes import key_uri
from mfa_kit.wiring.ledger import recorded
from tests.backups.conftest import RUN, SEED, Pair, own, sealed
from tests.conftest import ACCOUNT, MfaKit, judge, local

UNRECORDED = ["hash not recorded"]


def kept(desk: MfaKit, recipient: str, *users: str) -> list[Path]:
    """Encrypt backups as commands do, which record them in the ledger. Return their files."""
    store = AgeFiles(desk.home / "backups", parse_recipients([recipient]))
    backups = [store.new(ACCOUNT, user, user, run=RUN) for user in users]
    with sqlite_ledger(desk.home) as ledger, ThreadPoolExecutor(16) as pool:
        recording = recorded(store, ledger)

        def keep(backup: Backup) -> None:
            recording.store_existing(backup, key_uri.otpauth(SEED, label=f"{backup.device}@{ACCOUNT}"))

        list(pool.map(keep, backups))
    return [local(backup) for backup in backups]


def hashes(desk: MfaKit) -> dict[str, set[str]]:
    with sqlite_ledger(desk.home) as ledger:
        return BackupRecords(ledger, now=9.0).hashes()


def verify(desk: MfaKit, *words: str | Path, code: int = 0) -> list[dict[str, Any]]:
    done = desk.run("backup", "verify", *words, "--output", "json")
    assert done.code == code, done
    rows: list[dict[str, Any]] = json.loads(done.out)["rows"]
    return rows


def test_a_file_that_mfa_kit_did_not_write_is_refused(desk: MfaKit, old: Pair) -> None:
    """Its label is right and the identity opens it, but it was encrypted by somebody else."""
    [file] = kept(desk, old.recipient, "alice")
    [row] = verify(desk, "--all", "-i", old.file)
    assert (row["opens"], row["remarks"]) == (True, None)
    picture = subprocess.run([judge("age"), "-d", "-i", old.file, file], check=True, capture_output=True).stdout
    file.write_bytes(pyrage.encrypt(picture, [pyrage.x25519.Recipient.from_str(old.recipient)]))
    [row] = verify(desk, "--all", "-i", old.file, code=5)
    assert "is not the file that mfa-kit wrote last: the ledger has another SHA-256" in row["fault"]


def test_a_file_without_a_recorded_hash_passes(desk: MfaKit, old: Pair) -> None:
    """It may be of an older version, or of another computer, and the output says so."""
    sealed(desk, "alice", old.recipient)
    [row] = verify(desk, "--all", "-i", old.file)
    assert (row["opens"], row["remarks"]) == (True, UNRECORDED)
    assert "hash not recorded" in desk.run("backup", "verify", "--all", "-i", old.file).out


def test_a_users_own_copy_has_a_hash_of_its_own(desk: MfaKit, old: Pair, new: Pair) -> None:
    """Encrypting the other file again does not change it."""
    copy = local(own(desk, "alice", new.recipient))
    kept(desk, old.recipient, "alice")
    assert desk.run("backup", "rekey", "-i", old.file, "-r", old.recipient).code == 0
    [row] = verify(desk, copy, "-i", new.file)
    assert (row["opens"], row["remarks"]) == (True, None)


def test_the_hash_is_recorded_before_the_file_is_written(desk: MfaKit, old: Pair, tmp_path: Path) -> None:
    """If the file cannot be written, its hash is on record nevertheless."""
    store = AgeFiles(desk.home / "backups", parse_recipients([old.recipient]))
    backup = store.new(ACCOUNT, "alice", "alice", run=RUN)
    local(backup).parent.parent.mkdir(parents=True)
    local(backup).parent.symlink_to(tmp_path)  # mfa-kit writes nothing through a symlink
    with sqlite_ledger(desk.home) as ledger, pytest.raises(IntegrityFault):
        recorded(store, ledger).store_existing(backup, key_uri.otpauth(SEED, label=f"alice@{ACCOUNT}"))
    assert len(hashes(desk)[backup.name]) == 1


def test_the_old_file_is_refused_after_a_rekey(desk: MfaKit, old: Pair, new: Pair) -> None:
    """The old key may be known to others, so its file must not come back unseen."""
    [file] = kept(desk, old.recipient, "alice")
    before = file.read_bytes()
    assert desk.run("backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient).code == 0
    [row] = verify(desk, file, "-i", new.file)
    assert row["remarks"] is None
    file.write_bytes(before)
    assert "another SHA-256" in verify(desk, file, "-i", old.file, code=5)[0]["fault"]


def test_each_copy_of_the_folder_can_be_rekeyed(desk: MfaKit, old: Pair, new: Pair, tmp_path: Path) -> None:
    """The copies have the same names in the ledger, and different files after that."""
    kept(desk, old.recipient, "alice")
    folders = [desk.home / "backups", tmp_path / "copy"]
    shutil.copytree(folders[0], folders[1])
    for folder in folders:
        assert (
            desk.run("backup", "rekey", "--unproven", "--backup-dir", folder, "-i", old.file, "-r", new.recipient).code
            == 0
        )
    for folder in folders:
        assert verify(desk, "--all", "--backup-dir", folder, "-i", new.file)[0]["remarks"] is None


@pytest.mark.slow
def test_a_killed_rekey_leaves_only_files_with_a_recorded_hash(desk: MfaKit, old: Pair, new: Pair) -> None:
    """Whenever it is killed, the old and the new files pass. After the next run, only the new ones do."""
    files = kept(desk, old.recipient, *(f"u{number:03}" for number in range(250)))
    before = {file: file.read_bytes() for file in files}
    for after in (1, 150):
        process = desk.fork("backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient)
        while process.poll() is None and sum(file.read_bytes() != before[file] for file in files) < after:
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert all(row["remarks"] is None for row in verify(desk, "--all", "-i", old.file, "-i", new.file))
    assert desk.run("backup", "rekey", "-i", old.file, "-i", new.file, "-r", new.recipient).code == 0
    verify(desk, "--all", "-i", new.file)
    recorded_now = hashes(desk)
    for file in files:
        name = "/".join(file.parts[-3:])
        assert sha256(file.read_bytes()).hexdigest() in recorded_now[name]
        assert sha256(before[file]).hexdigest() not in recorded_now[name]
