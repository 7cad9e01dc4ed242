"""SIGKILL just before and just after each step of each verb, in a real process; then the command again, and a clean."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Judge, Nursery
from tests.faults.worker import ADDRESS
from tests.sizes import sample

VERBS = ("enroll", "replace", "replace-lost", "revoke")
# Number of the user's devices, before and after. `--lost` may be killed when the old one is gone and the new one not
# made.
BEFORE = {"enroll": 0, "replace": 1, "replace-lost": 1, "revoke": 1}
AFTER = {"enroll": 1, "replace": 1, "replace-lost": 1, "revoke": 0}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_kill_at_any_step_is_repaired_by_the_same_command(
    verb: str,
    after: bool,
    nursery: Nursery,
    judge: Judge,
    users: Callable[[], str],
    new_home: Callable[[str], Path],
    tried: Callable[[str, int], None],
) -> None:
    """Afterwards exactly one device works, or none after a revocation, and no half-made device is left."""
    prepare = ["enroll"] * BEFORE[verb]
    home = new_home("whole")
    user = users()
    assert nursery.run(prepare, user, home)[0] == 0
    code, steps = nursery.run([verb], user, home)
    assert code == 0, steps
    assert len(judge.works(user, home)) == AFTER[verb]
    for at in sample(range(1, len(steps) + 1), 2 if (home / ADDRESS).exists() else 7):
        home, user = new_home(f"{at}"), users()
        assert nursery.run(prepare, user, home)[0] == 0
        code, done = nursery.run([verb], user, home, at=at, after=after)
        assert code == -signal.SIGKILL, f"step {at} was not reached: {done}"
        assert done[:at] == steps[:at]
        code, said = nursery.run([verb], user, home)
        assert code == 0 or (verb == "revoke" and "has no MFA device" in said[-1]), said
        assert nursery.run(["clean"], user, home)[0] == 0
        devices = judge.works(user, home)
        assert len(devices) == AFTER[verb], (at, steps[at - 1], devices)
        tried(f"kills in {verb}", 1)
