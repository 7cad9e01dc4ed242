"""Files that a passphrase opens, for users without a public key: what `age -d` opens, and what a kill leaves."""

import hashlib
import json
import os
import re
import signal
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pexpect
import pytest

from mfa_kit.adapters.files import identities, passphrase_files
from mfa_kit.adapters.files.passphrase_files import MARK, open_passphrase_folders
from mfa_kit.cli import terminal
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Png, Secret, Seed
from mfa_kit.disk.files import create_file
from mfa_kit.qr_codes import key_uri, symbol
from mfa_kit.wiring.files import packaged_text
from tests.cheap_scrypt import seal
from tests.conftest import ACCOUNT, Result, judge
from tests.letters.judges import text_of
from tests.rollout.conftest import Rollout, key_file
from tests.rollout.test_handover import configure, hand_over, prepare, table
from tests.tokens.person import Person

People = Callable[[int], list[str]]
WORDS = packaged_text("letters/words.txt").split()
PASSPHRASE = re.compile(r"(?:[a-z]+-){7}[a-z]+")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encrypt in the same format with less work, in another process."""

    def encrypt(content: Secret[bytes], passphrase: Secret[str]) -> bytes:
        return seal(content.reveal(), passphrase.reveal())

    monkeypatch.setattr(identities, "encrypt_with_passphrase", encrypt)


def without_keys(rollout: Rollout, users: list[str]) -> None:
    """Plan and stage devices for users without a public key."""
    rollout.plan(*(f"{user},,{user}@example.com" for user in users), columns="user,recipient,email")
    assert rollout.apply("--stage").code == 0
    configure(rollout, 'company = "Example Ltd"\ncontact = "it@example.com"\n')


def write(rollout: Rollout, *more: str | Path, letters: str | Path = "letters", **how: Any) -> Result:
    """Run the hand-over with passphrases, and type yes."""
    options = ("--passphrase-files", "-i", key_file(rollout.identity, rollout.folder), "--passphrases")
    with mock.patch.object(terminal, "find_person", return_value=Person()):
        return hand_over(rollout, *options, rollout.folder / letters, *more, **how)


def files_of(rollout: Rollout, out: str = "out") -> dict[str, Path]:
    """Return the files that are not letters or tables, by user."""
    return {path.parent.name: path for path in (rollout.folder / out).rglob("*.age")}


def passphrase_in(letter: Path) -> str:
    words: str
    [words] = set(PASSPHRASE.findall(re.sub(r"<(?!wbr)[^>]*>", " ", letter.read_text()).replace("<wbr>", "")))
    return words


def age_opens(file: Path, passphrase: str) -> bytes:
    """Type a passphrase for Debian's age, and return what it decrypted, or b""."""
    out = file.with_name("opened.png")
    child = pexpect.spawn(judge("age"), ["-d", "-o", str(out), str(file)], timeout=60)
    child.expect("passphrase")
    child.sendline(passphrase)
    child.expect(pexpect.EOF)
    child.close()
    content = out.read_bytes() if out.exists() else b""
    out.unlink(missing_ok=True)
    return content


def test_a_user_without_a_key_opens_the_file_with_age_and_the_letter(rollout: Rollout, people: People) -> None:
    """Their secret is in it. File and letter have the same number, and only the letter of this file opens it.

    Users with a key get theirs in the same run. The passphrase is in no output.
    """
    one, two = people(2)
    (with_key,) = people(1)
    rows = [f"{one},,{one}@example.com", f"{two},,", f"{with_key},{rollout.recipient},"]
    rollout.plan(*rows, columns="user,recipient,email")
    assert rollout.apply("--stage").code == 0
    plain = hand_over(rollout, out="plain")
    assert "a public key of theirs; for a file with a passphrase: mfa-kit rollout handover PLAN" in plain.err
    done = write(rollout, "--output", "json")
    assert done.code == 0, done.err
    rows_by_user = {row["user"]: row for row in table(rollout)}
    assert {*rows_by_user} == {one, two, with_key} == {row["user"] for row in json.loads(done.out)["rows"]}
    found: dict[str, str] = {}
    for user in (one, two):
        file, letter = Path(rows_by_user[user]["file"]), Path(rows_by_user[user]["letter"])
        [number] = re.findall(rf"^{user}-(\d{{6}})\.png\.age$", file.name)
        assert letter == rollout.folder / "letters" / user / f"{user}-{number}.html"
        assert f"<td>{number}</td>" in letter.read_text()
        assert [stat.S_IMODE(path.stat().st_mode) for path in (file, letter, letter.parent)] == [0o600, 0o600, 0o700]
        found[user] = passphrase_in(letter)
        assert {*found[user].split("-")} <= {*WORDS}
        picture = Png(age_opens(file, found[user]))
        assert key_uri.seed_of(symbol.read(picture)) == Seed(rollout.lab.seed(f"arn:aws:iam::{ACCOUNT}:mfa/{user}"))
        assert found[user] not in done.out + done.err + file.with_name(file.name).read_bytes().decode("latin-1")
        assert sorted(path.name for path in file.parent.iterdir()) == [file.name]
    assert found[one] != found[two]
    assert age_opens(Path(rows_by_user[one]["file"]), found[two]) == b""
    assert "letter.txt" in {path.name for path in Path(rows_by_user[with_key]["file"]).parent.iterdir()}


