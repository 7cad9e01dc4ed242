"""Meetings at a terminal: custodians name their files, and the QR code or the codes are on the alternate screen."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from mfa_kit.core.models import Backup
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from tests.backups.conftest import SEED
from tests.break_glass.conftest import Desk
from tests.cheap_scrypt import cheap_scrypt, seal
from tests.conftest import bare, judge
from tests.terminal.spawn import MFA_KIT
from tests.terminal.window import DARK, Window, picture, read
from tests.test_secrets import secrets_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PROMPT = "identity file of the next custodian: "
PASSPHRASE = "a long passphrase"


def window(desk: Desk, *words: str | Path, size: tuple[int, int] = (120, 50), fork: bool = True) -> Window:
    env = {**bare(), **cheap_scrypt(), "MFA_KIT_HOME": str(desk.home), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    return Window([*MFA_KIT, "break-glass", *map(str, words)], env=env, cwd=desk.folder, size=size, fork=fork)


def protect(desk: Desk, name: str) -> Path:
    """Protect the identity of a person with a passphrase, and return its file."""
    file = desk.folder / f"{name}.age"
    file.write_bytes(seal(desk.key(name).file.read_bytes(), PASSPHRASE))
    return file


@pytest.fixture
def root(desk: Desk) -> Backup:
    """Make a 2 of 3 identity, and a backup that is encrypted to it."""
    return desk.sealed("root", desk.create(2, ("alice", "ssh", "carol"))["recipient"])


def nothing_is_left(desk: Desk, before: set[Path]) -> None:
    """Check that no file has the secret or the break-glass identity, and that no new file is there."""
    [row] = [desk.break_glass("status")]
    identity = desk.identity(row, "alice", "ssh").split()[-1]
    files = {path for path in desk.folder.rglob("*") if path.is_file()}
    for path in files:
        octets = path.read_bytes()
        assert identity not in octets, path
        assert not secrets_in(octets, SEED.reveal()), path
    assert {
        path for path in files - before if "ledger" not in path.name and not path.name.startswith("printed")
    } == set()


def files_of(desk: Desk) -> set[Path]:
    return {path for path in desk.folder.rglob("*") if path.is_file()}


def test_custodians_open_a_backup_together(desk: Desk, root: Backup) -> None:
    """One has a passphrase, the other an SSH key, and they come in another order than that of the set."""
    file, before = protect(desk, "alice"), files_of(desk)
    shown = window(desk, "open", "--backup", str(root.path), "--output", "json")
    shown.see("present: nobody; needed: 2 more")
    shown.see(PROMPT)
    shown.type(str(desk.key("ssh").file))
    shown.see("present: ssh; needed: 1 more")
    shown.see(PROMPT)
    shown.type(str(file))
    shown.see(f"passphrase of {file}: ")
    shown.type("wrong passphrase")
    shown.see("wrong passphrase for")
    shown.see(f"passphrase of {file}: ")  # what is typed before the prompt is discarded
    shown.type(PASSPHRASE)
    shown.see("press Enter to clear the screen: ")
    uri = read(picture(shown.look(), DARK), desk.folder / "screen.png")
    (desk.folder / "screen.png").unlink()
    assert "secret=" in uri
    assert secrets_in(uri.encode(), SEED.reveal())
    shown.type("")
    assert shown.end() == 0
    row = json.loads(shown.printed("out"))
    assert (row["outcome"], row["custodians"]) == ("opened", ["alice", "ssh"])
    assert "the identity was opened, so replace it soon" in shown.printed("err")
    assert "█" not in shown.look().text()
    record = desk.records()[-1]
    assert (record.action, set(record.custodians), record.backups) == (RecoveryKeyAction.OPENED, {"alice", "ssh"}, 1)
    assert "rotate the identity, because it was opened on" in desk.break_glass("status")["due"][0]
    nothing_is_left(desk, before)


def test_the_codes_are_shown_instead(desk: Desk, root: Backup) -> None:
    """They are those of oathtool for the present and the next time step."""
    shown = window(desk, "open", "--backup", str(root.path), "--codes", *desk.here("alice", "carol"))
    shown.see("press Enter to clear the screen: ")
    text = shown.look().text()
    times = ("now - 30 seconds", "now", "now + 30 seconds")
    codes = [
        subprocess.run(
            [judge("oathtool"), "--totp", "--now", when, SEED.reveal().hex()],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for when in times
    ]
    assert sum(f"{code[:3]} {code[3:]}" in text for code in codes) == 2
    shown.type("")
    assert shown.end() == 0
    assert not any(f"{code[:3]} {code[3:]}" in shown.look().text() for code in codes)


def test_the_last_custodian_opens_a_file_that_was_passed_on(desk: Desk, root: Backup) -> None:
    """The identity of the first custodian is not needed any more."""
    [file] = Path(desk.break_glass("status")["folder"]).glob("set-01-*")
    rest = desk.folder / "set-01-for-ssh.age"
    desk.break_glass("pass", file, *desk.here("alice"), "-o", rest)
    shown = window(desk, "open", "--backup", str(root.path), "--from", rest, *desk.here("ssh"))
    shown.see("press Enter to clear the screen: ")
    assert read(picture(shown.look(), DARK), desk.folder / "screen.png").startswith("otpauth://")
    shown.type("")
    assert shown.end() == 0


@pytest.mark.parametrize("codes", [(), ("--codes",)])
def test_an_open_meeting_shows_no_secret_to_other_processes(desk: Desk, root: Backup, codes: tuple[str, ...]) -> None:
    """Neither arguments nor environment variables of a process have it while it is on the screen, nor the output."""
    before = files_of(desk)
    words = ("open", "--backup", str(root.path), *desk.here("alice", "carol"), *codes)
    shown = window(desk, *words, "--debug", "--output", "json", fork=False)
    shown.see("press Enter to clear the screen: ")
    [row] = [desk.break_glass("status")]
    identity = desk.identity(row, "alice", "carol").split()[-1]
    assert shown.child.pid
    pids = [shown.child.pid, *descendants(shown.child.pid)]
    public = [Path(f"/proc/{pid}/{name}").read_bytes() for pid in pids for name in ("cmdline", "environ")]
    assert str(root.path).encode() in public[0]
    assert b"MFA_KIT_HOME" in public[1]
    shown.type("")
    assert shown.end() == 0
    assert json.loads(shown.printed("out"))["outcome"] == "opened"
    assert "so replace it soon" in shown.printed("err")
    for octets in (*public, shown.printed("out").encode(), shown.printed("err").encode()):
        assert identity not in octets
        assert not secrets_in(octets, SEED.reveal())
    nothing_is_left(desk, before)


def descendants(pid: int) -> list[int]:
    """Return the IDs of the children of a process, and of their children (proc(5))."""
    found = [
        int(each) for task in Path(f"/proc/{pid}/task").iterdir() for each in (task / "children").read_text().split()
    ]
    return [*found, *(below for each in found for below in descendants(each))]


SIGNALS = {"sigterm": signal.SIGTERM, "sighup": signal.SIGHUP, "sigkill": signal.SIGKILL}


@pytest.mark.parametrize("end", ["ctrl-c", *SIGNALS])
@pytest.mark.parametrize("when", ["asked", "shown"])
def test_an_interrupted_meeting_leaves_nothing(desk: Desk, root: Backup, end: str, when: str) -> None:
    """The screen is erased, unless the process had no time for it."""
    before = files_of(desk)
    present = desk.here("alice", *(["carol"] if when == "shown" else []))
    shown = window(desk, "open", "--backup", str(root.path), *present)
    shown.see(PROMPT if when == "asked" else "press Enter to clear the screen: ")
    if end == "ctrl-c":
        shown.type("\x03", end="")
    else:
        shown.kill(SIGNALS[end])
    assert shown.end() == (130 if end == "ctrl-c" else -SIGNALS[end])
    if end != "sigkill":
        assert "█" not in shown.look().text()
        assert ("so replace it soon: mfa-kit break-glass rotate" in shown.printed("err")) == (when == "shown")
    nothing_is_left(desk, before)


def test_a_lost_terminal_leaves_nothing(desk: Desk, root: Backup) -> None:
    """The kernel sends SIGHUP when the terminal is closed."""
    before = files_of(desk)
    shown = window(desk, "open", "--backup", str(root.path), *desk.here("alice", "carol"))
    shown.see("press Enter to clear the screen: ")
    shown.child.close(force=False)  # waits for the process
    assert not shown.child.isalive()
    nothing_is_left(desk, before)


def test_two_meetings_at_the_same_time_do_not_interfere(desk: Desk, root: Backup, tmp_path: Path) -> None:
    """Each one has its own custodians, and shows its own backup."""
    first = window(desk, "open", "--backup", str(root.path), "--output", "json")
    (tmp_path / "second").mkdir()
    other = Desk(desk.home, folder=desk.folder)
    second = Window(
        [*MFA_KIT, "break-glass", "open", "--backup", str(root.path), "--output", "json"],
        env={**bare(), "MFA_KIT_HOME": str(other.home), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
        cwd=tmp_path / "second",
        size=(120, 50),
    )
    for names in (("alice", "carol"), ("ssh", "alice")):
        for shown, name in zip((first, second), names, strict=True):
            shown.see(PROMPT)
            shown.type(str(desk.key(name).file))
    for shown in (first, second):
        shown.see("press Enter to clear the screen: ")
        shown.type("")
        assert shown.end() == 0
    assert json.loads(first.printed("out"))["custodians"] == ["alice", "ssh"]
    assert json.loads(second.printed("out"))["custodians"] == ["alice", "carol"]


def test_a_small_window_is_reported(desk: Desk, root: Backup) -> None:
    """The error comes before the meeting, and names the option that needs less room."""
    shown = window(desk, "open", "--backup", str(root.path), size=(40, 10))
    assert shown.end() == 2
    assert "use --codes" in shown.printed("err")
    assert [each.action for each in desk.records()] == [RecoveryKeyAction.SEALED]


@pytest.mark.usefixtures("root")
def test_a_person_accepts_a_folder_by_typing_its_recipient(desk: Desk) -> None:
    """The window shows the custodians, and no recipient until the person has typed it. `--yes` does not answer."""
    row = desk.break_glass("status")
    for file in desk.home.glob("ledger.sqlite*"):
        file.unlink()
    for answer, code in (("yes", 5), (row["recipient"], 0)):
        shown = window(desk, "status", "--accept-unrecorded", "--yes", "--output", "json")
        shown.see("the whole recipient: ")
        text = "".join(shown.look().text().split())
        assert row["recipient"] not in text
        assert all("".join(key.split()) in text for key in row["keys"])
        shown.type(answer)
        assert shown.end() == code
        assert json.loads(shown.printed("out"))["recorded"] is (code == 0)
    assert desk.break_glass("status")["recipient"] == row["recipient"]
