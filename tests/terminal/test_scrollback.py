"""Tests of the scrollback of a multiplexer: tmux keeps more text than the window shows."""

import base64
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyotp
import pytest

from mfa_kit.lab.aws.server import Lab

SERIAL = "arn:aws:iam::000000000000:mfa/alice"
PROGRAM = f"{sys.executable} -m mfa_kit"
SECONDS = 60


class Tmux:
    """One pane of a separate tmux server, with its history."""

    def __init__(self, socket: Path, env: dict[str, str], *options: str) -> None:
        self._socket, self._env = str(socket), env
        config = socket.with_suffix(".conf")
        config.write_text("".join(f"set -g {option}\n" for option in ("history-limit 5000", *options)), "utf-8")
        self.run("-f", str(config), "new-session", "-d", "-x", "100", "-y", "40", "bash --norc --noprofile")

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words], env=self._env, capture_output=True, text=True, check=True
        )
        return done.stdout

    def type(self, text: str) -> None:
        self.run("send-keys", "-l", text)
        self.run("send-keys", "Enter")

    def history(self) -> str:
        return self.run("capture-pane", "-p", "-S", "-")

    def see(self, text: str, *, times: int = 1) -> None:
        until = time.monotonic() + SECONDS
        while self.run("capture-pane", "-p").count(text) < times:
            assert time.monotonic() < until, self.history()
            time.sleep(0.1)


@pytest.fixture
def tmux(env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Tmux]]:
    started: list[Tmux] = []

    def start(*options: str) -> Tmux:
        started.append(Tmux(tmp_path / "tmux", env, *options))
        return started[-1]

    yield start
    for each in started:
        each.run("kill-server")


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("ending", ["enrolled", "interrupted", "killed"])
def test_the_scrollback_contains_no_secret(ending: str, lab: Lab, tmux: Callable[..., Tmux]) -> None:
    """It has no half blocks and no secret in groups, however the command ended."""
    pane = tmux()
    pane.type(f"clear; {PROGRAM} enroll alice --with virtual --codes one --show-secret; echo ended")
    pane.see("code:")
    shown = pane.run("capture-pane", "-p")
    seed = base64.b32encode(lab.seed(SERIAL)).decode()
    assert "▄" in shown
    assert seed[:4] in shown
    match ending:
        case "enrolled":
            pane.type(pyotp.TOTP(seed).at(lab.account.now()))
        case "interrupted":
            pane.run("send-keys", "C-c")
        case _:
            pid = pane.run("display-message", "-p", "#{pane_pid}").strip()
            subprocess.run(["pkill", "-TERM", "-P", pid], check=True)
    pane.see("ended")
    history = pane.history()
    assert not set(history) & set("▀▄█")
    assert not [group for at in range(0, 64, 4) if (group := seed[at : at + 4]) in history]
    assert "lab-admin" in history
