"""`mfa-kit backup` and `mfa-kit ledger`: a backup's content never reaches stdout, and each decryption is logged."""

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pyrage
import pytest

from mfa_kit.adapters.files.identities import NewIdentity, create_own_identity
from mfa_kit.core.otp import Png, Secret, Seed
from mfa_kit.disk.files import wait_and_hold
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri, symbol
from tests.cheap_scrypt import cheap_scrypt
from tests.conftest import ACCOUNT, NOBODY, MfaKit, Nobody, judge


@pytest.fixture
def backup(mfa_kit: MfaKit, user: str, recipient: str) -> Path:
    """Enroll a user, and return the encrypted file."""
    words = ("--with", "virtual", "--codes", "generated", "-r", recipient, "--output", "json")
    done = mfa_kit.run("enroll", user, *words)
    return Path(json.loads(done.out)["backup"])


def test_backups_are_listed_from_their_paths(backup: Path, mfa_kit: MfaKit, user: str) -> None:
    """No backup is decrypted."""
    [row] = json.loads(mfa_kit.run("backup", "list", "--output", "json").out)["rows"]
    run = backup.name.removeprefix(f"{user}-").removesuffix(".png.age")
    made = f"{run[:4]}-{run[4:6]}-{run[6:8]}T{run[9:11]}:{run[11:13]}:{run[13:15]}Z"
    assert row == {"account": ACCOUNT, "user": user, "device": user, "made": made, "file": str(backup), "copy": None}
    table = mfa_kit.run("backup", "list").out.splitlines()
    assert table[0].split() == ["ACCOUNT", "USER", "DEVICE", "MADE", "FILE"]
    assert str(backup) in table[1]


