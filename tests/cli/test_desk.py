"""Verbs that ask no questions: config, doctor, completion and man. Also tests of terminals that can be asked."""

import contextlib
import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pexpect
import pyrage
import pytest
from botocore.exceptions import ClientError

from mfa_kit.adapters.files.identities import NewIdentity, read_identities
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.core.permissions import Job, job_policy
from mfa_kit.doctor.checks import diagnose_endpoint
from mfa_kit.doctor.diagnosis import Health
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri
from mfa_kit.wiring import settings
from mfa_kit.wiring.methods.virtual import PlainPicture
from tests.cheap_scrypt import cheap_scrypt
from tests.conftest import ROOT, MfaKit, Nobody, Result, bare, judge

CONFIG = """
profile = "desk"
region = "eu-central-1"
account = "111122223333"
plain = true
backup-dir = "~/sealed"
recipients = ["age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"]
"""


def written(mfa_kit: MfaKit, text: str) -> Path:
    mfa_kit.home.mkdir(mode=0o700)
    file = mfa_kit.home / "config.toml"
    file.write_text(text, "utf-8")
    file.chmod(0o600)
    return file


def test_the_configuration_is_in_mfa_kit_home(mfa_kit: MfaKit) -> None:
    """So a lab does not use its caller's configuration."""
    assert mfa_kit.run("config", "path").out == f"{mfa_kit.home / 'config.toml'}\n"


