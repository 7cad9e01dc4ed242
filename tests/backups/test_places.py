"""Backups in a wrong place: the path names another device, account or user than the label in the file or the ledger."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState
from mfa_kit.qr_codes import key_uri
from tests.backups.conftest import RUN, SEED, Pair, sealed
from tests.conftest import ACCOUNT, MfaKit, bare, local
from tests.terminal.spawn import MFA_KIT
from tests.terminal.window import Window

OTHER_ACCOUNT = "111111111111"


def labeled(desk: MfaKit, label: str, recipient: str, *, account: str = ACCOUNT) -> Path:
    """Encrypt a backup of dave whose QR code has this label."""
    store = AgeFiles(desk.home / "backups", parse_recipients([recipient]))
    backup = store.new(account, "dave", "dave", run=RUN)
    store.store_existing(backup, key_uri.otpauth(SEED, label=label))
    return local(backup)


def test_each_hint_is_printed_once(desk: MfaKit, old: Pair) -> None:
    """Two backups are in the place of others, and a third is damaged."""
    files = [local(sealed(desk, user, old.recipient)) for user in ("alice", "bob", "carol")]
    for file, content in zip(files, (files[1].read_bytes(), files[0].read_bytes(), b"damaged"), strict=True):
        file.write_bytes(content)
    done = desk.run("backup", "verify", "--all", "-i", old.file)
    hints = [line for line in done.err.splitlines() if line.startswith("try: ")]
    assert (done.code, len(hints), "name it alone: --accept-label" in hints[0]) == (5, 2, True)


@pytest.fixture
def swapped(desk: MfaKit, old: Pair) -> Path:
    """Copy erin's backup over dave's, and return the path of dave's."""
    erin, dave = (local(sealed(desk, user, old.recipient)) for user in ("erin", "dave"))
    dave.write_bytes(erin.read_bytes())
    return dave