def test_an_empty_folder_of_backups_is_reported(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """The message names the folder. In JSON, the list is empty."""
    assert mfa_kit.run("backup", "list").out == f"no backups in {mfa_kit.home / 'backups'}\n"
    done = mfa_kit.run("backup", "list", "--backup-dir", tmp_path, "--output", "json")
    assert json.loads(done.out) == {"schema": "mfa-kit/backup-list", "version": 1, "rows": []}


def test_a_missing_folder_is_an_error(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """A misspelled or unmounted folder is not treated as an empty folder, even if the configuration names it."""
    done = mfa_kit.run("backup", "list", "--backup-dir", tmp_path / "other")
    assert (done.code, done.out) == (2, "")
    assert f"there is no folder {tmp_path / 'other'}" in done.err
    mfa_kit.home.mkdir(mode=0o700)
    (mfa_kit.home / "config.toml").write_text(f'backup-dir = "{tmp_path / "away"}"\n')
    assert f"there is no folder {tmp_path / 'away'}" in mfa_kit.run("backup", "list").err


def test_show_writes_the_picture_to_a_new_private_file(
    backup: Path, mfa_kit: MfaKit, identity_file: Path, tmp_path: Path, lab: Lab, user: str
) -> None:
    """The picture contains the unencrypted secret. A warning says so."""
    out = tmp_path / "qr.png"
    done = mfa_kit.run("backup", "show", backup, "-i", identity_file, "-o", out)
    assert done.code == 0
    assert "contains the secret unencrypted" in done.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert key_uri.seed_of(symbol.read(Png(out.read_bytes()))) == Seed(lab.seed(f"arn:aws:iam::{ACCOUNT}:mfa/{user}"))
    again = mfa_kit.run("backup", "show", backup, "-i", identity_file, "-o", out)
    assert again.code == 5
    assert "already exists" in again.err


def test_show_does_not_write_to_stdout(backup: Path, mfa_kit: MfaKit, identity_file: Path) -> None:
    """In a terminal's history or in a pipe, the picture would no longer be secret."""
    done = mfa_kit.run("backup", "show", backup, "-i", identity_file, "-o", "-")
    assert (done.code, done.out) == (2, "")


def test_verify_decrypts_each_file_and_prints_its_label(
    backup: Path, mfa_kit: MfaKit, identity_file: Path, user: str
) -> None:
    """Nothing is written."""
    done = mfa_kit.run("backup", "verify", backup, backup, "-i", identity_file, "--output", "json")
    rows = json.loads(done.out)["rows"]
    row = {
        "file": str(backup),
        "opens": True,
        "label": f"Amazon Web Services:{user}@{ACCOUNT}",
        "remarks": None,
        "fault": None,
    }
    assert (done.code, rows) == (0, [row] * 2)


def test_verify_tries_every_file(
    backup: Path, mfa_kit: MfaKit, identity_file: Path, recipient: str, tmp_path: Path
) -> None:
    """Each file has a row with its fault, and the exit code is 5. Each decryption is logged."""
    damaged, text = tmp_path / "damaged.png.age", tmp_path / "text.png.age"
    damaged.write_bytes(backup.read_bytes()[:-1])
    subprocess.run([judge("age"), "-r", recipient, "-o", text], input=b"hello", check=True)
    files = [Path("missing.png.age"), damaged, text, backup]
    done = mfa_kit.run("backup", "verify", *files, "-i", identity_file, "--output", "json")
    rows = json.loads(done.out)["rows"]
    assert done.code == 5
    assert [(row["file"], row["opens"]) for row in rows] == [(str(each), each == backup) for each in files]
    assert [row["fault"] for row in rows] == [
        "the backup missing.png.age cannot be read: No such file or directory",
        f"{damaged} is damaged and cannot be decrypted",
        "this is not a picture that can be read, or it is damaged",
        None,
    ]
    assert [row["label"] is None for row in rows] == [True, True, True, False]
    log = [json.loads(line) for line in mfa_kit.run("ledger", "export").out.splitlines()]
    assert [row["answer"] for row in log if row["what"] == "OpenBackup"] == ["Failed", "Failed", "OK", "OK"]


@pytest.mark.parametrize("out", ["missing/qr.png", "missing/deeper/qr.png"])
def test_show_does_not_create_folders(
    out: str, backup: Path, mfa_kit: MfaKit, identity_file: Path, tmp_path: Path
) -> None:
    """If the folder is misspelled, nothing is written there, and the backup is not decrypted."""
    done = mfa_kit.run("backup", "show", backup, "-i", identity_file, "-o", tmp_path / out)
    assert (done.code, done.out) == (2, "")
    assert f"there is no folder {(tmp_path / out).parent}" in done.err
    assert not (tmp_path / "missing").exists()
    assert "OpenBackup" not in mfa_kit.run("ledger", "show").out


PASSPHRASE = "correct horse battery canary"


@contextmanager
def piped(text: str) -> Iterator[int]:
    """Return a file descriptor from which this text can be read."""
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    yield read
    os.close(read)


def test_a_script_gives_a_passphrase_on_a_file_descriptor(mfa_kit: MfaKit, user: str) -> None:
    """The passphrase protects this computer's new identity, and decrypts backups. age can also decrypt the identity."""
    enroll = ["enroll", user, "--with", "virtual", "--codes", "generated", "--no-input", "--output", "json"]
    with piped(f"{PASSPHRASE}\n") as number:
        done = mfa_kit.process(*enroll, "--passphrase-fd", str(number), pass_fds=[number], env=cheap_scrypt())
    backup = json.loads(done.out)["backup"]
    [identity] = mfa_kit.home.glob("identity-age1*.age")
    assert f"{identity} is this computer's identity" in done.err
    with piped(PASSPHRASE) as number:
        again = mfa_kit.process("backup", "verify", backup, "-i", identity, "--passphrase-fd", "0", stdin=number)
    assert (again.code, PASSPHRASE in again.out + again.err + done.out + done.err) == (0, False)
    with pexpect.spawn(judge("age"), ["-d", "-i", str(identity), backup], timeout=120) as age:
        age.expect("passphrase")
        age.sendline(PASSPHRASE)
        age.expect(pexpect.EOF)
        assert b"\x89PNG" in age.before
        age.wait()
    assert not [file for file in mfa_kit.home.rglob("*") if file.is_file() and PASSPHRASE.encode() in file.read_bytes()]


@pytest.mark.usefixtures("cheap_passphrases")
def test_only_one_of_several_processes_creates_the_identity(mfa_kit: MfaKit, user: str) -> None:
    """The other processes wait. So this computer has one identity, which decrypts the backups of all processes."""
    enroll = ["enroll", user, "--with", "virtual", "--codes", "generated", "--output", "json", "--passphrase-fd"]
    with piped(PASSPHRASE) as number:
        with wait_and_hold(mfa_kit.home, waiting=lambda: None):
            process = mfa_kit.start(*enroll, str(number), pass_fds=[number])
            assert process.stderr
            said = process.stderr.readline()
            create_own_identity(mfa_kit.home, Secret(PASSPHRASE))
        out, _ = process.communicate(timeout=50)
    assert said.startswith("waiting for another mfa-kit")
    assert json.loads(out)["outcome"] == "enrolled"
    assert len(list(mfa_kit.home.glob("identity-age1*.age"))) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "there is no passphrase on file descriptor"),
        ("too short\n", "has fewer than 12 characters"),
        ("\xff\n", "no secret can be read"),
        (None, "no secret can be"),
    ],
)
def test_an_invalid_passphrase_creates_no_identity(given: str | None, said: str, mfa_kit: MfaKit, user: str) -> None:
    """An empty line, text that is not UTF-8, and a closed descriptor are errors."""
    enroll = ["enroll", user, "--with", "virtual", "--codes", "generated", "--passphrase-fd"]
    read, write = os.pipe()
    os.write(write, (given or "").encode("latin-1"))
    os.close(write)
    number = read
    if given is None:
        os.close(read)
    done = mfa_kit.run(*enroll, str(number))
    if given is not None:
        os.close(read)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not list(mfa_kit.home.glob("identity*"))