def test_the_configuration_is_in_the_platforms_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without $MFA_KIT_HOME, that is the default. On Linux it is the XDG folder."""
    monkeypatch.delenv("MFA_KIT_HOME", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert settings.config_path() == tmp_path / "mfa-kit" / "config.toml"


def test_every_configuration_key_is_read(mfa_kit: MfaKit) -> None:
    """docs/configuration.md documents the keys."""
    written(mfa_kit, CONFIG)
    assert settings.load_config() == settings.Config(
        profile="desk",
        region="eu-central-1",
        account="111122223333",
        plain=True,
        backup_dir="~/sealed",
        recipients=("age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z",),
    )
    assert "eu-central-1" in mfa_kit.run("config", "show").out
    assert "recipients   1" in mfa_kit.run("config", "validate").out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profile = 1", "a string in quotes"),
        ("plain = 'yes'", "true or false"),
        ("recipients = 'age1'", "a list of strings"),
        ("recipients = [1]", "a list of strings"),
        ("colour = 'red'", "use one of profile, region"),
        ("profile = ", "see: mfa-kit help configuration"),
        ("recipients = ['nonsense']", "an age recipient"),
    ],
)
def test_a_fault_in_the_configuration_is_named(text: str, said: str, mfa_kit: MfaKit) -> None:
    """The message names the key and the valid values."""
    written(mfa_kit, text)
    done = mfa_kit.run("config", "validate")
    assert done.code == 2
    assert said in done.err


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_configuration_that_others_can_write_is_refused(mode: int, mfa_kit: MfaKit) -> None:
    """The file decides to which recipients secrets are encrypted."""
    written(mfa_kit, CONFIG).chmod(mode)
    with pytest.raises(UsageFault, match="can be written by other users"):
        settings.load_config()


def test_the_sticky_bit_of_a_file_does_not_help(mfa_kit: MfaKit) -> None:
    """The sticky bit protects the files in a folder, but has no effect on a file itself."""
    written(mfa_kit, CONFIG).chmod(0o1602)
    with pytest.raises(UsageFault, match="can be written by other users"):
        settings.load_config()


def test_a_pipe_as_configuration_file_does_not_block(mfa_kit: MfaKit) -> None:
    written(mfa_kit, CONFIG).unlink()
    os.mkfifo(mfa_kit.home / "config.toml", 0o600)
    # prevents a reader from waiting for a writer
    writer = os.open(mfa_kit.home / "config.toml", os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(writer, b"plain = true\n")
        with pytest.raises(UsageFault, match="is not a file"):
            settings.load_config()
    finally:
        os.close(writer)


@pytest.mark.parametrize("line", ['recipients = ["{}"]', 'recipients = "{}"', '"{}" = 1', "# {}"])
def test_an_identity_in_the_configuration_is_not_shown(mfa_kit: MfaKit, line: str) -> None:
    """If a user confuses the two halves of a key pair, the private key is refused and not printed."""
    secret = "AGE-SECRET-KEY-1" + "Q" * 58
    written(mfa_kit, line.format(secret))
    done = mfa_kit.run("config", "show")
    assert (done.code, done.out) == (2, "")
    assert "contains an identity, which is secret" in done.err
    assert secret not in done.err


def test_a_password_in_the_address_of_the_ledger_is_not_shown(mfa_kit: MfaKit) -> None:
    """`validate` refuses it, as each command does that uses the ledger. An address without a password is shown."""
    file = written(mfa_kit, 'ledger = "postgresql://mfa:hunter2@localhost/mfa"')
    shown, validated = mfa_kit.run("config", "show"), mfa_kit.run("config", "validate")
    assert "hunter2" not in f"{shown} {validated}"
    assert (shown.code, "not shown: the ledger's address contains a password" in shown.out) == (0, True)
    assert (validated.code, "contains a password" in validated.err) == (2, True)
    file.write_text('ledger = "postgresql://localhost/mfa"')
    assert "postgresql://localhost/mfa" in mfa_kit.run("config", "show").out


def test_a_configuration_folder_that_others_can_write_is_refused(mfa_kit: MfaKit) -> None:
    """Other users could replace the file."""
    written(mfa_kit, CONFIG).parent.chmod(0o777)
    with pytest.raises(UsageFault, match="can be written by other users"):
        settings.load_config()


def test_a_configuration_of_another_user_is_refused(nobody: Nobody) -> None:
    """A file that belongs to root is accepted."""
    nobody.home.mkdir(mode=0o755)
    (nobody.home / "config.toml").write_text("plain = true\n", "utf-8")
    assert nobody.process("config", "show").code == 0
    os.chown(nobody.home / "config.toml", 12345, 12345)
    done = nobody.process("config", "show")
    assert done.code == 2
    assert "belongs to another user" in done.err


def test_an_unreadable_configuration_is_an_error(nobody: Nobody) -> None:
    """Otherwise mfa-kit would ignore its recipients without a message."""
    nobody.home.mkdir(mode=0o755)
    (nobody.home / "config.toml").touch(mode=0o600)
    assert nobody.process("config", "show").code == IntegrityFault.exit_code


def test_the_configured_recipients_and_folder_are_used(
    mfa_kit: MfaKit, user: str, recipient: str, tmp_path: Path
) -> None:
    """A script need not repeat them as options."""
    written(mfa_kit, f'recipients = ["{recipient}"]\nbackup-dir = "{tmp_path}/sealed"\n')
    done = mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated")
    assert done.code == 0, done.err
    assert len(list((tmp_path / "sealed").rglob("*.age"))) == 1


def test_the_doctor_finds_no_fault_in_a_good_setup(mfa_kit: MfaKit) -> None:
    """The exit code is 0, and no line is wrong or unknown."""
    done = mfa_kit.process("doctor", "--output", "json", start_new_session=True)
    assert done.code == 0, done.out
    assert {row["state"] for row in json.loads(done.out)["rows"]} == {"ok", "-"}


def test_the_doctor_reports_wrong_credentials(mfa_kit: MfaKit) -> None:
    """It prints AWS's error code and a hint, after the rest of the table."""
    done = mfa_kit.process("doctor", env={"AWS_ACCESS_KEY_ID": "AKIAWRONG"}, start_new_session=True)
    assert done.code == 1
    assert "InvalidClientTokenId" in done.out


@pytest.mark.parametrize("text", ["nonsense", "recipients = ['age1nonsense']"])
def test_the_doctor_reports_an_invalid_configuration(text: str, mfa_kit: MfaKit) -> None:
    """It is one line of the table. The recipients in it are checked too."""
    written(mfa_kit, text)
    done = mfa_kit.run("doctor", "--output", "json")
    assert done.code == 1
    assert [row["check"] for row in json.loads(done.out)["rows"] if row["state"] == "wrong"][:1] == ["configuration"]


