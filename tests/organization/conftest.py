"""A lab with an organization: a management account and five members with three users each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit

MEMBERS = [f"{number:012}" for number in range(1, 6)]


@pytest.fixture(scope="module")
def org_lab() -> Iterator[Lab]:
    with Lab(accounts=len(MEMBERS), users_per_account=3) as lab:
        lab.organization[MEMBERS[0]].backend.get_user("alice").password = "set"
        yield lab


@pytest.fixture
def org_kit(org_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MfaKit]:
    """Return a runner of mfa-kit's commands, with an empty MFA_KIT_HOME, as lab-admin in the management account."""
    for name, value in org_lab.env.items():
        monkeypatch.setenv(name, value)
    home = tmp_path / "desk"
    monkeypatch.setenv("MFA_KIT_HOME", str(home))
    del org_lab.calls[:]
    yield MfaKit(home, dict(org_lab.env))
    org_lab.faults.clear()
