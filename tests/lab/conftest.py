"""Runs one lab for each test."""

from collections.abc import Iterator

import pytest

from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.lab.client import Aws, stop_the_clock


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Run a lab with alice and bob. STS sees IAM's changes at once, and the clock stands still."""
    with Lab(("alice", "bob"), settings=LabSettings(propagation=0)) as running:
        stop_the_clock(running, monkeypatch)
        yield running


@pytest.fixture
def admin(lab: Lab) -> Aws:
    """Return a client of the lab with the access key of lab-admin."""
    return Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
