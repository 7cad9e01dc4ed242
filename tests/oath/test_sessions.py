"""Sessions with MFA for other programs, with codes of a key over real PC/SC, in processes of their own."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfa_kit.lab.devices.oathcard import CALCULATE, Quirks, YkoathCard
from tests import pcsc
from tests.conftest import ACCOUNT
from tests.sessions.desk import Desk, new_lab, parsed, sentence
from tests.sizes import sample
from tests.terminal.spawn import MFA_KIT
from tests.terminal.window import Window

# Runs the command in a process where the event number `at` does `what`: it kills the process, or is a Ctrl-C. An event
# is a call of the steps of a renewal, or its end. Without such a number, the process prints how many events there were.
CUT = """
import atexit, functools, os, signal, sys
from mfa_kit.adapters.aws.session_tokens import SessionTokens
from mfa_kit.adapters.files.session_folder import SessionFolder
from mfa_kit.wiring import new_sessions
at, what = int(sys.argv.pop(1)), sys.argv.pop(1)
events = 0
def event():
    global events
    events += 1
    if events == at:
        os.kill(os.getpid(), getattr(signal, what))
def counted(act):
    @functools.wraps(act)
    def call(*args, **more):
        event()
        done = act(*args, **more)
        event()
        return done
    return call
for owner, name in [(SessionFolder, "read"), (SessionFolder, "write"), (SessionTokens, "user_session"),
                    (SessionTokens, "role_session"), (new_sessions, "_ask_code"), (new_sessions, "renew")]:
    setattr(owner, name, counted(getattr(owner, name)))
if at == 0:
    atexit.register(lambda: print(events, file=sys.stderr))
from mfa_kit.cli.main import main
main()
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    pcsc.plug()  # otherwise a key that the test before has pulled seems to be there still
    with new_lab() as lab:
        yield Desk(lab, tmp_path, more=pcsc.shared().env)


def new_key(desk: Desk, *, touch: bool = False, **how: object) -> YkoathCard:
    """Return a key that holds the credential of alice's device."""
    card = YkoathCard(**how)  # type: ignore[arg-type]
    card.credentials[desk.label] = desk.credential(touch=touch)
    return card


def insert(desk: Desk, *, touch: bool = False, **how: object) -> YkoathCard:
    """Plug in a key that holds the credential of alice's device."""
    card = new_key(desk, touch=touch, **how)
    pcsc.plug(card)
    return card


def test_a_key_without_a_terminal_gives_one_session_until_it_is_nearly_over(desk: Desk) -> None:
    """The second call finds the session in the cache: no call to AWS, and no command to the key."""
    card = insert(desk)
    first = desk.run()
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert parsed(first.stdout)["AccountId"] == ACCOUNT
    assert desk.made == ["GetSessionToken"]
    assert [call.operation for call in desk.lab.calls] == desk.made  # one call to AWS in all
    card.log.clear()
    assert desk.run().stdout == first.stdout
    assert (desk.made, card.log) == (["GetSessionToken"], [])


@pytest.mark.parametrize("label", [f"Amazon Web Services:alice@{ACCOUNT}", f"arn:aws:iam::{ACCOUNT}:mfa/alice"])
def test_the_credential_is_found_by_the_names_of_aws_and_aws_vault(label: str, desk: Desk) -> None:
    card = insert(desk)
    card.credentials = {label.encode(): desk.credential()}
    assert desk.run().returncode == 0


def test_the_request_to_touch_is_at_the_terminal(desk: Desk) -> None:
    """It is not on stderr, which the AWS CLI hides. One touch is enough for the user and a role."""
    card = insert(desk, touch=True, touch_delay=0.5)
    window = desk.window("--role-arn", desk.role)
    window.see(f"the code of {desk.serial} comes from")
    window.see("touch the key now (30 s)")
    assert window.end() == 0, window.printed("err")
    assert window.printed("err") == ""
    assert (card.touches, desk.made) == (1, ["GetSessionToken", "AssumeRole"])
    assert desk.run("--role-arn", desk.role).stdout == window.printed("out")


def test_twenty_callers_at_once_make_one_session_with_one_touch(desk: Desk) -> None:
    card = insert(desk, touch=True, touch_delay=1.0)
    callers = [desk.start() for _ in range(20)]
    answers = {caller.communicate(timeout=120)[0] for caller in callers}
    assert [caller.returncode for caller in callers] == [0] * 20
    assert len(answers) == 1
    assert (card.touches, desk.made) == (1, ["GetSessionToken"])


def test_a_key_without_the_credential_is_not_used(desk: Desk) -> None:
    """Without a terminal, nothing can be asked. If it was named, the sentence says that it is the wrong key."""
    card = insert(desk)
    card.credentials = {b"AWS:bob@000000000000": desk.credential()}
    assert "must be typed, but there is no terminal" in sentence(desk.run(), 8)
    said = sentence(desk.run("--key", "12345678"), 3)
    assert f"has no credential of {desk.serial}" in said
    assert CALCULATE not in card.log


