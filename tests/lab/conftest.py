"""A lab a test."""

from collections.abc import Iterator

import pytest

from mfa_kit.lab.codes import Settings
from mfa_kit.lab.server import Lab
from tests.lab.client import Aws


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab with alice and bob, where STS sees IAM's changes at once."""
    with Lab(("alice", "bob"), settings=Settings(propagation=0)) as running:
        yield running


@pytest.fixture
def admin(lab: Lab) -> Aws:
    """See the lab as its admin does."""
    return Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
