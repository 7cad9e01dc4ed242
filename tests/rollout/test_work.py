"""Several workers share a rollout in several accounts. They are processes, and meet in the ledger only."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.cli.messages import StderrProgress
from mfa_kit.cli.rollout import turns
from mfa_kit.cli.rollout.account_results import state_of
from mfa_kit.cli.rollout.account_work import AccountWork
from mfa_kit.cli.rollout.turns import ATTEMPTS, SharedTurns
from mfa_kit.core.errors import Throttled
from mfa_kit.core.models import Reached
from mfa_kit.lab.aws.codes import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import OrgAccount
from tests.conftest import MfaKit, Result
from tests.ledgers import Place

ACCOUNTS, USERS, ROLE = 6, 5, "mfa-kit-enroll"
ENABLE = "EnableMFADevice"


@dataclass
class Team:
    """An index of six accounts, and a ledger that the workers share. Each worker has its own folder of results."""

    folder: Path
    home: Path
    lab: Lab
    place: Place
    recipient: str

    @property
    def index(self) -> Path:
        return self.folder / "index.json"

    @property
    def ids(self) -> list[str]:
        return [*self.lab.organization]

    @property
    def shared(self) -> list[str]:
        """The options for the shared ledger."""
        return ["--ledger", self.place.at] if self.place.kind == "postgresql" else []

    def kit(self, number: int = 0) -> MfaKit:
        """Return the command line of a worker. With the ledger in a file, all workers are on one computer."""
        home = self.home if self.place.kind == "sqlite" else self.folder / f"home-{number}"
        return MfaKit(home, dict(self.lab.env))

    def plan(self) -> str:
        """Plan for all users of all accounts, and return the SHA-256 of the index."""
        users = [user.name for user in self.lab.organization[self.ids[0]].backend.users.values()]
        lines = [f"{number},{user},{self.recipient}" for number in self.ids for user in users]
        roster = self.folder / "roster.csv"
        roster.write_text("\n".join(["account,user,recipient", *lines]) + "\n")
        done = self.kit().process(
            *("rollout", "plan", roster, "-o", self.index, "--org", "--role-name", ROLE, "--output", "json"),
            *self.shared,
        )
        assert done.code == 0, done.err
        return str(json.loads(done.out)["sha256"])

    def work(self, number: int, *more: str | Path) -> subprocess.Popen[str]:
        """Start a worker."""
        return self.kit(number).start(*self.command("work", number), *more)

    def command(self, verb: str, number: int) -> list[str | Path]:
        backups: list[str | Path] = (
            [] if self.place.kind == "sqlite" else ["--backup-dir", self.folder / "backups", "--local-backups"]
        )
        results: list[str | Path] = ["--results", self.folder / f"results-{number}"]
        common = ["--org", "--role-name", ROLE, "-r", self.recipient, "--output", "json", "--workers", "2"]
        return ["rollout", verb, self.index, *common, *backups, *results, *self.shared]

    def enabled(self) -> Counter[str]:
        """Return how many devices were enabled in each account."""
        return Counter(call.account for call in self.lab.calls if call.operation == ENABLE and not call.error)

    def wait(self, reached: Callable[[], object]) -> None:
        for _ in range(1000):
            if reached():
                return
            time.sleep(0.02)
        pytest.fail("it did not happen")

    def is_done(self) -> None:
        """Check that each user was enabled exactly once, and that the ledger knows each device."""
        assert self.enabled() == dict.fromkeys(self.ids, USERS)
        with self.place.open() as ledger:
            for number in self.ids:
                made = ledger.made(number)
                assert [entry.reached for entry in made] == [Reached.CONFIRMED] * USERS
                assert [self.lab.assigned(entry.intent.serial) for entry in made] == [each.intent.user for each in made]
                assert list(ledger.dead(number)) == []


def end(worker: subprocess.Popen[str]) -> Result:
    out, err = worker.communicate(timeout=100)
    return Result(worker.returncode, out, err)


def states(done: Result) -> dict[str, Any]:
    return {row["account"]: row["state"] for row in json.loads(done.out)["accounts"]}


@pytest.fixture
def team(place: Place, tmp_path: Path, identity: pyrage.x25519.Identity) -> Iterator[Team]:
    with Lab(accounts=ACCOUNTS, users_per_account=USERS, settings=LabSettings(propagation=0)) as lab:
        yield Team(tmp_path, tmp_path / "desk", lab, place, str(identity.to_public()))


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
    runs = {path.parent.name for path in team.folder.rglob("results.json")}
    assert runs == set(team.ids)


@pytest.mark.slow
def test_json_lines_have_a_line_for_each_user(team: Team) -> None:
    """Users of other workers too, and a line for each account."""
    team.plan()
    for done in map(end, [team.work(each, "--output", "jsonl") for each in range(2)]):
        assert done.code == 0, done.err
        lines = [json.loads(line) for line in done.out.splitlines()]
        assert Counter(line["schema"] for line in lines) == {
            "mfa-kit/rollout-apply-index": ACCOUNTS * USERS,
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
    monkeypatch.setattr(turns, "PAUSE", 0.0)
    monkeypatch.setattr(turns, "LOOK_AGAIN", 0.0)
    works = [AccountWork(account=OrgAccount(id=f"{number:012}", name=""), total=1) for number in (1, 2)]
    shared = SharedTurns(
        works=works, claim=lambda _: nullcontext(True), look=lambda _: None, progress=StderrProgress(quiet=True)
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
