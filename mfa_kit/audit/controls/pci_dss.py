"""PCI DSS 4.0.1, requirements 8.3 to 8.5: authentication factors, and MFA.

An account is audited as if all of it were the cardholder data environment (CDE).
"""

from mfa_kit.audit.finding import Control, Framework

AWS = "AWS does this for every account; mfa-kit does not check AWS"
PROCESS = "it is a process of the organization, which IAM does not show"
CUSTOMERS = "it is about customers of a service provider, who are not IAM users"
MFA = ("root.mfa", "users.mfa", "users.keys-mfa")

PCI_DSS = Framework(
    id="pci-dss-4.0.1",
    short="PCI DSS 4.0.1",
    name="Payment Card Industry Data Security Standard",
    version="4.0.1",
    source="ngna3007/sentinelai-audit-framework, control_8.4.1.md; ce.prod.cloudaware.com/frameworks/pci-dss-v4.0.1; "
    "AWS Security Hub User Guide, iam-controls",
    read="2026-11-27",
    scope="requirements 8.3 to 8.5",
    controls=(
        Control(id="8.3.1", title="Access is authenticated with at least one factor", gap=AWS),
        Control(id="8.3.2", title="Factors are encrypted in transit and storage", gap=AWS),
        Control(id="8.3.3", title="Identity is verified before a factor is changed", gap=PROCESS),
        Control(id="8.3.4", title="Wrong attempts are limited", gap=AWS),
        Control(id="8.3.5", title="Initial passwords are unique, and changed after the first use", gap=PROCESS),
        Control(
            id="8.3.6", title="Passwords have at least 12 characters, with letters and digits", rules=("passwords.pci",)
        ),
        Control(id="8.3.7", title="The last four passwords cannot be used again", rules=("passwords.reuse-4",)),
        Control(id="8.3.8", title="Rules for authentication are documented", gap=PROCESS),
        Control(
            id="8.3.9",
            title="A password that is the only factor is changed every 90 days",
            rules=("passwords.single-factor",),
        ),
        Control(id="8.3.10", title="Customers get guidance about their passwords", gap=CUSTOMERS),
        Control(id="8.3.10.1", title="Customers change their passwords", gap=CUSTOMERS),
        Control(
            id="8.3.11",
            title="A key or token belongs to one user",
            gap="IAM does not show who holds a device",
        ),
        Control(id="8.4.1", title="Administrators use MFA", rules=("root.mfa", "admins.mfa")),
        Control(id="8.4.2", title="All users use MFA", rules=MFA),
        Control(id="8.4.3", title="Remote access needs MFA", rules=(*MFA, "groups.enforcement")),
        Control(
            id="8.5.1",
            title="MFA cannot be bypassed or replayed",
            rules=("groups.enforcement", "roles.trust"),
            gap="exceptions that management authorized, and the replay of codes at AWS, are not checked",
        ),
    ),
)
