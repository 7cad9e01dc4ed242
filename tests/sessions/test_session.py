"""`mfa-kit session` at a terminal and without one, with typed codes, in the lab."""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.core.responses import ActionResult

from mfa_kit.lab.aws.sts import LabSts
from mfa_kit.posix.processes import file_system
from tests.bench.programs import aws
from tests.conftest import ACCOUNT
from tests.sessions.desk import Desk, early, new_lab, parsed, sentence
from tests.terminal.window import Window

WHO = ["sts", "get-caller-identity", "--query", "Arn", "--output", "text"]
BOTO3 = (
    "import boto3; session = boto3.Session(profile_name={!r}); "
    "print(session.client('sts').get_caller_identity()['Arn'])"
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with new_lab() as lab:
        yield Desk(lab, tmp_path)


def typed(desk: Desk, *words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command at a terminal, and type a code there."""
    early(desk)
    window = desk.window(*words)
    window.see(f"code of {desk.serial}:")
    window.type(code or desk.code())
    status = window.end()
    return subprocess.CompletedProcess(words, status, window.printed("out"), window.printed("err"))


def test_a_typed_code_gives_a_session_of_twelve_hours(desk: Desk) -> None:
    """The question is at the terminal alone. The folder and its files are private, and the session has MFA."""
    done = typed(desk)
    assert (done.returncode, done.stderr) == (0, "")
    answer = parsed(done.stdout)
    left = json.loads(desk.kept[0].read_text())["expires"] - time.time()
    assert 11.9 * 3600 < left < 12.1 * 3600
    assert answer["AccountId"] == ACCOUNT
    assert stat.S_IMODE(desk.cache.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in desk.cache.iterdir()} == {0o600}
    assert desk.run().stdout == done.stdout  # now without a terminal
    assert desk.made == ["GetSessionToken"]


def test_without_key_and_terminal_it_is_refused_and_nobody_has_to_wait(desk: Desk) -> None:
    """Nobody was asked, so the next caller may ask at once."""
    said = sentence(desk.run(), 8)
    assert "but there is no terminal" in said
    assert "run this command at a terminal first" in said
    assert typed(desk).returncode == 0


@pytest.mark.parametrize("program", ["aws", "boto3"])
def test_a_program_starts_it_as_its_credential_process(program: str, desk: Desk) -> None:
    """The AWS CLI and boto3 get the session; the question is seen although both hide stderr. stdin stays unread."""
    desk.calling()
    early(desk)
    command = [aws(), *WHO, "--profile", "mfa"] if program == "aws" else [sys.executable, "-c", BOTO3.format("mfa")]
    window = Window(command, env=desk.env, cwd=desk.folder)
    window.see(f"code of {desk.serial}:")
    window.type(desk.code())
    assert window.end() == 0, window.printed("err")
    assert window.printed("out").strip() == f"arn:aws:iam::{ACCOUNT}:user/alice"
    again = subprocess.run(
        command, env=desk.env, input="unread", capture_output=True, text=True, start_new_session=True, check=True
    )
    assert again.stdout.strip() == f"arn:aws:iam::{ACCOUNT}:user/alice"
    assert desk.made == ["GetSessionToken"]


def test_a_program_shows_the_one_sentence_of_a_failure(desk: Desk) -> None:
    desk.calling()
    command = [aws(), *WHO, "--profile", "mfa"]
    done = subprocess.run(
        command,
        env=desk.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Error when retrieving credentials from custom-process: mfa-kit: code of" in done.stderr


def test_one_code_is_enough_for_two_roles(desk: Desk) -> None:
    """The role's trust policy requires MFA. The user's session is kept, and each role is assumed from it."""
    done = typed(desk, "--role-arn", desk.role)
    assert done.returncode == 0, done.stderr
    assert desk.made == ["GetSessionToken", "AssumeRole"]
    assert len(desk.kept) == 2
    other = desk.role.replace("/admin", "/other")
    role = desk.lab.account.backend.create_role(
        "other", desk.lab.account.backend.get_role("admin").assume_role_policy_document, "/", None, "", [], "3600"
    )
    assert role.arn == other
    assert desk.run("--role-arn", other).returncode == 0
    assert desk.run().returncode == 0
    assert desk.made == ["GetSessionToken", "AssumeRole", "AssumeRole"]
    desk.calling("admin", "--role-arn", desk.role)
    done = subprocess.run(
        [sys.executable, "-c", BOTO3.format("admin")], env=desk.env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/alice"


def test_a_role_that_is_refused_blocks_nobody(desk: Desk) -> None:
    """AWS denies the role, but the user's session is kept, and the next caller gets it."""
    refused = typed(desk, "--role-arn", desk.role + "-missing")
    assert "cannot be assumed" in sentence(refused, 4)
    assert desk.run().returncode == 0
    assert desk.run("--role-arn", desk.role).returncode == 0


def test_a_session_with_less_than_twenty_minutes_left_is_renewed(desk: Desk) -> None:
    desk_answer = typed(desk).stdout
    desk.age(11.6 * 3600)
    assert desk.run().stdout != ""
    desk.age(0.1 * 3600)
    assert "must be typed" in sentence(desk.run(), 8)
    desk.forget_step()
    assert typed(desk).stdout != desk_answer
    assert desk.made == ["GetSessionToken"] * 2


def test_a_session_is_judged_by_the_time_of_aws(desk: Desk) -> None:
    """With a clock that is four minutes slow, a session with 22 minutes left by that clock has only 18."""
    desk.lab.faults.add("*", "clock", seconds=240)
    desk.lab.account.offset = 240
    assert typed(desk).returncode == 0
    entry = json.loads(desk.kept[0].read_text())
    assert 230 < entry["offset"] < 250
    desk.kept[0].write_text(json.dumps({**entry, "expires": time.time() + 22 * 60}))
    assert "must be typed" in sentence(desk.run(), 8)


def test_the_same_code_is_never_sent_twice(desk: Desk) -> None:
    """A second session within a step waits until the device shows the next code."""
    assert typed(desk, "--duration", "1h").returncode == 0
    window = desk.window("--duration", "2h")
    window.see("the current code was used already; the next one is there in")
    window.see(f"code of {desk.serial}:")
    window.type(desk.code())
    assert window.end() == 0, window.printed("err")
    assert desk.made == ["GetSessionToken"] * 2


def test_a_refused_code_is_one_sentence_and_the_next_callers_fail_at_once(desk: Desk) -> None:
    """For 30 seconds, nobody is asked again. Sentence and exit code are those of the first failure."""
    wrong = f"{(int(desk.code()) + 1) % 10**6:06}"
    said = sentence(typed(desk, code=wrong), 4)
    assert f"AWS refused the code of {desk.serial}" in said
    assert "also from another program such as aws-vault" in said
    window = desk.window()
    assert window.end() == 4
    again = " ".join(window.printed("err").split())
    assert f"AWS refused the code of {desk.serial} (" in again
    assert "try: try again in" in again
    assert "code of" not in window.log.getvalue()
    assert (desk.made, desk.kept) == (["GetSessionToken"], [])


def test_after_a_code_for_a_wrong_clock_the_next_one_is_right(desk: Desk) -> None:
    """AWS's time comes with its refusal, and is stored with it."""
    desk.lab.faults.add("*", "clock", seconds=200)
    desk.lab.account.offset = 200
    said = sentence(typed(desk, code="000000"), 4)
    assert "AWS refused the code, because this computer's clock is 200 s behind AWS's" in said
    (state,) = desk.cache.glob("*.state")
    step, offset, *rest = json.loads(state.read_text())
    assert 198 < offset < 203
    state.write_text(json.dumps([step, offset, 0.0, *rest[1:]]))
    window = desk.window()
    window.see(f"code of {desk.serial}:")
    window.type(desk.code())
    assert window.end() == 0, window.printed("err")


def test_damaged_and_foreign_entries_are_ignored(desk: Desk) -> None:
    """A file that was cut, has another request inside, or can be read by others does not count."""
    answer = typed(desk).stdout
    (file,) = desk.kept
    whole = file.read_text()
    entry = json.loads(whole)
    other = {**entry, "request": {**entry["request"], "device": "another"}}
    damaged = ["", whole[:-9], "[]", "{}", "[" * 100_000, json.dumps(other), json.dumps({**entry, "expires": 1e300})]
    damaged += [json.dumps({**entry, "expires": value}) for value in ("x", None, float("nan"), float("inf"))]
    for text in damaged:
        file.write_text(text)
        assert "must be typed" in sentence(desk.run(), 8), text[:80]
    file.write_text(whole)
    file.chmod(0o644)
    assert "must be typed" in sentence(desk.run(), 8)
    file.chmod(0o600)
    assert desk.run().stdout == answer


def test_each_device_endpoint_role_and_duration_has_its_own_session(desk: Desk) -> None:
    assert typed(desk).returncode == 0
    for words in (["--mfa-device", desk.serial + "2"], ["--duration", "1h"], ["--endpoint-url", "http://127.0.0.1:1"]):
        assert "must be typed" in sentence(desk.run(*words), 8), words


def test_nothing_is_kept_with_no_cache(desk: Desk) -> None:
    assert typed(desk, "--no-cache").returncode == 0
    assert desk.kept == []
    assert not any(b"SecretAccessKey" in file.read_bytes() for file in desk.cache.iterdir())
    assert "must be typed" in sentence(desk.run("--no-cache"), 8)


def test_logout_deletes_the_sessions_and_prints_the_policy_that_ends_them(desk: Desk) -> None:
    """The policy denies what was issued before now. Whether AWS then denies the sessions is not tried here."""
    answer = parsed(typed(desk).stdout)
    done = desk.run("--logout")
    assert done.returncode == 0
    assert "deleted 1 session, which stay valid at AWS" in done.stderr
    assert desk.kept == []
    condition = json.loads(done.stdout)["Statement"][0]["Condition"]
    assert list(condition["DateLessThan"]) == ["aws:TokenIssueTime"]
    assert answer["AccessKeyId"] not in done.stdout + done.stderr
    assert "must be typed" in sentence(desk.run(), 8)


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("credential_process = true", [], "has a credential_process"),
        ("role_arn = arn:aws:iam::000000000000:role/x", [], "has a role_arn; give the role as --role-arn"),
        ("aws_session_token = x", [], "has temporary access keys"),
        ("", ["--profile", "none"], "there is no profile 'none'"),
        ("", ["--duration", "29m"], "a session of 29 minutes is not possible"),
        ("", ["--duration", "37h"], "a session of 2220 minutes is not possible"),
        ("", ["--duration", "13h", "--role-arn", "x"], "a session of 780 minutes is not possible"),
        ("", ["--duration", "1d"], "'1d' is not a length of time"),
        ("", ["--mfa-device", "arn:aws:iam::000000000000:u2f/user/alice/k"], "is a security key"),
        ("", ["--mfa-device", "arn:aws:iam::000000000000:mfa/root-account-mfa-device"], "is root's device"),
        ("", ["setup"], "session setup needs a profile"),
        ("", ["--dry-run"], "has no --dry-run"),
    ],
)
def test_what_cannot_get_a_session_is_refused(text: str, words: list[str], said: str, desk: Desk) -> None:
    desk.configure(f"{text}\n")
    assert said in sentence(desk.run(*words), 2)
    assert desk.lab.calls == []


