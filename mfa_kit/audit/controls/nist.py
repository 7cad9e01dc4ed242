"""NIST SP 800-53 revision 5, IA-2, and NIST SP 800-63B-4: requirements for MFA and passwords."""

from mfa_kit.audit.finding import Control, Framework

NIST = (
    Framework(
        id="nist-800-53-r5",
        short="NIST SP 800-53 r5",
        name="NIST SP 800-53, Security and Privacy Controls",
        version="revision 5",
        source="prowler-cloud/prowler 5.46.0, prowler/compliance/aws/nist_800_53_revision_5_aws.json",
        read="2026-11-27",
        scope="IA-2 (1), (2), (6) and (8)",
        controls=(
            Control(id="IA-2(1)", title="Privileged accounts use MFA", rules=("root.mfa", "admins.mfa")),
            Control(id="IA-2(2)", title="Other accounts use MFA", rules=("users.mfa", "users.keys-mfa")),
            Control(
                id="IA-2(6)",
                title="One factor is on a separate device",
                rules=("root.hardware", "users.mfa"),
                gap="IAM does not show whether an authenticator app or a passkey is on the computer of its user",
            ),
            Control(
                id="IA-2(8)",
                title="Authentication resists replay",
                rules=("users.mfa", "users.keys-mfa", "roles.trust"),
                gap="access keys that work without MFA sign each request, but have no second factor",
            ),
        ),
    ),
    Framework(
        id="nist-800-63b-4",
        short="NIST SP 800-63B-4",
        name="NIST SP 800-63B, Authentication and Authenticator Management",
        version="revision 4",
        source="https://pages.nist.gov/800-63-4/sp800-63b.html",
        read="2026-11-27",
        scope="passwords, text messages and resistance to phishing",
        controls=(
            Control(
                id="3.1.1.2",
                title="Passwords have at least 15 characters, or 8 with MFA, without composition rules",
                rules=("passwords.nist",),
            ),
            Control(id="3.1.3.3", title="Text messages are restricted", rules=("users.sms",)),
            Control(
                id="3.2.5",
                title="Administrators use MFA that resists phishing",
                rules=("admins.phishing", "root.hardware"),
            ),
        ),
    ),
)
