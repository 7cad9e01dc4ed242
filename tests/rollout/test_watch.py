"""`rollout status --watch` shows what workers do, from the ledger only."""

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from mfa_kit.adapters.ledger.postgresql.grants import grants
from mfa_kit.core.models import HeldWork, JournalState
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.rollout.watching import PlanProgress, RolloutProgress, WatchedWork, users_per_second
from tests.conftest import ACCOUNT, bare
from tests.ledgers import Place
from tests.postgresql import Server
from tests.rollout.conftest import Rollout
from tests.rollout.team import ACCOUNTS, ENABLE, ROLE, USERS, Team, end
from tests.terminal.spawn import MFA_KIT
from tests.terminal.window import Window

HASH = "0" * 64


def work(number: int) -> WatchedWork:
    return WatchedWork(account=f"{number:012}", label=f"member-{number} ({number:012})", digest=HASH, total=4)


def claim(number: int) -> HeldWork:
    return HeldWork(work=work(number).claim, computer="desk", process="77", since=0.0)


def test_users_who_enrolled_themselves_count_when_the_run_has_ended() -> None:
    """The ledger has no row for them. While a worker has the account, its last run has not ended."""
    progress = PlanProgress(made=1, causes={"Throttled": 1}, complete=True)
    ended = RolloutProgress.of([work(1)], plans={HASH: progress}, claims=[])
    assert (ended.done, ended.users, ended.complete, ended.is_complete) == (4, 4, 1, True)
    again = RolloutProgress.of([work(1)], plans={HASH: progress}, claims=[claim(1)])
    assert (again.done, again.complete, again.is_complete) == (2, 0, False)
    assert [*again.workers] == [work(1).label]


def test_an_account_that_nobody_began_is_left() -> None:
    """The ledger has nothing about it."""
    found = RolloutProgress.of([work(1)], plans={}, claims=[])
    assert (found.done, found.complete, found.is_complete) == (0, 0, False)


def test_the_rate_is_that_between_the_first_and_the_last_look() -> None:
    """There is none after one look."""
    assert users_per_second([(10.0, 3)]) == 0.0
    assert users_per_second([(10.0, 3), (12.0, 4), (14.0, 11)]) == 2.0


