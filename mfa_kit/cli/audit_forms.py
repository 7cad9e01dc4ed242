"""The findings of an audit for other programs: rows for CSV and JSON, and ASFF (AWS Security Finding Format)."""

import json
from collections.abc import Sequence

from mfa_kit.audit.finding import RuleResult, Severity
from mfa_kit.audit.records import FindingRecord
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.text import iso_time

ASFF, OCSF = "asff", "ocsf"
SCHEMA_VERSION = "2018-10-08"
# The type of all findings in ASFF (Security Hub User Guide, "Types taxonomy for ASFF").
TYPE = "Software and Configuration Checks/AWS Security Best Practices"
# The maximum lengths of texts in ASFF, and the maximum number of requirements (Security Hub API reference,
# AwsSecurityFinding).
TITLE, DESCRIPTION, REMEDY, REQUIREMENTS = 256, 1024, 512, 32
# Maps the beginning of the text after the account ID in a resource's ARN to the type of the resource in ASFF.
RESOURCES = {
    "user/": "AwsIamUser",
    "group/": "AwsIamGroup",
    "role/": "AwsIamRole",
    "policy/": "AwsIamPolicy",
    "root": "AwsAccount",
}
COMPLIANCE = {
    RuleResult.FAIL: "FAILED",
    RuleResult.UNKNOWN: "WARNING",
    RuleResult.ACCEPTED: "WARNING",
    RuleResult.PASS: "PASSED",
    RuleResult.NOT_APPLICABLE: "NOT_AVAILABLE",
}
# The workflow status in Security Hub, by the result of a rule. For any other result, the status is RESOLVED.
WORKFLOW = {RuleResult.FAIL: "NEW", RuleResult.UNKNOWN: "NEW", RuleResult.ACCEPTED: "SUPPRESSED"}
LABELS = {
    Severity.CRITICAL: "CRITICAL",
    Severity.HIGH: "HIGH",
    Severity.MEDIUM: "MEDIUM",
    Severity.LOW: "LOW",
}


def finding_row(record: FindingRecord) -> ResultRow:
    """Return a record as a row, with times in ISO format."""
    return {
        "result": record.result,
        "rule": record.rule.id,
        "severity": record.rule.severity,
        "subject": record.subject,
        "evidence": record.evidence,
        "remedy": " ; ".join(record.remedy),
        "id": record.id,
        "resource": record.resource,
        "references": record.references,
        "first_seen": iso_time(record.first_seen) if record.first_seen is not None else None,
        "last_seen": iso_time(record.last_seen),
    }


def asff_document(records: Sequence[FindingRecord], *, region: str) -> str:
    """Return the findings as a JSON list in AWS's Security Finding Format, for `aws securityhub batch-import-findings`.

    `region` is the region in which Security Hub imports the findings.
    """
    return json.dumps([_asff(record, region) for record in records], indent=1, ensure_ascii=False) + "\n"


def _asff(record: FindingRecord, region: str) -> dict[str, object]:
    first = record.last_seen if record.first_seen is None else record.first_seen
    product = f"arn:{record.partition}:securityhub:{region}:{record.account}:product/{record.account}/default"
    failed = record.result in {RuleResult.FAIL, RuleResult.UNKNOWN}
    finding: dict[str, object] = {
        "SchemaVersion": SCHEMA_VERSION,
        "Id": f"mfa-kit/{record.account}/{record.rule.id}/{record.id}",
        "ProductArn": product,
        "ProductName": "mfa-kit",
        "CompanyName": "mfa-kit",
        "GeneratorId": f"mfa-kit/{record.rule.id}",
        "AwsAccountId": record.account,
        "Types": [TYPE],
        "FirstObservedAt": iso_time(first),
        "LastObservedAt": iso_time(record.last_seen),
        "CreatedAt": iso_time(first),
        "UpdatedAt": iso_time(record.last_seen),
        "Severity": {"Label": LABELS[record.rule.severity] if failed else "INFORMATIONAL"},
        "Title": _cut(record.rule.title, TITLE),
        "Description": _cut(record.evidence or record.rule.title, DESCRIPTION),
        "Resources": [_resource(record, region)],
        "Compliance": {
            "Status": COMPLIANCE[record.result],
            **({"RelatedRequirements": list(record.references[:REQUIREMENTS])} if record.references else {}),
        },
        "Workflow": {"Status": WORKFLOW.get(record.result, "RESOLVED")},
        "RecordState": "ACTIVE",
    }
    if record.remedy:
        finding["Remediation"] = {"Recommendation": {"Text": _cut("\n".join(record.remedy), REMEDY)}}
    return finding


def _resource(record: FindingRecord, region: str) -> dict[str, str]:
    end = record.resource.rpartition(f":{record.account}:")[2]
    kind = next((name for start, name in RESOURCES.items() if end.startswith(start)), "Other")
    number = f"AWS::::Account:{record.account}" if kind == "AwsAccount" else record.resource
    return {"Type": kind, "Id": number, "Partition": record.partition, "Region": region}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
