"""Builds findings in the Open Cybersecurity Schema Framework (OCSF) with py-ocsf-models, which validates them.

py-ocsf-models is an optional dependency, so only audit_output.py loads this module, for `--output ocsf`.
"""

from py_ocsf_models.events.findings.activity_id import ActivityID
from py_ocsf_models.events.findings.compliance_finding import ComplianceFinding
from py_ocsf_models.events.findings.compliance_finding_type_id import ComplianceFindingTypeID
from py_ocsf_models.events.findings.severity_id import SeverityID
from py_ocsf_models.events.findings.status_id import StatusID
from py_ocsf_models.objects.account import Account, TypeID
from py_ocsf_models.objects.cloud import Cloud
from py_ocsf_models.objects.compliance import Compliance
from py_ocsf_models.objects.compliance_status import StatusID as ComplianceStatus
from py_ocsf_models.objects.finding_info import FindingInformation
from py_ocsf_models.objects.metadata import Metadata
from py_ocsf_models.objects.product import Product
from py_ocsf_models.objects.remediation import Remediation
from py_ocsf_models.objects.resource_details import ResourceDetails

from mfa_kit import __version__
from mfa_kit.audit.finding import RuleResult
from mfa_kit.audit.frameworks import standards
from mfa_kit.audit.records import FindingRecord

STATUSES = {
    RuleResult.FAIL: ComplianceStatus.Fail,
    RuleResult.UNKNOWN: ComplianceStatus.Warning,
    RuleResult.ACCEPTED: ComplianceStatus.Warning,
    RuleResult.PASS: ComplianceStatus.Pass,
    RuleResult.NOT_APPLICABLE: ComplianceStatus.Other,
}
# The status of a finding, by the result of its rule. For any other result, it is Resolved.
EVENT_STATUSES = {
    RuleResult.FAIL: StatusID.New,
    RuleResult.UNKNOWN: StatusID.New,
    RuleResult.ACCEPTED: StatusID.Suppressed,
}
# The caption of class 2003 (https://schema.ocsf.io/classes/compliance_finding). py-ocsf-models leaves out the space.
CLASS_NAME = "Compliance Finding"
WRONG = {RuleResult.FAIL, RuleResult.UNKNOWN}


def ocsf_line(record: FindingRecord) -> str:
    """Return a finding as one line of JSON: a Compliance Finding (class 2003). Times are in milliseconds."""
    first = record.last_seen if record.first_seen is None else record.first_seen
    is_new = record.first_seen is None or record.first_seen >= record.last_seen
    activity = ActivityID.Create if is_new else ActivityID.Update
    event = ComplianceFinding(
        activity_id=activity,
        activity_name=activity.name,
        class_name=CLASS_NAME,
        compliance=Compliance(
            control=record.rule.id,
            requirements=list(record.references),
            standards=list(standards(record.rule.id)),
            status_id=STATUSES[record.result],
        ),
        finding_info=FindingInformation(
            uid=record.id,
            title=record.rule.title,
            desc=record.evidence or record.rule.title,
            first_seen_time=int(1000 * first),
            last_seen_time=int(1000 * record.last_seen),
            created_time=int(1000 * first),
        ),
        message=record.evidence or record.rule.title,
        metadata=Metadata(product=Product(name="mfa-kit", vendor_name="mfa-kit", version=__version__)),
        remediation=Remediation(desc="\n".join(record.remedy)) if record.remedy else None,
        resources=[
            ResourceDetails(
                uid=record.resource,
                name=record.subject or record.account,
                cloud_partition=record.partition,
                type=record.resource.rpartition(":")[2].partition("/")[0],
            )
        ],
        severity_id=SeverityID[record.rule.severity.capitalize()]
        if record.result in WRONG
        else SeverityID.Informational,
        status_id=EVENT_STATUSES.get(record.result, StatusID.Resolved),
        status_detail=str(record.result),
        time=int(1000 * record.last_seen),
        type_uid=ComplianceFindingTypeID.Create if is_new else ComplianceFindingTypeID.Update,
        unmapped={
            "cloud": Cloud(
                provider="AWS",
                account=Account(name=record.account, uid=record.account, type_id=TypeID.AWS_Account),
            ).model_dump(exclude_none=True)
        },
    )
    return str(event.model_dump_json(exclude_none=True))
