"""Search for the break-glass identity and the secret of a backup in output, logs, files and local variables."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from mfa_kit.cli import terminal
from mfa_kit.core.interaction import Nobody
from mfa_kit.core.otp import Secret
from tests.backups.conftest import SEED
from tests.break_glass.conftest import Desk
from tests.conftest import Result
from tests.test_secrets import Frames, loudest, secrets_in

T = TypeVar("T")
THREE = ("alice", "bob", "ssh")
# Frames puts this before a place where an argument has its value already.
FIRST = "first line of "


@pytest.mark.slow
def test_neither_identity_nor_seed_is_anywhere(desk: Desk) -> None:
    """The commands are create, drill, pass, custodians and rotate. The custodians' own keys are not shown either."""
    row = desk.create(2, THREE)
    desk.sealed("root", row["recipient"])
    said: list[Result] = []
    here = desk.here("ssh", "bob")
    with Frames() as frames, loudest() as logs:
        said.append(desk.run("break-glass", "create", *desk.group(3, THREE), "--dir", desk.folder / "other"))
        said.append(desk.run("break-glass", "drill", *here, "--dir", row["folder"], "--verbose"))
        [file] = Path(row["folder"]).glob("set-03*")
        said.append(desk.run("break-glass", "pass", file, *desk.here("bob"), "-o", desk.folder / "set-03-x.age"))
        said.append(desk.run("break-glass", "rotate", *here))
        said.append(desk.run("break-glass", "custodians", *here, *desk.group(1, ["bob"])))
        said.append(desk.run("break-glass", "status"))
        said.append(desk.run("ledger", "export"))
    assert [each.code for each in said] == [0] * 7
    assert {"layers.py:sealed", "layers.py:open_layers", "meeting.py:_hold", "layers.py:remove_layer"} <= set(
        frames.seen
    )
    identities = [_identity(desk, folder) for folder in (row["folder"], *_folders(desk, row["folder"]))]
    assert len(set(identities)) == 2
    custodians = [desk.key(name).file.read_text().split()[-2 if name == "ssh" else -1] for name in THREE]
    secrets = [*(each.decode() for each in identities), desk.key("alice").file.read_text().strip(), custodians[1]]
    shown = {
        where
        for where, values in frames.seen.items()
        for value in values
        if any(each in value for each in secrets) or secrets_in(value.encode(), SEED.reveal()) or "PNG\\r" in value
    }
    # These are the places where a value becomes a secret.
    assert shown <= {"first line of otp.py:__init__"}
    text = "".join(each.out + each.err for each in said) + logs.text.getvalue()
    files = [path for path in desk.folder.rglob("*") if path.is_file() and path.suffix != ".key"]
    assert len(files) > 10
    for octets in [text.encode(), *(path.read_bytes() for path in files)]:
        assert not any(each.encode() in octets for each in secrets)
        assert not secrets_in(octets, SEED.reveal())


def _folders(desk: Desk, first: str) -> list[str]:
    return sorted(str(each) for each in (desk.home / "break-glass").iterdir() if str(each) != first)


def _identity(desk: Desk, folder: str) -> bytes:
    """Return the line with the identity that age finds in a folder whose custodians include bob."""
    names = ("bob",) if list(Path(folder).glob("set-01-bob.age")) else ("alice", "bob")
    return desk.identity({"folder": folder}, *names).split()[-1]


class Custodian(Nobody):
    """A person at a terminal, who sees what is shown, and types nothing. `shown` has what they saw."""

    def __init__(self) -> None:
        super().__init__("nobody types")
        self.shown: list[Secret[str]] = []

    def check(self, *parts: Secret[str], instead: str) -> None:
        pass

    def show(self, *parts: Secret[str], instead: str) -> None:
        self.shown += parts

    def pause(self, prompt: str, *, instead: str) -> None:
        pass

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        return ""


@pytest.mark.slow
@pytest.mark.parametrize("codes", [(), ("--codes",)])
def test_opening_a_backup_leaves_no_secret(desk: Desk, codes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the person sees it. No output, log, file, local variable, argument or environment variable has it."""
    row = desk.create(2, THREE)
    backup = desk.sealed("root", row["recipient"])
    person = Custodian()
    monkeypatch.setattr(terminal, "find_person", lambda **_: person)
    words = ("break-glass", "open", "--backup", str(backup.path), *desk.here("alice", "ssh"), *codes)
    with Frames() as frames, loudest() as logs:
        done = desk.run(*words, "--debug", "--output", "json")
        exported = desk.run("ledger", "export")
    assert (done.code, exported.code) == (0, 0), done.err
    seen = "".join(each.reveal() for each in person.shown).replace(" ", "")
    assert secrets_in(seen.encode(), SEED.reveal()) if codes else "█" in seen
    assert {"break_glass.py:open_backup", "layers.py:remove_layer"} <= {
        where.removeprefix(FIRST) for where in frames.seen
    }
    identity = _identity(desk, row["folder"])
    places = {
        where
        for where, values in frames.seen.items()
        if any(_has_secret(value.encode(), identity) or "PNG\\r" in value for value in values)
    }
    assert places <= {f"{FIRST}otp.py:__init__"}
    for text in (done.out, done.err, exported.out, exported.err, logs.text.getvalue(), repr(words), repr(os.environ)):
        assert not _has_secret(text.encode(), identity)
    files = [path for path in desk.folder.rglob("*") if path.is_file() and path.suffix != ".key"]
    assert len(files) > 5
    assert [path for path in files if _has_secret(path.read_bytes(), identity)] == []


def _has_secret(octets: bytes, identity: bytes) -> bool:
    return identity in octets or bool(secrets_in(octets, SEED.reveal()))
