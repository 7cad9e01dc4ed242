"""Tests of the command lines of replace, revoke, orphans and ledger: output and exit codes."""

import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import pyrage
import pytest

from mfa_kit.adapters.ledger import sqlite_database
from mfa_kit.cli import main
from mfa_kit.core import models, otp
from mfa_kit.lab.aws.server import Lab
from tests.faults.conftest import Judge, Nursery

ARN = "arn:aws:iam::000000000000:mfa/"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line at the desk of `home`. Return its exit code, stdout and stderr."""
    assert not home.exists()

    def run(*args: str) -> tuple[int, str, str]:
        code = main.run(list(args))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def made(identity: pyrage.x25519.Identity) -> Callable[..., list[str]]:
    """Return the arguments that make a device. They follow a verb and a user."""
    return lambda verb, user: [verb, user, "--with", "virtual", "--codes", "generated", "-r", str(identity.to_public())]


def stray(name: str, run: str | None) -> str:
    """Make a device as another tool or another computer does, and leave it."""
    iam = boto3.Session().client("iam")
    iam.create_virtual_mfa_device(VirtualMFADeviceName=name, Tags=[{"Key": "mfa-kit:run", "Value": run}] if run else [])
    return ARN + name


def test_replace_enables_the_new_device_first(
    run: Run, made: Callable[..., list[str]], user: str, home: Path, judge: Judge, lab: Lab
) -> None:
    """IAM's log has the Enable of the new device, then the Deactivate of the old device."""
    run(*made("enroll", user))
    seen = len(lab.calls)
    code, out, _ = run(*made("replace", user), "--yes", "--output", "json")
    writes = [call.operation for call in lab.calls[seen:] if not call.operation.startswith(("Get", "List"))]
    row = json.loads(out)
    assert (code, row["outcome"], row["revoked"]) == (0, "replaced", ARN + user)
    assert judge.works(user, home) == [row["device"]]
    assert writes == ["CreateVirtualMFADevice", "EnableMFADevice", "DeactivateMFADevice", "DeleteVirtualMFADevice"]


def test_a_lost_device_is_removed_first(
    run: Run, made: Callable[..., list[str]], user: str, home: Path, judge: Judge, lab: Lab
) -> None:
    """`--lost` deactivates before it creates, and prints the commands that end the sessions of the lost device."""
    run(*made("enroll", user))
    seen = len(lab.calls)
    code, _, err = run(*made("replace", user), "--yes", "--lost")
    assert code == 0
    writes = [call.operation for call in lab.calls[seen:] if not call.operation.startswith(("Get", "List"))]
    assert writes == ["DeactivateMFADevice", "DeleteVirtualMFADevice", "CreateVirtualMFADevice", "EnableMFADevice"]
    assert err.index("aws:TokenIssueTime") < err.index("aws signin batch-revoke-sessions")
    assert judge.works(user, home) == [f"{ARN}{user}-2"]
    with sqlite_database.sqlite_ledger(home) as book:
        ends = [(each.what, each.device) for each in book.history(user=user) if each.answer == "done"]
    lost = ("revocation of a lost device", ARN + user)
    assert ends == [("enrollment", ARN + user), lost, ("enrollment", f"{ARN}{user}-2")]


def test_the_commands_that_end_sessions_are_always_printed(
    run: Run, made: Callable[..., list[str]], user: str, lab: Lab
) -> None:
    """They are urgent, so they are printed before anything is made, and again by the next run."""
    run(*made("enroll", user))
    lab.faults.add("DeactivateMFADevice", "denied")
    code, _, err = run(*made("replace", user), "--lost", "--yes")
    assert (code, "aws:TokenIssueTime" in err, lab.assigned(ARN + user)) == (4, True, user)
    lab.faults.add("CreateVirtualMFADevice", "expired")
    code, _, err = run(*made("replace", user), "--lost", "--yes")
    assert (code, "aws:TokenIssueTime" in err) == (4, True)
    assert ARN + user not in lab.serials()
    code, out, err = run(*made("replace", user), "--lost", "--output", "json")
    assert (code, "aws:TokenIssueTime" in err) == (0, True)
    assert f"{user} has no MFA device, so none is removed" in err
    row = json.loads(out)
    assert [command.split()[:3] for command in row["end_sessions"]] == [
        ["aws", "iam", "put-user-policy"],
        ["aws", "signin", "list-sessions"],
        ["aws", "signin", "batch-revoke-sessions"],
    ]
    code, out, _ = run("revoke", user, "--lost", "--leave-without-mfa", "--yes", "--output", "json")
    assert (code, len(json.loads(out)["end_sessions"])) == (0, 3)


