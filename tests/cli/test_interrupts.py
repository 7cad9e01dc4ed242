"""Ctrl-C is never lost, even if the KeyboardInterrupt is dropped in a callback or a finalizer."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.conftest import ROOT, MfaKit, bare

# Seconds that a wait lasts if nothing ends it.
LASTS = 20
LOSE = """
import os, signal, sqlite3, socket, sys, threading, time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from mfa_kit.cli import main
from mfa_kit.core.errors import AwsFault

LASTS = 20

def lose():
    "Press Ctrl-C while SQLite calls a function of Python. SQLite drops the exception."
    connection = sqlite3.connect(":memory:")
    connection.set_trace_callback(lambda _: signal.raise_signal(signal.SIGINT))
    connection.execute("select 1")

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

class Answers(socket.socket):
    "Accepts connections of a client and never answers."
    def __init__(self):
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.url = f"http://127.0.0.1:{self.getsockname()[1]}"

def later(seconds):
    "Return the result of a call in another thread, which has not ended yet."
    future = Future()
    threading.Timer(seconds, future.set_result, (0,)).start()
    return future
"""
# Each of these waits for LASTS seconds, or for ever, with the code of a command. `lose()` comes before it begins.
WAITS = {
    "a pause": """
        from mfa_kit.cli.messages import countdown_sleep
        wait = countdown_sleep(plain=True)
        lose()
        wait(LASTS)""",
    "a pause after a finalizer": """
        from mfa_kit.cli.messages import countdown_sleep
        wait = countdown_sleep(plain=True)
        Finalized()
        wait(LASTS)""",
    "a pause of a command with threads": """
        from mfa_kit.core.stopping import Stop
        stop = Stop()
        lose()
        stop.sleep(LASTS)""",
    "a question at the terminal": """
        from mfa_kit.cli.terminal import Terminal
        _, tty = os.openpty()
        lose()
        Terminal(tty, plain=True).ask_code("code", instead="-")""",
    "a question that an inserted key ends": """
        from mfa_kit.cli.terminal import Terminal
        _, tty = os.openpty()
        end = time.monotonic() + LASTS
        lose()
        Terminal(tty, plain=True).ask_unless("key", lambda: time.monotonic() > end or None, instead="-")""",
    "a window of the page": """
        from mfa_kit.cli.browser.page_state import PageState
        lose()
        PageState().wait_for_admin()""",
    "a question on the page": """
        from mfa_kit.cli.browser.page_state import Asks, PageState, Question
        lose()
        PageState().ask(Question(asks=Asks.CODE, text="code"))""",
    "a response of AWS": """
        import botocore.client, mfa_kit.adapters.aws.iam as aws
        server = Answers()
        iam = aws.Iam(observe=print, connection=aws.Connection(endpoint_url=server.url, read_timeout=LASTS))
        call = botocore.client.BaseClient._make_request
        def make_request(*words):
            lose()
            return call(*words)
        botocore.client.BaseClient._make_request = make_request
        iam.caller()""",
    "a response of S3": """
        from mfa_kit.adapters.aws.clients import Connection, open_s3
        from mfa_kit.adapters.aws.s3_calls import S3Calls
        server = Answers()
        client = open_s3(Connection(endpoint_url=server.url, read_timeout=LASTS))
        client.meta.events.register("before-send", lambda **_: lose())
        S3Calls(lambda: client, sleep=time.sleep, encryption={}).ask("list_buckets")""",
    "the lock of a run": """
        from mfa_kit.adapters.ledger.sqlite_database import RunLocks
        folder, run = Path(os.environ["FOLDER"]), "20260101T000000Z-00000000"
        first, second = RunLocks(folder), RunLocks(folder)
        held = first.wait_for(run, wait=1, doing="")
        lose()
        second.wait_for(run, wait=LASTS, doing="")""",
    "an OATH key": """
        from mfa_kit.adapters.oath.pcsc import DeadlineThread
        thread = DeadlineThread()
        lose()
        thread.call(lambda: time.sleep(LASTS), seconds=LASTS)""",
    "a security key": """
        from mfa_kit.adapters.fido.links import Deadline
        deadline = Deadline()
        deadline.start(LASTS)
        lose()
        deadline.wait(lambda: time.sleep(LASTS))""",
    "a worker of a rollout": """
        from mfa_kit.rollout.execution import Workers
        stop = threading.Event()
        results = Workers(act=stop.wait, number=1, stop=stop).work_through([LASTS])
        lose()
        next(results)""",
    "an account": """
        from mfa_kit.organization.slots import AccountSlots
        stop = threading.Event()
        results = AccountSlots(lambda _: stop.wait(LASTS), number=1).work_through([1], on_error=stop.set)
        lose()
        next(results)""",
    "a module to import": """
        folder = Path(os.environ["FOLDER"])
        (folder / "slow.py").write_text(f"import time, os; time.sleep({LASTS})")
        sys.path.insert(0, str(folder))
        lose()
        import slow""",
    "a user of an account": """
        from mfa_kit.core.stopping import Stop
        from mfa_kit.wiring.organization import UserThreads
        stop = threading.Event()
        results = UserThreads(1, stop=Stop())(lambda _: stop.wait(LASTS), [1, 2])
        def go_on():
            with __import__("contextlib").closing(results):
                next(results)
        threading.Timer(LASTS / 4, stop.set).start()
        lose()
        go_on()""",
    "a backup in a bucket": """
        from mfa_kit.backups.opening import ReadAhead
        from mfa_kit.core.stopping import Stop
        ahead = ReadAhead(print, Stop())
        ahead._reading["file"] = later(LASTS / 4)
        lose()
        ahead.read("file")""",
    "another worker": """
        from contextlib import nullcontext
        from mfa_kit.cli.messages import StderrProgress
        from mfa_kit.cli.rollout.results import AccountWork
        from mfa_kit.cli.rollout.running import SharedTurns
        from mfa_kit.organization.accounts import OrgAccount
        end = time.monotonic() + LASTS
        lose()
        shared = SharedTurns(
            works=[AccountWork(account=OrgAccount(id="123456789012"), total=1, alone=True)],
            claim=lambda _: nullcontext(time.monotonic() > end),
            look=lambda _: None,
            count_busy=lambda: 1,
            progress=StderrProgress(quiet=True),
        )
        for work in shared.todo(lambda: False):
            with shared.turn(work):
                pass
            shared.leave(work)""",
}
# Each of these ends by itself after Ctrl-C was lost.
ENDS = {
    "an unexpected error": "lose(); raise ValueError",
    "an error of AWS": "lose(); raise AwsFault('AWS answers X', 'look it up')",
    "an error of a usage": "lose(); import click; raise click.UsageError('no')",
    "a result": "lose(); return 0",
    "an error in zxing-cpp": """
        import zxingcpp
        class Picture:
            times = 0
            @property
            def __array_interface__(self):
                Picture.times += 1
                if Picture.times == 2:
                    signal.raise_signal(signal.SIGINT)
                return {"version": 3}
        zxingcpp.read_barcodes(Picture())""",
    "an extension module of C++": """
        import enum
        call = enum.EnumType.__call__
        def make(*words, **named):
            signal.raise_signal(signal.SIGINT)
            return call(*words, **named)
        enum.EnumType.__call__ = make
        try:
            import zxingcpp
        finally:
            enum.EnumType.__call__ = call""",
    "an error in awscrt": """
        from awscrt.auth import (
            AwsCredentialsProvider, AwsSigningAlgorithm, AwsSignatureType, AwsSigningConfig, aws_sign_request)
        from awscrt.http import HttpHeaders, HttpRequest
        import io
        class Body(io.BytesIO):
            def seek(self, *words):
                signal.raise_signal(signal.SIGINT)
                return super().seek(*words)
        config = AwsSigningConfig(
            algorithm=AwsSigningAlgorithm.V4, signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS, region="r",
            service="iam", credentials_provider=AwsCredentialsProvider.new_static("a", "b"))
        request = HttpRequest("POST", "/", HttpHeaders([("host", "h")]), Body(b"x"))
        aws_sign_request(request, config).result(LASTS)""",
}


def script(body: str) -> str:
    """Return a program that runs `body` in place of a command."""
    lines = "\n    ".join(re.sub(r"^ {8}", "", body.strip("\n"), flags=re.MULTILINE).splitlines())
    return f"{LOSE}\ndef show(*_, **__):\n    {lines}\n\nmain.cli.main = show\nmain.main()\n"


def check_interrupted(body: str, tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    env = {**bare(), **keys, "MFA_KIT_HOME": str(tmp_path), "FOLDER": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script(body)], env=env, capture_output=True, text=True, timeout=150, check=False
    )
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (130, ["mfa-kit: interrupted"]), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("wait", WAITS)
def test_a_lost_ctrl_c_ends_a_wait(wait: str, tmp_path: Path) -> None:
    """The wait looks at the record of Ctrl-C, so it ends although no exception reached it."""
    began = time.monotonic()
    check_interrupted(WAITS[wait], tmp_path)
    assert time.monotonic() - began < LASTS


@pytest.mark.parametrize("end", ENDS)
def test_a_command_that_ends_after_a_lost_ctrl_c_says_interrupted(end: str, tmp_path: Path) -> None:
    """The error may be a consequence of the dropped exception, so it is not reported."""
    check_interrupted(ENDS[end], tmp_path)


def test_every_pause_looks_at_the_record() -> None:
    """time.sleep does not, so only the lab and two pauses of less than a second use it."""
    files = [file for file in (ROOT / "mfa_kit").rglob("*.py") if "lab" not in file.relative_to(ROOT).parts]
    assert {file.name for file in files if "time.sleep(" in file.read_text("utf-8")} == {
        "plugins.py",
        "card_readers.py",
    }


SETTLES = """
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.core.errors import OutcomeUnknownError
enable, delete = Iam.enable, Iam.delete

