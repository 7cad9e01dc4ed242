"""CIS AWS Foundations Benchmark 3.0.0, 5.0.0 and 7.0.0: the recommendations about identities.

Each row has the numbers of one recommendation in all three versions, because most recommendations kept their text but
changed their number.
"""

from typing import NamedTuple

from mfa_kit.audit.finding import Control, Framework

CONTACTS = "contacts of the account are not part of sign-in"
ORGANIZATION = "mfa-kit does not read the structure of an organization"


class Recommendation(NamedTuple):
    """A recommendation with its number in the versions 3.0, 5.0 and 7.0; "" if the version does not have it."""

    v3: str
    v5: str
    v7: str
    title: str
    rules: tuple[str, ...] = ()
    gap: str = ""


RECOMMENDATIONS = (
    Recommendation("", "", "2.1.1", "Root access is managed centrally in the organization", ("root.central",)),
    Recommendation("", "", "2.1.2", "Guardrails limit what accounts may do", (), ORGANIZATION),
    Recommendation("", "", "2.1.3", "The management account runs no workloads", (), ORGANIZATION),
    Recommendation("", "", "2.1.4", "Organizational units reflect environment and sensitivity", (), ORGANIZATION),
    Recommendation("", "", "2.1.5", "A delegated administrator manages policies", (), ORGANIZATION),
    Recommendation("", "", "2.1.6", "Delegated administrators manage integrated services", (), ORGANIZATION),
    Recommendation("1.1", "1.1", "2.2", "Contact details are current", (), CONTACTS),
    Recommendation("1.2", "1.2", "2.3", "Security contact is registered", (), CONTACTS),
    Recommendation("1.3", "", "", "Security questions are registered", (), CONTACTS),
    Recommendation("1.4", "1.3", "2.4", "Root has no access key", ("root.keys",)),
    Recommendation("1.5", "1.4", "2.5", "Root has MFA", ("root.mfa",)),
    Recommendation("1.6", "1.5", "2.6", "Root has hardware MFA", ("root.hardware",)),
    Recommendation("1.7", "1.6", "2.7", "Root is not used for daily work", ("root.use",)),
    Recommendation("1.8", "1.7", "2.8", "Passwords have 14 characters or more", ("passwords.length-14",)),
    Recommendation("1.9", "1.8", "2.9", "Passwords are not reused", ("passwords.reuse-24",)),
    Recommendation("1.10", "1.9", "2.10", "Users with a console password have MFA", ("users.mfa",)),
    Recommendation(
        "1.11", "1.10", "", "No access keys are made when a console user is set up", ("users.initial-keys",)
    ),
    Recommendation("1.12", "1.11", "2.11", "Credentials unused for 45 days are disabled", ("users.unused",)),
    Recommendation("1.13", "1.12", "", "Each user has at most one active access key", ("users.two-keys",)),
    Recommendation("1.14", "1.13", "2.12", "Access keys are rotated every 90 days", ("users.old-keys",)),
    Recommendation("1.15", "1.14", "2.13", "Permissions come only through groups", ("users.direct",)),
    Recommendation("1.16", "1.15", "2.14", "No policy with all permissions is attached", ("policies.administrator",)),
    Recommendation("1.17", "1.16", "2.15", "There is a role for AWS Support", ("roles.support",)),
    Recommendation(
        "1.18",
        "1.17",
        "2.16",
        "Instances use roles",
        ("roles.ec2",),
        "IAM does not report where an access key is used, or which instances have a role",
    ),
    Recommendation("1.19", "1.18", "2.17", "Expired server certificates are removed", ("certificates.expired",)),
    Recommendation("1.20", "1.19", "2.18", "Access Analyzer is on", (), "mfa-kit does not read Access Analyzer"),
    Recommendation(
        "1.21",
        "1.20",
        "2.19",
        "Users are managed centrally",
        (),
        "mfa-kit cannot decide whether a user should be federated",
    ),
    Recommendation("1.22", "1.21", "2.20", "Full access to CloudShell is restricted", ("policies.cloudshell",)),
    Recommendation(
        "", "", "2.21", "Resource policies do not let everyone in", (), "mfa-kit does not read policies of resources"
    ),
)


def _framework(version: str, section: str, numbers: tuple[str, ...]) -> Framework:
    controls = tuple(
        Control(id=number, title=row.title, rules=row.rules, gap=row.gap)
        for number, row in zip(numbers, RECOMMENDATIONS, strict=True)
        if number
    )
    short = version.removesuffix(".0")
    return Framework(
        id=f"cis-{short}",
        short=f"CIS {short}",
        name="CIS AWS Foundations Benchmark",
        version=version,
        source=f"prowler-cloud/prowler 5.46.0, prowler/compliance/aws/cis_{short}_aws.json",
        read="2026-11-27",
        scope=f"section {section}, about identities; the other sections are not about sign-in",
        controls=controls,
    )


CIS = (
    _framework("3.0.0", "1", tuple(row.v3 for row in RECOMMENDATIONS)),
    _framework("5.0.0", "1", tuple(row.v5 for row in RECOMMENDATIONS)),
    _framework("7.0.0", "2", tuple(row.v7 for row in RECOMMENDATIONS)),
)
