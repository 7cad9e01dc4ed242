"""The findings of an audit for other programs: IDs, times, ASFF, OCSF, the baseline, and the page's comparison."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from py_ocsf_models.events.findings.compliance_finding import ComplianceFinding

from mfa_kit.lab.aws.server import Lab
from mfa_kit.wiring.audit import security_hub_region
from tests.audit.conftest import changed
from tests.audit.test_rules import both, orphaned, root, user
from tests.conftest import MfaKit, Result

FAULTY = changed(both(root(mfa=False), user("bob", password=True), orphaned))
Run = Callable[..., Result]


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Lab, Run]]:
    """Start a lab with three faults, and yield it with the function that runs `audit` there."""
    with Lab(description=FAULTY) as lab:
        for name, value in {**lab.env, "MFA_KIT_HOME": str(tmp_path / "desk")}.items():
            monkeypatch.setenv(name, value)
        desk = MfaKit(tmp_path / "desk", {})
        yield lab, lambda *words: desk.run("audit", *words)


def rows(done: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(done.out.splitlines()))


def test_ids_stay_and_times_come_from_the_ledger(faulty: tuple[Lab, Run]) -> None:
    """A finding keeps its ID and the time when it was first seen. A new one has the present time."""
    lab, audit = faulty
    first = {row["id"]: row for row in rows(audit("--output", "csv")) if row["result"] == "fail"}
    assert {row["rule"] for row in first.values()} >= {"root.mfa", "users.mfa", "devices.orphans"}
    assert len(first) == len({(row["rule"], row["subject"], row["evidence"]) for row in first.values()})
    lab.faults.add("*", "clock", seconds=120)
    lab.add_user("carol")
    lab.account.backend.get_user("carol").password = "set"
    lab.account.report = None
    second = {row["id"]: row for row in rows(audit("--output", "csv")) if row["result"] == "fail"}
    assert set(first) < set(second)
    for number, row in second.items():
        assert row["last_seen"] > row["first_seen"] if number in first else row["last_seen"] == row["first_seen"]
    assert all(second[number]["first_seen"] == row["first_seen"] for number, row in first.items())


def test_a_finding_that_returns_is_new(faulty: tuple[Lab, Run]) -> None:
    """It was closed when an audit did not find it. An audit of other rules closes nothing."""
    lab, audit = faulty

    def seen() -> dict[str, str]:
        return {row["rule"]: row["first_seen"] for row in rows(audit("--output", "csv")) if row["result"] == "fail"}

    first = seen()["devices.orphans"]
    device = lab.account.backend.virtual_mfa_devices.pop("arn:aws:iam::000000000000:mfa/half-made")
    lab.faults.add("*", "clock", seconds=60)
    audit("--rule", "root")
    audit("--rule", "devices", "--dry-run")
    lab.account.backend.virtual_mfa_devices[device.serial_number] = device
    assert seen()["devices.orphans"] == first
    del lab.account.backend.virtual_mfa_devices[device.serial_number]
    audit("--rule", "devices")
    lab.account.backend.virtual_mfa_devices[device.serial_number] = device
    lab.faults.add("*", "clock", seconds=120)
    assert seen()["devices.orphans"] > first


def test_resources_are_arns(faulty: tuple[Lab, Run]) -> None:
    """A subject without an ARN of its own belongs to the account, whose ARN is that of root."""
    found = {row["rule"]: row["resource"] for row in rows(faulty[1]("--output", "csv"))}
    start = "arn:aws:iam::000000000000:"
    assert found["users.mfa"] == f"{start}user/bob"
    assert found["devices.orphans"] == f"{start}mfa/half-made"
    assert found["root.mfa"] == found["passwords.policy"] == f"{start}root"


def test_asff_is_what_security_hub_takes(faulty: tuple[Lab, Run]) -> None:
    """Botocore's model of BatchImportFindings accepts every finding, with all of its limits."""
    found = json.loads(faulty[1]("--output", "asff", "--region", "us-east-1").out)
    model = botocore.session.get_session().get_service_model("securityhub").operation_model("BatchImportFindings")
    for start in range(0, len(found), 100):
        assert model.input_shape is not None
        report = ParamValidator().validate({"Findings": found[start : start + 100]}, model.input_shape)
        assert not report.has_errors(), report.generate_report()
    by_rule = {row["GeneratorId"]: row for row in found}
    one = by_rule["mfa-kit/root.mfa"]
    assert one["ProductArn"] == "arn:aws:securityhub:us-east-1:000000000000:product/000000000000/default"
    assert one["Severity"] == {"Label": "CRITICAL"}
    assert one["Compliance"]["Status"] == "FAILED"
    assert one["Resources"][0] == {
        "Type": "AwsAccount",
        "Id": "AWS::::Account:000000000000",
        "Partition": "aws",
        "Region": "us-east-1",
    }
    assert by_rule["mfa-kit/root.keys"]["Compliance"]["Status"] == "PASSED"
    assert by_rule["mfa-kit/root.keys"]["Severity"] == {"Label": "INFORMATIONAL"}
    assert len({row["Id"] for row in found}) == len(found)
    for row in found:
        assert (len(row["Title"]) <= 256, len(row["Description"]) <= 1024) == (True, True)
        assert len(row.get("Remediation", {"Recommendation": {"Text": ""}})["Recommendation"]["Text"]) <= 512


