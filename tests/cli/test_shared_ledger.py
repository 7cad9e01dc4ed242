"""A ledger in PostgreSQL on the command line: how it is chosen, created, filled and refused."""

import json
import re
import socket
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import boto3
import pytest

from mfa_kit.adapters.ledger.ledger import LogLine
from mfa_kit.adapters.ledger.postgresql.database import FILES
from mfa_kit.adapters.ledger.postgresql.grants import DESK, INSERTED, grants
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import Call, DeviceSpec, JournalEntry, JournalState, RunKind
from mfa_kit.lab.aws.server import Lab
from tests.adapters.test_ledger_roles import MALFORMED
from tests.conftest import ROOT, MfaKit, bare
from tests.ledgers import KINDS, Place, open_at
from tests.postgresql import BIN, OWNER, Server

RUN = "20261125T000000Z-00000001"
ENTRY = JournalEntry(run=RUN, spec=DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice"))
CALL = Call(operation="X", user="alice", serial=ENTRY.spec.serial, request_id="r", answer="OK")


ENROLL = ("enroll", "--with", "virtual", "--codes", "generated")


@pytest.fixture
def address(postgresql: Server) -> str:
    return postgresql.address(postgresql.new_database())


def configure(home: Path, text: str) -> None:
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "config.toml").write_text(f'ledger = "{text}"\n', "utf-8")
    (home / "config.toml").chmod(0o600)


