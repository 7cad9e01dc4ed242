"""The entry point: exit codes, errors with hints, no control characters on a terminal, pipes and signals."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from mfa_kit import __version__
from mfa_kit.cli import main
from mfa_kit.cli.main import COMMANDS
from mfa_kit.cli.options import Row
from mfa_kit.cli.usage import WORDS
from mfa_kit.core import errors
from mfa_kit.core.notes import Note
from mfa_kit.core.text import printable
from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit, Result, bare
from tests.terminal.spawn import MFA_KIT, spawn


def wait_for(met: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not met():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make the verb `doctor` raise an error."""

    def plant(error: BaseException) -> None:
        @click.command()
        def doctor() -> None:
            raise error

        monkeypatch.setattr("mfa_kit.cli.doctor.doctor", doctor)

    return plant


class Panic(BaseException):
    """Stands in for the exception that pyo3 raises when Rust code panics. It is not an Exception."""


ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.MfaKitError) and kind is not errors.MfaKitError
]


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_a_sentence_a_hint_its_notes_and_its_exit_code(
    kind: type[errors.MfaKitError], mfa_kit: MfaKit, raising: Callable[[BaseException], None]
) -> None:
    """They are on stderr, without a traceback; stdout is empty."""
    error = kind("it rains", "take an umbrella")
    error.add_note("it may hail")
    raising(error)
    done = mfa_kit.run("doctor")
    assert (done.code, done.out) == (kind.exit_code, "")
    assert done.err == "mfa-kit: it rains\n  try: take an umbrella\n  note: it may hail\n"


@pytest.mark.parametrize(
    ("words", "commands"),
    [
        ("unenroll", ["revoke USER", "rollout undo"]),
        ("Unenrol", ["revoke USER", "rollout undo"]),
        ("delete", ["revoke USER", "rollout undo", "orphans clean", "backup prune"]),
        ("backup delete", ["backup prune"]),
        ("key delete", ["key reset"]),
        ("restore", ["backup restore"]),
        ("offboard", ["policy offboard USER", "revoke USER", "backup prune"]),
        ("leave", ["policy offboard USER", "revoke USER", "backup prune"]),
        ("list", ["status", "backup list", "key list", "orphans list"]),
        ("letters", ["rollout handover"]),
        ("rollout letters", ["rollout handover"]),
        ("version", ["--version"]),
        ("versions", ["--version"]),
        ("login", ["session"]),
        ("user", ["status"]),
        ("rekey", ["backup rekey"]),
        ("backup clean", ["orphans clean"]),
        ("drill", ["backup drill", "break-glass drill"]),
        ("handovr", ["rollout handover"]),
    ],
)
def test_the_hint_for_an_unknown_command_has_the_words_of_people(
    words: str, commands: list[str], mfa_kit: MfaKit
) -> None:
    """All commands are searched, and a table of other words for them. Each command has its purpose."""
    done = mfa_kit.run(*words.split())
    assert (done.code, done.err.splitlines()[0]) == (2, f"mfa-kit: there is no command {words!r}")
    assert re.findall(r"(?<=: )mfa-kit ([^;\n]+)", done.err.splitlines()[1]) == commands


@pytest.mark.parametrize(
    ("words", "opposite"),
    [
        ("unenrolling", "enroll"),
        ("unboard", "onboard"),
        ("policy unboard", "onboard"),
        ("rollout deactivat", "activate"),
        ("ledger imports", "ledger export"),
        ("token exporter", "import"),
        ("rollout do", "undo"),
        ("undelete", "revoke"),
        ("status --no-wide", "--wide"),
    ],
)
def test_no_hint_suggests_the_opposite(words: str, opposite: str, mfa_kit: MfaKit) -> None:
    """A word and its opposite often differ in two letters."""
    done = mfa_kit.run(*words.split())
    assert done.code == 2
    assert opposite not in done.err.splitlines()[1]


def test_a_word_without_a_purpose_has_a_plain_command(mfa_kit: MfaKit) -> None:
    """An option has no purpose, so the hint is only what to type."""
    assert mfa_kit.run("version").err.splitlines()[1] == "  try: mfa-kit --version"


