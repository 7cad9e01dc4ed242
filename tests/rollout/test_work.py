"""Several workers share a rollout in several accounts. They are processes, and meet in the ledger only."""

import hashlib
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import pytest

from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.cli.messages import StderrProgress
from mfa_kit.cli.rollout import running
from mfa_kit.cli.rollout.results import AccountWork, state_of
from mfa_kit.cli.rollout.running import ATTEMPTS, SharedTurns
from mfa_kit.core.errors import InternalError, Throttled
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.rollout.watching import claim_of
from tests.conftest import ACCOUNT
from tests.rollout.conftest import Rollout
from tests.rollout.team import ACCOUNTS, CREATE, ENABLE, USERS, Team, end, states


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
def test_workers_finish_all_accounts(team: Team, number: int) -> None:
    """Each user is enabled exactly once, and each worker reports all of them."""
    digest = team.plan()
    workers = [team.work(each, "--expect-sha256", digest) for each in range(number)]
    for done in map(end, workers):
        assert done.code == 0, done.err
        assert states(done) == dict.fromkeys(team.ids, "done")
        assert Counter(row["outcome"] for row in json.loads(done.out)["rows"]) == {"enrolled": ACCOUNTS * USERS}
    team.is_done()
    team.enabled_once()
    runs = {path.parent.name for path in team.folder.rglob("results.json")}
    assert runs == set(team.ids)


@pytest.mark.slow
def test_workers_take_several_indexes_and_plans(team: Team) -> None:
    """Each account belongs to one of the files, and each file has its own folder of results by default."""
    two, three = team.folder / "two.json", team.folder / "three.json"
    hashes = [team.plan(team.ids[:2]), team.plan(team.ids[2:4], index=two)]
    team.plan(team.ids[4:], index=three)
    plans = sorted((team.folder / "three.json-plans").iterdir())
    hashes += [hashlib.sha256(plan.read_bytes()).hexdigest() for plan in plans]
    expected = [word for each in hashes for word in ("--expect-sha256", each)]
    command = [word for word in team.command("work", 0, [team.index, two, *plans]) if "results" not in str(word)]
    workers = [team.kit(number).fork(*command, *expected) for number in range(2)]
    for done in map(end, workers):
        assert done.code == 0, done.err
        assert states(done) == dict.fromkeys(team.ids, "done")
    team.is_done()
    team.enabled_once()
    assert {path.parent.name for path in team.folder.glob("index-results/*/results.json")} <= {*team.ids[:2]}
    assert {path.parent.name for path in team.folder.rglob("*-results/*/results.json")} == {*team.ids}


@pytest.mark.slow
def test_two_files_with_one_account_are_refused(team: Team) -> None:
    """So are several plans without the options for several accounts, and a file with another SHA-256."""
    two = team.folder / "two.json"
    digest = team.plan()
    team.plan(team.ids[:1], index=two)
    both = end(team.work(0, plans=[team.index, two]))
    assert (both.code, f"both have a plan for account {team.ids[0]}" in both.err) == (2, True), both.err
    other = end(team.work(0, "--expect-sha256", digest, plans=[team.index, two]))
    assert (other.code, "two.json is not the expected index" in other.err) == (2, True), other.err
    alone = team.kit().run("rollout", "work", team.index, two)
    assert (alone.code, "several plans can be used only with several accounts" in alone.err) == (2, True), alone.err


@pytest.mark.slow
def test_json_lines_have_a_line_for_each_user(team: Team) -> None:
    """Users of other workers too, and a line for each account."""
    team.plan()
    for done in map(end, [team.work(each, "--output", "jsonl") for each in range(2)]):
        assert done.code == 0, done.err
        lines = [json.loads(line) for line in done.out.splitlines()]
        assert Counter(line["schema"] for line in lines) == {
            "mfa-kit/rollout-apply": ACCOUNTS * USERS,
            "mfa-kit/rollout-apply-account": ACCOUNTS,
        }


