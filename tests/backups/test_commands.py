"""Backups on the command line: verify, exposed, prune, recipients and bad files."""

import io
import json
import os
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
import qrcode
from PIL import Image

from mfa_kit.adapters.files.agefile import AgeFiles
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Backup, DeviceSpec, JournalEntry, JournalState, RunKind
from mfa_kit.qr_codes import key_uri
from mfa_kit.wiring import backups as kit
from mfa_kit.wiring.age_keys import Identities
from tests.backups.conftest import RUN, SEED, Pair, own, sealed
from tests.conftest import ACCOUNT, MfaKit, judge, local
from tests.plain_settings import plain_settings


def rows(desk: MfaKit, *words: str | Path) -> list[dict[str, Any]]:
    done = desk.run("backup", *words, "--output", "json")
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["rows"]
    return found


def revoked(desk: MfaKit, backup: Backup, purpose: RunKind = RunKind.REVOKE) -> None:
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user=backup.user, name=backup.device)
    with sqlite_ledger(desk.home) as ledger:
        ledger.record(
            JournalEntry(run=RUN, spec=spec, purpose=purpose, reached=JournalState.REVOKED, backup=str(local(backup)))
        )


# verify --all


def test_all_backups_are_verified(desk: MfaKit, old: Pair, new: Pair) -> None:
    """If one of the backups cannot be decrypted, the exit code is 5."""
    alice, bob = sealed(desk, "alice", old.recipient), sealed(desk, "bob", old.recipient)
    found = rows(desk, "verify", "--all", "-i", old.file)
    assert [(each["file"], each["opens"]) for each in found] == [(str(local(alice)), True), (str(local(bob)), True)]
    assert desk.run("backup", "verify", "--all", "-i", new.file).code == 5


def test_verify_without_backups_is_an_error(desk: MfaKit, old: Pair) -> None:
    assert desk.run("backup", "verify", "--all", "-i", old.file).out == f"no backups in {desk.home / 'backups'}\n"


@pytest.mark.parametrize("words", [[], ["x.png.age", "--all"]])
def test_files_and_all_exclude_each_other(words: list[str], desk: MfaKit, old: Pair) -> None:
    done = desk.run("backup", "verify", *words, "-i", old.file)
    assert done.code == 2
    assert "--all" in done.err


# Bad input


def picture(*texts: str) -> bytes:
    """Draw QR codes side by side. An empty text gives a blank page."""
    drawn = [qrcode.make(text).get_image().convert("L") for text in texts]
    page = Image.new("L", (sum(each.width for each in drawn) + 50, max([50, *(each.height for each in drawn)])), 255)
    left = 0
    for each in drawn:
        page.paste(each, (left, 0))
        left += each.width
    out = io.BytesIO()
    page.save(out, "PNG")
    return out.getvalue()