def test_ocsf_is_valid(faulty: tuple[Lab, Run]) -> None:
    """py-ocsf-models reads each line back as a Compliance Finding."""
    lines = faulty[1]("--output", "ocsf").out.splitlines()
    events = [ComplianceFinding.model_validate_json(line) for line in lines]
    by_rule = {event.compliance.control: event for event in events}
    one = by_rule["root.mfa"]
    assert (one.class_uid, one.severity_id.name, one.compliance.status_id.name) == (2003, "Critical", "Fail")
    assert one.activity_id.name == "Create"
    assert {json.loads(line)["class_name"] for line in lines} == {"Compliance Finding"}, "the schema's caption"
    assert one.type_uid == 100 * one.class_uid + one.activity_id
    assert "CIS 5.0 1.4" in one.compliance.requirements
    assert by_rule["users.mfa"].compliance.standards[:5] == ["CIS 3.0", "CIS 5.0", "CIS 7.0", "Security Hub", "FSBP"]
    assert one.remediation.desc.startswith("# sign in as root")
    again = faulty[1]("--output", "ocsf").out.splitlines()
    assert {json.loads(line)["activity_name"] for line in again if '"Fail"' not in line} >= {"Update"}


def accept(folder: Path, **more: Any) -> str:
    """Write a baseline that accepts root's missing MFA, and return its path."""
    entry = {"rule": "root.mfa", "subject": "root", "owner": "ops team", "reason": "new key ordered", **more}
    lines = [f"{name} = {json.dumps(value)}" for name, value in entry.items() if value is not None]
    file = folder / "baseline.toml"
    file.write_text("\n".join(["[[accepted]]", *lines, ""]))
    return str(file)


def test_accepted_findings_do_not_count(faulty: tuple[Lab, Run], tmp_path: Path) -> None:
    """The result is `accepted`, which is no pass. JSON, the table and the page show who accepts it, and why."""
    audit = faulty[1]
    file = accept(tmp_path, until="2999-12-31")
    assert audit("--rule", "root.mfa").code == 1
    done = audit("--rule", "root.mfa", "--baseline", file)
    assert (done.code, done.out[:8]) == (0, "ACCEPTED")
    assert "# ops team accepts this until 31 Dec 2999: new key ordered" in done.out
    found = json.loads(audit("--rule", "root.mfa", "--baseline", file, "--output", "json").out)["rules"][0]
    assert (found["result"], found["findings"], found["accepted"][0]["owner"]) == ("accepted", [], "ops team")
    page = audit("--rule", "root.mfa", "--baseline", file, "--output", "html").out
    assert "accepted by ops team until 31 Dec 2999: new key ordered" in page
    assert "1 accepted" in page
    [row] = rows(audit("--rule", "root.mfa", "--baseline", file, "--output", "csv"))
    assert row["result"] == "accepted"
    [found] = json.loads(audit("--rule", "root.mfa", "--baseline", file, "--output", "asff").out)
    assert (found["Workflow"]["Status"], found["Compliance"]["Status"]) == ("SUPPRESSED", "WARNING")
    event = ComplianceFinding.model_validate_json(
        audit("--rule", "root.mfa", "--baseline", file, "--output", "ocsf").out
    )
    assert event.status_id.name == "Suppressed"
    controls = json.loads(audit("--framework", "cis-5.0", "--baseline", file, "--output", "json").out)["controls"]
    assert next(each["result"] for each in controls if each["control"] == "1.4") == "accepted"


