"""Says so if a test failed because it did not end within its limit. `.ci/run` gives it no second try.

mfa-kit turns any exception into an error of its own, also that of pytest-timeout, so a test may not show it.
"""

from collections.abc import Generator

import pytest

BEGAN = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add a section to the report of a test that failed after its limit."""
    report = yield
    began = item.stash.setdefault(BEGAN, call.start)
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker and marker.args else item.config.getini("timeout") or "inf")
    if report.failed and call.stop - began >= limit:
        report.sections.append(("limit", f"E   Failed: Timeout (>{limit}s), whatever the test says"))
    return report
