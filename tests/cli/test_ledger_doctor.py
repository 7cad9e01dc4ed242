"""What `mfa-kit doctor` says about a ledger in PostgreSQL."""

import json
from dataclasses import replace
from typing import Any

import pytest

from mfa_kit.adapters.ledger.postgresql.address import SERVER
from mfa_kit.adapters.ledger.postgresql.grants import grants
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import DeviceSpec, JournalEntry
from mfa_kit.doctor.checks import diagnose_ledger
from mfa_kit.doctor.diagnosis import Health, LedgerConditions, LedgerState
from tests.conftest import MfaKit
from tests.ledgers import open_at
from tests.postgresql import Server, running_server, standby_of

STATE = LedgerState(
    address="postgresql://db/mfa",
    server="17.12",
    schema_version=1,
    role="berlin",
    team="berlin",
    auditor=False,
    sees_all=False,
    tls=True,
    now=1_800_000_000.0,
    unfinished=0,
    sessions=1,
    grace=60.0,
    oldest_unfinished_s=None,
)
CONDITIONS = LedgerConditions(
    owner=False,
    may_write=True,
    any_lock=False,
    settings={"fsync": "on", "synchronous_standby_names": "*", "statement_timeout": "0", **SERVER},
    required=SERVER,
    socket=False,
    ahead=0.0,
    accuracy=0.1,
)


# The server keeps its roles to the end of the session, and a process may come back to this module after others.
@pytest.fixture(scope="session")
def database(postgresql: Server) -> str:
    """Return a database with roles of each kind. The desk named `lost` has lost its team."""
    name = postgresql.new_database()
    for role in ("doctor_desk", "doctor_lost", "doctor_auditor", "doctor_slow", "doctor_locks"):
        postgresql.execute(f"create role {role} login")
    desks = {"doctor_desk": "berlin", "doctor_lost": "berlin", "doctor_slow": "berlin", "doctor_locks": "berlin"}
    postgresql.execute(grants(desks, ["doctor_auditor"]), database=name)
    # As if the SQL of `ledger grants` was not run by a superuser, who can revoke this.
    postgresql.execute("grant execute on function pg_try_advisory_lock(bigint) to doctor_locks", database=name)
    postgresql.execute("delete from mfa_kit.members where role = 'doctor_lost'", database=name)
    postgresql.execute("alter role doctor_slow set statement_timeout = '5s'")
    return name


def lines(mfa_kit: MfaKit, address: str) -> dict[str, dict[str, Any]]:
    done = mfa_kit.run("doctor", "--ledger", address, "--output", "json")
    return {row["check"]: row for row in json.loads(done.out)["rows"] if row["check"].startswith("ledger")}


@pytest.mark.parametrize(
    ("role", "state", "found"),
    [
        ("doctor_desk", "ok", "doctor_desk records runs of team berlin"),
        ("doctor_lost", "wrong", "doctor_lost has no team"),
        ("doctor_locks", "-", "may take locks of other teams"),
        ("doctor_auditor", "ok", "reads the rows of all teams, and may not write"),
        ("owner", "-", "owns the ledger"),
        ("postgres", "-", "is not limited to a team"),
    ],
)
def test_the_privileges_of_the_role(
    mfa_kit: MfaKit, postgresql: Server, database: str, role: str, state: str, found: str
) -> None:
    """Only a role that may not record runs is a problem. The hint has the command that helps."""
    row = lines(mfa_kit, postgresql.address(database, role=role))["ledger role"]
    assert (row["state"], found in row["found"]) == (state, True), row
    assert ("mfa-kit ledger grants --desk" in (row["hint"] or "")) is (state != "ok")


def test_the_server_of_the_tests(mfa_kit: MfaKit, postgresql: Server, database: str) -> None:
    """It is on a Unix socket, and would lose records at a power cut."""
    found = lines(mfa_kit, postgresql.address(database, role="doctor_desk"))
    assert {name: row["state"] for name, row in found.items()} == {
        "ledger": "ok",
        "ledger schema": "ok",
        "ledger TLS": "ok",
        "ledger role": "ok",
        "ledger clock": "ok",
        "ledger durability": "wrong",
        "ledger failover": "-",
        "ledger timeouts": "ok",
    }
    assert "Unix socket" in found["ledger TLS"]["found"]
    assert found["ledger durability"]["found"] == "fsync of the server is off"