@pytest.mark.parametrize("way", ["option", "variable", "file"])
def test_an_enrollment_is_recorded_in_the_ledger_that_is_configured(
    way: str, mfa_kit: MfaKit, user: str, recipient: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no file then."""
    words: tuple[str, ...] = (*ENROLL, user, "-r", recipient, "--local-backups")
    match way:
        case "option":
            words += ("--ledger", address)
        case "variable":
            monkeypatch.setenv("MFA_KIT_LEDGER", address)
        case _:
            configure(mfa_kit.home, address)
    done = mfa_kit.run(*words)
    assert done.code == 0, done.err
    with open_at(address) as ledger:
        found = [(each.what, each.answer) for each in ledger.history(user=user)]
    assert found == [("CreateVirtualMFADevice", "OK"), ("EnableMFADevice", "OK"), ("enrollment", "done")]
    assert not (mfa_kit.home / "ledger.sqlite").exists()


def test_a_new_backup_on_one_computer_is_refused_if_the_ledger_is_shared(
    mfa_kit: MfaKit, user: str, recipient: str, address: str, lab: Lab, tmp_path: Path
) -> None:
    """No device is created then. A bucket is accepted, and so is a folder with `--local-backups`."""
    configure(mfa_kit.home, address)
    (tmp_path / "roster.csv").write_text(f"user,kind\n{user},virtual\n", "utf-8")
    plan = tmp_path / "plan.json"
    assert mfa_kit.run("rollout", "plan", tmp_path / "roster.csv", "-o", plan).code == 0
    apply = ("rollout", "apply", plan, "-r", recipient, "--accept-lockout")
    for words in ((*ENROLL, user, "-r", recipient), apply):
        done = mfa_kit.run(*words)
        assert done.code == UsageFault.exit_code, done.err
        assert "other computers use this ledger" in done.err
        assert "--local-backups" in done.err
        assert not [serial for serial in lab.serials() if serial.endswith(f"/{user}")]
    boto3.Session().client("s3").create_bucket(Bucket="shared-by-computers")
    done = mfa_kit.run(*ENROLL, user, "-r", recipient, "--backup-dir", "s3://shared-by-computers")
    assert done.code == 0, done.err
    done = mfa_kit.run(*apply, "--local-backups")
    assert done.code == 0, done.err


def test_the_command_line_overrides_the_configuration_file(mfa_kit: MfaKit, address: str) -> None:
    """The file names a server that is not there."""
    configure(mfa_kit.home, "host=/nowhere dbname=x")
    assert mfa_kit.run("ledger", "show").code == IntegrityFault.exit_code
    assert mfa_kit.run("ledger", "show", "--ledger", address).code == 0


@pytest.mark.parametrize("way", ["option", "file"])
def test_a_password_is_refused_and_not_printed(way: str, mfa_kit: MfaKit) -> None:
    """Other programs could read it there."""
    text = "postgresql://me:hunter2@localhost/mfa"
    if way == "file":
        configure(mfa_kit.home, text)
    done = mfa_kit.run("ledger", "show", *(("--ledger", text) if way == "option" else ()))
    assert done.code == UsageFault.exit_code
    assert "contains a password" in done.err
    assert "~/.pgpass" in done.err
    assert "hunter2" not in done.out + done.err


def test_the_ledger_is_created_and_described(mfa_kit: MfaKit, postgresql: Server) -> None:
    """`init` can be repeated, and the doctor knows the ledger."""
    postgresql.execute("create database fresh owner owner")
    address = postgresql.address("fresh")
    assert "ledger init" in mfa_kit.run("ledger", "status", "--ledger", address).err
    for applied in (len(FILES), 0):
        done = mfa_kit.run("ledger", "init", "--grace", "5s", "--ledger", address, "--output", "json")
        assert json.loads(done.out)["applied"] == applied, done.err
    assert json.loads(mfa_kit.run("ledger", "migrate", "--ledger", address, "--output", "json").out)["applied"] == 0
    state = json.loads(mfa_kit.run("ledger", "status", "--ledger", address, "--output", "json").out)
    assert (state["role"], state["team"], state["schema_version"], state["unfinished"], state["grace"]) == (
        "owner",
        "",
        len(FILES),
        0,
        5.0,
    )
    rows = json.loads(mfa_kit.run("doctor", "--ledger", address, "--output", "json").out)["rows"]
    [row] = [row for row in rows if row["check"] == "ledger"]
    assert "PostgreSQL 17" in row["found"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_does_not_advance_fails_the_status(kind: str, mfa_kit: MfaKit, address: str) -> None:
    """The age is that since its last step. A ledger in a file has a status too."""
    status = ("ledger", "status", "--output", "json", *(("--ledger", address) if kind == "postgresql" else ()))
    done = mfa_kit.run(*status, "--fail-on", "unfinished=0s")
    assert (done.code, json.loads(done.out)["oldest_unfinished_s"]) == (0, None), done.err
    with open_at(address if kind == "postgresql" else str(mfa_kit.home)) as ledger:
        ledger.record(ENTRY)
    for age, code in (("unfinished=1h", 0), ("unfinished=0s", 1)):
        done = mfa_kit.run(*status, "--fail-on", age)
        state = json.loads(done.out)
        assert (done.code, state["unfinished"]) == (code, 1), done.err
        assert 0 <= state["oldest_unfinished_s"] < 60
        assert ("orphans list" in done.err) is bool(code)
    for wrong in ("1h", "unfinished=soon", "finished=1h"):
        assert mfa_kit.run(*status, "--fail-on", wrong).code == UsageFault.exit_code


def test_commands_for_a_shared_ledger_need_one(mfa_kit: MfaKit) -> None:
    """The hint shows the option."""
    for verb in ("init", "migrate", "copy"):
        done = mfa_kit.run("ledger", verb)
        assert (done.code, "no ledger in PostgreSQL is configured" in done.err) == (UsageFault.exit_code, True)
    assert mfa_kit.run("ledger", "grants", "--desk", "berlin").code == UsageFault.exit_code


def test_a_copy_is_complete_and_can_be_repeated(mfa_kit: MfaKit, address: str) -> None:
    """The history is the same afterwards, with its times. Later rows are added by the next copy."""
    here = Place("sqlite", str(mfa_kit.home))
    with here.open() as ledger:
        ledger.called(CALL, CALL)
        for reached in (JournalState.INTENT, JournalState.CREATED, JournalState.CONFIRMED):
            ledger.record(ENTRY.at(reached))
        ledger.write(("insert into drills (at, backup, result) values ($1, $2, $3)", [(1.5, "b", "proved")]))
    with here.open() as ledger:
        was = ledger.history()
    assert copied(mfa_kit, address) == {"journal": 1, "events": 2, "drills": 1}
    assert copied(mfa_kit, address) == {}
    with open_at(address) as ledger:
        assert without_computers(ledger.history()) == was
        assert ledger.find(ENTRY.spec.serial) == ENTRY.at(JournalState.CONFIRMED)
    with here.open() as ledger:
        ledger.record(JournalEntry(run=RUN, spec=ENTRY.spec, purpose=RunKind.REVOKE, reached=JournalState.REVOKED))
        ledger.called(CALL)
        was = ledger.history()
    assert copied(mfa_kit, address) == {"journal": 1, "events": 1}
    with open_at(address) as ledger:
        assert without_computers(ledger.history()) == was


def without_computers(lines: list[LogLine]) -> list[LogLine]:
    """Return the history as in a ledger of one computer."""
    assert {line.computer for line in lines} == {socket.gethostname()}
    return [replace(line, computer=None) for line in lines]


def copied(mfa_kit: MfaKit, address: str) -> dict[str, int]:
    """Copy this computer's ledger, and return how many rows of each table were new, if any."""
    done = mfa_kit.run("ledger", "copy", "--ledger", address, "--output", "json")
    assert done.code == 0, done.err
    found: dict[str, int] = json.loads(done.out)
    return {name: number for name, number in found.items() if name not in {"schema", "version"} and number}


def test_only_the_owner_copies_and_into_a_team(mfa_kit: MfaKit, postgresql: Server) -> None:
    """The server gives the rows of other roles the present time, so each copy would add them again.

    Rows of an owner without a team would be invisible to all desks, and later copies would not change that.
    """
    database = postgresql.new_database()
    postgresql.execute("create role copies login")
    postgresql.execute(grants({"copies": "berlin"}, []), database=database)
    with Place("sqlite", str(mfa_kit.home)).open() as ledger:
        ledger.called(CALL)
    for role, cause in (("copies", "only the owner of the ledger"), (OWNER, "has no team")):
        done = mfa_kit.run("ledger", "copy", "--ledger", postgresql.address(database, role=role))
        assert (done.code, cause in done.err) == (UsageFault.exit_code, True), done.err
    assert postgresql.execute("select * from mfa_kit.events", database=database) == []
    postgresql.execute(grants({OWNER: "berlin"}, []), database=database)
    try:
        assert copied(mfa_kit, postgresql.address(database)) == {"events": 1}
    finally:  # the membership is for all databases of the server, whose other tests have owners without it
        postgresql.execute(f"revoke {DESK} from {OWNER}")
    with open_at(postgresql.address(database, role="copies")) as ledger:
        assert [line.what for line in ledger.history()] == ["X"]


def test_a_role_that_lacks_a_privilege_is_told_so(mfa_kit: MfaKit, postgresql: Server) -> None:
    """A role without any privilege does not hear that there is no ledger."""
    database, role = postgresql.new_database(), "newcomer"
    postgresql.execute(f"create role {role} login")
    address = postgresql.address(database, role=role)
    for words in (("ledger", "status"), ("ledger", "migrate"), ("ledger", "show")):
        done = mfa_kit.run(*words, "--ledger", address)
        assert (done.code, "your role lacks a privilege" in done.err) == (IntegrityFault.exit_code, True), done.err
        assert "mfa-kit ledger grants --help" in done.err


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--auditor", ""], "does not name a role"),
        (["--desk", "x=berlin", "--desk", "x=paris"], "has two teams"),
        (["--desk", "x=berlin", "--auditor", "x"], "role x is given with both --desk and --auditor"),
    ],
)
def test_a_role_is_a_desk_of_one_team_or_an_auditor(words: list[str], cause: str, mfa_kit: MfaKit) -> None:
    """The last one would count, without a message."""
    done = mfa_kit.run("ledger", "grants", *words)
    assert (done.code, done.out, cause in done.err) == (UsageFault.exit_code, "", True)