def test_the_doctor_reports_what_exposes_requests(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """It reports a log of TLS keys, a CA bundle of a profile, and a proxy that is not a URL.

    botocore uses REQUESTS_CA_BUNDLE only if the profile has no bundle.
    """
    config = tmp_path / "aws"
    config.write_text("[profile desk]\nca_bundle = /nowhere/ca.pem\n")
    env = {
        "SSLKEYLOGFILE": "/tmp/keys",
        "AWS_CONFIG_FILE": str(config),
        "HTTPS_PROXY": "http://[",
        "AWS_PROFILE": "desk",
        "REQUESTS_CA_BUNDLE": str(config),
    }
    done = mfa_kit.process("doctor", "--output", "json", env=env)
    found = {row["check"]: row for row in json.loads(done.out)["rows"]}
    assert (found["TLS key log"]["state"], found["TLS key log"]["hint"]) == ("wrong", "unset SSLKEYLOGFILE")
    assert found["CA bundle"]["found"] == "ca_bundle /nowhere/ca.pem in the AWS profile"
    assert found["proxy"]["found"] == "HTTPS_PROXY is not a URL" or "NO_PROXY" in found["proxy"]["found"]


def test_the_doctor_does_not_print_a_proxy_s_password(mfa_kit: MfaKit) -> None:
    """Only the host in the proxy's URL is printed."""
    proxies = {"HTTPS_PROXY": "http://me:hunter2@proxy.example:3128", "AWS_CA_BUNDLE": "/nowhere"}
    done = mfa_kit.process("doctor", env=proxies, start_new_session=True)
    assert "HTTPS_PROXY proxy.example" in done.out
    assert "hunter2" not in done.out
    assert done.code == 1


def test_the_doctor_reports_another_account(mfa_kit: MfaKit) -> None:
    """The check is done only if --account is given."""
    done = mfa_kit.process("doctor", "--account", "111122223333", start_new_session=True)
    assert done.code == 1
    assert "these credentials are not for account 111122223333" in done.out


def test_the_doctor_reports_folders_that_others_can_read(nobody: Nobody) -> None:
    """A folder that cannot be inspected is reported too."""
    nobody.home.mkdir(mode=0o700)
    (nobody.home / "backups").mkdir(mode=0o700)
    os.chown(nobody.home, 12345, 65534)
    nobody.home.chmod(0o750)
    done = nobody.process("doctor", start_new_session=True)
    assert "belongs to another user" in done.out
    assert done.code == 1


# Each action of the doctor as a real request, on the caller's own user and on a device of the same name.
REQUESTS: dict[str, Callable[[Any, str], Any]] = {
    "iam:CreateVirtualMFADevice": lambda iam, me: iam.create_virtual_mfa_device(VirtualMFADeviceName=me),
    "iam:DeleteVirtualMFADevice": lambda iam, me: iam.delete_virtual_mfa_device(SerialNumber=serial_of(me)),
    "iam:TagMFADevice": lambda iam, me: iam.tag_mfa_device(SerialNumber=serial_of(me), Tags=[]),
    "iam:ListMFADeviceTags": lambda iam, me: iam.list_mfa_device_tags(SerialNumber=serial_of(me)),
    "iam:GetUser": lambda iam, me: iam.get_user(UserName=me),
    "iam:ListMFADevices": lambda iam, me: iam.list_mfa_devices(UserName=me),
    "iam:EnableMFADevice": lambda iam, me: iam.enable_mfa_device(**codes_for(me)),
    "iam:DeactivateMFADevice": lambda iam, me: iam.deactivate_mfa_device(UserName=me, SerialNumber=serial_of(me)),
    "iam:ResyncMFADevice": lambda iam, me: iam.resync_mfa_device(**codes_for(me)),
    "iam:ListUsers": lambda iam, _: iam.list_users(),
    "iam:ListVirtualMFADevices": lambda iam, _: iam.list_virtual_mfa_devices(),
}
SIMULATE = {"Effect": "Allow", "Action": "iam:SimulatePrincipalPolicy", "Resource": "*"}
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
SELF_MANAGE = (ROOT / "tests/terminal/policies/self-manage.json").read_text("utf-8")
DESK = job_policy(Job.DESK, partition="aws")["Statement"]


def serial_of(name: str) -> str:
    return f"arn:aws:iam::000000000000:mfa/{name}"


def codes_for(user: str) -> dict[str, str]:
    return {
        "UserName": user,
        "SerialNumber": serial_of(user),
        "AuthenticationCode1": "123456",
        "AuthenticationCode2": "654321",
    }


def denied(request: Callable[[Any, str], Any], iam: Any, user: str) -> bool:
    """Return whether IAM denies the request. IAM checks permissions before it refuses for other reasons."""
    try:
        request(iam, user)
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "AccessDenied")
    return False


