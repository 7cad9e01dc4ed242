"""Says so if a test failed because it did not end within its limit. `.ci/run` gives it no second try.

mfa-kit turns any exception into an error of its own, also that of pytest-timeout, so a test may not show it.
"""

import time
from collections.abc import Callable, Generator
from typing import NoReturn, TypeVar

import pytest

Result = TypeVar("Result")

BEGAN = pytest.StashKey[float]()


def never_came(seconds: float, text: object) -> NoReturn:
    """Fail because something did not happen within that many seconds, in the words that `.ci/run` looks for."""
    pytest.fail(f"Timeout (>{seconds}s): {text}")


def wait_until(
    reached: Callable[[], Result], *, seconds: float, said: Callable[[], object], pause: float = 0.02
) -> Result:
    """Wait until something is true, and return it. `said` is asked for the text if it does not come true in time."""
    until = time.monotonic() + seconds
    while not (result := reached()):
        if time.monotonic() > until:
            never_came(seconds, said())
        time.sleep(pause)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add a section to the report of a test that failed after its limit."""
    report = yield
    began = item.stash.setdefault(BEGAN, call.start)
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker and marker.args else item.config.getini("timeout") or "inf")
    # the timer starts a moment before the first phase, so on a busy computer it ends a moment before the limit here
    if report.failed and call.stop - began >= 0.9 * limit:
        report.sections.append(("limit", f"E   Failed: Timeout (>{limit}s), whatever the test says"))
    return report