def test_an_expired_entry_counts_again(faulty: tuple[Lab, Run], tmp_path: Path) -> None:
    """The evidence says who accepted it until when. An entry for a finding that is gone is a note."""
    done = faulty[1]("--rule", "root.mfa", "--baseline", accept(tmp_path, until="2026-01-31"))
    assert done.code == 1
    assert "ops team accepted this until 31 Jan 2026" in done.out
    gone = faulty[1]("--rule", "root", "--baseline", accept(tmp_path, rule="root.keys", until="2999-12-31"))
    assert "accepts root.keys of root, which was not found" in gone.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"owner": ""}, "owner is missing or empty"),
        ({"reason": None}, "reason is missing or empty"),
        ({"until": "soon"}, "until is missing, or is not a date"),
        ({"until": None}, "until is missing"),
        ({"rule": "root.mf"}, "there is no rule 'root.mf'"),
        ({"ticket": "x"}, "unknown field 'ticket'"),
    ],
)
def test_a_wrong_baseline_is_refused(faulty: tuple[Lab, Run], tmp_path: Path, more: dict[str, Any], said: str) -> None:
    """Each entry needs an owner, a reason and an end."""
    done = faulty[1]("--baseline", accept(tmp_path, **{"until": "2999-12-31", **more}))
    assert done.code == 2
    assert said in done.err


def test_the_page_compares_with_the_last_audit(faulty: tuple[Lab, Run]) -> None:
    """A chart has the failed rules of both audits by severity. The first audit has none."""
    lab, audit = faulty
    assert "compared with the audit" not in audit("--output", "html").out
    lab.account.root.mfa = True
    lab.account.report = None
    page = audit("--output", "html").out
    assert "Failures, compared with the audit of" in page
    assert "critical before" in page
    assert "compared with the audit" not in audit("--rule", "root", "--output", "html").out


def test_a_user_and_a_group_of_one_name_are_two_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each finding has the ARN of its holder, and its ID stays if the other is fixed. Root is not a user named root."""
    everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}

    def same_name(account: dict[str, Any]) -> None:
        account["groups"].append({"name": "root", "policies": {"all": everything}})
        account["users"].append({"name": "root", "groups": ["people"], "policies": {"all": everything}})

    with Lab(description=changed(both(root(mfa=False), same_name))) as lab:
        for name, value in {**lab.env, "MFA_KIT_HOME": str(tmp_path / "desk")}.items():
            monkeypatch.setenv(name, value)

        def found() -> dict[str, str]:
            done = MfaKit(tmp_path / "desk", {}).run("audit", "--output", "csv")
            wanted = {"policies.full", "root.mfa"}
            return {row["resource"]: row["id"] for row in rows(done) if row["rule"] in wanted}

        before = found()
        start = "arn:aws:iam::000000000000:"
        assert set(before) == {f"{start}root", f"{start}user/root", f"{start}group/root"}
        lab.account.backend.users["root"].policies.clear()
        after = found()
        assert after[f"{start}group/root"] == before[f"{start}group/root"]
        assert f"{start}user/root" not in after


def test_everything_does_not_accept_that_nothing_was_read(faulty: tuple[Lab, Run], tmp_path: Path) -> None:
    """The subject `*` accepts findings only. An unknown subject must be named, and no finding is gone meanwhile."""
    lab, audit = faulty
    lab.faults.add("GetAccountPasswordPolicy", "denied", at="every")
    what = {"rule": "passwords.policy", "until": "2999-12-31"}
    done = audit("--rule", "passwords", "--baseline", accept(tmp_path, subject="*", **what))
    assert (done.code, done.out[:7]) == (1, "UNKNOWN")
    assert "gone" not in done.err
    named = accept(tmp_path, subject="the password policy", **what)
    assert audit("--rule", "passwords", "--baseline", named).out[:8] == "ACCEPTED"


def test_texts_of_a_baseline_are_text(faulty: tuple[Lab, Run], tmp_path: Path) -> None:
    """Markup, formulas and control characters in it are shown as text in each form."""
    file = accept(tmp_path, owner="<b>x</b>", reason="=1+1\x1b[31m\x07</p>", until="2999-12-31")
    audit = faulty[1]
    words = ("--rule", "root.mfa", "--baseline", file)
    page = audit(*words, "--output", "html").out
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x</b>" not in page
    for form in ("table", "csv", "html"):
        assert not {"\x1b", "\x07"} & set(audit(*words, "--output", form).out)


@pytest.mark.parametrize(
    ("partition", "variables", "region"),
    [
        ("aws", {}, "us-east-1"),
        ("aws-us-gov", {}, "us-gov-west-1"),
        ("aws", {"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
    ],
)
def test_the_region_of_asff_is_the_one_that_is_configured(
    monkeypatch: pytest.MonkeyPatch, partition: str, variables: dict[str, str], region: str
) -> None:
    """Security Hub refuses findings whose product is in another region. The option --region comes first."""
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert security_hub_region(None, None, partition) == region
    assert security_hub_region("eu-north-1", None, partition) == "eu-north-1"