@pytest.mark.parametrize("verb", ["status", "show"])
def test_the_hint_about_a_server_that_does_not_answer_names_the_password(verb: str, mfa_kit: MfaKit) -> None:
    """The message of libpq says what failed, and a wrong password is as likely as a wrong address."""
    done = mfa_kit.run("ledger", verb, "--ledger", "host=/nowhere dbname=x")
    assert (done.code, "~/.pgpass" in done.err) == (IntegrityFault.exit_code, True)


def test_a_run_in_progress_is_not_copied(mfa_kit: MfaKit, address: str) -> None:
    """Its process would go on in the old ledger."""
    with Place("sqlite", str(mfa_kit.home)).open() as ledger:
        ledger.record(ENTRY)
        done = mfa_kit.run("ledger", "copy", "--ledger", address)
    assert done.code == UsageFault.exit_code
    assert f"run {RUN} is in progress" in done.err


def test_a_process_that_ends_at_once_reports_it(tmp_path: Path) -> None:
    """Nothing that would be done at an ordinary end is done: another process has the runs."""
    script = """
import atexit
from mfa_kit.cli.shutdown import end_at_once
from mfa_kit.core.errors import IntegrityFault
atexit.register(print, "settled")
try:
    end_at_once(IntegrityFault("the session was lost", "run it again"))
finally:
    print("settled")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, env=bare(), cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (IntegrityFault.exit_code, "")
    assert done.stderr == "mfa-kit: the session was lost\n  try: run it again\n"


def test_a_process_that_cannot_report_ends_too(tmp_path: Path) -> None:
    """Nobody reads the pipe that is its stderr, and the pipe is full. Its other threads could go on."""
    script = """
