"""FedRAMP 20x: the Key Security Indicators about identities (KSI-IAM)."""

from mfa_kit.audit.finding import Control, Framework

AUTOMATION = "IAM does not show whether a process is automated or reviewed"

FEDRAMP = Framework(
    id="fedramp-20x",
    short="FedRAMP 20x",
    name="FedRAMP 20x Key Security Indicators",
    version="2026.07.14.01",
    source="github.com/FedRAMP/rules, as in prowler-cloud/prowler 5.46.0, prowler/compliance/fedramp_20x_ksi_2026.json",
    read="2026-11-27",
    scope="KSI-IAM",
    controls=(
        Control(
            id="KSI-IAM-AAM",
            title="Accounts are managed by automation",
            rules=("users.unused", "users.old-keys", "users.direct"),
            gap=AUTOMATION,
        ),
        Control(
            id="KSI-IAM-APM",
            title="Sign-in is passwordless, or has strong passwords and MFA that resists phishing",
            rules=("root.hardware", "users.mfa", "admins.phishing", "passwords.nist"),
            gap="users other than administrators may have MFA that does not resist phishing",
        ),
        Control(
            id="KSI-IAM-ELP",
            title="Everyone has least privilege",
            rules=("policies.full", "policies.cloudshell"),
            gap="mfa-kit cannot decide whether a permission is needed",
        ),
        Control(id="KSI-IAM-JIT", title="Permissions are given just in time", gap=AUTOMATION),
        Control(
            id="KSI-IAM-SNU",
            title="Programs authenticate securely",
            rules=("root.keys", "users.old-keys", "users.service", "roles.ec2"),
            gap=AUTOMATION,
        ),
        Control(id="KSI-IAM-SUS", title="Suspicious activity disables privileged accounts", gap=AUTOMATION),
    ),
)