Bad = Callable[[bytes, Callable[[bytes], bytes]], bytes]
FILES: dict[str, tuple[Bad, str]] = {
    "truncated": (lambda whole, _: whole[:-20], "is damaged"),
    "bit-flipped": (lambda whole, _: whole[:-1] + bytes([whole[-1] ^ 1]), "is damaged"),
    "foreign": (lambda *_: b"\x89PNG", "is not a backup"),
    "no image": (lambda _, seal: seal(b"hello"), "not a picture"),
    "no QR code": (lambda _, seal: seal(picture()), "there is no QR code"),
    "not an otpauth URI": (lambda _, seal: seal(picture("https://example.com")), "not contain a usable otpauth URI"),
    "not of AWS": (
        lambda _, seal: seal(picture(f"otpauth://totp/a?secret={'A' * 32}&digits=8")),
        "not for an AWS device",
    ),
    "several QR codes": (lambda _, seal: seal(picture("one", "two")), "2 QR codes"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_an_error_message(name: str, desk: MfaKit, old: Pair, tmp_path: Path) -> None:
    """The good backup after the bad file is decrypted nevertheless."""
    backup, recipient = sealed(desk, "alice", old.recipient), pyrage.x25519.Recipient.from_str(old.recipient)
    make, said = FILES[name]
    file = tmp_path / "bad.png.age"
    file.write_bytes(make(local(backup).read_bytes(), lambda data: pyrage.encrypt(data, [recipient])))
    done = desk.run("backup", "verify", file, local(backup), "-i", old.file, "--output", "json")
    first, second = json.loads(done.out)["rows"]
    assert (done.code, first["opens"], second["opens"]) == (5, False, True)
    assert re.fullmatch(r"try: [^\n]+\n", done.err)
    assert said in first["fault"]
    assert "\n" not in first["fault"]


def test_an_unknown_parameter_does_not_stop_verify(desk: MfaKit, old: Pair) -> None:
    """Each backup is checked, and an unusual parameter of a QR code is printed as a note."""
    uri = f"otpauth://totp/AWS:alice@{ACCOUNT}?secret={'A' * 16}&counter=1&issuer=Other"
    odd = put(desk, "alice", old.recipient, picture(uri))
    good = sealed(desk, "bob", old.recipient)
    done = desk.run("backup", "verify", "--all", "-i", old.file, "--output", "json")
    found = json.loads(done.out)["rows"]
    assert (done.code, [(each["file"], each["opens"]) for each in found]) == (
        0,
        [(str(odd), True), (str(local(good)), True)],
    )
    assert done.err.count("note: ") == 2
    assert "names the issuer 'AWS'" in done.err
    assert "only 80 bits" in done.err


def put(desk: MfaKit, user: str, recipient: str, content: bytes) -> Path:
    """Encrypt any content to a file with the name of a backup."""
    path = local(AgeFiles(desk.home / "backups", []).new(ACCOUNT, user, user, run=RUN))
    path.parent.mkdir(parents=True)
    path.write_bytes(pyrage.encrypt(content, [pyrage.x25519.Recipient.from_str(recipient)]))
    return path


@pytest.mark.parametrize(
    "content",
    [b"not a picture", picture(), picture("https://example.com"), picture("one", "two")],
    ids=["text", "no code", "another code", "two codes"],
)
def test_a_file_without_a_key_uri_is_not_shown(content: bytes, desk: MfaKit, old: Pair, tmp_path: Path) -> None:
    """Otherwise an attacker who can write to the folder could have any file decrypted and written."""
    file, out = put(desk, "alice", old.recipient, content), tmp_path / "out.png"
    done = desk.run("backup", "show", file, "-i", old.file, "-o", out)
    assert (done.code, done.out) == (5, "")
    assert not out.exists()


BROKEN_CONFIGS = ["no TOML [", "acount = '1'", "plain = 'perhaps'", "backup-dir = 1"]


@pytest.mark.parametrize("config", BROKEN_CONFIGS)
def test_a_broken_configuration_does_not_prevent_decryption(
    config: str, desk: MfaKit, old: Pair, new: Pair, tmp_path: Path
) -> None:
    """Backups are decrypted in emergencies, so commands that do not need the configuration work without it."""
    backup, folder = sealed(desk, "alice", old.recipient), desk.home / "backups"
    (desk.home / "config.toml").write_text(config)
    commands: list[list[str | Path]] = [
        ["backup", "show", local(backup), "-i", old.file, "-o", tmp_path / "qr.png"],
        ["backup", "verify", local(backup), "-i", old.file],
        ["backup", "verify", "--all", "--backup-dir", folder, "-i", old.file],
        ["backup", "list", "--backup-dir", folder],
        ["backup", "recipients", "--backup-dir", folder],
        ["backup", "exposed", "-r", old.recipient, "--backup-dir", folder],
        ["backup", "rekey", "--unproven", "--backup-dir", folder, "-i", old.file, "-r", new.recipient],
    ]
    for command in commands:
        done = desk.run(*command)
        assert done.code == 0, (command, done.err)
    listed = desk.run("key", "list")
    assert listed.code != 2
    assert "note: ignoring the configuration file" in listed.err
    assert desk.run("backup", "list").code == 2
    assert desk.run("backup", "verify", "--all", "-i", old.file).code == 2


def test_a_broken_configuration_shows_no_ledger(desk: MfaKit) -> None:
    """The file may name another ledger, and the empty ledger of this computer would look as if nothing happened."""
    desk.home.mkdir()
    (desk.home / "config.toml").write_text('ledger = "postgresql://HOST/mfa"\nacount = "1"\n')
    done = desk.run("ledger", "show")
    assert (done.code, done.out) == (2, "")
    assert "unknown key 'acount'" in done.err


@pytest.mark.parametrize(
    ("name", "said"), [("link", "it is a symlink"), ("pipe", "is not a backup"), (".", "Is a directory")]
)
def test_only_regular_files_are_opened(name: str, said: str, desk: MfaKit, old: Pair, tmp_path: Path) -> None:
    """mfa-kit does not follow a symlink, and does not wait for a pipe."""
    backup = sealed(desk, "alice", old.recipient)
    (tmp_path / "link").symlink_to(local(backup))
    os.mkfifo(tmp_path / "pipe")
    done = desk.run("backup", "show", tmp_path / name, "-i", old.file, "-o", tmp_path / "shown.png")
    assert (done.code, done.out) == (5, "")
    assert said in done.err
    assert not (tmp_path / "shown.png").exists()


def test_a_wrong_identity_decrypts_nothing(desk: MfaKit, old: Pair, new: Pair, tmp_path: Path) -> None:
    """Neither another identity nor an SSH key whose passphrase cannot be asked for decrypts the backup."""
    backup = sealed(desk, "alice", old.recipient)
    subprocess.run([judge("ssh-keygen"), "-q", "-t", "ed25519", "-N", "words", "-f", tmp_path / "ssh"], check=True)
    for identity, code, said in ((new.file, 5, "to a different key"), (tmp_path / "ssh", 8, "passphrase of")):
        done = desk.run("backup", "show", local(backup), "-i", identity, "-o", tmp_path / "shown.png")
        assert (done.code, done.out, len(done.err.splitlines())) == (code, "", 2)
        assert said in done.err
    assert not (tmp_path / "shown.png").exists()


def test_a_thousand_damaged_backups_are_all_refused(tmp_path: Path, desk: MfaKit, old: Pair) -> None:
    """Bits are flipped, bytes removed and inserted, and parts moved. Each file is refused and left unchanged."""
    backup = sealed(desk, "alice", old.recipient)
    whole, dice = local(backup).read_bytes(), random.Random(12)
    files = {}
    for number in range(1000):
        mutated = whole
        while mutated == whole:
            mutated = mutation(whole, dice)
        files[tmp_path / f"{number:03}.png.age"] = mutated
    for file, mutated in files.items():
        file.write_bytes(mutated)
    done = desk.run("backup", "verify", *files, "-i", old.file, "--output", "json")
    found = json.loads(done.out)["rows"]
    assert (done.code, len(done.err.splitlines()), len(found)) == (5, 3, 1000)  # a line for each kind of error
    said = ("damaged and cannot be decrypted", "is not an age file", "was encrypted to a different key")
    assert all(not row["opens"] and row["fault"].endswith(said) for row in found)
    assert all(file.read_bytes() == mutated for file, mutated in files.items())


def mutation(whole: bytes, dice: random.Random) -> bytes:
    mutated = bytearray(whole)
    for _ in range(dice.choice([1, 1, 2, 8])):
        # mutations in the header are as likely as in the rest
        at = dice.randrange(len(mutated) if dice.random() < 0.5 else 250)
        match dice.randrange(5):
            case 0:
                mutated[at] ^= 1 << dice.randrange(8)
            case 1:
                del mutated[at]
            case 2:
                mutated.insert(at, dice.randrange(256))
            case 3:
                mutated[at:at] = mutated[: dice.randrange(40)]
            case _:
                del mutated[at : at + dice.randrange(60)]
    return bytes(mutated)


# exposed, recipients


def test_backups_that_a_lost_key_decrypts_are_listed(desk: MfaKit, old: Pair, new: Pair) -> None:
    """The list has older copies from before a rekey, and moved backups, but no removed ones."""
    alice, bob, carol = (sealed(desk, user, old.recipient) for user in ("alice", "bob", "carol"))
    assert desk.run("backup", "rekey", "--unproven", "-i", old.file, "-r", old.recipient, "-r", new.recipient).code == 0
    assert desk.run("backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient).code == 0
    revoked(desk, bob)
    local(carol).unlink()
    done = desk.run("backup", "exposed", "-r", old.recipient, "--output", "json")
    found = json.loads(done.out)["rows"]
    assert [(each["user"], each["recorded"], each["file"]) for each in found] == [
        ("alice", True, str(local(alice))),
        ("carol", True, None),
    ]
    assert all(each["since"] and each["until"] for each in found)
    assert "mfa-kit replace USER" in done.err
    assert rows(desk, "exposed", "-r", new.recipient)[0]["until"] is None


def test_unrecorded_backups_are_listed_too(desk: MfaKit, old: Pair, pair: Callable[[str], Pair]) -> None:
    """An earlier version or another computer made such a backup.

    For a key that decrypts nothing, no backup is listed.
    """
    sealed(desk, "alice", old.recipient)
    done = desk.run("backup", "exposed", "-r", pair("third").recipient, "--output", "json")
    assert [(each["user"], each["recorded"]) for each in json.loads(done.out)["rows"]] == [("alice", False)]
    assert "no record of the recipients of 1 of these backups" in done.err
    desk.run("backup", "rekey", "-i", old.file, "-r", old.recipient)
    done = desk.run("backup", "exposed", "-r", pair("third").recipient)
    assert (done.out, done.err) == ("no backup was encrypted to this key\n", "")
    assert desk.run("backup", "exposed", "-r", "nonsense").code == 2


def test_enroll_records_the_recipients(mfa_kit: MfaKit, user: str, recipient: str) -> None:
    """For a user as recipient, only that user's own backups are listed."""
    words = ("--with", "virtual", "--codes", "generated", "-r", recipient)
    assert mfa_kit.run("enroll", user, *words).code == 0
    [row] = rows(mfa_kit, "recipients", user.upper())
    assert (row["user"], row["device"], row["recipients"]) == (user, user, [recipient])
    assert rows(mfa_kit, "recipients", "nobody") == []
    assert mfa_kit.run("backup", "recipients", "nobody").out.startswith("no backups of nobody in ")


def test_a_rollout_records_the_recipients(
    mfa_kit: MfaKit, user: str, recipient: str, old: Pair, tmp_path: Path
) -> None:
    """The user is one of the recipients."""
    (tmp_path / "roster.csv").write_text(f"user,recipient\n{user},{old.recipient}\n")
    for words in (
        ("plan", tmp_path / "roster.csv", "-o", tmp_path / "plan"),
        ("apply", tmp_path / "plan", "-r", recipient),
    ):
        done = mfa_kit.run("rollout", *words)
        assert done.code == 0, done.err
    [row] = rows(mfa_kit, "recipients", user)
    assert set(row["recipients"]) == {recipient, old.recipient}


def test_a_users_own_copy_is_listed_and_not_rekeyed(
    desk: MfaKit, old: Pair, new: Pair, pair: Callable[[str], Pair]
) -> None:
    """The copy exists in addition to the main backup, or alone. The user's key remains its recipient."""
    alice = pair("alice")
    copy = own(desk, "alice", alice.recipient)
    before = local(copy).read_bytes()
    assert rows(desk, "recipients")[0]["recipients"] == [alice.recipient]
    backup = sealed(desk, "alice", old.recipient)
    assert [each["file"] for each in rows(desk, "list")] == [str(local(backup)), str(local(copy))]
    assert [each["file"] for each in rows(desk, "verify", "--all", "-i", old.file)] == [str(local(backup))]
    assert desk.run("backup", "rekey", "--unproven", "-i", old.file, "-r", new.recipient).code == 0
    assert local(copy).read_bytes() == before
    [row] = rows(desk, "recipients")
    assert set(row["recipients"]) == {new.recipient, alice.recipient}
    [row] = rows(desk, "exposed", "-r", alice.recipient)
    assert (row["user"], row["until"], row["file"]) == ("alice", None, str(local(backup)))


# prune


@pytest.fixture
def left(mfa_kit: MfaKit, users: Callable[[], str], recipient: str) -> tuple[Backup, Backup]:
    """Encrypt a backup of a user whom IAM no longer has, and one of a user who exists without that device."""
    gone, there = (sealed(mfa_kit, name, recipient) for name in ("gone", users()))
    return gone, there


def test_backups_of_deleted_users_are_removed_and_recorded(mfa_kit: MfaKit, left: tuple[Backup, Backup]) -> None:
    """With --dry-run nothing is removed. The person at the terminal confirms, or gives --yes."""
    gone, there = left
    old_run = age(gone), age(there)
    dry = rows(mfa_kit, "prune", "--dry-run")
    assert [(each["outcome"], each["user"], each["why"]) for each in dry] == [("planned", "gone", "the user left")]
    declined = mfa_kit.run("backup", "prune")
    assert declined.code == 8
    assert all(path.exists() for path in old_run)
    assert [each["file"] for each in rows(mfa_kit, "prune", "--yes")] == [str(old_run[0])]
    assert [path.exists() for path in old_run] == [False, True]
    assert [each["user"] for each in rows(mfa_kit, "prune", "--days", "1", "--yes")] == [there.user]
    events = [json.loads(line) for line in mfa_kit.run("ledger", "export").out.splitlines()]
    assert [(each["what"], each["file"]) for each in events] == [("RemoveBackup", str(path)) for path in old_run]
    assert mfa_kit.run("backup", "prune").out == "nothing to remove\n"


def test_a_failed_removal_does_not_stop_the_others(mfa_kit: MfaKit, recipient: str) -> None:
    """Both the removed backups and the remaining one are reported.

    The folder of the remaining one is a symlink, which is not followed.
    """
    first, second, third = (age(sealed(mfa_kit, name, recipient)) for name in ("gone-1", "gone-2", "gone-3"))
    second.parent.rename(elsewhere := mfa_kit.home / "elsewhere")
    second.parent.symlink_to(elsewhere)
    done = mfa_kit.run("backup", "prune", "--yes", "--output", "json")
    assert done.code == 5
    told = {each["file"]: (each["outcome"], bool(each["fault"])) for each in json.loads(done.out)["rows"]}
    assert told == {str(first): ("removed", False), str(second): ("failed", True), str(third): ("removed", False)}
    assert [path.exists() for path in (first, second, third)] == [False, True, False]


def test_the_copy_of_a_deleted_user_is_removed_too(mfa_kit: MfaKit, recipient: str) -> None:
    """The user's own copy is as useless as the main backup."""
    old_runs = [age(sealed(mfa_kit, "gone", recipient)), age(own(mfa_kit, "gone", recipient))]
    assert [each["file"] for each in rows(mfa_kit, "prune", "--yes")] == [str(path) for path in old_runs]
    assert not any(path.exists() for path in old_runs)


def age(backup: Backup) -> Path:
    """Rename a backup to an old run ID."""
    older = local(backup).with_name(local(backup).name.replace("20261125", "20250101"))
    return local(backup).rename(older)


def test_a_file_whose_name_has_no_time_is_not_a_backup(desk: MfaKit, old: Pair) -> None:
    """Any file can have such a name. The real backups are listed."""
    alice = sealed(desk, "alice", old.recipient)
    local(alice).with_name("alice-99999999T999999Z-0a1b2c3d.png.age").write_bytes(local(alice).read_bytes())
    assert [each["file"] for each in rows(desk, "list")] == [str(local(alice))]
    assert len(rows(desk, "recipients")) == 1


def test_a_file_without_a_device_does_not_stop_a_drill(desk: MfaKit, old: Pair, tmp_path: Path) -> None:
    """The file was moved, and the label in it is any text from an app.

    Its row says so, and the other backups are tested.
    """
    store = AgeFiles(tmp_path / "far", parse_recipients([old.recipient]))
    backup = store.new(ACCOUNT, "alice", "alice", run=RUN)
    store.store_existing(backup, key_uri.otpauth(SEED, label="my AWS at work"))
    moved = local(backup).rename(tmp_path / "moved.age")
    words = ("backup", "drill", moved, "-i", old.file, "--from", "oath", "--output", "json")
    done = desk.run(*words)
    assert done.code == 1
    [row] = json.loads(done.out)["rows"]
    assert row["result"] == "skipped"
    assert "names a device" in row["fault"]


# A lost device


def test_a_lost_device_is_not_restored(desk: MfaKit, old: Pair, tmp_path: Path) -> None:
    """The backup is recognized by its file name in the ledger, also after the file was renamed."""
    backup = sealed(desk, "alice", old.recipient)
    settings = plain_settings()
    identities = Identities([old.file], passphrase_fd=None, person=settings.interaction)
    spec, _ = kit.open_restorable(settings, {local(backup): ()}, identities)
    assert (spec.account, spec.user, spec.name) == (ACCOUNT, "alice", "alice")
    revoked(desk, backup, RunKind.LOST)
    renamed = tmp_path / "qr.age"
    renamed.write_bytes(local(backup).read_bytes())
    for file in (local(backup), renamed):
        with pytest.raises(UsageFault, match="was reported lost"):
            kit.open_restorable(settings, {file: ()}, identities)


def test_a_backup_is_named_by_its_user_or_its_file_name(desk: MfaKit, old: Pair, tmp_path: Path) -> None:
    """The names are those of `backup list`. A file with the name of a user wins, and several backups are listed."""
    alice, bob = local(sealed(desk, "alice", old.recipient)), local(sealed(desk, "bob", old.recipient))
    names: list[str | Path] = ["alice", "ALICE", alice.name, alice]
    for number, name in enumerate(names):
        done = desk.run("backup", "show", name, "-i", old.file, "-o", tmp_path / f"{number}.png", "--output", "json")
        assert (done.code, json.loads(done.out)["backup"]) == (0, str(alice)), done.err
    verified = desk.run("backup", "verify", "bob", alice.name, "-i", old.file, "--output", "json")
    assert [row["file"] for row in json.loads(verified.out)["rows"]] == [str(bob), str(alice)]
    second = bob.with_name(bob.name.replace("bob-2026", "bob-2027"))
    second.write_bytes(bob.read_bytes())
    two = desk.run("backup", "show", "bob", "-i", old.file, "-o", tmp_path / "two.png")
    assert (two.code, two.err.splitlines()[0]) == (2, "mfa-kit: bob has 2 backups")
    assert bob.name in two.err
    assert second.name in two.err
    long = "a" * 300  # no file can have this name
    for command, name, *more in (
        ("show", "carol", "-o", str(tmp_path / "none.png")),
        ("verify", "carol"),
        ("verify", long),
    ):
        none = desk.run("backup", command, name, *more, "-i", old.file)
        said = [f"mfa-kit: there is no backup of a user {name} in {desk.home / 'backups'}, and no file with this name"]
        assert (none.code, none.err.splitlines()) == (
            5,
            [*said, "  try: name the file, or list the backups of its folder: mfa-kit backup list --backup-dir DIR"],
        )


def test_a_backup_in_another_folder_is_named_by_its_user(mfa_kit: MfaKit, user: str, old: Pair, tmp_path: Path) -> None:
    """The ledger knows the folder. A file that is gone is not found there."""
    folder, picture = tmp_path / "elsewhere", tmp_path / "picture.png"
    words = ("--with", "virtual", "--codes", "generated", "-r", old.recipient, "--backup-dir", folder)
    assert mfa_kit.run("enroll", user, *words).code == 0
    done = mfa_kit.run("backup", "show", user, "-i", old.file, "-o", picture, "--output", "json")
    assert done.code == 0, done.err
    file = Path(json.loads(done.out)["backup"])
    assert file.is_relative_to(folder)
    file.unlink()
    gone = mfa_kit.run("backup", "show", user, "-i", old.file, "-o", tmp_path / "none.png")
    assert (gone.code, f"there is no backup of a user {user} in " in gone.err) == (5, True), gone.err


def test_the_copy_of_a_user_is_named_too(desk: MfaKit, old: Pair, new: Pair, tmp_path: Path) -> None:
    """Each identity gets the file that it opens, for one device and for several, and `list` tells the files apart."""
    usual = local(sealed(desk, "alice", old.recipient))
    copy = local(own(desk, "alice", new.recipient))
    listed = {row["file"]: row["copy"] for row in rows(desk, "list")}
    assert listed == {str(usual): None, str(copy): "user"}
    assert "  of the user" in desk.run("backup", "list").out
    second = usual.with_name(usual.name.replace("alice-2026", "alice-2027"))
    for others in range(2):
        for number, (pair, file) in enumerate([(old, usual), (new, copy)]):
            picture = tmp_path / f"{others}-{number}.png"
            done = desk.run("backup", "show", "alice", "-i", pair.file, "-o", picture, "--output", "text")
            said = (2, "") if others and pair is old else (0, f"{file}\t{picture}\n")
            assert (done.code, done.out) == said, done.err
        second.write_bytes(usual.read_bytes())
    verified = desk.run("backup", "verify", "alice", "-i", new.file, "--output", "json")
    assert {row["file"]: row["opens"] for row in json.loads(verified.out)["rows"]} == {
        str(copy): True,
        str(second): False,
    }
    usual.write_bytes(b"damaged")
    damaged = [
        desk.run("backup", "show", "alice", "-i", pair.file, "-o", tmp_path / f"{pair.file.stem}.png")
        for pair in (old, new)
    ]
    assert [(done.code, f"note: {usual}" in done.err) for done in damaged] == [(0, True)] * 2, damaged
    second.write_bytes(b"damaged")
    neither = desk.run("backup", "show", "alice", "-i", old.file, "-o", tmp_path / "neither.png")
    assert (neither.code, str(usual) in neither.err) == (5, True), neither.err
    usual.unlink()
    second.unlink()
    assert desk.run("backup", "show", "alice", "-i", new.file, "-o", tmp_path / "last.png").code == 0


def test_verify_names_the_damaged_copy(desk: MfaKit, old: Pair, new: Pair) -> None:
    """The user's identity opens only their own copy. If that is damaged, the administrators' file is not blamed."""
    sealed(desk, "alice", old.recipient)
    copy = local(own(desk, "alice", new.recipient))
    copy.write_bytes(copy.read_bytes()[:-9])
    verified = desk.run("backup", "verify", "alice", "-i", new.file, "--output", "json")
    [row] = json.loads(verified.out)["rows"]
    assert (verified.code, row["file"], row["opens"]) == (5, str(copy), False)
    assert str(copy) in row["fault"]


def test_restore_takes_a_user(desk: MfaKit, old: Pair) -> None:
    """The hint without a terminal names the user too, because the identity decides which of the files it opens."""
    sealed(desk, "alice", old.recipient)
    done = desk.run("backup", "restore", "alice", "--to", "phone", "-i", old.file)
    assert "mfa-kit backup show alice -i IDENTITY" in done.err