def test_the_words_are_those_of_the_list_of_age() -> None:
    """It is that of BIP 39, with this SHA-256. Eight of 2048 words have 88 bits."""
    text = packaged_text("letters/words.txt").encode()
    digest = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
    assert (len(set(WORDS)), hashlib.sha256(text).hexdigest()) == (2048, digest)


def test_a_second_run_replaces_the_file_and_the_letter(rollout: Rollout, people: People) -> None:
    """The passphrase and the number are new. A letter whose file is missing is removed; others stay as they are."""
    one, two = people(2)
    without_keys(rollout, [one, two])
    assert write(rollout).code == 0
    before = {row["user"]: (Path(row["file"]), Path(row["letter"])) for row in table(rollout)}
    old = passphrase_in(before[one][1])
    kept = before[two][1].read_text()
    again = write(rollout, "--only", one)
    assert again.code == 0, again.err
    after = {row["user"]: (Path(row["file"]), Path(row["letter"])) for row in table(rollout)}
    assert (after[two], after[two][1].read_text()) == (before[two], kept)
    assert after[one] != before[one]
    assert not any(path.exists() for path in before[one])
    assert (age_opens(after[one][0], old), age_opens(after[one][0], passphrase_in(after[one][1])) != b"") == (b"", True)
    after[two][0].unlink()
    last = write(rollout, "--only", one)
    assert (last.code, after[two][1].exists()) == (0, False)
    assert f"{after[two][1]} removed, because the file that it opens is gone" in last.err
    assert [row["user"] for row in table(rollout)] == [one]


def mixed(rollout: Rollout, people: People) -> list[str]:
    """Plan for two users with a key, one without, and one who enrolls themselves, and stage the devices."""
    users = people(4)
    rows = [
        f"{user},{to},{kind}" for user, to, kind in zip(users, [rollout.recipient] * 2 + ["", ""], KINDS, strict=True)
    ]
    rollout.plan(*rows, columns="user,recipient,kind")
    assert rollout.apply("--stage").code == 0
    configure(rollout, 'company = "Example Ltd"\ncontact = "it@example.com"\n')
    return users


KINDS = ("", "", "", "self")


def test_a_second_run_writes_the_letters_that_are_missing(rollout: Rollout, people: People) -> None:
    """For users with a key, and for those who enroll themselves. Letters that are there stay as they are.

    Without --only for one of them, there was no letter, no row and no error.
    """
    one, two, without, own = mixed(rollout, people)
    assert write(rollout, "--only", without).code == 0
    first = write(rollout, "--only", one)
    assert (first.code, {row["user"] for row in table(rollout)}) == (0, {one, without}), first.err
    kept = (rollout.folder / "out" / one / "letter.txt").stat().st_mtime_ns
    done = write(rollout, "--output", "json")
    assert done.code == 0, done.err
    assert f"1 letter without a passphrase kept in {rollout.folder / 'out'}" in done.err
    rows = {row["user"]: row for row in table(rollout)}
    assert {*rows} == {one, two, without, own} == {row["user"] for row in json.loads(done.out)["rows"]}
    for row in rows.values():
        assert [path for path in (row["file"], row["letter"]) if path and not Path(path).is_file()] == []
    assert (rollout.folder / "out" / one / "letter.txt").stat().st_mtime_ns == kept