def test_a_passphrase_is_read_once_for_all_identities(mfa_kit: MfaKit, user: str) -> None:
    """It decrypts two identities. The error about a wrong passphrase does not quote it."""
    enroll = ["enroll", user, "--with", "virtual", "--codes", "generated", "--output", "json", "--passphrase-fd"]
    with piped(PASSPHRASE) as number:
        done = mfa_kit.process(*enroll, str(number), pass_fds=[number], env=cheap_scrypt())
    backup = json.loads(done.out)["backup"]
    [identity] = mfa_kit.home.glob("identity-age1*.age")
    with piped(PASSPHRASE) as number:
        verify = ["backup", "verify", backup, "-i", identity, "-i", identity, "--passphrase-fd", str(number)]
        assert mfa_kit.run(*verify).code == 0
    with piped("another") as number:
        wrong = mfa_kit.run("backup", "verify", backup, "-i", identity, "--passphrase-fd", str(number))
    assert wrong.code == 2
    assert f"wrong passphrase for {identity}" in wrong.err
    assert "another" not in wrong.err


@pytest.mark.parametrize("verb", [["show", "-o", "out.png"]])
def test_a_backup_that_cannot_be_decrypted_is_an_error(
    verb: list[str], backup: Path, mfa_kit: MfaKit, identity_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit codes are those of docs/formats.md, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    (tmp_path / "nonsense.txt").write_text("nonsense")
    (tmp_path / "damaged.png.age").write_bytes(backup.read_bytes()[:-1])
    for file, identity, code, said in (
        (backup, "other.txt", 5, "encrypted to a different key"),
        ("damaged.png.age", identity_file, 5, "is damaged"),
        ("missing.png.age", identity_file, 5, "No such file"),
        (identity_file, identity_file, 5, "is not a backup"),
        (backup, "missing.txt", 2, "No such file"),
        (backup, "nonsense.txt", 2, "contains no usable identity"),
    ):
        done = mfa_kit.run("backup", *verb, file, "-i", identity)
        assert (done.code, done.out) == (code, "")
        assert said in done.err
        assert "  try: " in done.err
    assert not (tmp_path / "out.png").exists()


def test_a_file_without_a_qr_code_for_aws_fails_verify(
    mfa_kit: MfaKit, identity_file: Path, recipient: str, tmp_path: Path
) -> None:
    """Debian's age encrypted the file by hand. It can be decrypted, but mfa-kit did not make it."""
    sealed = tmp_path / "x.png.age"
    subprocess.run([judge("age"), "-r", recipient, "-o", sealed], input=b"hello", check=True)
    done = mfa_kit.run("backup", "verify", sealed, "-i", identity_file)
    assert done.code == 5
    assert "not a picture" in done.out


def test_an_unreadable_parent_folder_is_a_usage_error(
    nobody: Nobody, identity_file: Path, user: str, recipient: str
) -> None:
    """An unprivileged user has a home below a folder of another user. Files that cannot be reached are usage errors."""
    words = ("--with", "virtual", "--codes", "generated", "-r", recipient, "--output", "json")
    backup = json.loads(nobody.process("enroll", user, *words).out)["backup"]
    keys = nobody.home.parent / "identity.txt"
    keys.write_text(identity_file.read_text())
    keys.chmod(0o644)
    done = nobody.process("backup", "show", backup, "-i", keys, "-o", "/qr.png")
    assert done.code == 2
    assert "/ is not a folder that you can write to" in done.err
    keys.chmod(0o600)
    done = nobody.process("backup", "verify", backup, "-i", keys)
    assert done.code == 2
    assert "cannot be read: Permission denied" in done.err


def test_the_ledger_lists_calls_decryptions_and_runs(
    backup: Path, mfa_kit: MfaKit, identity_file: Path, user: str
) -> None:
    """Each entry has its reference. Failed calls are listed too."""
    mfa_kit.run("backup", "verify", backup, "-i", identity_file)
    mfa_kit.run("backup", "verify", identity_file, "-i", identity_file)
    rows = [json.loads(line) for line in mfa_kit.run("ledger", "export").out.splitlines()]
    assert [(row["what"], row["answer"]) for row in rows] == [
        ("CreateVirtualMFADevice", "OK"),
        ("EnableMFADevice", "OK"),
        ("enrollment", "done"),
        ("OpenBackup", "OK"),
        ("OpenBackup", "Failed"),
    ]
    assert all(row["schema"] == "mfa-kit/ledger" and row["version"] == 1 for row in rows)
    assert rows[3]["file"] == str(backup)
    assert rows[0]["reference"]
    assert len([*mfa_kit.run("ledger", "show", "--user", user).out.splitlines()]) == 5
    assert mfa_kit.run("ledger", "show", "--user", "bob").out == "no entries\n"


@pytest.mark.usefixtures("backup")
def test_the_ledger_can_be_listed_from_a_time_on(mfa_kit: MfaKit) -> None:
    """The start is a date, a time or an age."""
    for since in ("1d", "1h", "2020-01-01", "2020-01-01T10:00+02:00"):
        assert len(mfa_kit.run("ledger", "export", "--since", since).out.splitlines()) == 3
    assert mfa_kit.run("ledger", "export", "--since", "2099-01-01").out == ""


def test_an_empty_ledger_says_so(mfa_kit: MfaKit) -> None:
    """Requests that only read are not logged."""
    assert mfa_kit.run("backup", "verify", "x.age", "-i", "x").code == 2
    assert mfa_kit.run("ledger", "show").out == "no entries\n"


def planted(mfa_kit: MfaKit, *, recipient: str, mode: int = 0o600) -> Path:
    """Save an identity under the name of another recipient."""
    mfa_kit.home.mkdir(mode=0o700)
    file = mfa_kit.home / f"identity-{recipient}.age"
    file.write_bytes(NewIdentity().encrypted(Secret(PASSPHRASE)))
    file.chmod(mode)
    return file


@pytest.mark.usefixtures("cheap_passphrases")
@pytest.mark.parametrize(
    ("mode", "code", "said"), [(0o600, 5, "cannot decrypt messages to"), (0o622, 2, "other users")]
)
def test_the_file_name_of_an_identity_is_not_trusted(
    mode: int, code: int, said: str, mfa_kit: MfaKit, user: str, recipient: str
) -> None:
    """Otherwise the backup would be lost, or readable for the person who put the file there."""
    file = planted(mfa_kit, recipient=recipient, mode=mode)
    with piped(PASSPHRASE) as number:
        enroll = ["enroll", user, "--with", "virtual", "--codes", "generated", "--passphrase-fd", str(number)]
        done = mfa_kit.run(*enroll)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert not file.with_suffix(".pub").exists()


@pytest.mark.usefixtures("cheap_passphrases")
@pytest.mark.parametrize("name", ["identity", "public key"])
@pytest.mark.parametrize("change", ["owner", "mode", "symlink"])
def test_a_recipient_file_of_another_user_is_refused(
    name: str, change: str, mfa_kit: MfaKit, user: str, tmp_path: Path, lab: Lab
) -> None:
    """Another user could put their own recipient there, and every later backup would be encrypted to it."""
    mfa_kit.home.mkdir(mode=0o700)
    file, _ = create_own_identity(mfa_kit.home, Secret(PASSPHRASE))
    file = file if name == "identity" else file.with_suffix(".pub")
    match change:
        case "owner":
            if os.getuid():
                pytest.skip("only root can give a file away")
            os.chown(file, NOBODY, NOBODY)
        case "mode":
            file.chmod(0o620)
        case _:
            file.symlink_to(file.rename(tmp_path / file.name))
    done = mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated", "--passphrase")
    assert (done.code, done.out) == (5 if change == "symlink" else 2, ""), done.err
    assert {"owner": "belongs to another user", "mode": "written by other users"}.get(change, str(file)) in done.err
    assert f"arn:aws:iam::{ACCOUNT}:mfa/{user}" not in lab.serials()


def test_a_changed_public_key_file_is_refused(mfa_kit: MfaKit, user: str, recipient: str) -> None:
    """mfa-kit wrote the public key after it had decrypted the identity, so there is no valid reason for a change."""
    mfa_kit.home.mkdir(mode=0o700)
    file, _ = create_own_identity(mfa_kit.home, Secret(PASSPHRASE))
    file.with_suffix(".pub").write_text(f"{recipient}\n")
    done = mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated", "--passphrase")
    assert (done.code, done.out) == (2, "")
    assert "is not the public key of" in done.err


@pytest.mark.usefixtures("cheap_passphrases")
def test_an_identity_with_a_huge_work_factor_is_refused(tmp_path: Path, mfa_kit: MfaKit) -> None:
    """The work factor in the file's header would make each attempt take hours."""
    file = tmp_path / "identity.age"
    whole = NewIdentity().encrypted(Secret(PASSPHRASE))
    for work in (b"21", b"99", b"999999999999"):
        file.write_bytes(re.sub(rb"(-> scrypt \S+ )\d+", rb"\g<1>" + work, whole))
        with piped(PASSPHRASE) as number:
            done = mfa_kit.run("backup", "verify", file, "-i", file, "--passphrase-fd", str(number))
        assert (done.code, done.out) == (2, "")
        assert "work factor above 20" in done.err
