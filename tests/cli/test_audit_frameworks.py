"""`mfa-kit audit --framework`: the forms, the totals and the exit code."""

import csv
import json
from pathlib import Path

from tests.audit.conftest import changed
from tests.audit.test_rules import root
from tests.cli.test_audit import Kit, kit, offline  # noqa: F401 - fixtures


def test_each_control_has_a_line_with_its_verdict(kit: Kit) -> None:  # noqa: F811
    """Findings are below the control. The totals name the framework with its version, and what is not covered."""
    done = kit("audit", "--framework", "cis-5.0", description=changed(root(mfa=False)))
    assert done.code == 1
    lines = done.out.splitlines()
    assert "FAIL            1.4   Root has MFA" in lines
    assert "    root: root has no MFA device: its password alone gives full access" in lines
    assert "CIS AWS Foundations Benchmark 5.0.0, section 1" in done.err
    assert "4 not covered" in done.err


def test_the_forms_for_programs(kit: Kit) -> None:  # noqa: F811
    """JSON has the source of the numbers. CSV and JSON lines have a row for each control."""
    found = json.loads(kit("audit", "--framework", "security-hub", "--output", "json").out)
    assert found["schema"] == "mfa-kit/audit-framework"
    assert "AWS Security Hub User Guide" in found["framework"]["source"]
    controls = {row["control"]: row for row in found["controls"]}
    assert controls["IAM.9"]["standards"] == ["CIS 5.0.0", "CIS 3.0.0", "NIST SP 800-53 r5", "PCI DSS 4.0.1"]
    assert {row["rule"] for row in found["rules"]} >= {"root.mfa", "passwords.hub"}
    lines = list(csv.DictReader(kit("audit", "--framework", "fsbp", "--output", "csv").out.splitlines()))
    assert [row["control"] for row in lines] == [*(f"IAM.{number}" for number in range(1, 9)), "IAM.21"]
    rows = [json.loads(line) for line in kit("audit", "--framework", "fsbp", "--output", "jsonl").out.splitlines()]
    assert {row["schema"] for row in rows} == {"mfa-kit/audit-control"}


def test_what_cannot_be_combined_is_refused(kit: Kit) -> None:  # noqa: F811
    """A framework chooses the rules itself, has no page, and is for one account."""
    for more in (("--rule", "root"), ("--output", "html"), ("--org",)):
        assert kit("audit", "--framework", "fsbp", *more).code == 2
    assert kit("audit", "--framework", "fsbp1").code == 2
    assert kit("audit", "--max-session", "12h", "--org").code == 2


def test_a_rule_of_a_framework_is_not_a_rule_of_the_audit(kit: Kit) -> None:  # noqa: F811
    """The hint says where it is. The ID of a framework can be in upper case."""
    done = kit("audit", "--rule", "users.two-keys")
    assert (done.code, "only for controls of a framework" in done.err) == (2, True)
    assert kit("audit", "--framework", "CIS-5.0").out.startswith("NOT COVERED     1.1   Contact details are current\n")


def test_an_accepted_control_names_who_accepts_it(kit: Kit, tmp_path: Path) -> None:  # noqa: F811
    """The reader of the report has no baseline."""
    baseline = tmp_path / "baseline.toml"
    lines = ['rule = "root.mfa"', 'subject = "*"', 'owner = "ann"', 'reason = "a safe"', "until = 2099-12-31"]
    baseline.write_text("\n".join(["[[accepted]]", *lines]))
    done = kit("audit", "--framework", "cis-5.0", "--baseline", baseline, description=changed(root(mfa=False)))
    assert "ACCEPTED        1.4   Root has MFA\n    (ann accepts root until 31 Dec 2099: a safe)\n" in done.out