import os, sys
from mfa_kit.cli.shutdown import end_at_once
from mfa_kit.core.errors import IntegrityFault
os.set_blocking(2, False)
try:
    while True:
        os.write(2, bytes(4096))
except BlockingIOError:
    os.set_blocking(2, True)
end_at_once(IntegrityFault("the session was lost", "run it again"))
"""
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, env=bare(), cwd=tmp_path) as process:
        try:
            assert process.wait(20) == IntegrityFault.exit_code
        finally:
            process.kill()


def test_the_queries_of_the_page_show_a_run_in_progress(postgresql: Server) -> None:
    """They are run as an auditor, who sees the process that holds the lock of the run, and its computer."""
    database = postgresql.new_database()
    postgresql.execute("create role page_auditor login")
    postgresql.execute(grants({}, ["page_auditor"]), database=database)
    postgresql.execute("grant pg_monitor to page_auditor")
    text = (ROOT / "docs/shared-state.md").read_text("utf-8")
    queries = text.partition("psql -U auditor -d mfa -v ON_ERROR_STOP=1 <<'END'\n")[2].partition("\nEND\n")[0]
    with open_at(postgresql.address(database)) as ledger:
        ledger.record(ENTRY)
        done = subprocess.run(
            [BIN / "psql", "-At", "-v", "ON_ERROR_STOP=1", postgresql.address(database, role="page_auditor")],
            input=queries,
            capture_output=True,
            text=True,
            check=True,
            env=bare(),
        )
    unfinished, locks, computers, confirmed, failures = (
        part.splitlines()[1:] for part in re.split(r"^(?=[A-Z])", done.stdout, flags=re.MULTILINE)[1:]
    )
    assert [line.split("|")[:2] for line in unfinished] == [["", "1"]]
    assert [line.split("|")[1] for line in locks] == [OWNER]
    assert [line.split("|")[:2] for line in computers] == [[socket.gethostname(), "1"]]
    assert (confirmed, failures) == ([], [])


def test_a_malformed_row_of_a_desk_fails_no_command_of_an_auditor(
    mfa_kit: MfaKit, user: str, recipient: str, postgresql: Server, tmp_path: Path
) -> None:
    """The rows are from before the server refused them. They are skipped, and a warning names their role."""
    database = postgresql.new_database()
    for role in ("bad_desk", "good_desk", "bad_auditor"):
        postgresql.execute(f"create role {role} login")
    postgresql.execute(grants({"bad_desk": "a", "good_desk": "b"}, ["bad_auditor"]), database=database)
    good, auditor = (postgresql.address(database, role=role) for role in ("good_desk", "bad_auditor"))
    (tmp_path / "roster.csv").write_text(f"user,recipient\n{user},{recipient}\n", "utf-8")
    plan = tmp_path / "plan.json"
    assert mfa_kit.run("rollout", "plan", tmp_path / "roster.csv", "-o", plan).code == 0
    digest = sha256(plan.read_bytes()).hexdigest()
    assert mfa_kit.run("rollout", "apply", plan, "-r", recipient, "--local-backups", "--ledger", good).code == 0
    for table in INSERTED:
        drop = f"alter table mfa_kit.{table} drop constraint if exists well_formed"
        postgresql.execute(drop, database=database, role=OWNER)
    for number, sql in enumerate(MALFORMED):
        row = sql.replace("repeat('0', 64)", f"'{digest}'").replace("000000ff", f"{number:08x}")
        postgresql.execute(row, database=database, role="bad_desk")
    done = [
        mfa_kit.run(*words, "--ledger", auditor)
        for words in (
            *(("ledger", "show"), ("ledger", "reconcile"), ("status", user), ("orphans", "list"), ("token", "list")),
            *(
                ("backup", "recipients"),
                ("backup", "exposed", "-r", recipient),
                ("rollout", "status", plan),
                ("audit",),
            ),
        )
    ]
    assert {each.code for each in done} <= {0, 1}, [each.err for each in done]
    assert not [each.err for each in done if "damaged" in each.err]
    assert "skipped rows of role bad_desk" in done[0].err
    assert "CreateVirtualMFADevice" in done[0].out
