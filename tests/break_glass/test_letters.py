"""Keys that are made for custodians without one: they are on a letter, which must be confirmed, and nowhere else."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.adapters.files import layers
from mfa_kit.break_glass import creating
from mfa_kit.cli import terminal
from mfa_kit.core.interaction import Nobody
from tests.backups.conftest import SEED
from tests.break_glass.conftest import Desk, peel, seed_in
from tests.break_glass.test_faults import ACTS, Counter, another, cases, kill, run
from tests.conftest import COUNTED, judge
from tests.letters.judges import codes_in, pictures_of, size_of, text_of
from tests.test_secrets import Frames, loudest


@pytest.fixture
def agrees(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Type what is asked for at each confirmation. Return the list of what was confirmed."""
    said: list[str] = []

    class Person(Nobody):
        """Confirms everything."""

        def confirm(self, action: str, *, typed: str, instead: str = "--yes") -> None:
            said.append(f"{action}; {typed}; {instead}")

    monkeypatch.setattr(terminal, "find_person", lambda **_: Person("nobody types"))
    return said


def letters_in(desk: Desk) -> Path:
    folder = desk.folder / "letters"
    folder.mkdir(exist_ok=True)
    return folder


def words_for(desk: Desk, *new: str, paper: str = "a4") -> list[str]:
    """Return the options of a group: alice with her key, and new custodians."""
    options = [word for name in new for word in ("--custodian", name)]
    return [*desk.group(2, ["alice"]), *options, "--letters", str(letters_in(desk)), "--paper", paper]


def identity_on(letter: Path) -> str:
    """Return the identity that zbarimg reads from a letter."""
    [found] = [code for page in pictures_of(letter) for code in codes_in(page)]
    for page in letter.parent.glob("*.png"):
        page.unlink()
    return found


@pytest.mark.parametrize("paper", ["a4", "letter"])
def test_a_custodian_without_a_key_gets_a_letter(desk: Desk, agrees: list[str], paper: str) -> None:
    """Age opens the files and a backup with the identity that is scanned from the letter. Its mode is 0600."""
    row = desk.break_glass("create", *words_for(desk, "carol", paper=paper))
    letter = letters_in(desk) / "break-glass-carol.pdf"
    assert (letter.stat().st_mode & 0o777, size_of(letter)[1] < 600) == (0o600, paper == "a4")
    assert len(agrees) == 1
    assert str(letter) in agrees[0]
    assert agrees[0].endswith("unencrypted; print it, and delete the file; yes; a terminal")
    scanned = desk.folder / "carol.txt"
    scanned.write_text(f"{identity_on(letter)}\n")
    public = subprocess.run([judge("age-keygen"), "-y", scanned], capture_output=True, text=True, check=True).stdout
    manifest = json.loads((Path(row["folder"]) / "manifest.json").read_text())
    assert [each["key"] for each in manifest["custodians"]] == [desk.key("alice").public, public.strip()]
    [file] = Path(row["folder"]).glob("set-*.age")
    identity = peel(file.read_bytes(), [desk.key("alice").file, scanned])
    backup = desk.sealed("root", row["recipient"])
    assert seed_in(backup, identity, desk.folder) == SEED
    assert desk.break_glass("drill", *desk.here("alice"), "-i", scanned)["outcome"] == "passed"
    text = text_of(letter)
    assert row["recipient"] in text
    assert public.strip() in text


def test_new_custodians_of_an_identity_get_letters_too(desk: Desk, agrees: list[str]) -> None:
    """`custodians` has the same options."""
    desk.create(2, ("alice", "bob"))
    row = desk.break_glass("custodians", *desk.here("alice", "bob"), *words_for(desk, "carol", "dave"))
    assert row["custodians"] == ["alice", "carol", "dave"]
    carol, dave = (identity_on(letters_in(desk) / f"break-glass-{name}.pdf") for name in ("carol", "dave"))
    assert carol != dave
    assert len(agrees) == 1


@pytest.mark.parametrize("words", [[], ["--yes"], ["--no-input"]])
def test_a_letter_needs_a_terminal(desk: Desk, words: list[str]) -> None:
    """Not even --yes confirms it. Nothing is written or recorded."""
    done = desk.run("break-glass", "create", *words_for(desk, "carol"), *words)
    assert (done.code, list(letters_in(desk).iterdir()), (desk.home / "break-glass").exists()) == (8, [], False)
    assert desk.records() == []


def test_a_dry_run_writes_no_letter(desk: Desk) -> None:
    """It shows the sets, and asks nothing."""
    done = desk.run("break-glass", "create", *words_for(desk, "carol"), "--dry-run", "--output", "json")
    assert (done.code, list(letters_in(desk).iterdir())) == (0, [])
    assert "set-01-alice-carol.age" in done.out


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--custodian", "carol"], "the custodian carol has no public key", "--letters DIR"),
        (["--custodian", "carol=", "--letters", "."], "the custodian carol has no public key", "--letters DIR"),
        (["--letters", "."], "so there is no letter to write", "omit --letters"),
        (["--custodian", "carol", "--letters", "missing"], "there is no folder", "create it"),
    ],
)
def test_letters_and_custodians_without_keys_belong_together(
    desk: Desk, agrees: list[str], words: list[str], message: str, hint: str
) -> None:
    """Otherwise a typing mistake would make a key that no one expects."""
    done = desk.run("break-glass", "create", *desk.group(1, ["alice"]), *words)
    assert done.code == 2
    said = " ".join(done.err.split())
    assert message in said
    assert hint in said
    assert agrees == []


