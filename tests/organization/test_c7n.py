"""c7n-org reads the accounts file that mfa-kit writes. c7n-org is installed only for `.ci/run full`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit, without
from tests.organization.conftest import MEMBERS
from tests.sizes import FULL

# c7n-org has a virtual environment of its own, beside that of the tests (docs/development.md).
PROGRAM = Path(f"{sys.prefix}-c7n/bin/c7n-org")
# c7n-org makes calls for each user, which the role mfa-kit-audit may not make.
ROLE = "OrganizationAccountAccessRole"
POLICY = {
    "policies": [
        {
            "name": "without-mfa",
            "resource": "aws.iam-user",
            "filters": [{"type": "credential", "key": "mfa_active", "value": False}],
        }
    ]
}


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="c7n-org is installed by .ci/run full")
def test_c7n_org_runs_in_the_exported_accounts(org_kit: MfaKit, org_lab: Lab, tmp_path: Path) -> None:
    """c7n-org assumes the role in each account of the file, and finds the same users without MFA as mfa-kit."""
    if not PROGRAM.exists():
        without(f"{PROGRAM} does not exist")
    accounts, policy, out = tmp_path / "accounts.json", tmp_path / "policy.json", tmp_path / "out"
    policy.write_text(json.dumps(POLICY))
    # c7n-org assumes the role in every account of the file, and the management account has no such role.
    exported = org_kit.run("accounts", "export", "-o", accounts, "--role-name", ROLE, "--exclude", "management")
    assert exported.code == 0, exported.err
    done = subprocess.run(
        [PROGRAM, "run", "-c", accounts, "-u", policy, "-s", out, "--region", "us-east-1", "--cache-period", "0"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **org_lab.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {
        (file.relative_to(out).parts[0], user["UserName"])
        for file in out.rglob("resources.json")
        for user in json.loads(file.read_text())
    }
    rows = json.loads(org_kit.run("status", "--accounts", accounts, "--output", "json").out)["rows"]
    assert found == {(row["account_name"], row["user"]) for row in rows if row["kind"] == "none"}
    assert len({name for name, _ in found}) == len(MEMBERS)