Words = Callable[[Path, Path], list[str | Path]]
COMMANDS: dict[str, Words] = {
    "verify": lambda file, _: ["backup", "verify", file],
    "verify --all": lambda *_: ["backup", "verify", "--all"],
    "show": lambda file, folder: ["backup", "show", file, "-o", folder / "qr.png"],
    "drill": lambda file, _: ["backup", "drill", file, "--from", "oath"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_backup_of_another_device_is_refused(
    name: str, desk: MfaKit, old: Pair, swapped: Path, tmp_path: Path
) -> None:
    """The secret in the file is erin's, although the file has the path of dave's backup."""
    done = desk.run(*COMMANDS[name](swapped, tmp_path), "-i", old.file, "--output", "json")
    assert done.code == 5
    assert f"{swapped} is not the backup of dave of dave in account {ACCOUNT}" in done.out + done.err
    assert f"its label is 'Amazon Web Services:erin@{ACCOUNT}'" in done.out + done.err
    assert not (tmp_path / "qr.png").exists()


def test_a_backup_of_another_device_is_not_re_encrypted(desk: MfaKit, old: Pair, new: Pair, swapped: Path) -> None:
    """The other backups are re-encrypted."""
    before = swapped.read_bytes()
    done = desk.run("backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient, "--output", "json")
    row = json.loads(done.out)
    assert (done.code, row["rekeyed"], row["failed"]) == (5, 1, 1)
    assert "is not the backup of dave" in row["faults"][0]
    assert swapped.read_bytes() == before


def test_a_backup_of_another_device_is_not_restored(desk: MfaKit, old: Pair, swapped: Path) -> None:
    """No QR code is shown, so dave's new phone does not get erin's secret."""
    env = {**bare(), "MFA_KIT_HOME": str(desk.home), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    words = [*MFA_KIT, "backup", "restore", str(swapped), "-i", str(old.file), "--to", "phone"]
    window = Window(words, env=env, cwd=desk.home)
    assert window.end() == 5
    assert "is not the backup of dave" in window.printed("err")
    assert "▀" not in window.screen.text()
    accepted = Window([*words, "--accept-label"], env=env, cwd=desk.home)
    accepted.see("scan it with the new phone of dave")
    accepted.type("\x03", end="")
    assert accepted.end() == 130


@pytest.mark.parametrize(
    ("label", "code"),
    [
        (f"dave@{ACCOUNT}", 0),
        (f"desk/berlin/dave@{ACCOUNT}", 0),
        (f"dave@{OTHER_ACCOUNT}", 5),
        (f"desk/dave2@{ACCOUNT}", 5),
        ("dave", 5),
        ("dave@", 5),
        (f"@{ACCOUNT}", 5),
        ("my AWS at work", 5),
    ],
)
def test_the_label_must_have_the_device_and_the_account_of_the_path(
    label: str, code: int, desk: MfaKit, old: Pair
) -> None:
    """An IAM path before the name of the device does not count."""
    file = labeled(desk, label, old.recipient)
    assert desk.run("backup", "verify", file, "-i", old.file).code == code


def test_an_account_alias_counts_as_not_checked(desk: MfaKit, old: Pair) -> None:
    """The output says so. The device in the label is compared nevertheless."""
    file = labeled(desk, "dave@example-corp", old.recipient)
    done = desk.run("backup", "verify", file, "-i", old.file, "--output", "json")
    [row] = json.loads(done.out)["rows"]
    assert (done.code, row["opens"]) == (0, True)
    assert "account alias 'example-corp' of the label not compared" in row["remarks"]
    file.unlink()
    assert desk.run("backup", "verify", labeled(desk, "erin@example-corp", old.recipient), "-i", old.file).code == 5


@pytest.mark.parametrize(("user", "account", "run", "code"), [
    ("dave", ACCOUNT, RUN, 0),
    ("erin", ACCOUNT, RUN, 5),
    ("erin", OTHER_ACCOUNT, RUN, 0),
    ("erin", ACCOUNT, RUN.replace("2026", "2025"), 0),
])  # fmt: skip
def test_the_ledger_names_the_user(user: str, account: str, run: str, code: int, desk: MfaKit, old: Pair) -> None:
    """Only the journal entry of the same account, device and run counts. Without one, the user is not checked."""
    file = labeled(desk, f"dave@{ACCOUNT}", old.recipient)
    spec = DeviceSpec(account=account, partition="aws", user=user, name="dave")
    with sqlite_ledger(desk.home) as ledger:
        ledger.record(JournalEntry(run=run, spec=spec, reached=JournalState.CONFIRMED, backup=str(file)))
    done = desk.run("backup", "verify", file, "-i", old.file, "--output", "json")
    assert done.code == code
    assert ("it belongs to erin according to the ledger" in done.out) is (code == 5)


@pytest.mark.parametrize("folder", ["", "work/dave"])
def test_a_file_elsewhere_is_named_by_its_label(folder: str, desk: MfaKit, old: Pair, tmp_path: Path) -> None:
    """A folder whose name is not an account ID says nothing about the device, and the output says so."""
    backup = local(sealed(desk, "erin", old.recipient))
    moved = tmp_path / folder / backup.name.replace("erin", "dave")
    moved.parent.mkdir(parents=True, exist_ok=True)
    moved.write_bytes(backup.read_bytes())
    done = desk.run("backup", "verify", moved, "-i", old.file, "--output", "json")
    [row] = json.loads(done.out)["rows"]
    assert done.code == 0
    assert any(remark.startswith("named only by its label") for remark in row["remarks"])
    shown = desk.run("backup", "show", moved, "-i", old.file, "-o", tmp_path / "qr.png")
    assert shown.code == 0
    assert f"named only by its label 'Amazon Web Services:erin@{ACCOUNT}'" in shown.err


def test_a_path_with_two_dots_names_its_backup(
    desk: MfaKit, old: Pair, swapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In dave's folder, `../dave/FILE` is the backup of dave."""
    monkeypatch.chdir(swapped.parent)
    for words in (["verify"], ["show", "-o", "qr.png"]):
        done = desk.run("backup", *words, f"../dave/{swapped.name}", "-i", old.file)
        assert (done.code, "is not the backup of dave of dave" in " ".join((done.out + done.err).split())) == (5, True)
    done = desk.run("backup", "rekey", swapped.name, "--backup-dir", "../..", "-i", old.file, "-r", old.recipient)
    assert "is not the backup of dave of dave" in " ".join((done.out + done.err).split())


def test_one_named_file_is_accepted(desk: MfaKit, old: Pair, new: Pair, swapped: Path, tmp_path: Path) -> None:
    """`--accept-label` works for each command, says what it accepted, and re-encrypts no other file."""
    erin = next(swapped.parents[1].glob("erin/*"))
    before = erin.read_bytes()
    for name in ("verify", "show"):
        done = desk.run(*COMMANDS[name](swapped, tmp_path), "-i", old.file, "--accept-label", "--output", "json")
        assert done.code == 0, done
        assert f"accepted, although its label is 'Amazon Web Services:erin@{ACCOUNT}'" in done.out + done.err
    drilled = desk.run(*COMMANDS["drill"](swapped, tmp_path), "-i", old.file, "--accept-label")
    assert drilled.code != 5
    assert "accepted, although" in drilled.err
    done = desk.run("backup", "rekey", "--unproven", swapped, "-i", old.file, "-r", new.recipient, "--accept-label")
    assert done.code == 0, done.err
    assert "accepted, although" in done.err
    assert desk.run("backup", "verify", swapped, "-i", new.file, "--accept-label").code == 0
    assert erin.read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [["verify", "--all"], ["verify", "a.age", "b.age"], ["drill", "--from", "oath"], ["rekey", "-r", "RECIPIENT"]],
)
def test_a_label_is_accepted_only_for_a_named_file(words: list[str], desk: MfaKit, old: Pair) -> None:
    words = [old.recipient if word == "RECIPIENT" else word for word in words]
    done = desk.run("backup", *words, "-i", old.file, "--accept-label")
    assert done.code == 2
    assert "--accept-label is for one named file" in done.err


def test_a_path_at_the_root_names_no_backup(desk: MfaKit, old: Pair) -> None:
    """Neither ACCOUNT nor USER is in such a path."""
    done = desk.run("backup", "verify", f"/dave-{RUN}.png.age", "-i", old.file)
    assert done.code == 5
    assert "cannot be read" in done.out
