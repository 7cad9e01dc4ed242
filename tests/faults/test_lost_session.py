"""A process that loses its session with PostgreSQL, and its locks, ends before it can do harm."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Judge, Nursery, wait_until
from tests.faults.test_kill import AFTER, BEFORE
from tests.faults.worker import ADDRESS
from tests.postgresql import Server
from tests.sizes import sample

VERBS = ("enroll", "replace", "revoke")


@pytest.fixture
def new_home(postgresql: Server, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that makes the folder of a desk whose ledger is in PostgreSQL."""

    def make(name: str) -> Path:
        home = tmp_path / name
        home.mkdir(mode=0o700)
        (home / ADDRESS).write_text(postgresql.address(postgresql.new_database()), "utf-8")
        return home

    return make


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", VERBS)
def test_two_processes_that_believe_in_one_run_lose_nobody(
    verb: str,
    after: bool,
    nursery_of: Callable[..., Nursery],
    judge: Judge,
    users: Callable[[], str],
    new_home: Callable[[str], Path],
    tried: Callable[[str, int], None],
) -> None:
    """The lock breaks before or after a step, another process runs the same command, and then the first one goes on."""
    one, two = nursery_of(), nursery_of()
    prepare = ["enroll"] * BEFORE[verb]
    home, user = new_home("whole"), users()
    assert one.run(prepare, user, home)[0] == 0
    code, steps = one.run([verb], user, home)
    assert code == 0, steps
    seals = [
        at - after for at, step in enumerate(steps, 1) if step == "store.seal"
    ]  # before it, nothing asks the server
    for at in sorted({*sample(range(1, len(steps) + 1), 2), *seals}):
        home, user = new_home(f"{at}"), users()
        assert one.run(prepare, user, home)[0] == 0
        file = one.start([verb], user, home, at=at, after=after, broken=True)
        wait_until(file.with_suffix(".broken").exists)
        two.run([verb], user, home)
        file.with_suffix(".go").touch()
        assert one.finish() not in {70, -signal.SIGKILL}, file.read_text("utf-8")
        code, said = two.run([verb], user, home)
        assert code == 0 or "already" in said[-1] or "has no MFA device" in said[-1], said
        assert two.run(["clean"], user, home)[0] == 0
        devices = judge.works(user, home)
        assert len(devices) >= AFTER[verb], (at, steps[at - 1], devices)
        tried(f"locks broken in {verb}", 1)