@pytest.mark.slow
def test_the_account_of_a_killed_worker_is_taken_over(team: Team) -> None:
    """The other worker waits for the account and continues it within a second."""
    team.plan()
    team.lab.faults.add(ENABLE, "latency", at="every", seconds=0.3)
    killed, other = team.work(0), team.work(1)
    team.wait(lambda: len({call.account for call in team.lab.calls if call.operation == ENABLE}) >= 2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    done = end(other)
    assert done.code == 0, done.err
    assert states(done) == dict.fromkeys(team.ids, "done")
    team.is_done()
    team.enabled_once()


@pytest.mark.slow
def test_sigterm_finishes_the_users_in_progress(team: Team) -> None:
    """The worker ends with the command that continues. Another one does the rest."""
    team.plan()
    team.lab.faults.add(ENABLE, "latency", at="every", seconds=0.3)
    stopped = team.work(0)
    team.wait(team.enabled)
    stopped.send_signal(signal.SIGTERM)
    done = end(stopped)
    assert (done.code, "to continue: mfa-kit rollout work" in done.err) == (130, True), done.err
    assert "half_made" not in json.loads(done.out)["counts"]
    with team.place.open() as ledger:
        assert not [entry for number in team.ids for entry in ledger.made(number) if entry.is_half_made]
    done = end(team.work(1))
    assert done.code == 0, done.err
    team.is_done()
    team.enabled_once()


@pytest.mark.slow
def test_sigterm_ends_a_worker_that_waits(team: Team) -> None:
    """It has no users in progress, so it ends at once, while the other worker goes on."""
    team.plan(team.ids[:1])
    team.lab.faults.add(ENABLE, "latency", at="every", seconds=5)
    working = team.work(0)
    team.wait(lambda: any(call.operation == CREATE for call in team.lab.calls))
    waiting = team.work(1)
    assert waiting.stderr
    next(line for line in waiting.stderr if "other workers are working" in line)
    waiting.send_signal(signal.SIGTERM)
    done = end(waiting)
    assert (done.code, working.poll()) == (130, None), done.err
    team.lab.faults.clear()
    assert end(working).code == 0


@pytest.mark.slow
def test_sigterm_ends_a_worker_that_waits_for_one_plan(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """It names the command that continues, and has not touched the account."""
    rollout.plan(*rollout.own(people(1)))
    digest = hashlib.sha256(rollout.file.read_bytes()).hexdigest()
    with sqlite_ledger(rollout.desk.home) as ledger, ledger.claimed(claim_of(digest, ACCOUNT)) as ours:
        assert ours
        waiting = rollout.desk.fork("rollout", "work", rollout.file, "-r", rollout.recipient)
        assert waiting.stderr
        next(line for line in waiting.stderr if "another worker is working" in line)
        calls = len(rollout.lab.calls)
        waiting.send_signal(signal.SIGTERM)
        done = end(waiting)
    assert (done.code, "to continue: " in done.err) == (130, True), done.err
    assert len(rollout.lab.calls) == calls


@pytest.mark.slow
def test_a_changed_plan_is_refused(team: Team) -> None:
    """Nothing is written to any account. So is an index with another SHA-256."""
    team.plan()
    other = end(team.work(0, "--expect-sha256", "0" * 64))
    plan = next((team.folder / "index.json-plans").iterdir())
    plan.write_text(plan.read_text().replace("alice", "mallory"))
    done = end(team.work(0))
    assert (other.code, "is not the expected index" in other.err) == (2, True), other.err
    assert (done.code, "has changed since" in done.err) == (2, True), done.err
    assert not [call for call in team.lab.calls if call.operation == "CreateVirtualMFADevice"]


@pytest.mark.slow
def test_an_account_without_credentials_is_a_row(team: Team) -> None:
    """The other accounts are finished by both workers, and both report the reason."""
    team.plan()
    team.lab.organization[team.ids[2]].backend.roles.clear()
    for done in map(end, [team.work(0), team.work(1)]):
        assert done.code == 1, done.err
        assert states(done) == {**dict.fromkeys(team.ids, "done"), team.ids[2]: "failed"}
        (row,) = [row for row in json.loads(done.out)["accounts"] if row["account"] == team.ids[2]]
        assert "AssumeRole" in row["why"]
    assert team.enabled() == dict.fromkeys({*team.ids} - {team.ids[2]}, USERS)


def test_an_account_that_throttles_is_given_back_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker may take it in between. After the last attempt, its error is the result."""
    monkeypatch.setattr(running, "PAUSE", 0.0)
    monkeypatch.setattr(running, "LOOK_AGAIN", 0.0)
    works = [AccountWork(account=OrgAccount(id=f"{number:012}", name=""), total=1) for number in (1, 2)]
    shared = SharedTurns(
        works=works,
        claim=lambda _: nullcontext(True),
        look=lambda _: None,
        count_busy=lambda: 0,
        progress=StderrProgress(quiet=True),
    )
    seen = []
    for work in shared.todo(lambda: False):
        with shared.turn(work) as ours:
            assert ours
            seen.append(work)
        if work is works[0]:
            work.error = Throttled("too many calls", "wait")
        shared.leave(work)
    assert Counter(each.account.id for each in seen) == {works[0].account.id: ATTEMPTS, works[1].account.id: 1}
    assert (state_of(works[0]), works[1].error) == ("failed", None)


def test_an_account_whose_turn_cannot_be_found_out_is_tried_once() -> None:
    """The worker would otherwise ask for its turn again and again, and never end."""
    work = AccountWork(account=OrgAccount(id="000000000001", name=""), total=1)

    def claim(_: AccountWork) -> AbstractContextManager[bool]:
        raise LookupError

    shared = SharedTurns(
        works=[work], claim=claim, look=lambda _: None, count_busy=lambda: 0, progress=StderrProgress(quiet=True)
    )
    seen = []
    for each in islice(shared.todo(lambda: False), 2):
        seen.append(each)
        with pytest.raises(LookupError), shared.turn(each):
            pytest.fail("it has no turn")
        each.error = InternalError("internal error: LookupError", "report this")
        shared.leave(each)
    assert seen == [work]