def test_an_existing_letter_is_never_overwritten(desk: Desk, agrees: list[str]) -> None:
    """It may be the only copy of a key."""
    (letters_in(desk) / "break-glass-dave.pdf").write_text("the only copy")
    done = desk.run("break-glass", "create", *words_for(desk, "carol", "dave"))
    assert (done.code, agrees) == (5, [])
    assert [each.name for each in letters_in(desk).iterdir()] == ["break-glass-dave.pdf"]


@pytest.mark.parametrize("step", ["second letter", "folder", "after the folder"])
@pytest.mark.usefixtures("agrees")
def test_letters_and_folder_are_complete_or_not_there(desk: Desk, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A folder without its letters would need a key that no one has. If the folder is there, the letters stay."""
    real, drawn = layers.RecoveryKeyFolders.write, creating.custodian_letter

    def folder(*args: Any) -> None:
        if step == "after the folder":
            real(*args)
        raise OSError(28, "No space left on device")

    def letter(custodian: Any, *args: Any, **how: Any) -> Any:
        if custodian.name == "dave":
            raise OSError(28, "No space left on device")
        return drawn(custodian, *args, **how)

    if step == "second letter":
        monkeypatch.setattr(creating, "custodian_letter", letter)
    else:
        monkeypatch.setattr(layers.RecoveryKeyFolders, "write", folder)
    done = desk.run("break-glass", "create", *words_for(desk, "carol", "dave"))
    assert done.code != 0
    complete = step == "after the folder"
    assert len(list(letters_in(desk).iterdir())) == (2 if complete else 0)
    assert len(list(desk.home.glob("break-glass/*/manifest.json"))) == int(complete)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("agrees")
@ACTS
def test_a_broken_create_leaves_no_folder_without_its_letter(
    desk: Desk, act: Callable[[], None], after: bool, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """At whichever step it breaks, a folder has the key of the letter. Only a kill leaves a letter without a folder."""

    def words(name: str) -> list[str]:
        (desk.folder / name).mkdir()
        return ["create", *desk.group(2, ["alice"]), "--custodian", "carol", "--letters", str(desk.folder / name)]

    steps = cases(desk, words("first"))
    for at in steps:
        new = another(desk, str(at), monkeypatch)
        code, _ = run(new, words(str(at)), Counter(act, at=at, after=after))
        assert code == -signal.SIGKILL if act is kill else code in {5, 70}, at
        letters = list((desk.folder / str(at)).glob("*.pdf"))
        folders = list((new.home / "break-glass").glob("2*"))
        if act is not kill:
            assert len(letters) == len(folders)
        for folder in folders:
            [letter] = letters
            key = pyrage.x25519.Identity.from_str(identity_on(letter)).to_public()
            manifest = json.loads((folder / "manifest.json").read_text())
            assert manifest["custodians"][1]["key"] == str(key)
    record_property(*(COUNTED, ("faults in break-glass create with letters", len(steps))))


@pytest.mark.usefixtures("agrees")
def test_the_new_identity_is_only_on_the_letter(desk: Desk) -> None:
    """It is in no output, log, file, ledger or local variable of the program."""
    with Frames() as frames, loudest() as logs:
        done = desk.run("break-glass", "create", *words_for(desk, "carol"), "--verbose")
        export = desk.run("ledger", "export")
    assert (done.code, export.code) == (0, 0)
    identity = identity_on(letters_in(desk) / "break-glass-carol.pdf")
    text = done.out + done.err + export.out + export.err + logs.text.getvalue()
    assert identity not in text
    for path in desk.folder.rglob("*"):
        assert not path.is_file() or identity.encode() not in path.read_bytes(), path
    shown = {where for where, values in frames.seen.items() for value in values if identity in value}
    assert shown <= {"first line of otp.py:__init__"}
    assert any("identities.py" in where for where in frames.seen)


def test_a_drill_writes_a_protocol_to_sign(desk: Desk) -> None:
    """It needs no terminal, because it has no secret. A failed drill has one too."""
    row = desk.create(2, ("alice", "ssh"))
    desk.sealed("root", row["recipient"])
    file = desk.folder / "drill.pdf"
    words = (*desk.here("alice", "ssh"), "--paper", "letter")
    assert desk.break_glass("drill", *words, "--protocol", file)["outcome"] == "passed"
    text = text_of(file)
    assert "1 of 1 opened" in text
    assert row["recipient"] in text
    assert re.findall(r"^(\S+) +date$", text, re.MULTILINE) == ["alice", "ssh"]
    assert (size_of(file)[1], file.stat().st_mode & 0o777) == (612, 0o600)
    damaged = desk.sealed("admin", row["recipient"])
    Path(str(damaged.path)).write_bytes(b"age-encryption.org/v1\n")
    desk.break_glass("drill", *words, "--protocol", desk.folder / "second.pdf", code=5)
    assert "admin" in text_of(desk.folder / "second.pdf")


def test_a_protocol_that_cannot_be_written_stops_the_drill_first(desk: Desk) -> None:
    """No custodian is asked, and no drill is recorded."""
    row = desk.create(1, ("alice",))
    desk.sealed("root", row["recipient"])
    file = desk.folder / "drill.pdf"
    file.write_text("another one")
    before = len(desk.records())
    desk.break_glass("drill", *desk.here("alice"), "--protocol", file, code=5)
    assert (len(desk.records()), file.read_text()) == (before, "another one")
