"""`mfa-kit lab` as a user runs it: exit status, environment, serving and keys. No connection leaves loopback."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pyrage
import pytest

from mfa_kit import __version__
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.local_servers import is_lab, lab_token, lab_variable
from mfa_kit.lab import child
from mfa_kit.lab.aws.server import Lab
from mfa_kit.wiring import lab as lab_wiring
from tests.fork_server import READ_ONCE, fork_server
from tests.sizes import FULL

TOOL = [sys.executable, "-m", "mfa_kit"]
RUN = [*TOOL, "lab", "run"]
TRAPS = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "all_proxy")
# This code runs in every Python process of the lab, and writes each connection and name lookup as a line of JSON.
WATCH = """
import json, os, sys
def told(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        where = args[1] if event != "socket.getaddrinfo" else args[:2]
        with open(os.environ["WATCHED"], "a") as out:
            out.write(json.dumps([event, repr(where)]) + "\\n")
sys.addaudithook(told)
"""


def _tool(*args: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command of mfa-kit to its end. `env` adds to the environment."""
    added = env or {}
    if FULL or any(name.startswith(READ_ONCE) for name in added):
        return subprocess.run([*TOOL, *args], capture_output=True, text=True, env={**os.environ, **added}, check=False)
    return subprocess.CompletedProcess(args, *fork_server().run(args, {**os.environ, **added}, timeout=150))


def _lab(*args: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return _tool("lab", "run", *args, env=env)


def test_the_exit_code_is_that_of_the_child() -> None:
    """The lab exits with the child's exit code, or with 128 plus the number of the signal that ended the child."""
    assert _lab("--", "sh", "-c", "exit 7").returncode == 7
    assert _lab("--", "sh", "-c", "kill -TERM $$").returncode == 143


def test_options_after_two_dashes_belong_to_the_command() -> None:
    """The lab does not read options after `--`."""
    found = _lab("--users", "0", "--", "sh", "-c", 'echo "$@"', "x", "--users", "3", "--help")
    assert (found.returncode, found.stdout) == (0, "--users 3 --help\n")


def test_accounts_create_an_organization_marked_as_a_lab() -> None:
    """`--users` is the number of users of each member account.

    mfa-kit names the account with LAB, also in a role's session.
    """
    ask = """
import boto3, os, subprocess, sys
arn = "arn:aws:iam::000000000002:role/OrganizationAccountAccessRole"
made = boto3.client("sts").assume_role(RoleArn=arn, RoleSessionName="desk")["Credentials"]
keys = {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}
env = {**os.environ, **keys, "AWS_SESSION_TOKEN": made["SessionToken"]}
sys.exit(subprocess.run([sys.executable, "-m", "mfa_kit", "status", "--output", "json"], env=env).returncode)
"""
    found = _lab("--accounts", "2", "--users", "3", "--", sys.executable, "-c", ask)
    assert "account 000000000002 (LAB, nothing here is real)" in found.stderr, found.stderr
    assert found.stdout.count('"alice"') == 1
    assert "carol" in found.stdout
    assert "dave" not in found.stdout


def test_a_missing_command_is_an_error_message() -> None:
    """A command that does not exist is a usage error."""
    found = _lab("--", "no-such-program")
    assert (found.returncode, "the program 'no-such-program' was not found" in found.stderr) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        "run --latency nan -- true",
        "run --rate inf -- true",
        "serve --burst -1",
        "card --touch-delay nan",
        "key --touch nan",
    ],
)
def test_nan_as_a_number_is_refused(words: str) -> None:
    """Range checks accept nan, so nan is refused separately. With nan, a lab could wait forever."""
    found = _tool("lab", *words.split())
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.count("\n") == 2, found.stderr