def test_of_two_keys_with_the_credential_one_must_be_named(desk: Desk) -> None:
    one, other = new_key(desk), new_key(desk, serial=22222222)
    pcsc.plug(one, other)
    assert "2 keys have the credential" in sentence(desk.run(), 2)
    for file in desk.cache.glob("*.state"):
        file.unlink()
    assert desk.run("--key", "22222222").returncode == 0
    assert CALCULATE not in one.log


def test_a_key_that_is_not_touched_is_one_sentence_for_all_callers(desk: Desk) -> None:
    """The second caller waited for the first, and fails with it. It asks for no touch of its own."""
    card = insert(desk, touch=True, touch_delay=60.0, touch_limit=3.0)
    callers = [desk.start(), desk.start()]
    for caller in callers:
        out, err = caller.communicate(timeout=100)
        done = subprocess.CompletedProcess([], caller.returncode, out, err)
        assert "the key was not touched within 30 s" in sentence(done, 3)
    assert card.log.count(CALCULATE) == 1
    assert desk.made == []


def test_a_key_that_is_pulled_out_is_one_sentence(desk: Desk) -> None:
    insert(desk, quirks=Quirks(pulled_by=CALCULATE))
    sentence(desk.run(), 3)
    assert (desk.made, desk.kept) == ([], [])
    pcsc.clear()


def test_a_code_for_a_wrong_clock_is_corrected_at_the_next_try(desk: Desk) -> None:
    """The key computes with the time that it gets, so mfa-kit gives it AWS's."""
    desk.lab.faults.add("*", "clock", seconds=200)
    insert(desk)
    assert "this computer's clock is 200 s behind AWS's" in sentence(desk.run(), 4)
    (state,) = desk.cache.glob("*.state")
    _, offset, *_ = json.loads(state.read_text())
    state.write_text(json.dumps([-1, offset]))
    done = desk.run()
    assert done.returncode == 0, done.stderr


def test_typed_leaves_the_key_alone(desk: Desk) -> None:
    card = insert(desk)
    assert "must be typed" in sentence(desk.run("--typed"), 8)
    assert card.log == []


def cut(desk: Desk, at: int, what: str, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", CUT, str(at), what, "session", "--profile", "base", *words]
    return subprocess.run(
        command,
        env=desk.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", ["SIGKILL", "SIGINT"])
def test_after_an_end_at_any_step_the_next_caller_gets_a_session(what: str, desk: Desk) -> None:
    """No file is half written, no lock is left, and no code is sent twice. Nothing is printed by the one that ends."""
    insert(desk)
    words = ["--role-arn", desk.role]
    whole = cut(desk, 0, what, *words)
    assert whole.returncode == 0, whole.stderr
    for at in sample(range(1, int(whole.stderr) + 1), 8):
        for file in desk.kept:
            file.unlink()
        desk.forget_step()
        ended = cut(desk, at, what, *words)
        assert ended.returncode == (-signal.SIGKILL if what == "SIGKILL" else 130), (at, ended)
        assert ended.stdout == ""
        for file in desk.kept:
            assert json.loads(file.read_text())["SessionToken"]
        codes = len(desk.lab.account.sts_codes.used)
        steps = [json.loads(file.read_text())[0] for file in desk.cache.glob("*.state")]
        assert bool(codes) <= any(step > 0 for step in steps), at  # a code that was sent is known
        desk.forget_step()
        assert desk.run(*words).returncode == 0, at


@pytest.mark.parametrize("words", [[], ["--typed"]])
def test_own_prompts_take_the_code_from_the_key(words: list[str], desk: Desk) -> None:
    """After saying so, and with the request to touch it. With --typed, the code is typed."""
    card = insert(desk, touch=True)
    window = Window([*MFA_KIT, "status", "@me", "--profile", "base", *words], env=desk.env, cwd=desk.folder)
    if words:
        window.see(f"code of {desk.serial}:")
        window.type(desk.code())
    assert window.end() == 0, window.printed("err")
    said = window.printed("err")
    assert (f"the code of {desk.serial} comes from" in said, "touch the key now" in said) == (not words, not words)
    assert card.touches == (not words)
    assert desk.kept == []


def test_without_prompts_the_key_is_not_asked_for_a_code(desk: Desk) -> None:
    """With --no-input, mfa-kit's own commands wait for nobody, so they do not ask for a touch either."""
    card = insert(desk, touch=True)
    done = subprocess.run(
        [*MFA_KIT, "status", "@me", "--profile", "base", "--no-input"],
        env=desk.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True, check=False,
    )  # fmt: skip
    assert done.returncode == 8
    assert card.log == []


def test_a_caller_that_waits_is_faster_than_a_touch(desk: Desk) -> None:
    """A waiting caller prints the session as soon as the first one has it."""
    insert(desk, touch=True, touch_delay=2.0)
    first, second = desk.start(), desk.start()
    assert first.communicate(timeout=60)[0] == second.communicate(timeout=60)[0] != ""
    began = time.monotonic()
    assert desk.run().returncode == 0
    assert time.monotonic() - began < 2