def test_each_word_for_a_command_names_commands() -> None:
    """A word of the table that was itself a command at the top would never be looked up."""
    assert not {*WORDS} & {*COMMANDS}
    for line in {line for lines in WORDS.values() for line in lines if not line.startswith("-")}:
        row, rows = None, COMMANDS
        for name in line.removesuffix(" USER").split():
            row = rows[name]
            rows = row.held if not isinstance(row.held, str) else {}
        assert row
        assert row.line


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_has_a_short_option(option: str, mfa_kit: MfaKit) -> None:
    """Both print one line."""
    done = mfa_kit.run(option)
    assert (done.code, done.out) == (0, f"mfa-kit {__version__}\n")


def last_error(done: Result) -> dict[str, object]:
    """Return the error on the last line of stderr, without the fields that all errors have in common."""
    fields: dict[str, object] = json.loads(done.err.splitlines()[-1])
    assert (fields.pop("schema"), fields.pop("version")) == ("mfa-kit/error", 1)
    assert not [line for line in done.err.splitlines() if line.startswith(("mfa-kit:", "  try:", "  note:"))]
    return fields


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize("kind", ERRORS)
def test_with_json_an_error_is_the_last_line_of_stderr(
    kind: type[errors.MfaKitError], form: str, mfa_kit: MfaKit, raising: Callable[[BaseException], None]
) -> None:
    """One object has the texts of the messages, cleaned like them, and nothing else of the exception."""
    error = kind("it\nrains\x1b", "take an\rumbrella")
    error.aws_code = "Weather"
    error.add_note("it may\u2028hail")
    vars(error)["response"] = "canary"
    raising(error)
    done = mfa_kit.run("--output", form, "doctor")
    assert (done.code, done.out) == (kind.exit_code, "")
    assert last_error(done) == {
        "class": errors.name_in_ledgers(error),
        "code": "Weather",
        "message": r"it\nrains\x1b",
        "hint": r"take an\rumbrella",
        "notes": [r"it may\u2028hail"],
        "exit_code": kind.exit_code,
    }
    assert "canary" not in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["doctor", "--output=json", "--loud"],
        ["enroll", "--output", "jsonl"],
        ["enroll", "--query", "user"],
        ["--output", "json", "sing"],
        ["--output", "json", "backup"],
        ["doctor", "--output", "table", "--output", "json", "more"],
    ],
    ids=" ".join,
)
def test_an_invalid_command_line_that_asks_for_json_is_answered_with_json(words: list[str], mfa_kit: MfaKit) -> None:
    """The parser may stop before it comes to --output."""
    done = mfa_kit.run(*words)
    assert (done.code, done.out) == (2, "")
    error = last_error(done)
    assert (error["class"], error["code"], error["exit_code"]) == ("UsageFault", None, 2)
    assert error["message"]
    assert error["hint"]


