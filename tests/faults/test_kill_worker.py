"""SIGKILL just before and just after each step of `rollout work`; then another worker, and a clean."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.conftest import ACCOUNT, MfaKit
from tests.faults.conftest import Judge, Nursery, nursery_at, wait_until
from tests.faults.worker import ADDRESS
from tests.sizes import sample

USERS = 2
ARN = f"arn:aws:iam::{ACCOUNT}:mfa/"


def folder(home: Path, user: str) -> Path:
    """Return the folder of the user's backups."""
    return home / "backups" / ACCOUNT / user


@contextmanager
def in_progress(nursery: Nursery, user: str, home: Path) -> Iterator[None]:
    """Begin to enroll a user, who does not give the codes before the context ends."""
    gate = home.with_name("gate")
    steps = nursery.start(["enroll"], user, home, gate=str(gate))
    try:
        wait_until(lambda: steps.exists() and "device_writer.enable" in steps.read_text())
        yield
    finally:
        gate.touch()
        code = nursery.finish()
    assert code == 0


@pytest.fixture(scope="module")
def workers(lab: Lab, recipient: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Start a nursery of workers. The `user` of a job is the path of its plan."""
    with nursery_at(lab, recipient, tmp_path_factory.mktemp("workers"), module="tests.faults.rolling") as nursery:
        yield nursery


@pytest.fixture
def plan(mfa_kit: MfaKit, users: Callable[[], str], tmp_path: Path) -> Callable[[Path, str], tuple[Path, list[str]]]:
    """Return a function that plans a rollout for one user who has a device and two who have none."""

    def make(home: Path, has: str) -> tuple[Path, list[str]]:
        names = [users() for _ in range(USERS)]
        roster, file = tmp_path / "roster.csv", tmp_path / f"{names[0]}.json"
        roster.write_text("".join(f"{line}\n" for line in ("user", *names, has)))
        ledger = ["--ledger", (home / ADDRESS).read_text("utf-8")] if (home / ADDRESS).exists() else []
        done = mfa_kit.run("rollout", "plan", roster, "-o", file, *ledger)
        assert done.code == 0, done.err
        return file, names

    return make


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_worker_killed_at_any_step_is_replaced_by_another(
    after: bool,
    workers: Nursery,
    nursery_of: Callable[..., Nursery],
    plan: Callable[[Path, str], tuple[Path, list[str]]],
    judge: Judge,
    users: Callable[[], str],
    new_home: Callable[[str], Path],
    lab: Lab,
    tried: Callable[[str, int], None],
) -> None:
    """The other one enrolls each user exactly once. It leaves the devices of earlier runs and of a run in progress."""
    nursery, home, has, busy = nursery_of(), new_home("home"), users(), users()
    assert nursery.run(["enroll"], has, home)[0] == 0
    before = judge.works(has, home, folder(home, has))
    file, _ = plan(home, has)
    code, steps = workers.run([], str(file), home)
    assert code == 0, steps
    with in_progress(nursery_of(), busy, home):
        for at in sample(range(1, len(steps)), 4):
            file, names = plan(home, has)
            code, done = workers.run([], str(file), home, at=at, after=after)
            assert code == -signal.SIGKILL, f"step {at} was not reached: {done}"
            assert done[:at] == steps[:at]
            code, said = workers.run([], str(file), home)
            assert code == 0, said
            assert nursery.run(["clean"], has, home)[0] == 0
            for user in names:
                assert judge.works(user, home, folder(home, user)) == [ARN + user], (at, steps[at - 1])
            assert lab.assigned(ARN + has) == has
            assert ARN + busy in lab.serials()
            tried("kills of workers", 1)
    assert judge.works(busy, home, folder(home, busy)) == [ARN + busy]
    assert judge.works(has, home, folder(home, has)) == before
