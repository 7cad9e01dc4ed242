"""Search for the credentials of a session, and for the access key, wherever they must not be."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfa_kit.adapters.files.session_folder import SessionFolder
from mfa_kit.wiring import new_sessions
from tests.conftest import MfaKit
from tests.sessions.desk import Desk, new_lab
from tests.test_secrets import Frames, loudest


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Return a desk whose environment is that of this process, and whose user types right codes."""
    with new_lab() as lab:
        desk = Desk(lab, tmp_path)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in desk.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(new_sessions, "_ask_code", lambda *_: desk.code())
        yield desk


def test_credentials_are_on_stdout_and_in_the_cache_alone(desk: Desk) -> None:
    """Neither stderr, logs, the state of the device, nor any local variable of mfa-kit shows them.

    The user's own secret access key is nowhere. The code is in no file.
    """
    mfa_kit = MfaKit(desk.home)
    with loudest() as watched, Frames() as frames:
        made = mfa_kit.run("session", "--profile", "base", "--role-arn", desk.role, "--debug")
        kept = mfa_kit.run("session", "--profile", "base", "--role-arn", desk.role)
        out = mfa_kit.run("session", "--profile", "base", "setup", "base")
    assert (made.code, kept.code, out.code) == (0, 0, 0), made.err
    assert made.out == kept.out
    sessions = [json.loads(file.read_text()) for file in desk.kept]
    assert len(sessions) == 2
    canaries = {session[name] for session in sessions for name in ("SecretAccessKey", "SessionToken")}
    own = desk.key.secret_access_key
    texts = {"stderr": made.err + kept.err + out.err + out.out, "logs": watched.text.getvalue()}
    texts |= {file.name: file.read_text() for file in desk.home.rglob("*") if file.is_file() and file not in desk.kept}
    assert any(name.endswith(".state") for name in texts)
    assert not [name for name, text in texts.items() if own in text or any(canary in text for canary in canaries)]
    assert own not in made.out + "".join(file.read_text() for file in desk.kept)
    assert not [name for name, text in texts.items() if name != "logs" and desk.code() in text]
    assert {"session_tokens.py:_issued", "session.py:entry", "session.py:parse_entry"} <= set(frames.seen)
    shown_by = {
        where
        for where, values in frames.seen.items()
        for value in values
        if own in value or any(canary in value for canary in canaries)
    }
    # botocore hands the answer over, and it is dropped at once. Values become secrets in `otp.py:__init__`.
    assert shown_by == {"first line of session_tokens.py:_answered", "first line of otp.py:__init__"}


def test_no_error_shows_a_credential(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure just before the session is kept does not quote it."""
    monkeypatch.setattr(SessionFolder, "write", refuse_sessions)
    done = MfaKit(desk.home).run("session", "--profile", "base", "--debug")
    assert done.code == 70
    assert "internal error: RuntimeError" in done.err
    assert "SecretAccessKey" not in done.err
    assert not any("labT" in text for text in (done.out, done.err))


def refuse_sessions(_: object, name: str, content: object) -> None:
    """Write nothing, and fail with an error that quotes a session."""
    if name.endswith(".json"):
        raise RuntimeError(content.reveal())  # type: ignore[attr-defined]