def test_a_signal_to_the_lab_ends_its_child() -> None:
    """The lab sends SIGTERM to its child, and exits with the child's status."""
    running = subprocess.Popen([*RUN, "--", "sh", "-c", "echo up; exec sleep 60"], stdout=subprocess.PIPE, text=True)
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_a_tour_ends_its_lab(number: signal.Signals, tmp_path: Path) -> None:
    """After a signal, such as SIGHUP from a closed window, no folder and no running step are left."""
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([*TOOL, "lab", "tour"], stdout=subprocess.PIPE, text=True, env=env) as running:
        assert running.stdout is not None
        assert [running.stdout.readline() for _ in range(3)][2].startswith("$ mfa-kit enroll alice")
        assert [each.name.startswith("mfa-kit-lab-") for each in tmp_path.iterdir()] == [True]
        running.send_signal(number)
        assert running.wait(60) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_held_signals_arrive_when_they_are_released() -> None:
    """A signal during the start of a program arrives later, once. An ignored signal stays ignored."""
    arrived: list[int] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, _: arrived.append(number))
        with child.held_signals() as release:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
            assert arrived == []
            release()
            assert arrived == [signal.SIGTERM]
            signal.raise_signal(signal.SIGTERM)
        assert arrived == [signal.SIGTERM] * 2
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_ignored_signals_stay_ignored() -> None:
    """A signal that the caller ignores, as nohup does, stays ignored. Afterwards the previous handlers are restored."""
    before = {each: signal.signal(each, signal.SIG_DFL) for each in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with child.unwind_on_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_ctrl_c_is_handled_by_the_child() -> None:
    """Ctrl-C reaches the whole process group, as from a terminal.

    If the child handles Ctrl-C, the child's status is the exit code.
    """
    script = "trap 'echo caught; exit 3' INT; echo up; while :; do sleep 0.05; done"
    running = subprocess.Popen([*RUN, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True, process_group=0)
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        os.killpg(running.pid, signal.SIGINT)
        assert running.stdout.read() == "caught\n"
        assert running.wait(60) == 3


def test_no_aws_variable_of_the_caller_reaches_the_child() -> None:
    """The child gets no AWS, BOTO, proxy or mfa-kit variable, in upper or lower case, but all other variables."""
    hostile = {"AWS_PROFILE": "x", "aws_endpoint_url_iam": "x", "BOTO_CONFIG": "x", "Https_Proxy": "x", "KEPT": "yes"}
    caller = hostile | {"MFA_KIT_HOME": "/elsewhere", "MFA_KIT_OTHER": "x"}
    ours = {"AWS_ENDPOINT_URL": "here"}
    assert child.child_environment(ours, caller=caller, home=Path("/home")) == {
        "KEPT": "yes",
        "AWS_ENDPOINT_URL": "here",
        "MFA_KIT_HOME": "/home",
        "PATH": f"{os.defpath}:{Path(sys.executable).parent}",
    }


def test_a_command_in_the_lab_finds_mfa_kit() -> None:
    """The program may be in a folder that is not on the PATH, such as that of an environment that is not activated."""
    done = _lab("--", "sh", "-c", "mfa-kit --version; echo $PATH", env={"PATH": "/usr/bin:/bin"})
    assert done.stdout.splitlines() == [f"mfa-kit {__version__}", f"/usr/bin:/bin:{Path(sys.executable).parent}"]


@contextmanager
def _trap() -> Iterator[tuple[str, list[object]]]:
    """Listen as a proxy or a forged endpoint would. Collect the clients that connect."""
    caught: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        done = threading.Event()

        def wait() -> None:
            while not done.is_set():
                try:
                    connection, peer = server.accept()
                except TimeoutError:
                    continue
                caught.append(peer)
                connection.close()

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", caught
        finally:
            done.set()
            thread.join()


def test_a_hostile_environment_reaches_nothing_but_the_lab(tmp_path: Path) -> None:
    """With hostile variables, profiles and proxies, enroll connects only to the lab's port."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WATCH, "utf-8")
    watched = tmp_path / "watched"
    key = pyrage.x25519.Identity.generate().to_public()
    with _trap() as (trap, caught):
        profile = f"ignore_configured_endpoint_urls = true\nendpoint_url = {trap}\naws_access_key_id = A\n"
        (tmp_path / ".aws").mkdir()
        for name in ("config", "credentials"):
            text = f"[default]\n{profile}aws_secret_access_key = B\n[profile hostile]\n{profile}"
            (tmp_path / ".aws" / name).write_text(text, "utf-8")
        hostile = {
            **dict.fromkeys(TRAPS, trap),
            "HOME": str(tmp_path),
            "PYTHONPATH": str(tmp_path / "site"),
            "WATCHED": str(watched),
            "BOTO_CONFIG": str(tmp_path / ".aws" / "config"),
            "AWS_CONFIG_FILE": str(tmp_path / ".aws" / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / ".aws" / "credentials"),
            "AWS_PROFILE": "hostile",
            "AWS_DEFAULT_PROFILE": "hostile",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
            "AWS_ENDPOINT_URL": trap,
            "AWS_ENDPOINT_URL_IAM": trap,
            "AWS_ENDPOINT_URL_STS": trap,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_SESSION_TOKEN": "x",
            "AWS_REGION": "cn-north-1",
            "AWS_DEFAULT_REGION": "cn-north-1",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": trap,
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": trap,
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/etc/hostname",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/hostile",
            "AWS_CA_BUNDLE": "/dev/null",
            "AWS_USE_FIPS_ENDPOINT": "true",
            "AWS_USE_DUALSTACK_ENDPOINT": "true",
            "AWS_STS_REGIONAL_ENDPOINTS": "legacy",
            "AWS_DATA_PATH": str(tmp_path),
        }
        enroll = ["enroll", "alice", "--with", "virtual", "--codes", "generated", "-r", str(key), "--output", "json"]
        found = _lab("--", *TOOL, *enroll, env=hostile)
    assert found.returncode == 0, found.stderr
    assert "account 000000000000 (LAB" in found.stderr
    assert json.loads(found.stdout)["device"] == "arn:aws:iam::000000000000:mfa/alice"
    assert caught == []
    lines = [json.loads(line) for line in watched.read_text("utf-8").splitlines()]
    assert len({where for event, where in lines if event == "socket.connect"}) == 1
    assert [line for line in lines if "'127.0.0.1'" not in line[1]] == []


def test_serve_prints_an_environment_and_ends_cleanly(tmp_path: Path) -> None:
    """Any shell can use the printed environment. On Ctrl-C, serve exits with 0 and keeps the account."""
    command = [*TOOL, "lab", "serve", "--state", str(tmp_path)]
    env = {**os.environ, "AWS_PROFILE": "hostile"}
    takes = {**env, "AWS_SESSION_TOKEN": "hostile", "AWS_ENDPOINT_URL_IAM": "http://127.0.0.1:9"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as running:
        assert running.stdout is not None
        lines: list[str] = []
        while not (lines and lines[-1].startswith("export MFA_KIT_HOME=")):
            lines.append(running.stdout.readline())
        tool = f"{sys.executable} -m mfa_kit"
        call = f"{tool} lab fido-register alice key && {tool} status alice --output csv"
        found = subprocess.run(
            ["sh", "-c", "".join(lines) + call], capture_output=True, text=True, check=False, env=takes
        )
        assert found.stdout.startswith("arn:aws:iam::000000000000:u2f/user/alice/key-"), found.stderr
        assert '"alice","fido2"' in found.stdout, found.stderr
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
    assert "unset AWS_PROFILE\n" in lines
    assert "u2f/user/alice" in (tmp_path / "account.json").read_text("utf-8")


def test_serve_on_a_port_in_use_is_an_error_message() -> None:
    """The error has no traceback and no text of werkzeug's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = _tool("lab", "serve", "--port", port)
    assert found.returncode == 2
    assert found.stderr.startswith(f"mfa-kit: port {port} on 127.0.0.1 cannot be used: Address already in use\n")


def test_a_key_is_registered_in_the_lab_of_the_command() -> None:
    """In `lab run`, a key is registered or refused as in IAM. Without a lab, the command fails."""
    register = shlex.join([*TOOL, "lab", "fido-register"])
    found = _lab("--", "sh", "-c", f"{register} alice key && {register} nobody key")
    assert found.stdout.startswith("arn:aws:iam::000000000000:u2f/user/alice/key-")
    assert (found.returncode, "The user with name nobody cannot be found." in found.stderr) == (2, True)
    alone = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    found = subprocess.run(
        [*TOOL, "lab", "fido-register", "alice", "key"], capture_output=True, text=True, check=False, env=alone
    )
    assert (found.returncode, "there is no lab in this environment" in found.stderr) == (2, True)


@pytest.mark.parametrize("missing", ["moto", "flask"])
def test_without_the_extra_lab_says_what_to_install(missing: str) -> None:
    """All other commands of mfa-kit work without the extra."""
    script = (
        f"import sys; sys.modules[{missing!r}] = None; from mfa_kit.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", script, "lab", "run", "--", "true"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"the lab needs {missing}" in done.stderr
    assert "pip install 'mfa-kit[lab]'" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--faults", "none.json"], "none.json cannot be read"),
        (["--from", "none.json"], "none.json cannot be read"),
        (["--set", "gravity=9"], "'gravity=9' is not a setting of the lab"),
        (["--region", "mars"], "the lab has no region 'mars'"),
        (["--latency", "nan"], "--latency: 'nan' is not a number"),
        (["--burst", "3"], "--burst needs --rate"),
    ],
)
def test_invalid_options_are_an_error_message(options: list[str], said: str) -> None:
    """For each invalid option, the exit code is 2, and the command is not started."""
    found = _lab(*options, "--", "echo", "started")
    assert (found.returncode, found.stdout) == (2, "")
    assert said in found.stderr


def test_an_invalid_rule_is_named_by_file_and_number(tmp_path: Path) -> None:
    """The error names the file and the rule's number, because a file may have many rules."""
    rules = tmp_path / "rules.json"
    rules.write_text('[{"fault": "throttle"}, {"fault": "flood"}]', "utf-8")
    found = _lab("--faults", str(rules), "--", "echo", "started")
    assert (found.returncode, found.stdout) == (2, "")
    assert f"rule 2 of {rules}: unknown fault 'flood'" in found.stderr


def test_latency_rate_and_rules_reach_the_lab(tmp_path: Path) -> None:
    """The options become rules like the rules of a file."""
    rules = tmp_path / "rules.json"
    rules.write_text('[{"operation": "ListUsers", "fault": "denied"}]', "utf-8")
    ask = (
        "import os, json, urllib.request as u; r = u.Request(os.environ['AWS_ENDPOINT_URL'] + '/lab/faults');"
        "r.add_header('X-Mfa-Kit-Lab', os.environ['AWS_SECRET_ACCESS_KEY']); print(u.urlopen(r).read().decode())"
    )
    found = _lab(
        "--latency", "0.1", "--rate", "5", "--burst", "9", "--faults", str(rules), "--", sys.executable, "-c", ask
    )
    assert json.loads(found.stdout) == [
        {"operation": "ListUsers", "fault": "denied", "at": "next"},
        {"operation": "*", "fault": "latency", "at": "every", "seconds": 0.1},
        {"operation": "*", "fault": "bucket", "at": "every", "rate": 5.0, "burst": 9.0},
    ]


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--from", '{"version": 1, "users": [{"name": "a", "attached": [5]}]}'),
        ("--from", '{"version": 1, "bindings": {"x": [[1]]}}'),
        ("--from", "[" * 100_000),
        ("--faults", "[" * 100_000),
    ],
)
def test_a_file_of_another_form_is_an_error_message(option: str, text: str, tmp_path: Path) -> None:
    """A file with values of the wrong form gives a short usage error."""
    file = tmp_path / "file.json"
    file.write_text(text)
    found = _lab(option, str(file), "--", "true")
    assert (found.returncode, found.stderr.count("\n")) == (2, 2), found.stderr


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """Listen on loopback, and store the data that is received."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            with contextlib.suppress(OSError):
                while True:
                    heard.append(server.accept()[0].recv(65536))

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard


@pytest.mark.parametrize("token", [None, "", "0" * 64, f"{'0' * 64}@http://127.0.0.1:1"])
def test_a_secret_key_is_not_sent_to_an_unknown_server(
    token: str | None, listener: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server on loopback may be another program, and the key may be a real one."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", listener[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-real-secret-key")
    if token is not None:
        monkeypatch.setenv("MFA_KIT_LAB", token)
    with pytest.raises(UsageFault, match="there is no lab"):
        lab_wiring.register_fido_key("alice", "key")
    assert listener[1] == []


def test_a_lab_gets_a_token_and_not_its_secret_key(
    listener: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands send the token, because another program may use the port of a lab that has ended."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", listener[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-lab")
    monkeypatch.setenv("MFA_KIT_LAB", lab_variable(listener[0], "of-a-lab"))
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", lambda _, request, **__: _refuse(listener[1], request))
    with pytest.raises(UsageFault, match="does not answer"):
        lab_wiring.register_fido_key("alice", "key")
    assert lab_token("of-a-lab").encode() in listener[1][0]
    assert b"of-a-lab" not in listener[1][0]


def _refuse(heard: list[bytes], request: urllib.request.Request) -> None:
    heard.append(repr((request.full_url, request.headers, request.data)).encode())
    raise urllib.error.URLError("refused")


REAL = {
    "AWS_PROFILE": "prod",
    "AWS_ACCESS_KEY_ID": "AKIA",
    "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
    "HTTPS_PROXY": "http://proxy",
    "MFA_KIT_HOME": "/desk",
    "MFA_KIT_PROFILE": "prod",
    "MFA_KIT_ENDPOINT_URL": "https://iam.amazonaws.com",
    "PATH": "/bin",
}


def test_a_command_outside_the_lab_gets_no_real_credentials() -> None:
    """Outside a lab, the command gets no credentials and none of the usual credential files."""
    env = child.device_environment(REAL, {"PCSCLITE_CSOCK_NAME": "/p"})
    kept = {"PATH": "/bin", "MFA_KIT_HOME": "/desk", "PCSCLITE_CSOCK_NAME": "/p"}
    assert env == {**kept, **child.NOWHERE}
    assert not {"AKIA", "real", "prod"} & set(env.values())


def test_a_client_outside_the_lab_finds_no_credentials(tmp_path: Path) -> None:
    """The AWS CLI and boto do not read the credential files of the user, although these exist."""
    keys = "aws_access_key_id = AKIA\naws_secret_access_key = real\n"
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(f"[default]\n{keys}")
    (tmp_path / ".aws" / "config").write_text(f"[default]\nregion = us-east-1\n[profile prod]\n{keys}")
    (tmp_path / ".boto").write_text(f"[Credentials]\n{keys}")
    env = {**os.environ, "HOME": str(tmp_path)}
    ask = "import boto3; print(boto3.Session().get_credentials(), boto3.client('sts', 'x').meta.endpoint_url)"
    for caller in (env, {**env, "AWS_PROFILE": "prod"}):
        command = [sys.executable, "-c", ask]
        before, after = (
            subprocess.run(command, env=each, capture_output=True, text=True, check=True).stdout
            for each in (caller, child.device_environment(caller, {}))
        )
        assert "None" not in before
        assert after == f"None {child.NOWHERE['AWS_ENDPOINT_URL']}\n"


def test_a_command_inside_the_lab_uses_the_lab(lab: Lab) -> None:
    """A lab is recognized by its endpoint and its token, whatever the credentials are.

    No variable may name another endpoint.
    """
    assert child.device_environment(lab.env, {"A": "b"}) == {**lab.env, "A": "b"}
    assert is_lab(lab.env)
    assert is_lab({**lab.env, "AWS_SECRET_ACCESS_KEY": "of-a-user-in-the-lab"})
    for endpoint in ("https://iam.amazonaws.com", "http://127.0.0.1:4566"):
        assert not is_lab({**lab.env, "AWS_ENDPOINT_URL": endpoint})
    assert not is_lab({name: value for name, value in lab.env.items() if name != "MFA_KIT_LAB"})
    assert not is_lab({**lab.env, "AWS_ENDPOINT_URL": "http://["})
    assert is_lab({**lab.env, "MFA_KIT_ENDPOINT_URL": f"{lab.url}/"})
    for name in ("AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_STS", "MFA_KIT_ENDPOINT_URL"):
        assert not is_lab({**lab.env, name: "https://iam.amazonaws.com"})
    assert not is_lab({**lab.env, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"})


def test_a_shell_in_the_lab_shows_the_lab(tmp_path: Path) -> None:
    """The lab prints one line. In bash, each prompt shows the lab too. Other commands are unchanged."""
    (command, *options) = child.marked_shell(["bash"], tmp_path)
    done = subprocess.run([command, *options, "-i", "-c", "echo $PS1"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(lab)")
    assert child.marked_shell(["bash", "-c", "x"], tmp_path) == ["bash", "-c", "x"]
    assert child.marked_shell(["true"], tmp_path) == ["true"]
    shell = subprocess.run(
        [*TOOL, "lab", "run", "--", "sh"], capture_output=True, text=True, check=False, input="exit 3"
    )
    assert "this is the lab" in shell.stderr
    assert "this is the lab" not in _lab("--", "true").stderr


def test_the_tour_waits_for_enter_at_a_terminal() -> None:
    """The user presses Enter to see the next step. The text of the steps is wrapped between words."""
    with pexpect.spawn(TOOL[0], [*TOOL[1:], "lab", "tour"], timeout=60, encoding="utf-8", dimensions=(24, 80)) as tour:
        tour.expect("1/10")
        tour.expect("press Enter for the next step")
        prose = str(tour.before).partition("What happened:")[2].splitlines()
        assert len(prose) > 3
        assert max(map(len, prose)) <= 80
        tour.sendline("")
        tour.expect("2/10")
        tour.sendintr()
        tour.expect(pexpect.EOF)