def doctored(mfa_kit: MfaKit, lab: Lab, user: str, *statements: Any) -> tuple[Any, Result]:
    """Give a user these policy statements and keys; return the user's IAM client and the doctor's output."""
    clients: dict[str, Any] = {"endpoint_url": lab.url, "region_name": "us-east-1"}
    admin = boto3.client(
        "iam",
        **clients,
        aws_access_key_id=lab.admin.access_key_id,
        aws_secret_access_key=lab.admin.secret_access_key,
    )
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    admin.put_user_policy(UserName=user, PolicyName="own", PolicyDocument=policy)
    key = admin.create_access_key(UserName=user)["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    own = boto3.client(
        "iam",
        **clients,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    return own, mfa_kit.process("doctor", "--output", "json", env=keys)


def actions(done: Result) -> dict[str, str]:
    rows = json.loads(done.out)["rows"]
    return {row["check"]: row["state"] for row in rows if row["check"].startswith("iam:")}


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param([EVERYTHING], id="everything"),
        pytest.param([*DESK, SIMULATE], id="an enrolling administrator"),
        pytest.param([*json.loads(SELF_MANAGE)["Statement"][:3], SIMULATE], id="who manages his own"),
        pytest.param([SIMULATE], id="nothing"),
    ],
)
def test_what_the_doctor_calls_allowed_iam_allows(statements: list[Any], mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """Each action is also requested from an IAM that enforces policies, and the results are compared."""
    iam, done = doctored(mfa_kit, lab, user, *statements)
    said = actions(done)
    assert said == {action: "wrong" if denied(request, iam, user) else "ok" for action, request in REQUESTS.items()}
    assert done.code == int("wrong" in said.values())


def test_actions_that_depend_on_mfa_are_unknown(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """The policy is AWS's sample that requires MFA. An action that is denied even with MFA is reported as denied."""
    # The sample denies everything that it does not list, including a simulation.
    force = json.loads(SELF_MANAGE)["Statement"][3]
    force["NotAction"].append("iam:SimulatePrincipalPolicy")
    _, done = doctored(mfa_kit, lab, user, *json.loads(SELF_MANAGE)["Statement"][:3], force, SIMULATE)
    said = actions(done)
    assert {action for action, state in said.items() if state == "unknown"} == {"iam:DeactivateMFADevice"}
    assert (said["iam:EnableMFADevice"], said["iam:DeleteVirtualMFADevice"]) == ("ok", "wrong")
    assert "depends on a condition, such as MFA" in done.out


def test_actions_are_unknown_if_simulation_is_denied(mfa_kit: MfaKit, lab: Lab, user: str) -> None:
    """Minimal policies omit iam:SimulatePrincipalPolicy, so this is not an error."""
    _, done = doctored(mfa_kit, lab, user, *json.loads(SELF_MANAGE)["Statement"][:3])
    assert set(actions(done).values()) == {"unknown"}
    assert "unknown without iam:SimulatePrincipalPolicy" in done.out
    assert done.code == 0


def ledger(mfa_kit: MfaKit) -> dict[str, str]:
    rows = json.loads(mfa_kit.process("doctor", "--output", "json").out)["rows"]
    found: dict[str, str] = next(row for row in rows if row["check"] == "ledger")
    return found


def test_the_doctor_checks_the_ledger(mfa_kit: MfaKit) -> None:
    """If there is no ledger yet, a line says so, and none is created."""
    assert (ledger(mfa_kit)["state"], (mfa_kit.home / "ledger.sqlite").exists()) == ("-", False)
    assert mfa_kit.run("ledger", "show").code == 0
    before = (mfa_kit.home / "ledger.sqlite").read_bytes()
    assert (ledger(mfa_kit)["state"], (mfa_kit.home / "ledger.sqlite").read_bytes()) == ("ok", before)


def test_the_doctor_reports_an_unusable_ledger(mfa_kit: MfaKit) -> None:
    """It is locked, from a newer mfa-kit, of another program, not a database, damaged inside, or a folder."""
    mfa_kit.run("ledger", "show")
    file = mfa_kit.home / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("begin immediate")
        assert "database is locked" in ledger(mfa_kit)["found"]
        db.execute("rollback")
        db.execute("pragma user_version = 999")
    assert "was written by a newer version of mfa-kit" in ledger(mfa_kit)["found"]
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("drop table events")
    assert "belongs to another program" in ledger(mfa_kit)["found"]
    whole = bytearray(file.read_bytes())
    for number in range(1, len(whole) // 4096):
        whole[number * 4096 : number * 4096 + 64] = b"\xff" * 64
    file.write_bytes(whole)
    assert "damaged" in ledger(mfa_kit)["found"]
    file.write_bytes(b"not a database, but longer than the hundred octets of the header of one" * 9)
    assert "file is not a database" in ledger(mfa_kit)["found"]
    file.unlink()
    file.mkdir()
    found = ledger(mfa_kit)
    assert (found["state"], "unable to open" in found["found"], bool(found["hint"])) == ("wrong", True, True)


def test_the_doctor_recognizes_endpoints_of_aws() -> None:
    """A host name that only resembles AWS's does not count."""
    assert diagnose_endpoint("https://iam.amazonaws.com").health is Health.GOOD
    assert diagnose_endpoint("https://iam.cn-north-1.amazonaws.com.cn").health is Health.GOOD
    assert diagnose_endpoint("https://iam.amazonaws.com.example").health is Health.NOTED


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", ["--norc", "--noprofile", "-c", "source /dev/stdin && complete -p mfa-kit"]),
        ("zsh", ["-f", "-c", "autoload -Uz compinit && compinit -u && source /dev/stdin && print ${_comps[mfa-kit]}"]),
        ("fish", ["--no-config", "-c", "source - && complete -c mfa-kit"]),
    ],
)
def test_each_shell_accepts_its_completion_script(shell: str, words: list[str], mfa_kit: MfaKit) -> None:
    """Each shell runs its own script."""
    script = mfa_kit.run("completion", shell).out
    done = subprocess.run([judge(shell), *words], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mfa_kit_completion" in done.stdout


def completed(mfa_kit: MfaKit, *words: str) -> str:
    """Return bash's completions for the last of these words."""
    env = {
        "_MFA_KIT_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["mfa-kit", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return mfa_kit.process(env=env).out


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["enr"], "enroll"),
        (["backup", "ver"], "verify"),
        (["enroll", "alice", "--wi"], "--with"),
        (["enroll", "alice", "--with", "vir"], "virtual"),
        (["enroll", "alice", "--with", "virtual", "--codes", "gen"], "generated"),
        (["--output", "js"], "jsonl"),
    ],
    ids=" ".join,
)
def test_commands_options_and_choices_are_completed(words: list[str], wanted: str, mfa_kit: MfaKit) -> None:
    """The options of the method after `--with` are included."""
    assert f"plain,{wanted}" in completed(mfa_kit, *words).splitlines()