@pytest.mark.parametrize("lost", [[], ["--lost"]], ids=["new", "lost"])
def test_replace_asks_for_confirmation(
    lost: list[str], run: Run, made: Callable[..., list[str]], user: str, home: Path, judge: Judge
) -> None:
    """A second run would replace the new device, so the user has to confirm. A script uses --yes."""
    run(*made("enroll", user))
    code, _, err = run(*made("replace", user), *lost)
    assert (code, "--yes" in err, f"{ARN}{user} will be removed from {user}" in err) == (8, True, True)
    assert judge.works(user, home) == [ARN + user]


def test_a_dry_run_of_replace_and_revoke_shows_the_steps(
    run: Run, made: Callable[..., list[str]], user: str, lab: Lab
) -> None:
    """The steps are printed in order, and nothing is changed. A lost device is removed first."""
    run(*made("enroll", user))
    seen = len(lab.calls)
    comes, goes = ["create", "encrypt", "enable", "confirm"], ["deactivate", "delete", "remove"]
    for words, order in (
        (made("replace", user), [*comes, *goes]),
        ([*made("replace", user), "--lost"], [*goes, *comes]),
        (["revoke", user, "--leave-without-mfa"], goes),
    ):
        code, out, _ = run(*words, "--dry-run", "--output", "json")
        assert (code, [step.split()[0] for step in json.loads(out)["steps"]]) == (0, order)
    assert {call.operation for call in lab.calls[seen:]} <= {
        "GetCallerIdentity",
        "GetUser",
        "ListMFADevices",
        "ListMFADeviceTags",
    }


@pytest.mark.parametrize("verb", ["enroll", "replace", "revoke"])
def test_a_dry_run_settles_nothing(
    verb: str, run: Run, made: Callable[..., list[str]], nursery: Nursery, user: str, home: Path, lab: Lab
) -> None:
    """It does not settle a dead run: the journal, IAM and the disk are unchanged."""
    words = ["revoke", user, "--leave-without-mfa"] if verb == "revoke" else made(verb, user)
    nursery.run(["enroll"], user, home, at=12)
    with sqlite_database.sqlite_ledger(home) as book:
        before = (book.find(ARN + user), lab.serials(), set((home / "backups").rglob("*")))
    seen = len(lab.calls)
    run(*words, "--dry-run")
    assert not [call.operation for call in lab.calls[seen:] if not call.operation.startswith(("Get", "List"))]
    with sqlite_database.sqlite_ledger(home) as book:
        assert (book.find(ARN + user), lab.serials(), set((home / "backups").rglob("*"))) == before
    assert before[0]
    assert before[0].reached is models.JournalState.CREATED


def test_replace_refuses_a_user_with_eight_devices(run: Run, made: Callable[..., list[str]], user: str) -> None:
    """A ninth device would be needed. The hint says what to remove first."""
    run(*made("enroll", user))
    for _ in range(7):
        assert run(*made("enroll", user), "--add")[0] == 0
    code, _, err = run(*made("replace", user), "--yes", "--mfa-device", f"{user}-3")
    assert code == 2
    assert "a device must be removed before a new device is created" in err
    assert f"mfa-kit revoke {user} --mfa-device NAME; NAME is one of {user}, {user}-2," in err
    assert f"{user}-8; or add --lost if the device {user}-3 is lost" in err
    assert run(*made("replace", user), "--yes", "--mfa-device", f"{user}-3", "--lost")[0] == 0


