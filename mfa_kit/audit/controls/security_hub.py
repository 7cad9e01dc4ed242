"""The controls of AWS Security Hub CSPM for IAM, and the standards that contain each control.

IAM.23 to IAM.25 are about tags, so they are not listed. IAM.9 is in no version of FSBP, the Foundational Security Best
Practices.
"""

from mfa_kit.audit.finding import Control, Framework

FSBP = "FSBP"
CIS3, CIS5, PCI, NIST = "CIS 3.0.0", "CIS 5.0.0", "PCI DSS 4.0.1", "NIST SP 800-53 r5"
OLDER = "CIS 1.2.0"
SOURCE = "AWS Security Hub User Guide, iam-controls and fsbp-standard"


def _control(number: int, title: str, rules: tuple[str, ...], *standards: str, gap: str = "") -> Control:
    return Control(id=f"IAM.{number}", title=title, rules=rules, gap=gap, standards=standards)


CONTROLS = (
    _control(1, "No policy of the account allows everything", ("policies.full",), FSBP, NIST, OLDER),
    _control(2, "Users have no policies of their own", ("users.direct",), FSBP, CIS5, CIS3, NIST),
    _control(3, "Access keys are rotated every 90 days", ("users.old-keys",), FSBP, CIS5, CIS3, NIST, PCI),
    _control(4, "Root has no access key", ("root.keys",), FSBP, CIS5, CIS3, NIST),
    _control(5, "Users with a console password have MFA", ("users.mfa",), FSBP, CIS5, CIS3, NIST, PCI),
    _control(6, "Root has hardware MFA", ("root.hardware",), FSBP, CIS5, CIS3, NIST, PCI),
    _control(7, "The password policy is strong", ("passwords.hub",), FSBP, NIST, PCI),
    _control(8, "Credentials unused for 90 days are removed", ("users.unused-90",), FSBP, NIST, PCI, OLDER),
    _control(9, "Root has MFA", ("root.mfa",), CIS5, CIS3, NIST, PCI),
    _control(
        10, "The password policy is strong", (), "PCI DSS 3.2.1", gap="PCI DSS 3.2.1 was replaced; IAM.7 is for 4.0.1"
    ),
    _control(11, "Passwords need an uppercase letter", ("passwords.upper",), PCI, OLDER),
    _control(12, "Passwords need a lowercase letter", ("passwords.lower",), PCI, OLDER),
    _control(13, "Passwords need a symbol", ("passwords.symbols",), OLDER),
    _control(14, "Passwords need a number", ("passwords.numbers",), PCI, OLDER),
    _control(15, "Passwords have 14 characters or more", ("passwords.length-14",), CIS5, CIS3),
    _control(16, "Passwords are not reused", ("passwords.reuse-24",), CIS5, CIS3, PCI),
    _control(17, "Passwords expire within 90 days", ("passwords.expiry-90",), PCI, OLDER),
    _control(18, "There is a role for AWS Support", ("roles.support",), CIS5, CIS3, PCI),
    _control(19, "All users have MFA", ("users.all-mfa",), NIST, PCI),
    _control(20, "Root is not used", (), OLDER, gap="Security Hub retired this control in April 2024"),
    _control(21, "The account's policies do not allow whole services", (), FSBP, NIST, gap="it is not about sign-in"),
    _control(22, "Credentials unused for 45 days are removed", ("users.unused",), CIS5, CIS3),
    _control(26, "Expired server certificates are removed", ("certificates.expired",), CIS5, CIS3),
    _control(27, "No one has full access to CloudShell", ("policies.cloudshell",), CIS5, CIS3),
    _control(28, "Access Analyzer is on", (), CIS5, CIS3, gap="mfa-kit does not read Access Analyzer"),
)
SECURITY_HUB = Framework(
    id="security-hub",
    short="Security Hub",
    name="AWS Security Hub CSPM controls for IAM",
    version="as of 2026-11-27",
    source=SOURCE,
    read="2026-11-27",
    scope="IAM.1 to IAM.28, without the controls about tags",
    controls=CONTROLS,
)
BEST_PRACTICES = Framework(
    id="fsbp",
    short="FSBP",
    name="AWS Foundational Security Best Practices, controls for IAM",
    version="1.0.0",
    source=SOURCE,
    read="2026-11-27",
    scope="the controls for IAM",
    controls=tuple(control for control in CONTROLS if FSBP in control.standards),
)