def test_after_a_failed_first_run_nobody_is_left_out(rollout: Rollout, people: People) -> None:
    """The backup of the user without a key could not be read. A folder with an earlier file is named, rc not 0."""
    one, two, without, own = mixed(rollout, people)
    backups = rollout.desk.home / "backups" / ACCOUNT / without
    backups.rename(backups.with_name("away"))
    failed = write(rollout, "--only", without)
    assert (failed.code, table(rollout)) == (1, []), failed.err
    backups.with_name("away").rename(backups)
    assert write(rollout).code == 0
    assert {row["user"] for row in table(rollout)} == {one, two, without, own}
    [file] = (rollout.folder / "out" / one).glob("*.age")
    file.rename(file.with_name("earlier.png.age"))
    done = write(rollout)
    assert (done.code, f"{one}: {file.parent} exists, but without their new letter; name another" in done.err) == (
        1,
        True,
    )
    assert {row["user"] for row in table(rollout)} == {two, without, own}


def test_the_options_are_checked_before_the_question(rollout: Rollout, people: People) -> None:
    """Nobody types yes for an identity that is not there, or for a folder that is a file."""
    without_keys(rollout, people(2))
    (rollout.folder / "letters").write_text("")
    options = ("--passphrase-files", "-i")
    key, letters = key_file(rollout.identity, rollout.folder), ("--passphrases", rollout.folder / "letters")
    wrong: list[tuple[tuple[str | Path, ...], str]] = [
        ((rollout.folder / "nofile.txt", "--passphrases", "x"), "nofile.txt"),
        ((key, *letters), "letters is not a folder"),
        ((key, "--passphrases", "s3://b/x"), "s3://b/x is in a bucket, and the letters are not encrypted"),
    ]
    for more, said in wrong:
        done = hand_over(rollout, *options, *more)
        assert (done.code, said in done.err, "s3://BUCKET" in done.err) == (2, True, False), done.err
    (rollout.folder / "letters").unlink()
    asked = hand_over(rollout, *options, key, *letters)
    assert "unencrypted; print them, and delete the files" in asked.err
    unknown = write(rollout, "--only", "nobody")
    assert (unknown.code, f"try: mfa-kit rollout status {rollout.file}" in unknown.err) == (1, True), unknown.err


def test_the_letter_can_be_a_pdf(rollout: Rollout, people: People) -> None:
    """It has the passphrase in one line. The HTML is then not written."""
    (user,) = people(1)
    without_keys(rollout, [user])
    assert write(rollout, "--pdf").code == 0
    [row] = table(rollout)
    letter = Path(row["letter"])
    assert [path.name for path in letter.parent.iterdir()] == [letter.with_suffix(".pdf").name]
    [words] = set(PASSPHRASE.findall(text_of(letter)))
    assert age_opens(Path(row["file"]), words).startswith(b"\x89PNG")


def test_the_letters_are_never_with_the_files(rollout: Rollout, people: People) -> None:
    """Not in the folder of the files, not above it, also through a link, and not in a bucket. Nothing is written."""
    without_keys(rollout, people(1))
    link = rollout.folder / "link"
    link.symlink_to(rollout.folder)
    for folder in ("out", "out/letters", ".", "link", "link/out", "/"):
        done = write(rollout, letters=folder)
        assert (done.code, "must not get its passphrase with it" in done.err) == (2, True), (folder, done.err)
    options = ("--passphrase-files", "-i", key_file(rollout.identity, rollout.folder))
    done = hand_over(rollout, *options, "--passphrases", "s3://bucket/letters")
    assert (done.code, "is in a bucket, and the letters are not encrypted" in done.err) == (2, True)
    assert (hand_over(rollout, *options).code, hand_over(rollout, "--passphrases", "x").code) == (2, 2)
    assert not (rollout.folder / "out").exists()
    (rollout.folder / "used").mkdir()
    (rollout.folder / "used" / "notes-123456.html").write_text("mine")
    done = write(rollout, letters="used")
    assert (done.code, "has other files" in done.err) == (2, True), done.err
    assert [path.name for path in (rollout.folder / "used").iterdir()] == ["notes-123456.html"]


def test_letters_of_other_files_are_kept(rollout: Rollout, people: People) -> None:
    """Their files are in another folder, so they would look as if they had none."""
    without_keys(rollout, people(1))
    assert write(rollout).code == 0
    letters = [*(rollout.folder / "letters").rglob("*.html")]
    other = write(rollout, out="other")
    assert (other.code, "has the letters of files in another folder" in other.err) == (2, True)
    assert [*(rollout.folder / "letters").rglob("*.html")] == letters