def test_revoke_needs_a_choice_among_several_devices(run: Run, made: Callable[..., list[str]], user: str) -> None:
    """It never removes the first device without being asked. All devices are listed."""
    run(*made("enroll", user))
    run(*made("enroll", user), "--add")
    code, _, err = run("revoke", user, "--yes")
    assert code == 2
    assert f"{ARN}{user}, {ARN}{user}-2" in err
    assert run("revoke", user, "--yes", "--mfa-device", f"{user}-2")[0] == 0
    code, _, err = run("revoke", user, "--yes", "--mfa-device", "nonesuch")
    assert (code, "has no MFA device nonesuch" in err) == (2, True)


def test_the_last_device_needs_leave_without_mfa(run: Run, made: Callable[..., list[str]], user: str, lab: Lab) -> None:
    """Without the option, the exit code is 6, and IAM is unchanged."""
    run(*made("enroll", user))
    code, _, err = run("revoke", user, "--yes")
    assert (code, "--leave-without-mfa" in err) == (6, True)
    assert lab.assigned(ARN + user) == user
    assert run("revoke", user, "--yes", "--leave-without-mfa")[0] == 0
    code, _, err = run("revoke", user, "--yes", "--leave-without-mfa")
    assert (code, "has no MFA device" in err) == (2, True)


def test_a_refused_revoke_changes_nothing(
    run: Run, made: Callable[..., list[str]], user: str, lab: Lab, home: Path, judge: Judge
) -> None:
    """IAM denies the Deactivate. The device, its backup and the journal are unchanged."""
    run(*made("enroll", user))
    lab.faults.add("DeactivateMFADevice", "denied")
    code, _, err = run("revoke", user, "--yes", "--leave-without-mfa")
    assert (code, "AccessDenied" in err) == (4, True)
    assert judge.works(user, home) == [ARN + user]
    with sqlite_database.sqlite_ledger(home) as book:
        entry = book.find(ARN + user)
        assert entry is not None
        assert entry.reached is models.JournalState.CONFIRMED


def test_a_device_of_another_tool_can_be_revoked(run: Run, user: str, lab: Lab) -> None:
    """It has no tag, so IAM's list identifies it by its user. There is no backup to remove."""
    iam = boto3.Session().client("iam")
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName=user)["VirtualMFADevice"]
    pair = otp.pair(otp.from_base32(otp.Secret(device["Base32StringSeed"])), time.time())
    iam.enable_mfa_device(
        UserName=user,
        SerialNumber=device["SerialNumber"],
        AuthenticationCode1=pair.first,
        AuthenticationCode2=pair.second,
    )
    assert run("revoke", user, "--yes", "--leave-without-mfa")[0] == 0
    assert ARN + user not in lab.serials()


def test_the_kinds_of_orphans_are_distinguished(
    run: Run, nursery: Nursery, users: Callable[[], str], home: Path, lab: Lab
) -> None:
    """Dead devices of this computer, of others and of other tools are shown. Each row says what `clean` will do."""
    dead = users()
    nursery.run(["enroll"], dead, home, at=10)
    young = stray(users(), models.run_id(time.time(), b"aaaa"))
    old = stray(users(), "20200101T000000Z-00000000")
    foreign, odd = stray(users(), None), stray(users(), "whatever")
    code, out, _ = run("orphans", "list", "--output", "json")
    rows = {row["device"]: (row["standing"], row["clean"]) for row in json.loads(out)["rows"]}
    assert code == 0
    assert rows[ARN + dead] == ("ours, half-made by an interrupted run", "removes it")
    assert rows[young] == ("another computer's", "leaves it")
    assert rows[old] == ("another computer's", "removes it")
    assert rows[foreign] == rows[odd] == ("not ours", "leaves it")
    code, _, err = run("orphans", "clean")
    assert (code, "--yes" in err) == (8, True)
    assert {ARN + dead, young, old} <= lab.serials()
    code, _, err = run("orphans", "clean", "--yes", "--max", "1")
    assert (code, "more than --max 1" in err) == (2, True)
    assert "  try: check them: mfa-kit orphans list; to remove all: --max " in err
    assert run("orphans", "clean", "--yes", "--dry-run")[0] == 0
    assert {ARN + dead, young, old} <= lab.serials()
    code, out, _ = run("orphans", "clean", "--yes", "--output", "json")
    ended = {row["device"]: row["ended"] for row in json.loads(out)["rows"]}
    assert (code, ended[ARN + dead], ended[old]) == (0, "undone", "deleted")
    assert {young, foreign, odd} <= lab.serials()
    for serial in (young, foreign, odd):
        boto3.Session().client("iam").delete_virtual_mfa_device(SerialNumber=serial)


