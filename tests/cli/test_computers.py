"""What one computer shows of what another computer recorded in a shared ledger, and what it does with it."""

import csv
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from mfa_kit.adapters.ledger.records import Computers
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState, Method
from mfa_kit.lab.aws.server import Lab
from mfa_kit.wiring.ledger import KeyUsers
from tests.conftest import ACCOUNT, MfaKit, Result
from tests.ledgers import open_at
from tests.postgresql import Server
from tests.tokens import boxes
from tests.tokens.boxes import Made

ENROLL = ("enroll", "--with", "virtual", "--codes", "generated")
At = Callable[[str], AbstractContextManager[Path]]
TOKEN = Made("10001001")
NOW = 1_700_000_000.0


@pytest.fixture
def shared(postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of the ledger that the command line uses."""
    address = postgresql.address(postgresql.new_database())
    monkeypatch.setenv("MFA_KIT_LEDGER", address)
    return address


@pytest.fixture
def at(tmp_path: Path) -> At:
    """Return a context in which this process is a computer with the given name, and with a folder of its own."""

    @contextmanager
    def sitting(name: str) -> Iterator[Path]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "gethostname", lambda: name)
            patch.setenv("MFA_KIT_HOME", str(tmp_path / name))
            yield tmp_path / name

    return sitting


def rows(done: Result) -> list[dict[str, Any]]:
    assert done.code in {0, 1}, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["rows"]
    return found


@pytest.mark.usefixtures("shared")
def test_each_command_names_the_computer_that_recorded_a_row(
    mfa_kit: MfaKit, users: Callable[[], str], recipient: str, at: At, tmp_path: Path
) -> None:
    """One user was enrolled at each of two computers. A third one looks."""
    people = {name: users() for name in ("desk-a", "desk-b")}
    folder = tmp_path / "backups"
    for name, user in people.items():
        with at(name):
            done = mfa_kit.run(*ENROLL, user, "-r", recipient, "--local-backups", "--backup-dir", folder)
            assert done.code == 0, done.err
    by_user = {user: name for name, user in people.items()}
    with at("desk-c"):
        for user, name in by_user.items():
            [row] = rows(mfa_kit.run("status", user, "--backup-dir", folder, "--output", "json"))
            assert (row["computer"], row["made"], row["drilled_on"]) == (name, "another desk", None)
            assert Path(row["backup"]).parent.parent.parent == folder
        for words in (("recipients",), ("exposed", "-r", recipient)):
            found = rows(mfa_kit.run("backup", *words, "--backup-dir", folder, "--output", "json"))
            assert {row["user"]: row["computer"] for row in found} == by_user
        for row in rows(mfa_kit.run("ledger", "show", "--output", "json")):
            assert row["computer"] == by_user[row["user"]]
        table = mfa_kit.run("status", people["desk-a"], "--backup-dir", folder).out
    assert "COMPUTER" in table
    assert "desk-a" in table
    with at("desk-a"):
        [row] = rows(mfa_kit.run("status", people["desk-a"], "--backup-dir", folder, "--output", "json"))
        assert (row["computer"], row["made"]) == ("desk-a", "this desk")


@pytest.mark.usefixtures("shared")
def test_only_what_this_computer_wrote_is_missing_in_a_folder(
    mfa_kit: MfaKit, at_lab: Lab, users: Callable[[], str], recipient: str, at: At, tmp_path: Path
) -> None:
    """Each computer has a folder of the same path. In a bucket, what all computers wrote is missing."""
    del at_lab  # it sets the endpoint
    folder, bucket = tmp_path / "backups", "s3://written-by-computers"
    folder.mkdir()
    boto3.Session().client("s3").create_bucket(Bucket="written-by-computers")
    in_folder, in_bucket = users(), users()
    with at("desk-a"):
        for user, place in ((in_folder, folder), (in_bucket, bucket)):
            done = mfa_kit.run(*ENROLL, user, "-r", recipient, "--local-backups", "--backup-dir", place)
            assert done.code == 0, done.err
    shutil.rmtree(folder)
    folder.mkdir()
    client = boto3.Session().client("s3")
    for entry in client.list_objects_v2(Bucket="written-by-computers")["Contents"]:
        client.delete_object(Bucket="written-by-computers", Key=entry["Key"])
    listed = {}
    for computer in ("desk-a", "desk-b"):
        with at(computer):
            for place in (folder, bucket):
                found = rows(mfa_kit.run("backup", "list", "--backup-dir", place, "--output", "json"))
                listed[computer, place] = {row["user"]: row["state"] for row in found}
    assert listed == {
        ("desk-a", folder): {in_folder: "missing"},
        ("desk-b", folder): {},
        ("desk-a", bucket): {in_bucket: "missing"},
        ("desk-b", bucket): {in_bucket: "missing"},
    }


def test_without_a_shared_ledger_no_row_names_a_computer(mfa_kit: MfaKit, user: str, recipient: str) -> None:
    """The output is the same as before computers could share a ledger."""
    assert mfa_kit.run(*ENROLL, user, "-r", recipient).code == 0
    for words in (
        ("status", user),
        ("backup", "recipients"),
        ("backup", "exposed", "-r", recipient),
        ("ledger", "show"),
    ):
        done = mfa_kit.run(*words, "--output", "json")
        assert not {"computer", "computers", "drilled_on"} & {name for row in rows(done) for name in row}


@pytest.mark.usefixtures("shared")
def test_the_status_of_a_rollout_names_the_computers(
    mfa_kit: MfaKit, users: Callable[[], str], recipient: str, at: At, tmp_path: Path, lab: Lab
) -> None:
    """One user was enrolled, and one failed."""
    works, fails = users(), users()
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,kind\n{works},virtual\n{fails},virtual\n")
    apply = ("rollout", "apply", plan, "-r", recipient, "--local-backups", "--accept-lockout")
    with at("desk-a"):
        assert mfa_kit.run("rollout", "plan", roster, "-o", plan).code == 0
        lab.faults.add("EnableMFADevice", "denied", at=2)
        done = mfa_kit.run(*apply, "--workers", "1")
        assert done.code == 1, done.err
    with at("desk-b"):
        found = rows(mfa_kit.run("rollout", "status", plan, "--output", "json"))
        page = mfa_kit.run("rollout", "status", plan, "--output", "html").out
    assert page.count('"Computer">desk-a<') == 2
    assert {row["outcome"]: row["computer"] for row in found} == {"enrolled": "desk-a", "failed": "desk-a"}
    with (tmp_path / "plan-results" / "results.csv").open() as file:
        assert "computer" not in next(csv.reader(file))


@pytest.fixture
def box(tmp_path: Path) -> Path:
    file = tmp_path / "box.csv"
    file.write_bytes(boxes.entra([TOKEN]))
    return file


@pytest.mark.usefixtures("shared")
def test_tokens_that_another_computer_tested_need_no_second_test(
    mfa_kit: MfaKit, box: Path, at: At, tmp_path: Path
) -> None:
    """Both computers need the same key for fingerprints. Until it is copied, the second one refuses to import."""
    table = tmp_path / "readings.csv"
    table.write_text(f"{TOKEN.serial},{TOKEN.shows(NOW)},{NOW:.0f}\n")
    with at("desk-a") as home:
        assert mfa_kit.run("token", "accept", box, "--readings", table).code == 0
        key = home / "fingerprint.key"
    with at("desk-b") as home:
        refused = mfa_kit.run("token", "import", box)
        assert (
            refused.code,
            "desk-a computes fingerprints" in refused.err,
        ) == (UsageFault.exit_code, True)
        assert "fingerprint.key" in refused.err
        assert not (home / "fingerprint.key").exists()
        [row] = rows(mfa_kit.run("token", "list", "--output", "json"))
        assert (row["verdict"], row["computer"]) == ("accepted", "desk-a")
        home.mkdir(exist_ok=True)
        (home / "fingerprint.key").write_bytes(key.read_bytes())
        imported = json.loads(mfa_kit.run("token", "import", box, "--output", "json").out)
        assert (imported["known"], imported["with_another_seed"]) == (1, 0)
        done = mfa_kit.run("token", "accept", box, "--no-input", "--output", "json")
        assert json.loads(done.out)["accepted"] == 1


def test_a_copied_ledger_brings_its_key_for_fingerprints(
    mfa_kit: MfaKit, box: Path, postgresql: Server, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another computer is asked to copy that key instead of its own. A copy of its own ledger reports the conflict."""
    address = postgresql.address(postgresql.new_database())
    for name in ("desk-a", "desk-b"):
        with at(name):
            assert mfa_kit.run("token", "import", box).code == 0
    monkeypatch.setenv("MFA_KIT_LEDGER", address)
    with at("desk-a"):
        done = mfa_kit.run("ledger", "copy")
        assert (done.code, done.err) == (0, "")
        assert json.loads(mfa_kit.run("token", "import", box, "--output", "json").out)["known"] == 1
    with at("desk-b"):
        assert "desk-a computes fingerprints" in mfa_kit.run("token", "import", box).err
        done = mfa_kit.run("ledger", "copy")
        assert (done.code, "have to be imported and tested again" in done.err) == (0, True)


def test_a_token_that_another_computer_gave_a_user_is_refused(mfa_kit: MfaKit, user: str, shared: str, at: At) -> None:
    spec = DeviceSpec(
        account=ACCOUNT, partition="aws", user="alice", name="alice", method=Method("programmable"), hardware="86500123"
    )
    run = "20261125T000000Z-00000001"
    with at("desk-a"), open_at(shared) as ledger:
        for reached in (JournalState.INTENT, JournalState.CREATED, JournalState.CONFIRMED):
            ledger.record(JournalEntry(run=run, spec=spec, reached=reached))
    with at("desk-b"):
        done = mfa_kit.run("enroll", user, "--with", "programmable", "--serial", "86500123", "--capacity", "63")
    assert (done.code, "token 86500123 belongs to alice" in done.err) == (UsageFault.exit_code, True)


def test_a_key_shows_the_users_whom_another_computer_gave_it(shared: str, at: At) -> None:
    """It is found by its serial, and by the identity of its OATH applet."""
    for number, (user, reached) in enumerate((("alice", JournalState.CONFIRMED), ("bob", JournalState.REVOKED))):
        spec = DeviceSpec(
            account=ACCOUNT,
            partition="aws",
            user=user,
            name=user,
            method=Method("oath"),
            hardware="31234567",
            card=f"card-{number}",
        )
        with at("desk-a"), open_at(shared) as ledger:
            ledger.record(JournalEntry(run=f"20261125T000000Z-0000000{number}", spec=spec, reached=reached))
    with open_at(shared) as ledger:
        users = KeyUsers(Computers(ledger).held_keys())
        assert [ledger.users_of_key([name]) for name in ("31234567", "card-0", "another")] == [["alice"], ["alice"], []]
    assert users.of_key(["31234567"]) == [("alice", "desk-a")]
    assert users.of_key(["another", "card-0"]) == [("alice", "desk-a")]
    assert users.of_key(["another"]) == []