def test_users_are_not_completed(mfa_kit: MfaKit, user: str, lab: Lab) -> None:
    """Completion never calls AWS, so users type names in full."""
    before = len(lab.calls)
    assert completed(mfa_kit, "enroll", user[:2]).strip() == ""
    assert len(lab.calls) == before


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_man_accepts_every_manual_page(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """`man` prints no warnings, and shows the same text as the help."""
    assert mfa_kit.run("man", "--dir", tmp_path / "man1").code == 0
    pages = sorted((tmp_path / "man1").iterdir())
    assert {"mfa-kit.1", "mfa-kit-enroll.1", "mfa-kit-backup-verify.1"} <= {page.name for page in pages}
    env = {"PATH": os.environ["PATH"], "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANROFFOPT": "-ww"}
    for page in pages:
        done = subprocess.run(
            [judge("man"), "-l", page], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), page
        assert "NAME" in done.stdout


def test_the_page_of_enroll_has_the_options_of_every_kind(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """Each option is listed under its method."""
    mfa_kit.run("man", "--dir", tmp_path)
    page = (tmp_path / "mfa-kit-enroll.1").read_text("utf-8")
    assert page.index("Options of \\-\\-with virtual") < page.index("\\-\\-qr\\-file")


def test_a_folder_for_manual_pages_that_fails_is_reported(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """A file has the name of the folder."""
    (tmp_path / "file").touch()
    assert mfa_kit.run("man", "--dir", tmp_path / "file" / "man1").code == 2
    assert mfa_kit.run("man").out.startswith(".TH MFA\\-KIT 1")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_age_decrypts_an_identity_with_a_passphrase(tmp_path: Path) -> None:
    """Debian's age asks for the passphrase on its terminal, as it does for `age -p`."""
    made = NewIdentity()
    (tmp_path / "identity.age").write_bytes(made.encrypted(Secret("correct horse")))
    recipient = pyrage.x25519.Recipient.from_str(made.recipient)
    (tmp_path / "backup.age").write_bytes(pyrage.encrypt(b"a picture", [recipient]))
    age = pexpect.spawn(
        judge("age"), ["-d", "-i", "identity.age", "backup.age"], cwd=tmp_path, encoding="utf-8", timeout=60
    )
    age.expect("passphrase")
    age.sendline("correct horse")
    age.expect("a picture")
    age.expect(pexpect.EOF)
    assert age.wait() == 0
    age.close()


SEAL = """
import pathlib, sys
from mfa_kit.adapters.files.identities import NewIdentity
from mfa_kit.core.otp import Secret
made = NewIdentity()
pathlib.Path(sys.argv[1]).write_bytes(made.encrypted(Secret("correct horse")))
print(made.recipient, end="")
"""


@pytest.mark.timeout(180)
def test_an_identity_needs_its_own_passphrase(tmp_path: Path) -> None:
    """For another passphrase, a message says that it is wrong."""
    seal = [sys.executable, "-c", SEAL, f"{tmp_path}/identity.age"]
    made = subprocess.run(seal, env={**bare(), **cheap_scrypt()}, check=True, capture_output=True, text=True)
    opened = read_identities([tmp_path / "identity.age"], lambda _: Secret("correct horse"))
    assert [str(each.to_public()) for each in opened.reveal()] == [made.stdout]  # type: ignore[union-attr]
    with pytest.raises(UsageFault, match="wrong passphrase"):
        read_identities([tmp_path / "identity.age"], lambda _: Secret("wrong"))
    with pytest.raises(UsageFault, match="no usable identity"):
        read_identities([tmp_path / "identity.age"])


def test_a_pipe_on_stdin_answers_no_question(mfa_kit: MfaKit, user: str) -> None:
    """Questions are asked on /dev/tty, and this process has no terminal."""
    ours, theirs = pty.openpty()
    done = mfa_kit.process("enroll", user, "--with", "virtual", stdin=theirs, start_new_session=True)
    os.close(ours)
    os.close(theirs)
    assert done.code == 8
    assert "there is no terminal" in done.err


def test_qr_file_never_overwrites_a_file(mfa_kit: MfaKit, user: str, tmp_path: Path) -> None:
    """The command is refused after the request for the caller's identity, before any other request to AWS."""
    (tmp_path / "qr.png").touch()
    done = mfa_kit.run("enroll", user, "--with", "virtual", "--qr-file", tmp_path / "qr.png")
    assert done.code == 2
    assert "already exists" in done.err


@pytest.mark.parametrize("words", [["--qr-file", "qr.png"], ["--show-secret"]])
def test_generated_codes_refuse_to_show_a_picture(
    words: list[str], mfa_kit: MfaKit, user: str, recipient: str, lab: Lab
) -> None:
    """The message says that no QR code is shown with --codes generated."""
    done = mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient, *words)
    assert done.code == 2
    assert "neither the QR code nor the secret is shown" in done.err
    assert f"arn:aws:iam::000000000000:mfa/{user}" not in lab.serials()


def test_a_file_that_appears_before_qr_file_is_kept(tmp_path: Path) -> None:
    """It is not overwritten, and not removed when the run is settled. A picture that mfa-kit wrote is removed."""
    uri = key_uri.otpauth(Seed(bytes(40)), label="alice@000000000000")
    theirs, ours = PlainPicture(tmp_path / "theirs.png"), PlainPicture(tmp_path / "ours.png")
    (tmp_path / "theirs.png").write_text("somebody's")
    with pytest.raises(IntegrityFault, match="already exists"):
        theirs.write(uri)
    theirs.remove()
    assert (tmp_path / "theirs.png").read_text() == "somebody's"
    ours.write(uri)
    assert (tmp_path / "ours.png").exists()
    ours.remove()
    assert not (tmp_path / "ours.png").exists()
    (tmp_path / "ours.png").write_text("somebody's, by now")
    ours.remove()
    assert (tmp_path / "ours.png").exists()


def test_a_dry_run_creates_no_identity(mfa_kit: MfaKit, user: str) -> None:
    """--dry-run shows the path of the backup, and asks for no passphrase."""
    done = mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated", "--passphrase", "--dry-run")
    assert done.code == 0, done.err
    assert ".png.age" in done.out
    assert not list(mfa_kit.home.glob("identity-*"))


def test_resync_without_a_backup_says_so(mfa_kit: MfaKit, user: str, recipient: str, identity_file: Path) -> None:
    """The hint says where to look. With --dry-run, no codes are asked for."""
    mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient)
    for backup in mfa_kit.home.rglob("*.age"):
        backup.unlink()
    done = mfa_kit.run("resync", user, "-i", identity_file)
    assert done.code == 5
    assert "--backup-dir" in done.err
    assert "planned" in mfa_kit.run("resync", user, "--dry-run").out


def test_no_one_is_told_to_type_codes_that_a_backup_gives(
    mfa_kit: MfaKit, user: str, recipient: str, identity_file: Path
) -> None:
    """IAM has accepted the codes of this minute at the enrollment, so it refuses them."""
    mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient)
    done = mfa_kit.run("resync", user, "-i", identity_file)
    assert done.code == 4
    assert "try: wait a minute, then run this again: IAM accepts no code twice\n" in done.err


def test_a_user_who_is_not_there_can_be_found_with_mfa_kit(mfa_kit: MfaKit) -> None:
    """Not everybody has the AWS CLI."""
    assert "check the name; to list the users: mfa-kit status\n" in mfa_kit.run("status", "nobody").err


def test_the_doctor_reports_a_folder_it_cannot_inspect(nobody: Nobody) -> None:
    """The parent folder has no permissions."""
    nobody.home.mkdir(mode=0o700)
    closed = nobody.home.parent / "closed"
    (closed / "backups").mkdir(parents=True)
    (nobody.home / "config.toml").write_text(f'backup-dir = "{closed}/backups"\n', "utf-8")
    (nobody.home / "config.toml").chmod(0o644)
    for path in (nobody.home, nobody.home / "config.toml"):
        os.chown(path, 65534, 65534)
    closed.chmod(0o700)
    done = nobody.process("doctor")
    assert "Permission denied" in done.out
    assert done.code == 1


def test_completion_for_another_shell_is_a_usage_error(mfa_kit: MfaKit) -> None:
    """An unsupported shell is a usage error."""
    assert mfa_kit.run("completion", "tcsh").code == 2