def test_a_profile_without_a_device_is_refused_with_the_line_to_add(desk: Desk) -> None:
    desk.config.write_text(desk.config.read_text().replace("mfa_serial", "other"))
    said = sentence(desk.run(), 2)
    assert "add this line to [profile base] in ~/.aws/config: mfa_serial = arn:aws:iam::ACCOUNT:mfa/NAME" in said


def test_keys_in_the_credentials_file_are_found_as_botocore_finds_them(desk: Desk) -> None:
    """The device may be in one file and the keys in the other. A profile without keys is refused."""
    config, stored = desk.config.read_text().splitlines(), desk.folder / "credentials"
    desk.config.write_text("\n".join(['[profile "base"]', config[3]]))
    assert "has no access keys" in sentence(desk.run(), 2)
    stored.write_text("\n".join(["[base]", *config[1:3]]))
    desk.more["AWS_SHARED_CREDENTIALS_FILE"] = str(stored)
    assert typed(desk).returncode == 0


def test_setup_prints_the_lines_and_changes_no_file(desk: Desk) -> None:
    """A caller can use what it prints. It refuses a name whose access keys would win silently."""
    before = desk.config.read_bytes()
    done = desk.run("setup", "base")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[profile base-mfa]"
    assert done.stdout.splitlines()[1].startswith("credential_process = ")
    assert done.stdout.splitlines()[1].endswith("session --profile base")
    assert desk.config.read_bytes() == before
    desk.configure("[profile base-mfa]\naws_access_key_id = AKIA\n")
    assert "profile base-mfa has access keys" in sentence(desk.run("setup", "base"), 2)


