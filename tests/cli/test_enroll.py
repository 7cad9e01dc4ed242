"""`mfa-kit enroll` as used by people and scripts. Debian's programs check the results."""

import csv
import io
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.files.agefile import open_backup
from mfa_kit.adapters.files.identities import read_identities
from mfa_kit.core import otp
from mfa_kit.core.models import DeviceSpec
from mfa_kit.core.otp import Pair
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri, symbol
from mfa_kit.wiring.methods.registry import METHODS
from tests.conftest import ACCOUNT, MfaKit, Nobody, bare, judge, without

VIRTUAL = ("--with", "virtual", "--codes", "generated")


def serial_of(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:mfa/{name}"


@pytest.fixture
def enroll(user: str, recipient: str) -> list[str]:
    """Return a command line that succeeds."""
    return ["enroll", user, *VIRTUAL, "-r", recipient]


def result(out: str) -> dict[str, Any]:
    row = json.loads(out)
    assert isinstance(row, dict)
    return row


def test_an_enrollment_is_printed_as_json(enroll: list[str], mfa_kit: MfaKit, user: str, lab: Lab) -> None:
    """Standard output has one object with schema and version, and nothing else."""
    done = mfa_kit.run(*enroll, "--output", "json")
    assert done.code == 0
    row = result(done.out)
    assert row == {
        "schema": "mfa-kit/enroll",
        "version": 1,
        "outcome": "enrolled",
        "user": user,
        "device": serial_of(user),
        "kind": "virtual",
        "hardware": None,
        "backup": row["backup"],
        "run": row["run"],
        "listed": True,
    }
    assert row["backup"] == str(mfa_kit.home / "backups" / ACCOUNT / user / f"{user}-{row['run']}.png.age")
    assert lab.assigned(row["device"]) == user


def test_debians_programs_can_use_the_backup(
    enroll: list[str], mfa_kit: MfaKit, user: str, identity_file: Path, tmp_path: Path
) -> None:
    """Debian's age decrypts the backup, zbarimg reads it, and IAM accepts oathtool's next pair of codes."""
    [path] = [result(mfa_kit.run(*enroll, "--output", "json").out)["backup"]]
    picture = subprocess.run([judge("age"), "-d", "-i", identity_file, path], capture_output=True, check=True).stdout
    (tmp_path / "qr.png").write_bytes(picture)
    read = subprocess.run(
        [judge("zbarimg"), "--quiet", "--nodbus", "--raw", tmp_path / "qr.png"],
        capture_output=True,
        text=True,
        check=True,
    )
    label, _, query = read.stdout.partition("?")
    assert label == f"otpauth://totp/Amazon%20Web%20Services:{user}@{ACCOUNT}"
    secret = dict(each.split("=") for each in query.strip().split("&"))["secret"]
    now = datetime.fromtimestamp(datetime.now(UTC).timestamp() + 30, UTC)
    codes = subprocess.run(
        [judge("oathtool"), "--totp", "--base32", "--window=1", f"--now={now:%Y-%m-%d %H:%M:%S} UTC", "-"],
        input=secret,
        capture_output=True,
        text=True,
        check=True,
    )
    Iam(observe=lambda _: None).resync(user, serial_of(user), lambda: Pair(*codes.stdout.split()))


def test_the_caller_is_shown_before_anything_else(enroll: list[str], mfa_kit: MfaKit, lab: Lab) -> None:
    """The account and the caller are printed, even if the command is refused. A lab is marked as a lab."""
    lab.faults.add("ListMFADevices", "denied")
    done = mfa_kit.run(*enroll)
    assert done.code == 4
    assert done.err.splitlines()[0] == (
        f"account {ACCOUNT} (LAB, nothing here is real) as arn:aws:iam::{ACCOUNT}:user/lab-admin"
    )


@pytest.mark.parametrize("words", [["--account="], ["--account", f" {ACCOUNT}"]])
def test_a_malformed_account_is_refused(words: list[str], enroll: list[str], mfa_kit: MfaKit, lab: Lab) -> None:
    """It is a usage error, before any call to AWS.

    So is an empty value, because a script may have an unset variable.
    """
    before = len(lab.calls)
    done = mfa_kit.run(*enroll, *words)
    assert (done.code, "is not an AWS account ID" in done.err, len(lab.calls)) == (2, True, before)


def test_any_other_account_is_refused(enroll: list[str], mfa_kit: MfaKit, user: str, lab: Lab) -> None:
    """The check comes before the first lookup of the user."""
    before = len(lab.calls)
    done = mfa_kit.run(*enroll, "--account", "123456789012")
    assert done.code == 2
    assert "but --account is" in done.err
    assert [call.operation for call in lab.calls[before:]] == ["GetCallerIdentity"]
    assert serial_of(user) not in lab.serials()


def test_the_account_given_with_account_is_accepted(enroll: list[str], mfa_kit: MfaKit) -> None:
    """--account has its ID."""
    assert mfa_kit.run(*enroll, "--account", ACCOUNT).code == 0


@pytest.mark.parametrize(("seconds", "said"), [(200, "behind"), (-200, "ahead of")])
def test_a_wrong_clock_is_reported_but_accepted(
    seconds: int, said: str, enroll: list[str], mfa_kit: MfaKit, lab: Lab
) -> None:
    """The difference is accurate to about a second, because the response has AWS's time."""
    lab.faults.add("*", "clock", seconds=seconds)
    done = mfa_kit.run(*enroll)
    assert done.code == 0
    told = re.fullmatch(rf"account .*, this computer's clock is (\d+) s {said} AWS's", done.err.splitlines()[0])
    assert told
    assert abs(int(told[1]) - 200) < 60


def test_a_user_who_has_a_device_is_skipped(enroll: list[str], mfa_kit: MfaKit, user: str) -> None:
    """The exit code is 0, and a message says so."""
    assert mfa_kit.run(*enroll).code == 0
    done = mfa_kit.run(*enroll, "--output", "json")
    assert done.code == 0
    row = result(done.out)
    assert (row["outcome"], row["user"], row["devices"]) == ("skipped", user, [serial_of(user)])
    added = result(mfa_kit.run(*enroll, "--add", "--output", "json").out)
    assert added["device"] == serial_of(f"{user}-2")


def test_a_dry_run_prints_each_step(enroll: list[str], mfa_kit: MfaKit, user: str, lab: Lab) -> None:
    """Nothing is changed. The output has the paths of all files."""
    before = len(lab.calls)
    done = mfa_kit.run(*enroll, "--dry-run", "--output", "json")
    row = result(done.out)
    assert (done.code, row["outcome"], row["device"]) == (0, "planned", serial_of(user))
    assert [step.split()[0] for step in row["steps"]] == ["create", "encrypt", "enable", "confirm"]
    assert row["backup"] in row["steps"][1]
    assert {call.operation for call in lab.calls[before:]} == {"GetCallerIdentity", "GetUser", "ListMFADevices"}
    assert not (mfa_kit.home / "backups").exists()


def test_user_names_are_used_as_iam_spells_them(mfa_kit: MfaKit, user: str, recipient: str) -> None:
    """The device, the folder of the backup, status and revoke have this spelling."""
    enroll = ["enroll", user.upper(), "--with", "virtual", "--codes", "generated", "-r", recipient]
    row = result(mfa_kit.run(*enroll, "--output", "json").out)
    assert (row["user"], row["device"]) == (user, serial_of(user))
    assert [path.name for path in (mfa_kit.home / "backups" / "000000000000").iterdir()] == [user]
    shown = result(mfa_kit.run("status", user, "--output", "json").out)["rows"]
    assert [(each["made"], each["backup"]) for each in shown] == [("this desk", row["backup"])]
    assert mfa_kit.run("revoke", user.upper(), "--yes", "--leave-without-mfa").code == 0
    assert not Path(row["backup"]).exists()


def test_a_table_has_one_line_per_field(enroll: list[str], mfa_kit: MfaKit, user: str) -> None:
    """Empty fields are omitted."""
    out = mfa_kit.run(*enroll).out
    assert f"user     {user}\n" in out
    assert f"device   {serial_of(user)}\n" in out
    assert "None" not in out


def test_csv_has_a_header(enroll: list[str], mfa_kit: MfaKit, user: str) -> None:
    """One row follows."""
    [row] = csv.DictReader(io.StringIO(mfa_kit.run(*enroll, "--output", "csv").out))
    assert (row["outcome"], row["user"], row["listed"]) == ("enrolled", user, "yes")


@pytest.mark.parametrize("form", [["--output", "json"], ["--output=json"]])
def test_common_options_work_before_and_after_the_verb(
    form: list[str], enroll: list[str], mfa_kit: MfaKit, users: Callable[[], str]
) -> None:
    """If an option is given twice, the last value is used."""
    for line in ([*form, *enroll], [*enroll, *form], ["--output", "csv", *enroll, *form]):
        user = users()
        done = mfa_kit.run(*[user if word == enroll[1] else word for word in line])
        assert result(done.out)["user"] == user
    done = mfa_kit.run("--dry-run", "--account", ACCOUNT, "enroll", users(), *enroll[2:], "--output", "json")
    assert result(done.out)["outcome"] == "planned"


def test_endpoint_and_region_can_be_options(
    enroll: list[str], mfa_kit: MfaKit, user: str, monkeypatch: pytest.MonkeyPatch, lab: Lab
) -> None:
    """The AWS CLI has the same options."""
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    done = mfa_kit.run(*enroll, "--endpoint-url", lab.url, "--region", "us-east-1")
    assert done.code == 0
    assert lab.assigned(serial_of(user)) == user


def test_debug_prints_request_ids_but_no_secrets(enroll: list[str], mfa_kit: MfaKit) -> None:
    """The request IDs are on stderr, and are the same as in the ledger."""
    done = mfa_kit.process(*enroll, "--debug")
    assert done.code == 0
    ids = [line.split()[-1] for line in done.err.splitlines() if "CreateVirtualMFADevice answered 200" in line]
    [event] = [
        row
        for row in map(json.loads, mfa_kit.run("ledger", "export").out.splitlines())
        if row["what"] == "CreateVirtualMFADevice"
    ]
    assert ids == [event["reference"]]


def test_me_is_the_caller(mfa_kit: MfaKit, recipient: str) -> None:
    """@me is for users who enroll themselves."""
    done = mfa_kit.run("enroll", "@me", *VIRTUAL, "-r", recipient, "--dry-run", "--output", "json")
    assert result(done.out)["user"] == "lab-admin"


def test_recipients_can_come_from_a_file(
    mfa_kit: MfaKit, user: str, recipient: str, tmp_path: Path, identity_file: Path
) -> None:
    """`-R` and `--backup-dir` are relative to the current folder."""
    (tmp_path / "to.txt").write_text(f"# us\n{recipient}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        done = mfa_kit.run("enroll", user, *VIRTUAL, "-R", "to.txt", "--backup-dir", "safe", "--output", "json")
    path = Path(result(done.out)["backup"])
    assert path.is_relative_to(tmp_path / "safe")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    uri = symbol.read(open_backup(path, read_identities([identity_file])))
    assert key_uri.parse(uri).label == f"Amazon Web Services:{user}@{ACCOUNT}"


@pytest.mark.slow
def test_a_plain_picture_never_touches_the_disk(enroll: list[str], mfa_kit: MfaKit, tmp_path: Path) -> None:
    """According to strace, no file is written except the ledger, its locks and the encrypted backup."""
    trace = tmp_path / "trace"
    strace = shutil.which("strace") or without("strace is not installed")
    words = [strace, "-f", "-qq", "-o", str(trace), "-e", "trace=openat,open,creat,memfd_create", "-y"]
    done = mfa_kit.process(*enroll, env={"PYTHONDONTWRITEBYTECODE": "1"}, before=words)
    assert done.code == 0, done.err
    written = {
        line.partition('"')[2].partition('"')[0]
        for line in trace.read_text().splitlines()
        if any(flag in line for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "memfd"))
    }
    names = {Path(each).name for each in written if "/cov" not in each and ".coverage" not in each}
    ours = {name for name in names if not name.startswith(("ledger.sqlite", "2", ".")) and name != "migration"}
    assert ours <= {"null", "tty"}, written
    assert any(name.endswith(".png.age.partial") for name in names)


BAD: list[tuple[str, list[str], int, str]] = [
    ("unknown user", ["nobody-here"], 4, "NoSuchEntity"),
    ("root", ["root"], 2, "no API to enroll root"),
    ("root's ARN", [f"arn:aws:iam::{ACCOUNT}:root"], 2, "no API to enroll root"),
    ("bad user", ["a b"], 2, "is not an IAM user name"),
    ("other account", ["arn:aws:iam::123456789012:user/alice"], 2, "is not in this account"),
    ("role", [f"arn:aws:iam::{ACCOUNT}:role/alice"], 2, "is not a user"),
    ("bad name", ["USER", "--name", "a b"], 2, "is not a name that IAM accepts"),
    ("long name", ["USER", "--name", "a" * 225], 2, "too long for the name of a backup file"),
    ("bad path", ["USER", "--path", "desk"], 2, "is not a path that IAM accepts"),
    ("bad recipient", ["USER", "-r", "age1nonsense"], 2, "-r age1nonsense is not a recipient"),
    ("no file of recipients", ["USER", "-R", "/nonexistent"], 2, "cannot be read: No such file"),
    ("file as folder", ["USER", "--backup-dir", "/dev/null"], 2, "is not a folder that you can write to"),
    ("below a file", ["USER", "--backup-dir", "/dev/null/a"], 2, "is not a folder that you can write to"),
    ("long folder", ["USER", "--backup-dir", "a" * 300], 2, "cannot be read: File name too long"),
    ("no profile", ["USER", "--profile", "none"], 4, "none"),
    ("no region", ["USER", "--region", "us_east_1"], 2, "'us_east_1' doesn't match a supported format"),
    ("no address", ["USER", "--endpoint-url", "lab"], 2, "the endpoint address is invalid"),
    ("plain http", ["USER", "--endpoint-url", "http://192.0.2.1"], 2, "is not encrypted"),
]


@pytest.mark.parametrize(("words", "code", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_is_one_sentence_and_one_hint_and_changes_nothing(
    words: list[str], code: int, said: str, mfa_kit: MfaKit, user: str, recipient: str, lab: Lab
) -> None:
    """The exit code is that of docs/formats.md. IAM and the disk are unchanged."""
    before = lab.serials()
    line = [user if word == "USER" else word for word in words]
    done = mfa_kit.run("enroll", *line, *VIRTUAL, "-r", recipient)
    assert (done.code, done.out) == (code, "")
    told = [each for each in done.err.splitlines() if not each.startswith("account ")]
    assert len(told) == 2, done.err
    assert told[0].startswith("mfa-kit: ")
    assert said in told[0]
    assert told[1].startswith("  try: ")
    assert lab.serials() == before
    assert {path.name for path in mfa_kit.home.rglob("*") if path.is_file()} <= {"ledger.sqlite", "migration"}


def test_a_user_with_eight_devices_is_an_error_only_with_add(
    enroll: list[str], mfa_kit: MfaKit, user: str, lab: Lab
) -> None:
    """Without --add, the user is skipped."""
    iam = Iam(observe=lambda _: None)
    for number in range(8):
        spec = DeviceSpec(account=ACCOUNT, partition="aws", user=user, name=f"{user}-{number}")
        created = iam.create(spec, {})
        iam.enable(spec, partial(otp.pair, created.seed, iam.now()))
    before = lab.serials()
    done = mfa_kit.run(*enroll, "--add")
    assert done.code == 2
    assert f"{user} has 8 MFA devices" in done.err
    assert mfa_kit.run(*enroll).code == 0
    assert lab.serials() == before


def test_a_taken_name_is_reported(enroll: list[str], mfa_kit: MfaKit, users: Callable[[], str]) -> None:
    """Another user's device has the name."""
    other = users()
    assert mfa_kit.run(*enroll).code == 0
    done = mfa_kit.run("enroll", other, *enroll[2:], "--name", enroll[1])
    assert done.code == 4
    assert "already exists and is not assigned to" in done.err


@pytest.mark.parametrize(
    ("operation", "fault", "code"),
    [
        ("GetCallerIdentity", "denied", 4),
        ("GetCallerIdentity", "expired", 4),
        ("ListMFADevices", "denied", 4),
        ("CreateVirtualMFADevice", "denied", 4),
        ("EnableMFADevice", "denied", 4),
        ("EnableMFADevice", "expired", 4),
        ("EnableMFADevice", "lost-before", 4),
        ("EnableMFADevice", "error-before", 4),
    ],
)
def test_an_error_in_the_middle_changes_nothing(
    operation: str, fault: str, code: int, enroll: list[str], mfa_kit: MfaKit, user: str, lab: Lab
) -> None:
    """There is one error with one hint and its exit code. No device and no backup is left."""
    lab.faults.add(operation, fault, at="every" if fault != "expired" or operation == "GetCallerIdentity" else "next")
    done = mfa_kit.run(*enroll)
    assert done.code == code
    assert sum(line.startswith("  try: ") for line in done.err.splitlines()) == 1
    assert "not settled" not in done.err
    assert serial_of(user) not in lab.serials()
    assert not list(mfa_kit.home.rglob("*.age*"))


def test_missing_credentials_are_reported(enroll: list[str], mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint says how to sign in, and names no program that may be missing."""
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    done = mfa_kit.run(*enroll)
    assert done.code == 4
    assert "mfa-kit: there are no AWS credentials\n" in done.err
    assert "--profile NAME" in done.err
    assert "export AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in done.err
    assert "aws sts" not in done.err


def test_an_unreachable_endpoint_is_reported(enroll: list[str], mfa_kit: MfaKit) -> None:
    """Nothing listens on the port, so the request fails at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = mfa_kit.run(*enroll, "--endpoint-url", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert done.code == 4
    assert "AWS cannot be reached" in done.err


def test_govcloud_without_a_region_is_reported(
    enroll: list[str], mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a region, the command works, in its own partition."""
    with Lab(users=[enroll[1]], region="us-gov-west-1") as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        done = mfa_kit.run(*enroll)
        assert done.code == 4
        assert "--region" in done.err.splitlines()[-1]
        done = mfa_kit.run(*enroll, "--region", "us-gov-west-1", "--output", "json")
        assert result(done.out)["device"] == f"arn:aws-us-gov:iam::{ACCOUNT}:mfa/{enroll[1]}"


def test_a_listing_that_lags_is_success_with_a_warning(
    enroll: list[str], mfa_kit: MfaKit, user: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 0, and the next run closes the journal entry."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    lab.faults.add("*", "lag", seconds=600)
    done = mfa_kit.run(*enroll, "--output", "json")
    assert (done.code, result(done.out)["listed"]) == (0, False)
    assert "warning: " in done.err
    assert lab.assigned(serial_of(user)) == user
    lab.faults.clear()
    assert ": confirmed\n" in mfa_kit.run(*enroll).err


@pytest.mark.parametrize("mode", [0o500, 0o000, 0o600])
def test_an_unwritable_folder_is_refused_beforehand(
    mode: int, nobody: Nobody, user: str, recipient: str, lab: Lab
) -> None:
    """An unprivileged user cannot write the folder, cannot create it in its parent, or cannot even list the parent."""
    folder = nobody.home.parent / "closed"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    folder.chmod(mode)
    try:
        for place in (folder, folder / "a" / "b"):
            done = nobody.process("enroll", user, *VIRTUAL, "-r", recipient, "--backup-dir", place)
            assert done.code == 2, done.err
            assert "is not a folder that you can write to" in done.err
    finally:
        folder.chmod(0o700)
    assert serial_of(user) not in lab.serials()


def test_without_a_backup_the_folder_is_not_checked(mfa_kit: MfaKit, user: str) -> None:
    """A security key has no secret to back up."""
    done = mfa_kit.run("enroll", user, "--with", "fido2", "--backup-dir", "/dev/null", "--dry-run")
    assert done.code == 0, done.err


def test_an_unwritable_account_folder_undoes_the_device(nobody: Nobody, user: str, recipient: str, lab: Lab) -> None:
    """The account's folder belongs to another user, so the created device is deleted again."""
    folder = nobody.home.parent / "backups"
    (folder / ACCOUNT).mkdir(parents=True)
    os.chown(folder, 65534, 65534)
    done = nobody.process("enroll", user, *VIRTUAL, "-r", recipient, "--backup-dir", folder)
    assert done.code == 5, done.err
    assert "cannot be written: Permission denied" in done.err
    assert "not settled" not in done.err
    assert serial_of(user) not in lab.serials()


def test_an_unprivileged_user_enrolls(nobody: Nobody, user: str, recipient: str, lab: Lab) -> None:
    """Control for the tests above."""
    done = nobody.process("enroll", user, *VIRTUAL, "-r", recipient)
    assert done.code == 0, done.err
    assert lab.assigned(serial_of(user)) == user


def test_a_backup_in_a_closed_folder_is_removed_later(nobody: Nobody, user: str, recipient: str, lab: Lab) -> None:
    """The folder belongs to another user meanwhile. A repeated command removes the rest."""
    assert nobody.process("enroll", user, *VIRTUAL, "-r", recipient).code == 0
    (file,) = nobody.home.glob(f"backups/{ACCOUNT}/{user}/*.age")
    revoke = ("revoke", user, "--yes", "--leave-without-mfa")
    os.chown(file.parent, 0, 0)
    done = nobody.process(*revoke)
    assert done.code == 5, done.err
    assert f"{file} cannot be removed: Permission denied" in done.err
    os.chown(file.parent, 65534, 65534)
    done = nobody.process(*revoke)
    assert done.code == 0, done.err
    assert (list(file.parent.iterdir()), lab.assigned(serial_of(user))) == ([], None)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system that only has room for the ledger."""
    if os.geteuid() != 0:
        without("mounting a tmpfs needs root")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", place], check=True)
    (place / "ballast").write_bytes(bytes(16 * 1024))
    yield place
    subprocess.run(["umount", place], check=True)


def test_no_space_for_the_backup_undoes_the_device(
    enroll: list[str], mfa_kit: MfaKit, user: str, small: Path, lab: Lab
) -> None:
    """The kernel itself raises ENOSPC."""
    done = mfa_kit.run(*enroll, "--backup-dir", small)
    assert done.code == 5
    assert "No space left on device" in done.err
    assert "not settled" not in done.err
    assert serial_of(user) not in lab.serials()
    assert not list(small.rglob("*.age*"))


def test_options_of_another_method_are_refused(mfa_kit: MfaKit) -> None:
    """The error names the option and its method."""
    for line in (["--with", "fido2", "--codes", "generated"], ["--codes", "generated", "--with=fido2"]):
        done = mfa_kit.run("enroll", "alice", *line)
        assert done.code == 2
        assert "--codes belongs to --with virtual" in done.err


def test_each_row_of_the_registry_has_its_method() -> None:
    """Rosters use the same names."""
    assert [method.method.name for method in METHODS.values()] == list(METHODS)
    assert [method.roster_method.name for method in METHODS.values() if method.roster_method] == list(METHODS)


def test_a_method_imports_no_code_of_other_methods() -> None:
    """The code of a virtual device imports nothing for keys, tokens, rollouts and audits, which are slow to load."""
    script = "import mfa_kit.wiring.methods.virtual, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env=bare(), capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("mfa_kit.") for name in done.stdout.split() if name.startswith("mfa_kit.")}
    assert "enrollment" in loaded
    assert loaded & {"account", "audit", "oath_keys", "rollout.plan", "security_keys.attestation", "tokens"} == set()


def test_help_of_a_method_shows_its_options(mfa_kit: MfaKit) -> None:
    """It also lists the methods."""
    done = mfa_kit.run("enroll", "--with", "virtual", "--help")
    assert done.code == 0
    assert "--codes" in done.out
    for kind, row in METHODS.items():
        assert kind in done.out
        assert row.help in done.out