def test_a_timeout_of_the_role_is_reported(mfa_kit: MfaKit, postgresql: Server, database: str) -> None:
    """The hint is the statement that turns it off."""
    row = lines(mfa_kit, postgresql.address(database, role="doctor_slow"))["ledger timeouts"]
    assert (row["state"], row["found"]) == ("-", "statement_timeout is 5000 ms, which may end a run")
    postgresql.execute(row["hint"])
    assert lines(mfa_kit, postgresql.address(database, role="doctor_slow"))["ledger timeouts"]["state"] == "ok"
    postgresql.execute("alter role doctor_slow set statement_timeout = '5s'")


def test_a_server_that_is_down_is_a_problem(mfa_kit: MfaKit) -> None:
    """There is one line, with a hint."""
    [row] = lines(mfa_kit, "host=/nowhere dbname=mfa").values()
    assert (row["check"], row["state"], bool(row["hint"])) == ("ledger", "wrong", True)


@pytest.mark.parametrize(
    ("ahead", "found"),
    [
        (0.5, "same as this computer"),
        (7.0, "the server's clock is 7 s ahead of this computer's"),
        (-7.0, "the server's clock is 7 s behind this computer's"),
    ],
)
def test_the_difference_of_the_clocks(ahead: float, found: str) -> None:
    """The duration of the query counts as an error of the measurement."""
    [row] = [each for each in diagnose_ledger(STATE, replace(CONDITIONS, ahead=ahead)) if each.what == "ledger clock"]
    assert row.found == found
    slow = replace(CONDITIONS, ahead=ahead, accuracy=10.0)
    [row] = [each for each in diagnose_ledger(STATE, slow) if each.what == "ledger clock"]
    assert row.health is Health.GOOD


def test_over_tcp_the_times_of_keepalives_are_checked() -> None:
    """A server that cannot set them releases locks at another time."""
    by_name = {each.what: each for each in diagnose_ledger(STATE, CONDITIONS)}
    assert {each.health for each in by_name.values()} == {Health.GOOD}
    assert "70 s" in by_name["ledger locks"].found
    other = replace(CONDITIONS, settings={**CONDITIONS.settings, "tcp_user_timeout": "0"})
    [row] = [each for each in diagnose_ledger(STATE, other) if each.what == "ledger locks"]
    assert (row.health, "tcp_user_timeout is 0 instead of 70000" in row.found) == (Health.NOTED, True)


@pytest.mark.parametrize(
    ("changed", "health"),
    [
        ({}, Health.GOOD),
        ({"synchronous_commit": "remote_apply"}, Health.GOOD),
        ({"synchronous_commit": "local"}, Health.NOTED),
        ({"synchronous_standby_names": ""}, Health.NOTED),
    ],
)
def test_only_a_commit_that_waits_for_a_standby_survives_a_failover(changed: dict[str, str], health: Health) -> None:
    """The hint names the setting and the page with the steps after a failover."""
    conditions = replace(CONDITIONS, settings={**CONDITIONS.settings, **changed})
    [row] = [each for each in diagnose_ledger(STATE, conditions) if each.what == "ledger failover"]
    assert row.health is health
    assert ("synchronous_standby_names" in row.hint) is (health is Health.NOTED)


@pytest.mark.slow
def test_a_server_with_a_synchronous_standby(mfa_kit: MfaKit) -> None:
    """The standby takes no records, and a command says so before it writes to IAM."""
    with running_server() as server:
        database = server.new_database()
        with standby_of(server) as standby:
            server.execute("alter system set synchronous_standby_names = '*'")
            server.execute("select pg_reload_conf()")
            assert lines(mfa_kit, server.address(database))["ledger failover"]["state"] == "ok"
            assert lines(mfa_kit, standby.address(database))["ledger failover"]["state"] == "wrong"
            spec = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice")
            entry = JournalEntry(run="20261125T000000Z-00000000", spec=spec)
            with open_at(standby.address(database)) as ledger, pytest.raises(IntegrityFault, match="is a standby"):
                ledger.record(entry)


def test_a_folder_of_backups_that_other_computers_cannot_read_is_reported(
    mfa_kit: MfaKit, postgresql: Server, database: str
) -> None:
    """An enrollment is then refused without `--local-backups`. With a ledger on this computer, the folder is right."""
    (mfa_kit.home / "backups").mkdir(parents=True, mode=0o700)
    address = postgresql.address(database, role="doctor_desk")
    for more, state, hinted in ((["--ledger", address], "-", True), ([], "ok", False)):
        done = mfa_kit.run("doctor", *more, "--output", "json")
        [row] = [row for row in json.loads(done.out)["rows"] if row["check"] == "backup folder"]
        assert (row["state"], "--local-backups" in (row["hint"] or "")) == (state, hinted), row