def test_a_plan_that_was_carried_out_ends_the_watch(
    rollout: Rollout, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks AWS nothing, needs no credentials, and prints one line."""
    rollout.enroll([user])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    done = rollout.desk.run("rollout", "status", rollout.file, "--watch")
    assert (done.code, done.out) == (0, "1 of 1 users, 1 of 1 accounts, 0 failed, 0.0 users/s, workers: 0\n")


def test_one_look_says_what_failed_how_fast_it_goes_and_what_is_unfinished(
    rollout: Rollout, people: Callable[[int], list[str]]
) -> None:
    """The rate is that of the last minute. The oldest unfinished device is one of this plan's runs."""
    first, second, third = people(3)
    rollout.plan(*rollout.own([first, second, third]))
    rollout.lab.faults.add(ENABLE, "denied", at=1)
    assert rollout.apply("--workers", "1").code == 1
    look = ("rollout", "status", rollout.file, "--watch", "--once", "--output", "json")
    found = json.loads(rollout.desk.run(*look).out)
    assert (found["done"], found["failed"], found["causes"]) == (3, 1, {"AccessDenied": 1})
    assert (found["rate"], found["seconds_left"], found["workers"], found["oldest_unfinished_s"]) == (0.1, 0, [], None)
    with Place("sqlite", str(rollout.desk.home)).open(clock=lambda: time.time() - 7000) as ledger:
        entry = next(entry for entry in ledger.made(ACCOUNT) if entry.spec.user == third)
        ledger.record(replace(entry, reached=JournalState.CREATED))
        other = replace(entry, run="20261125T000000Z-00000001", reached=JournalState.INTENT)
        ledger.record(other)
    found = json.loads(rollout.desk.run(*look).out)
    assert 7000 <= found["oldest_unfinished_s"] < 7100
    done = rollout.desk.run(*look[:-2])
    assert (done.code, done.out.count("\n")) == (0, 1)


def test_a_look_needs_watch(rollout: Rollout) -> None:
    """`--once` alone is refused, and so is `--unfinished` with something that has no rows."""
    for words in (["--once"], ["--watch", "--unfinished"], ["--unfinished", "--output", "html"]):
        assert rollout.desk.run("rollout", "status", rollout.file, *words).code == 2


@pytest.mark.parametrize("form", ["json", "csv", "html"])
def test_other_forms_are_refused(rollout: Rollout, user: str, form: str) -> None:
    """They print all results at the end."""
    rollout.plan(*rollout.own([user]))
    done = rollout.desk.run("rollout", "status", rollout.file, "--watch", "--output", form)
    assert (done.code, "--watch prints one result after another" in done.err) == (2, True)


def test_accounts_cannot_be_chosen(rollout: Rollout) -> None:
    """The progress is shown for all accounts of the index, so a choice of some is refused and not ignored."""
    done = rollout.desk.run("rollout", "status", rollout.file, "--watch", "--org", "--exclude", "berlin")
    assert (done.code, "--watch always shows all accounts of the index" in done.err) == (2, True)


@pytest.mark.slow
def test_a_line_is_printed_for_each_change(team: Team) -> None:
    """The lines name the computer and the process of each worker, and the last one says that all is done."""
    team.plan()
    team.lab.faults.add(ENABLE, "latency", at="every", seconds=0.3)
    watching = team.kit(2).fork("rollout", "status", team.index, "--watch", "--output", "jsonl", *team.shared)
    workers = [team.work(number) for number in range(2)]
    done, ended = end(watching), [end(each) for each in workers]
    assert (done.code, [each.code for each in ended]) == (0, [0, 0]), done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows == [row for row, before in zip(rows, [{}, *rows], strict=False) if row != before]
    assert (rows[0]["done"], rows[-1]["done"]) == (0, ACCOUNTS * USERS)
    assert (rows[-1]["complete"], rows[-1]["workers"]) == (ACCOUNTS, [])
    assert any(row["seconds_left"] for row in rows), rows
    seen = [worker for row in rows for worker in row["workers"]]
    assert {worker["account"] for worker in seen} <= {*team.ids}
    assert {worker["process"] for worker in seen} == {str(each.pid) for each in workers}
    assert {worker["computer"] for worker in seen} == {os.uname().nodename}


@pytest.mark.slow
def test_a_terminal_is_redrawn_in_80_columns(team: Team) -> None:
    """The lines are drawn over the earlier ones. Ctrl-C ends the watch."""
    team.plan()
    team.lab.faults.add(ENABLE, "latency", at="every", seconds=0.5)
    command = [*MFA_KIT, "rollout", "status", str(team.index), "--watch", *team.shared]
    env = {**bare(), "MFA_KIT_HOME": str(team.home), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    window = Window(command, env=env, cwd=team.folder, size=(80, 24), apart=False)
    window.see(f"0 of {ACCOUNTS * USERS} users, 0 of {ACCOUNTS} accounts, 0 failed, 0.0 users/s, workers: 0")
    working = team.work(0)
    window.see("ACCOUNT")
    window.see(str(working.pid))
    working.send_signal(signal.SIGTERM)
    end(working)
    window.see("workers: 0")
    window.type("\x03", end="")
    assert window.end() == 130
    text = window.screen.text()
    assert text.count(" accounts, ") == 1
    assert max(map(len, text.splitlines())) <= 80


@pytest.fixture
def teams(postgresql: Server) -> Callable[[str], str]:
    """Make a ledger for the desks of two teams and an auditor, and return the address of each role."""
    for role in ("watch_berlin", "watch_paris", "watch_auditor"):
        with suppress(psycopg.errors.DuplicateObject):
            postgresql.execute(f"create role {role} login")
    database, desks = postgresql.new_database(), {"watch_berlin": "berlin", "watch_paris": "paris"}
    postgresql.execute(grants(desks, ["watch_auditor"]), database=database)
    return lambda role: postgresql.address(database, role=role)


def test_the_plan_of_another_team_is_not_reported_as_untouched(
    rollout: Rollout, user: str, teams: Callable[[str], str]
) -> None:
    """A sentence says whose runs the role sees. The team itself, and an auditor, see the run."""
    sentence = "the ledger shows no run of this rollout yet; your PostgreSQL role sees only the runs of team"
    rollout.plan(*rollout.own([user]))
    before = rollout.desk.run("rollout", "status", rollout.file, "--ledger", teams("watch_berlin"))
    assert f"{sentence} berlin" in before.err
    assert rollout.apply("--local-backups", "--ledger", teams("watch_berlin")).code == 0
    for role, sees in (("watch_berlin", True), ("watch_paris", False), ("watch_auditor", True)):
        done = rollout.desk.run("rollout", "status", rollout.file, "--ledger", teams(role))
        assert (done.code, f"{sentence} paris" in done.err) == (0, not sees), done.err
    done = rollout.desk.run("rollout", "status", rollout.file, "--watch", "--ledger", teams("watch_auditor"))
    assert (done.code, done.err) == (0, "")
    watching = rollout.desk.fork("rollout", "status", rollout.file, "--watch", "--ledger", teams("watch_paris"))
    assert watching.stdout
    assert watching.stderr
    assert watching.stdout.readline().startswith("0 of 1 users")
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=20)
    assert f"{sentence} paris" in err


@pytest.mark.slow
def test_the_index_of_another_team_is_not_reported_as_untouched(
    teams: Callable[[str], str], tmp_path: Path, recipient: str
) -> None:
    """The sentence is printed once for all accounts."""
    with Lab(accounts=2, users_per_account=1, settings=LabSettings(propagation=0)) as lab:
        team = Team(tmp_path, tmp_path / "desk", lab, Place("postgresql", teams("watch_berlin")), recipient)
        team.plan()
        assert end(team.work(0)).code == 0
        words = ("rollout", "status", team.index, "--org", "--role-name", ROLE, "--ledger")
        for role, times in (("watch_paris", 1), ("watch_berlin", 0)):
            done = team.kit().process(*words, teams(role))
            assert (done.code, done.err.count("the ledger shows no run of this rollout yet")) == (0, times), done.err