def test_a_session_that_aws_shortened_is_not_handed_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """STS shortens the sessions of root to an hour."""
    issue = desk.lab.account.issue
    monkeypatch.setattr(desk.lab.account, "issue", lambda caller, seconds: issue(caller, min(seconds, 3600)))
    assert "AWS shortened the session to 60 minutes, as it does for root" in sentence(typed(desk), 2)
    assert desk.kept == []


def test_before_a_session_of_an_hour_aws_is_asked_whether_it_is_root(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has no effect for a user. Root is not even asked for a code."""
    assert typed(desk, "--duration", "1h").returncode == 0
    assert [call.operation for call in desk.lab.calls] == ["GetCallerIdentity", "GetSessionToken"]
    root = {"UserId": ACCOUNT, "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:root"}
    monkeypatch.setattr(LabSts, "get_caller_identity", lambda _: ActionResult(root))
    assert "these access keys belong to root" in sentence(desk.run("--duration", "45m"), 2)


def test_a_caller_gives_up_after_the_limit(desk: Desk) -> None:
    """The time counts from the start, so a caller that waits for another one gives up too, and stores no session."""
    limited = "import mfa_kit.wiring.new_sessions as s; s.LIMIT = 1.5; from mfa_kit.cli.main import main; main()"
    command = [sys.executable, "-c", limited, "session", "--profile", "base"]
    window = Window(command, env=desk.env, cwd=desk.folder)
    window.see("code of")
    began = time.monotonic()
    waiting = subprocess.run(command, env=desk.env, capture_output=True, text=True, start_new_session=True, check=False)
    assert "no session was made within" in sentence(waiting, 3)
    assert window.end() == 3
    assert time.monotonic() - began < 10
    assert "no session was made within" in window.printed("err")
    assert desk.made == []


def test_ctrl_c_at_the_question_leaves_nothing_and_blocks_nobody(desk: Desk) -> None:
    window = desk.window()
    window.see("code of")
    window.type("\x03", end="")
    assert window.end() == 130
    assert window.printed("err").strip() == "mfa-kit: interrupted"
    assert desk.kept == []
    assert typed(desk).returncode == 0


def failing(desk: Desk, setup: str) -> subprocess.CompletedProcess[str]:
    """Run the command at a terminal in a process that executes `setup` first. Answer no question."""
    command = [
        sys.executable,
        "-c",
        f"{setup}; from mfa_kit.cli.main import main; main()",
        "session",
        "--profile",
        "base",
    ]
    window = Window(command, env=desk.env, cwd=desk.folder)
    status = window.end()
    return subprocess.CompletedProcess(command, status, window.printed("out"), window.printed("err"))


def test_a_full_disk_is_found_before_anybody_is_asked(desk: Desk) -> None:
    full = "import errno, os\ndef fsync(_):\n    raise OSError(errno.ENOSPC, os.strerror(28))\nos.fsync = fsync\n"
    desk.cache.mkdir(parents=True, mode=0o700)
    assert "No space left on device" in sentence(failing(desk, f"exec({full!r})"), 5)
    assert [file.suffix for file in desk.cache.iterdir()] == [".lock"]
    assert desk.made == []


def test_a_home_that_cannot_be_written_is_refused_before_anybody_is_asked(desk: Desk) -> None:
    desk.more["MFA_KIT_HOME"] = "/sys/mfa-kit"
    assert "/sys/mfa-kit/sessions cannot be written" in sentence(failing(desk, "pass"), 5)


def test_a_network_file_system_is_refused(desk: Desk) -> None:
    """The type of the file system that has the folder is read from /proc, also if the folder does not exist yet."""
    setup = "import mfa_kit.adapters.files.session_folder as folder; folder.file_system = lambda path: 'nfs4'"
    said = sentence(failing(desk, setup), 5)
    assert "is on a network file system (nfs4), where no session is kept" in said
    assert "set XDG_CACHE_HOME" in said
    assert file_system(Path("/proc/self/nothing")) == "proc"
    assert file_system(Path("/sys/nothing/there")) == "sysfs"


def test_a_folder_that_others_can_open_is_refused(desk: Desk) -> None:
    """A session in it is not used either."""
    assert typed(desk).returncode == 0
    desk.cache.chmod(0o750)
    assert "is not yours alone, so no session is kept there" in sentence(desk.run(), 5)
    desk.cache.chmod(0o700)
    assert desk.run().returncode == 0
    os.chown(desk.cache, 65534, 65534)
    assert "is not yours alone" in sentence(desk.run(), 5)