def test_the_folder_of_another_plan_is_refused(rollout: Rollout, people: People) -> None:
    """Its table, for example that of parcels, would be replaced."""
    without_keys(rollout, people(1))
    (rollout.folder / "out").mkdir()
    for text in ("user,name,email,device,key,state,letter\n", "user,email,file,letter,device,state\nsomebody,,,,,\n"):
        (rollout.folder / "out" / "handover.csv").write_text(text)
        done = write(rollout)
        assert (done.code, "has letters of users who are not in this plan" in done.err) == (2, True), done.err
    assert not (rollout.folder / "letters").exists()


def test_the_copies_are_no_backups(rollout: Rollout, people: People) -> None:
    """Not even in the folder of backups: `list`, `verify`, `exposed` and `rekey` find one backup, and the log no other.

    `restore` cannot open it with an identity.
    """
    (user,) = people(1)
    without_keys(rollout, [user])
    backups = rollout.desk.home / "backups" / ACCOUNT / user
    keys = ("-i", key_file(rollout.identity, rollout.folder))
    commands: list[tuple[str | Path, ...]] = [
        ("backup", "list"),
        ("backup", "verify", "--all", *keys),
        ("backup", "exposed", "-r", rollout.recipient),
        ("backup", "rekey", "--dry-run", *keys, "-r", rollout.recipient),
    ]

    def listed() -> list[object]:
        results = [rollout.desk.run(*command, "--output", "json") for command in commands]
        return [(done.code, json.loads(done.out)) for done in results]

    before = listed()
    assert write(rollout).code == 0
    file = files_of(rollout)[user]
    (backups / file.name).write_bytes(file.read_bytes())
    assert listed() == before
    with mock.patch.object(terminal, "find_person", return_value=Person()):
        done = rollout.desk.run("backup", "restore", file, *keys, "--to", "phone")
    assert (done.code, "was encrypted to a different key" in done.err) == (5, True), done.err
    assert file.name not in rollout.desk.run("ledger", "log", "--output", "json").out


def test_it_asks_first_and_a_wrong_identity_writes_nothing(rollout: Rollout, people: People) -> None:
    """Without a terminal there is no yes; `--yes` is not one. A backup that cannot be opened is named with its user."""
    (user,) = people(1)
    without_keys(rollout, [user])
    options = ("--passphrase-files", "-i", key_file(rollout.identity, rollout.folder), "--passphrases")
    asked = hand_over(rollout, *options, rollout.folder / "letters", "--yes")
    assert (asked.code, "unencrypted; print it, and delete the file" in asked.err) == (8, True), asked.err
    assert not (rollout.folder / "out").exists()
    dry = write(rollout, "--dry-run", "--output", "json")
    assert (json.loads(dry.out)["users"], (rollout.folder / "letters").exists()) == (1, False)
    [backup] = (rollout.desk.home / "backups" / ACCOUNT).rglob("*.age")
    backup.write_bytes(backup.read_bytes()[:-1])
    done = write(rollout)
    assert (done.code, f"{user}: " in done.err) == (1, True), done.err
    assert files_of(rollout) == {}
    assert [path.name for path in (rollout.folder / "letters").iterdir()] == [MARK]


CANARY = "canary-canary-canary-canary-canary-canary-canary-canary"