def test_the_variable_for_the_output_form_also_counts_for_errors(
    mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--output table` on the command line wins. Words after `--` belong to another program."""
    monkeypatch.setenv("MFA_KIT_OUTPUT", "json")
    assert last_error(mfa_kit.run("sing"))["exit_code"] == 2
    assert mfa_kit.run("--output", "table", "sing").err.startswith("mfa-kit: ")
    monkeypatch.delenv("MFA_KIT_OUTPUT")
    assert mfa_kit.run("sing", "--", "--output", "json").err.startswith("mfa-kit: ")


def test_an_interrupt_with_json_is_the_last_line(mfa_kit: MfaKit, raising: Callable[[BaseException], None]) -> None:
    """Its class has the name that the log of events uses."""
    error = KeyboardInterrupt()
    error.add_note("a device is left")
    raising(error)
    done = mfa_kit.run("--output", "json", "doctor")
    shown = last_error(done)
    assert (done.code, shown["class"], shown["notes"]) == (130, "Interrupted", ["a device is left"])


@pytest.mark.parametrize("fields", [("NoSuchEntity", None), ("AccessDenied", "denied")], ids=str)
def test_an_error_as_json_has_the_code_of_aws(
    fields: tuple[str, str | None], mfa_kit: MfaKit, lab: Lab, user: str, recipient: str
) -> None:
    """The results of a command that ends early stay on stdout."""
    code, fault = fields
    if fault:
        lab.faults.add("EnableMFADevice", fault)
    words = ("enroll", user if fault else "nobody", "--with", "virtual", "--codes", "generated", "-r", recipient)
    done = mfa_kit.run(*words, "--output", "json")
    assert (done.code, last_error(done)["code"]) == (4, code)


def test_an_unexpected_error_is_reported_without_its_message(
    mfa_kit: MfaKit, raising: Callable[[BaseException], None]
) -> None:
    """The message may contain a secret. The type and the place are enough for a bug report."""
    raising(RuntimeError("HIDDEN"))
    done = mfa_kit.run("doctor")
    assert done.code == 70
    assert "internal error: RuntimeError at test_main.py:" in done.err
    assert "report it" in done.err
    assert "HIDDEN" not in done.err + done.out


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "/some/file"), OSError(5, "Input/output error")]
)
def test_an_os_error_outside_the_output_is_a_bug(
    error: OSError, mfa_kit: MfaKit, raising: Callable[[BaseException], None]
) -> None:
    """An OSError from click's output means that the result could not be written. Any other OSError is a bug."""
    raising(error)
    done = mfa_kit.run("doctor")
    assert done.code == 70
    assert "cannot be written" not in done.err
    assert "/some/file" not in done.err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()], ids=["ctrl-c", "abort"])
def test_an_interrupt_is_130_with_its_notes(
    error: BaseException, mfa_kit: MfaKit, raising: Callable[[BaseException], None]
) -> None:
    """The notes also name devices that could not be settled."""
    error.add_note("a device is left")
    raising(error)
    done = mfa_kit.run("doctor")
    assert done.code == 130
    assert done.err.lstrip("\n") == "mfa-kit: interrupted\n  note: a device is left\n"


@pytest.mark.parametrize(
    "words",
    [
        ["sing"],
        ["enroll"],
        ["enroll", "alice"],
        ["enroll", "alice", "--with", "abacus", "--codes", "generated"],
        ["enroll", "alice", "--resume"],
        ["enroll", "alice", "--resume", "-i", "keys", "--dry-run"],
        ["enroll", "alice", "--resume", "-i", "keys", "--with", "oath"],
        ["enroll", "alice", "bob", "--with", "virtual", "--codes", "generated"],
        ["enroll", "alice", "--with", "virtual", "--codes", "mine"],
        ["enroll", "alice", "--loud", "--with", "virtual", "--codes", "generated"],
        ["backup", "show"],
        ["backup", "sing"],
        ["--output", "poem", "ledger", "show"],
        ["ledger", "show", "--since", "tomorrow"],
    ],
    ids=" ".join,
)
def test_an_invalid_command_line_is_a_usage_error(words: list[str], mfa_kit: MfaKit) -> None:
    """The exit code is 2, with one message and one hint on stderr. No connection is opened."""
    done = mfa_kit.run(*words)
    assert (done.code, done.out) == (2, "")
    what, hint = done.err.splitlines()
    assert re.match(r"mfa-kit: (?![A-Z][a-z]).*[^.]$", what)
    assert re.match(r"  try: .*[^.]$", hint)
    assert not mfa_kit.home.exists()


MADE = ["enroll", "alice", "--with", "virtual"]


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["enrol", "alice"], "there is no command 'enrol'", "mfa-kit enroll, if that is what you meant"),
        (["backup", "lst"], "there is no command 'backup lst'", "mfa-kit backup list, if that is what you meant"),
        (["xyzzy"], "there is no command 'xyzzy'", "see mfa-kit --help"),
        (["key", "pin", "xyzzy"], "there is no command 'key pin xyzzy'", "see mfa-kit key pin --help"),
        (["--outpt", "json", "status"], "mfa-kit has no option --outpt", "--output, if that is what you meant"),
        ([*MADE, "--code", "one"], "enroll has no option --code", "--codes, if that is what you meant"),
        ([*MADE, "-x"], "enroll has no option -x", "see mfa-kit enroll --help"),
        (["replace", "alice", "--coeds", "one"], "replace has no option --coeds", "--codes, if that is what you meant"),
        (["rollout", "post", "--stag"], "rollout post has no option --stag", "see mfa-kit rollout post --help"),
        (["enroll"], "USER is missing", "write mfa-kit enroll [OPTIONS] USER"),
        (
            ["backup", "verify", "-i", "x"],
            "give either FILES or --all",
            "name the files, or use --all for the whole backup folder",
        ),
        (
            ["enroll", "alice"],
            "--with is missing",
            "add --with virtual, oath, fido2, hardware-totp or programmable; see mfa-kit enroll --help",
        ),
        (
            ["enroll", "alice", "--with", "hardware-totp"],
            "--serial is missing",
            "add --serial SERIAL; see mfa-kit enroll --help",
        ),
        (
            ["enroll", "alice", "--with", "virtul"],
            "there is no kind of device 'virtul'",
            "--with virtual, if that is what you meant",
        ),
        (
            ["enroll", "alice", "--with=hardware_totp", "--serial", "X"],
            "there is no kind of device 'hardware_totp'",
            "--with hardware-totp, if that is what you meant",
        ),
        (
            ["enroll", "alice", "--with", "clay"],
            "there is no kind of device 'clay'",
            "write --with virtual, oath, fido2, hardware-totp or programmable",
        ),
        (
            ["enroll", "alice", "--with"],
            "option '--with' requires an argument",
            "write --with virtual, oath, fido2, hardware-totp or programmable",
        ),
        ([*MADE, "--yes=3"], "option '--yes' does not take a value", "write --yes"),
        ([*MADE, "--codes", "tiped"], "--codes does not take 'tiped'", "--codes typed, if that is what you meant"),
        ([*MADE, "--codes", "mine"], "--codes does not take 'mine'", "write typed, one or generated"),
        (
            [*MADE, "bob", "o'neil"],
            "enroll takes one user",
            "for several users: mfa-kit rollout plan --only 'alice,bob,o'\"'\"'neil' -o plan.json",
        ),
        (
            ["revoke", "alice", "bob"],
            "got unexpected extra argument (bob)",
            "write mfa-kit revoke [OPTIONS] USER",
        ),
        (
            ["enroll", "alice", "--with", "yubikey"],
            "there is no kind of device 'yubikey'",
            "write --with fido2 for a security key, or --with oath for a key that shows codes",
        ),
        (
            [*MADE, "-r"],
            "option '-r' requires an argument",
            "write --recipient RECIPIENT, an age1… or SSH public key",
        ),
        (
            ["--account", "0123-4567-8901", "status"],
            "'0123-4567-8901' is not an AWS account ID",
            "write the 12 digits of the ID, without dashes",
        ),
        (
            ["status", "--account", "12345678901"],
            "'12345678901' is not an AWS account ID",
            "write the 12 digits of the ID, without dashes",
        ),
        (
            ["rollout", "station", "/nonexistent/plan.json"],
            "/nonexistent/plan.json cannot be read: No such file or directory",
            "create a plan: mfa-kit rollout plan ROSTER -o /nonexistent/plan.json",
        ),
        (["session", "setpu"], "session does not take 'setpu'", "setup, if that is what you meant"),
        (["completion", "tcsh"], "SHELL does not take 'tcsh'", "write bash, zsh or fish"),
        (["ledger", "show", "--since", "x"], "'x' is not a time", "write 2026-11-25, 2026-11-25T10:00 or 7d"),
        (["orphans", "clean", "--older-than", "x"], "'x' is not a length of time", "write 30s, 30m, 24h or 7d"),
        (
            ["orphans", "clean", "--max", "x"],
            "--max: 'x' is not a valid integer range",
            "see mfa-kit orphans clean --help",
        ),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_usage_error_suggests_the_nearest_name(words: list[str], what: str, hint: str, mfa_kit: MfaKit) -> None:
    """The hint is the nearest verb, option or value.

    Without one, it lists the valid names or says where to find them.
    """
    done = mfa_kit.run(*words)
    assert (done.code, done.out, done.err) == (2, "", f"mfa-kit: {what}\n  try: {hint}\n")


@pytest.mark.parametrize(
    "words",
    [
        "status ODD",
        "verify user ODD",
        "resync ODD",
        "revoke ODD",
        "enroll ODD --with virtual --codes generated --passphrase",
        "enroll ada --with virtual --codes generated -r age1ODD",
        "status --profile ODD",
        "status --region ODD",
        "status --endpoint-url http://127.0.0.1:1/ODD",
        "status --account ODD",
        "rollout plan --only ODD -o p.json",
        "backup show ODD -i ODD",
        "key info --key ODD",
    ],
)
def test_arguments_that_are_not_utf8_are_reported(words: str, mfa_kit: MfaKit) -> None:
    """Python keeps such bytes of an argument as lone surrogates, which no request can contain."""
    done = mfa_kit.run(*words.replace("ODD", "a\udcff").split(), "--no-input")
    assert done.code not in {0, 1, 70}, done.err
    assert "internal" not in done.err


def test_a_noun_alone_shows_its_verbs(mfa_kit: MfaKit) -> None:
    """The list is on stderr, because there is no result."""
    done = mfa_kit.run("backup")
    assert (done.code, done.out) == (2, "")
    assert "Usage: mfa-kit backup" in done.err


def test_the_version_is_the_constant(mfa_kit: MfaKit) -> None:
    """Standard output contains only the version."""
    assert mfa_kit.run("--version").out == f"mfa-kit {__version__}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_the_verbs(flag: str, mfa_kit: MfaKit) -> None:
    """Each verb has one line."""
    done = mfa_kit.run(flag)
    assert done.code == 0
    for name, row in COMMANDS.items():
        assert isinstance(row, Row)
        assert name in done.out
        assert row.line in done.out


def commands(command: click.Command, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, *names, name)


def modules(mfa_kit: MfaKit, script: str) -> set[str]:
    script += "\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], env=mfa_kit.env, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_of_the_program_imports_only_texts(mfa_kit: MfaKit) -> None:
    """No use case, wiring or adapter is imported, and no slow module except those that click imports."""
    script = "from mfa_kit.cli.main import run\nassert {run(['--help']), run(['--version'])} == {0}"
    loaded = modules(mfa_kit, f"import sys\n{script}")
    ours = {name for name in loaded if name.startswith("mfa_kit.")}
    assert {name for name in ours if not name.startswith("mfa_kit.cli")} <= {
        "mfa_kit.core",
        "mfa_kit.core.errors",
        "mfa_kit.core.message",
        "mfa_kit.core.stopping",
        "mfa_kit.core.text",
    }
    more = loaded - modules(mfa_kit, "import click, sys")
    slow = {"csv", "dataclasses", "hashlib", "hmac", "io", "json", "logging", "pathlib", "secrets", "shutil", "termios"}
    assert not more & slow


@pytest.mark.parametrize("columns", ["60", "400", "wide", "1"])
def test_help_is_as_wide_as_click_makes_it(columns: str, mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The width is that of the terminal, up to 80 columns. Without a terminal, the variable COLUMNS decides."""
    monkeypatch.setenv("COLUMNS", columns)
    said = main.cli.get_help(click.Context(main.cli, info_name="mfa-kit", help_option_names=["-h", "--help"]))
    assert mfa_kit.run("--help").out == f"{said}\n"


def test_the_module_runs_as_the_command_does(mfa_kit: MfaKit) -> None:
    """`python -m mfa_kit` works, and exits with the exit code of the command."""
    assert mfa_kit.process("--version").out == f"mfa-kit {__version__}\n"
    assert mfa_kit.process("sing").code == 2


BAD = "\x1b[2J\x1b]0;gone\x07\u202e\u2066\u200b\x9b31m\r"


@pytest.mark.parametrize(
    "words",
    [
        [BAD],
        ["enroll", "alice", f"--{BAD}"],
        ["enroll", BAD, "--with", "virtual", "--codes", "generated"],
        ["enroll", "alice", BAD, "--with", "virtual", "--codes", "generated"],
        ["enroll", "alice", "--with", "virtual", "--codes", "generated", "-r", BAD],
        ["enroll", "alice", "--with", "virtual", "--codes", "generated", "--name", BAD],
        ["backup", "verify", f"{BAD}.png.age", "-i", BAD],
        ["ledger", "show", "--since", BAD],
    ],
)
def test_control_and_bidi_characters_never_reach_the_terminal(words: list[str], mfa_kit: MfaKit) -> None:
    """Any argument may contain such characters."""
    done = mfa_kit.run(*words)
    assert done.code in {2, 4}
    assert not {char for char in done.err + done.out if char != "\n" and not char.isprintable()}


def test_printable_text_is_unchanged() -> None:
    """Names in other scripts and line ends are kept. Control characters are escaped."""
    assert printable("Zoë 東京 …\n") == "Zoë 東京 …\n"
    assert printable("\x1b[1m\u202e\x9b") == "\\x1b[1m\\u202e\\x9b"


def test_a_full_disk_behind_stdout_is_reported(mfa_kit: MfaKit) -> None:
    """The kernel itself raises ENOSPC. The changes in AWS are kept."""
    with Path("/dev/full").open("w") as full:
        done = mfa_kit.process("ledger", "show", stdout=full)
    assert done.code == 5
    assert done.err.splitlines() == [
        "mfa-kit: the result cannot be written: No space left on device",
        "  try: see what was done: mfa-kit ledger show",
    ]


def test_a_closed_pipe_prints_no_error(mfa_kit: MfaKit) -> None:
    """The reader closes the pipe before mfa-kit writes."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = mfa_kit.process("ledger", "show", stdout=pipe)
    assert (done.code, done.err) == (1, "")


def test_unwritable_streams_do_not_stop_the_work(mfa_kit: MfaKit, user: str, recipient: str, lab: Lab) -> None:
    """Standard error is a full disk and stdout is closed. The device is enrolled nevertheless."""
    enroll = [sys.executable, "-m", "mfa_kit", "enroll", user, "--with", "virtual", "--codes", "generated"]
    command = subprocess.list2cmdline([*enroll, "-r", recipient])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} 2>/dev/full >&-"],
        env={**bare(), **mfa_kit.env, "MFA_KIT_HOME": str(mfa_kit.home)},
        check=False,
    )
    assert done.returncode == 0
    assert lab.assigned(f"arn:aws:iam::000000000000:mfa/{user}") == user


@pytest.mark.parametrize(
    ("words", "streams", "code"),
    [("status", ">&-", 0), ("status", "2>&-", 0), ("verify token GAHT12345678 --codes-stdin", "<&-", 2)],
)
def test_closed_standard_streams_are_replaced(mfa_kit: MfaKit, words: str, streams: str, code: int) -> None:
    """A service manager may start mfa-kit in this way. No opened file may get the number of a standard stream."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {subprocess.list2cmdline([sys.executable])} -m mfa_kit {words} {streams}"],
        env={**bare(), **mfa_kit.env, "MFA_KIT_HOME": str(mfa_kit.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "internal error" not in done.stderr


@pytest.fixture
def slow_enable(lab: Lab) -> Iterator[Lab]:
    lab.faults.add("EnableMFADevice", "latency", seconds=60)
    yield lab
    lab.faults.clear()


@pytest.mark.slow
def test_ctrl_c_settles_and_is_130(mfa_kit: MfaKit, user: str, recipient: str, slow_enable: Lab) -> None:
    """A real process gets SIGINT during a request to IAM. The device is deleted, or reported as enabled."""
    serial = f"arn:aws:iam::000000000000:mfa/{user}"
    process = mfa_kit.start("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient)
    wait_for(lambda: serial in slow_enable.serials() and bool(list(mfa_kit.home.rglob("*.age"))))
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (130, "")
    assert "mfa-kit: interrupted\n" in err
    assert serial not in slow_enable.serials()
    assert not list(mfa_kit.home.rglob("*.age"))


@pytest.mark.slow
def test_ctrl_c_reports_a_device_that_was_not_settled(
    mfa_kit: MfaKit, user: str, recipient: str, slow_enable: Lab
) -> None:
    """The note has a command for an administrator, and the next run settles the device."""
    serial = f"arn:aws:iam::000000000000:mfa/{user}"
    slow_enable.faults.add("DeleteVirtualMFADevice", "denied", at="every")
    enroll = ["enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient]
    process = mfa_kit.start(*enroll)
    wait_for(lambda: serial in slow_enable.serials() and bool(list(mfa_kit.home.rglob("*.age"))))
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert f"  note: {serial} is not settled yet" in err
    assert f"aws iam delete-virtual-mfa-device --serial-number {serial}" in err
    slow_enable.faults.clear()
    again = mfa_kit.run(*enroll)
    assert again.code == 0
    assert slow_enable.assigned(serial) == user


def test_escape_sequences_do_not_reach_a_terminal(mfa_kit: MfaKit) -> None:
    """The library click would pass them through to a terminal."""
    env = {**bare(), **mfa_kit.env, "MFA_KIT_HOME": str(mfa_kit.home), "TERM": "xterm-256color"}
    with spawn([*MFA_KIT, "backup", "list", "\x1b[31mbob", "\u202ecarol"], env=env, timeout=120) as child:
        said = child.read()
        child.wait()
    assert "\\u202ecarol" in said
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_the_process_ends_with_the_code_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `main` ends the process."""
    monkeypatch.setattr(sys, "argv", ["mfa-kit", "sing"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the tests keep their own handler
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 2


def test_a_process_prints_nothing_at_exit(mfa_kit: MfaKit, user: str, recipient: str, identity_file: Path) -> None:
    """Some libraries print objects that were not collected at exit, and many are excluded from collection."""
    said = []
    for words in (
        ("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient),
        ("status", user),
        ("backup", "verify", "--all", "-i", identity_file),
    ):
        process = mfa_kit.start(*words)
        _, err = process.communicate(timeout=150)
        assert process.returncode == 0, err
        said += err.splitlines()
    assert [line for line in said if not line.startswith("account ")] == []


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("error", [EOFError("canary"), BrokenPipeError(errno.EPIPE, "canary"), Panic("canary")])
def test_exceptions_that_click_would_misread_are_internal_errors(
    error: BaseException, form: str, mfa_kit: MfaKit, raising: Callable[[BaseException], None]
) -> None:
    """Such an exception is an EOFError that is not Ctrl-D, a broken pipe that is not stdout, or a panic in Rust."""
    error.add_note("canary")
    error.add_note(Note("a device is left"))
    vars(error)["aws_code"] = vars(error)["hint"] = "canary"
    raising(error)
    done = mfa_kit.run("--output", form, "doctor")
    assert (done.code, done.out) == (70, "")
    assert f"internal error: {type(error).__name__} at test_main.py:" in done.err
    assert "a device is left" in done.err
    assert "canary" not in done.err


@pytest.mark.parametrize("error", [SystemExit(9), GeneratorExit("canary")])
def test_system_exit_is_not_an_error(
    error: BaseException, mfa_kit: MfaKit, raising: Callable[[BaseException], None]
) -> None:
    """SystemExit ends the process."""
    raising(error)
    with pytest.raises(type(error)):
        mfa_kit.run("doctor")


@pytest.mark.parametrize("where", ["thread", "callback", "exit"])
def test_an_exception_in_a_thread_is_named_without_its_message(where: str, mfa_kit: MfaKit) -> None:
    """Python itself would print the message and the source line."""
    script = f"""
import atexit, threading
from mfa_kit.cli import main

class Canary:
    def __del__(self):
        fail()

def fail(*_):
    raise ValueError("can" + "ary")

def show(*_, **__):
    ways = {{"thread": lambda: threading.Thread(target=fail).start(), "exit": lambda: atexit.register(fail)}}
    ways.get({where!r}, Canary)()

main.cli.main = show
main.main()
"""
    words, env = [sys.executable, "-c", script], {**bare(), **mfa_kit.env}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert "mfa-kit: internal error: ValueError at <string>:" in done.stderr
    assert "canary" not in done.stderr
    assert "Traceback" not in done.stderr


# Python as on Windows: no module for POSIX, and its own name for the platform. click is imported before, because on
# Windows it imports modules that are missing here.
WINDOWS = """
import click, sys
sys.platform = "win32"
sys.modules.update(dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios"), None))
from mfa_kit.cli.main import main
main()
"""


@pytest.mark.parametrize("words", [["--version"], ["enroll", "--help"], ["enroll", "alice", "--with", "virtual"]])
def test_on_windows_the_program_says_where_it_runs(words: list[str]) -> None:
    """The package can be installed there, but needs calls that Windows lacks. No command begins its work."""
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "mfa-kit: mfa-kit runs on Windows only in WSL2",
        "  try: install WSL2 and run mfa-kit there",
    ]
