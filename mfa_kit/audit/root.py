"""Rules about the root user."""

from collections.abc import Iterator

from mfa_kit.account.snapshot import Part
from mfa_kit.audit.finding import Finding, NotApplicable, Observation, Remark, Scene, Severity, Unsure, audit_rule
from mfa_kit.core.models import REPORTED_ROOT, DeviceType

SUBJECT = "root"
IN_CONSOLE = "# sign in as root; AWS has no API for this: Security credentials page, {}"


def _why_no_root(scene: Scene) -> str | None:
    """Return why root cannot sign in: the partition has no root, or its credentials were removed centrally."""
    if not scene.snapshot.has_root:
        return "accounts in this partition have no root user that signs in"
    if scene.snapshot.summary.get("AccountPasswordPresent") == 0:
        return "root has no password: its credentials were removed"
    return None


def _has_mfa(scene: Scene) -> bool | None:
    """Whether root has MFA, by the account summary or else the credential report, or None if neither could be read."""
    snapshot = scene.snapshot
    if "AccountMFAEnabled" in snapshot.summary:
        return snapshot.summary["AccountMFAEnabled"] > 0
    if snapshot.report and snapshot.report.root:
        return snapshot.report.root.mfa
    return None


@audit_rule(
    "root.mfa",
    Severity.CRITICAL,
    "Root signs in with MFA",
    needs=(),
    references=("CIS 3.0 1.5", "FSBP IAM.9"),
)
def root_mfa(scene: Scene) -> Iterator[Observation]:
    """Require an MFA device for root."""
    if why := _why_no_root(scene):
        yield NotApplicable(why)
        return
    has_mfa = _has_mfa(scene)
    if has_mfa is None:
        yield Unsure(SUBJECT, "neither the account summary nor the credential report could be read")
    elif not has_mfa:
        yield Finding(
            subject=SUBJECT,
            evidence="root has no MFA device: its password alone gives full access",
            remedy=(IN_CONSOLE.format("Assign MFA device, twice: two security keys, stored in different places"),),
        )


@audit_rule(
    "root.hardware",
    Severity.HIGH,
    "Root's MFA is a security key or a hardware token",
    needs=(Part.VIRTUAL,),
    references=("CIS 3.0 1.6", "FSBP IAM.6"),
)
def root_hardware(scene: Scene) -> Iterator[Observation]:
    """Require a device for root that is not virtual.

    Only a session of root can list all of root's devices. Other sessions see only the virtual ones.
    """
    if why := _why_no_root(scene):
        yield NotApplicable(why)
        return
    own = scene.snapshot.root_devices
    virtual = [each.serial for each in scene.snapshot.virtual if each.user == REPORTED_ROOT]
    remedy = (IN_CONSOLE.format("Assign MFA device: a security key; then remove the virtual one"),)
    match _has_mfa(scene):
        case None:
            yield Unsure(SUBJECT, "whether root has MFA could not be read")
        case False:
            yield Finding(subject=SUBJECT, evidence="root has no MFA device", remedy=remedy)
        case True if own is not None:
            if not {each.type for each in own} & {DeviceType.FIDO2, DeviceType.HARDWARE_TOTP}:
                yield Finding(subject=SUBJECT, evidence="all of root's MFA devices are virtual", remedy=remedy)
        case True if virtual:
            yield Finding(
                subject=SUBJECT,
                evidence=f"root has the virtual device {virtual[0]}; only root can see whether it has others",
                remedy=remedy,
            )
        case _:
            yield Remark("root has a device that is not virtual: a security key or a token; AWS does not report which")


@audit_rule(
    "root.keys",
    Severity.CRITICAL,
    "Root has no access keys",
    needs=(),
    references=("CIS 3.0 1.4", "FSBP IAM.4"),
)
def root_keys(scene: Scene) -> Iterator[Observation]:
    """Require that root has no access keys."""
    if not scene.snapshot.has_root:
        yield NotApplicable("accounts in this partition have no root user with access keys")
        return
    summary, report = scene.snapshot.summary, scene.snapshot.report
    if "AccountAccessKeysPresent" in summary:
        there = summary["AccountAccessKeysPresent"] > 0
    elif report and report.root:
        there = any(key.active for key in report.root.keys)
    else:
        yield Unsure(SUBJECT, "neither the account summary nor the credential report could be read")
        return
    if there:
        yield Finding(
            subject=SUBJECT,
            evidence="root has access keys, which are neither limited by policies nor protected by MFA",
            remedy=(IN_CONSOLE.format("Access keys: deactivate them, and delete them if nothing stops working"),),
        )


@audit_rule(
    "root.use",
    Severity.HIGH,
    "Root is not used for daily work",
    needs=(Part.REPORT,),
    references=("CIS 3.0 1.7",),
)
def root_use(scene: Scene) -> Iterator[Observation]:
    """Require that root's password and keys were not used in the last `limits.root_used` days."""
    if why := _why_no_root(scene):
        yield NotApplicable(why)
        return
    row = scene.snapshot.report.root if scene.snapshot.report else None
    if row is None:
        yield Unsure(SUBJECT, "the credential report could not be read or has no row for root")
        return
    uses = [("password", row.password_used), *(("access key", key.used) for key in row.keys)]
    for what, at in uses:
        if at is not None and scene.days(at) < scene.limits.root_used:
            yield Finding(
                subject=SUBJECT,
                evidence=f"root's {what} was used {scene.days(at)} days ago",
                remedy=("# work as a user or role with administrator permissions: mfa-kit policy onboard",),
            )