@pytest.mark.parametrize("fails", ["", "seal_once", "letter_number", "PassphraseFolders.write", "draw"])
def test_the_passphrase_is_in_the_letter_alone(
    rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """It is in no output, no log, no file of the desk and no file to send, also if a step raises an error."""
    (user,) = people(1)
    without_keys(rollout, [user])
    monkeypatch.setattr("mfa_kit.wiring.age_keys.one_time_passphrase", lambda: Secret(CANARY))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(CANARY)

    places = {
        "PassphraseFolders.write": "mfa_kit.adapters.files.passphrase_files.PassphraseFolders.write",
        "draw": "mfa_kit.cli.rollout.handover.letter_page",
    }
    if fails:
        monkeypatch.setattr(places.get(fails, f"mfa_kit.wiring.age_keys.{fails}"), fail)
    done = write(rollout, "--verbose")
    assert (done.code == 0) is not bool(fails), done.err
    assert "canary-" not in done.out + done.err
    found = [
        path
        for folder in (rollout.folder, rollout.desk.home)
        for path in folder.rglob("*")
        if path.is_file() and b"canary-" in path.read_bytes()
    ]
    assert [path.parent.parent.name for path in found] == ([] if fails else ["letters"])


# Kills


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def check_pairs(files: Path, letters: Path) -> int:
    """Check that each file has the letter that opens it, whole. Return the number of files."""
    found = [*files.rglob("*.age")]
    for file in found:
        number = file.name.removesuffix(".png.age")[-6:]
        assert file.read_bytes() == f"sealed {number}".encode()
        letter = letters / file.relative_to(files).parent / file.name.replace(".png.age", ".html")
        assert letter.read_bytes() == f"opens {number}".encode()
    return len(found)


STEPS = ("open", "unlink", "link", "fsync", "mkdir", "write", "rename")


def run_killed(act: Callable[[], None], step: int, *, after: bool) -> bool:
    """Run in a fork that is killed before or after a step. Return whether it was killed."""
    child = os.fork()
    if child == 0:
        left = [step]

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **how: Any) -> Any:
                left[0] -= 1
                if left[0] == 0 and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                last = left[0] == 0
                try:
                    return function(*args, **how)
                finally:
                    if last:
                        os.kill(os.getpid(), signal.SIGKILL)

            return call

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def write_pair(files: Path, letters: Path, number: str) -> None:
    with open_passphrase_folders(files, letters) as folders:
        letter = (".html", Secret(f"opens {number}".encode()))
        folders.write(("alice",), "alice", number, letter=letter, sealed=f"sealed {number}".encode())


@pytest.mark.parametrize("after", [False, True])
def test_a_file_never_exists_without_the_letter_that_opens_it(tmp_path: Path, *, after: bool) -> None:
    """A first and a second run are killed before or after each step. The next run leaves one pair and nothing else."""
    kills = 0
    for earlier in (False, True):
        for step in range(1, 200):
            files, letters = tmp_path / f"f{earlier}{step}", tmp_path / f"l{earlier}{step}"
            if earlier:
                write_pair(files, letters, "111111")
            killed = run_killed(partial(write_pair, files, letters, "222222"), step, after=after)
            kills += killed
            check_pairs(files, letters)
            write_pair(files, letters, "333333")
            assert check_pairs(files, letters) == 1
            assert names(files) | names(letters) == {"alice-333333.png.age", "alice-333333.html", MARK}
            if not killed:
                break
    assert kills > 40


def test_a_full_disk_is_one_sentence_and_leaves_no_file(tmp_path: Path) -> None:
    """For the letter and for the file. Another process that works there is named."""
    files, letters = tmp_path / "files", tmp_path / "letters"
    write_pair(files, letters, "111111")
    for ending in (".html", ".age"):

        def full(folder: int, name: str, *more: Any, ending: str = ending, **how: Any) -> None:
            if name.endswith(ending):
                raise OSError(28, "No space left on device")
            create_file(folder, name, *more, **how)

        with (
            mock.patch.object(passphrase_files, "create_file", full),
            pytest.raises(IntegrityFault, match=r"alice-222222\.\S+ cannot be written: No space left on device"),
        ):
            write_pair(files, letters, "222222")
        assert check_pairs(files, letters) == 0
    with (
        open_passphrase_folders(files, letters),
        pytest.raises(IntegrityFault, match="another mfa-kit process is changing"),
    ):
        write_pair(files, tmp_path / "letters", "222222")


@pytest.fixture
def interrupted() -> Iterator[None]:
    """Press Ctrl-C at the second file."""
    real, calls = identities.encrypt_with_passphrase, []

    def encrypt(content: Secret[bytes], passphrase: Secret[str]) -> bytes:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(content, passphrase)

    with mock.patch.object(identities, "encrypt_with_passphrase", encrypt):
        yield


@pytest.mark.usefixtures("interrupted")
def test_after_a_stop_the_table_has_what_was_written(rollout: Rollout, people: People) -> None:
    """And the next run writes the others."""
    users = people(2)
    without_keys(rollout, users)
    stopped = write(rollout)
    assert (stopped.code, [row["user"] for row in table(rollout)]) == (130, users[:1]), stopped.err
    assert write(rollout, "--only", users[1]).code == 0
    assert [row["user"] for row in table(rollout)] == users


def test_without_users_who_need_one_the_option_changes_nothing(rollout: Rollout, people: People) -> None:
    """There is no folder for letters, and no question."""
    prepare(rollout, people(1))
    assert write(rollout).code == 0
    assert ((rollout.folder / "letters").exists(), len(table(rollout))) == (False, 1)