def test_a_failed_list_cleans_nothing(run: Run, users: Callable[[], str], lab: Lab) -> None:
    """A denied page does not mean that there are no orphans."""
    old, other = (stray(users(), "20200101T000000Z-00000000") for _ in range(2))
    lab.faults.add("ListVirtualMFADevices", "denied", at="every")
    assert run("orphans", "clean", "--yes")[0] == 4
    assert {old, other} <= lab.serials()
    lab.faults.clear()
    lab.faults.add("DeleteVirtualMFADevice", "denied", at="every")
    code, out, err = run("orphans", "clean", "--yes")
    assert code == 4
    assert "still exists" in out
    for serial in (old, other):
        assert f"aws iam delete-virtual-mfa-device --serial-number {serial}" in err
    lab.faults.clear()
    assert run("orphans", "clean", "--yes")[0] == 0
    assert not {old, other} & lab.serials()


def test_the_ledger_lists_calls_and_decryptions(
    run: Run, made: Callable[..., list[str]], user: str, home: Path, identity: pyrage.x25519.Identity, tmp_path: Path
) -> None:
    """Each call has the request ID that CloudTrail has. Each decryption of a backup has a line too."""
    run(*made("enroll", user))
    keys = tmp_path / "keys"
    keys.write_text(str(identity))
    backup = next((home / "backups").rglob("*.age"))
    assert run("backup", "verify", str(backup), "-i", str(keys))[0] == 0
    run("revoke", user, "--yes", "--leave-without-mfa")
    code, out, _ = run("ledger", "export", "--user", user)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["what"] for row in rows] == [
        "CreateVirtualMFADevice",
        "EnableMFADevice",
        "enrollment",
        "OpenBackup",
        "DeactivateMFADevice",
        "DeleteVirtualMFADevice",
        "revocation",
    ]
    assert all(row["reference"] for row in rows if row["what"] != "OpenBackup")
    assert run("ledger", "show", "--since", "2999-01-01")[1] == "no entries\n"
    assert run("ledger", "show", "--since", "soon")[0] == 2
    assert len(run("ledger", "show", "--since", "1h")[1].splitlines()) == len(rows) + 1


def test_a_ledger_that_is_locked_while_enrolling_ends_in_a_known_state(
    run: Run,
    made: Callable[..., list[str]],
    user: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    lab: Lab,
) -> None:
    """Another program has locked the database. The exit code is 5 with a hint, and the next run repairs the rest."""
    monkeypatch.setattr(sqlite_database, "WAIT", 0.1)
    run("ledger", "show")
    other = sqlite3.connect(home / "ledger.sqlite", isolation_level=None)
    other.execute("begin immediate")
    code, _, err = run(*made("enroll", user))
    assert code == 5
    assert "database is locked" in err
    assert ARN + user not in lab.serials()
    other.execute("rollback")
    other.close()
    assert run(*made("enroll", user))[0] == 0


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"SQLite format 3\0" + os.urandom(4000)], ids=["text", "header"]
)
def test_a_damaged_ledger_is_reported_first(
    run: Run, made: Callable[..., list[str]], user: str, home: Path, content: bytes, lab: Lab
) -> None:
    """The exit code is 5, the hint has the command that moves the file away, and IAM is unchanged."""
    home.mkdir()
    (home / "ledger.sqlite").write_bytes(content)
    code, _, err = run(*made("enroll", user))
    assert code == 5
    assert "mv " in err
    assert ARN + user not in lab.serials()