def lost_enable(*_):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as interrupted:
        raised = interrupted
    raise {error}

def lost_delete(self, serial):
    {again}
    return delete(self, serial)

Iam.enable, Iam.delete = lost_enable, lost_delete
main.main()
"""
ENROLL = ("--with", "virtual", "--codes", "generated")


def settle(mfa_kit: MfaKit, user: str, recipient: str, *, error: str, again: str) -> tuple[int, str]:
    program = LOSE + SETTLES.format(error=error, again=again)
    words = [sys.executable, "-c", program, "enroll", user, *ENROLL, "-r", recipient]
    env = {**bare(), **mfa_kit.env, "MFA_KIT_HOME": str(mfa_kit.home)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=150, check=False)
    return done.returncode, done.stderr


ERRORS = ("RuntimeError", "RuntimeError from raised", "Unclear('no answer', 'try again')", "KeyboardInterrupt")


@pytest.mark.parametrize("error", ERRORS)
def test_a_lost_ctrl_c_does_not_end_the_settling(
    error: str, mfa_kit: MfaKit, user: str, recipient: str, lab: Lab
) -> None:
    """The half-made device is removed first. Then the command says that it was interrupted."""
    code, said = settle(mfa_kit, user, recipient, error=error, again="pass")
    assert (code, "mfa-kit: interrupted\n" in said) == (130, True), said
    assert f"removed arn:aws:iam::000000000000:mfa/{user}" in said
    assert f"arn:aws:iam::000000000000:mfa/{user}" not in lab.serials()


def test_a_second_ctrl_c_ends_the_settling_even_if_it_is_lost(
    mfa_kit: MfaKit, user: str, recipient: str, lab: Lab
) -> None:
    """The note says what is left, and the next run settles it."""
    code, said = settle(mfa_kit, user, recipient, error="RuntimeError", again="lose()")
    assert code == 130
    assert f"  note: arn:aws:iam::000000000000:mfa/{user} is not settled yet: the removal was interrupted too" in said
    assert f"arn:aws:iam::000000000000:mfa/{user}" in lab.serials()
    assert mfa_kit.run("enroll", user, *ENROLL, "-r", recipient).code == 0


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 100
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("command", ["enroll", "rollout apply", "lab serve", "lab run"])
def test_an_ignored_sigint_stays_ignored(
    command: str, mfa_kit: MfaKit, user: str, recipient: str, at_lab: Lab, tmp_path: Path
) -> None:
    """A shell starts a command in the background of a script in this way, and so does nohup for SIGHUP."""
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,kind,recipient\n{user},virtual,{recipient}\n")
    assert mfa_kit.run("rollout", "plan", roster, "-o", plan).code == 0
    words = {
        "enroll": ("enroll", user, *ENROLL, "-r", recipient),
        "rollout apply": ("rollout", "apply", plan, "-r", recipient),
        "lab serve": ("lab", "serve"),
        "lab run": ("lab", "run", "--", "sh", "-c", "echo up; sleep 2"),
    }[command]
    at_lab.faults.add("EnableMFADevice", "latency", seconds=3)
    process = mfa_kit.start(*words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    with process:
        if command.startswith("lab"):
            assert process.stdout
            assert process.stdout.readline()
        else:
            wait_for(lambda: f"arn:aws:iam::000000000000:mfa/{user}" in at_lab.serials())
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.3)
        if command == "lab serve":
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
            process.terminate()
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        assert "Ctrl-C" not in err
