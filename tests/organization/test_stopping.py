"""Ctrl-C while many accounts are read, and how accounts share the threads."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mfa_kit.core.stopping import Stop
from mfa_kit.lab.aws.server import Lab
from mfa_kit.wiring.organization import SharedThreads
from tests.conftest import MfaKit
from tests.organization.conftest import MEMBERS


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["*", "AssumeRole"])
def test_ctrl_c_does_not_wait_for_a_throttled_account(
    operation: str, org_kit: MfaKit, org_lab: Lab, tmp_path: Path
) -> None:
    """The reads of all accounts give up in their pauses. The message names the command that reads the rest."""
    org_lab.faults.add(operation, "throttle", at="every", account="" if operation == "AssumeRole" else MEMBERS[0])
    process = org_kit.start("audit", "--org", "--output-dir", tmp_path / "results")
    while sum(call.error == "Throttling" for call in org_lab.calls) < 3:
        time.sleep(0.05)
    before = len(org_lab.calls)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"to continue: mfa-kit audit --org --output-dir {tmp_path}/results --resume" in err
    # The throttled account would make more than 30 attempts.
    assert len(org_lab.calls) - before < 15


def test_one_account_leaves_threads_to_the_others() -> None:
    """While all reads of an account wait, those of another account are made."""
    waits, stop = threading.Event(), Stop()
    with ThreadPoolExecutor(4) as pool, ThreadPoolExecutor(1) as slow:
        within = SharedThreads(pool, share=2, stop=stop)
        throttled = slow.submit(lambda: list(within(lambda _: waits.wait(), range(10))))
        try:
            assert pool.submit(lambda: None).result(timeout=20) is None
            assert list(within(str, range(5))) == ["0", "1", "2", "3", "4"]
            assert not throttled.done()
        finally:
            waits.set()
        assert throttled.result() == [True] * 10


def test_after_a_stop_no_further_user_is_read() -> None:
    """What waits in the threads is not begun, and the account that waits for it ends."""
    stop = Stop()
    done: list[int] = []

    def read(number: int) -> None:
        done.append(number)
        stop.set()

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        list(SharedThreads(pool, share=1, stop=stop)(read, range(10)))
    assert done == [0]
