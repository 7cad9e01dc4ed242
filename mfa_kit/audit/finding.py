"""Audit rules and their answers. A rule sees only a snapshot, so it cannot change the account.

A control of a standard names the rules that check it. A framework is a version of a standard.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mfa_kit.account.escalation import Administration
    from mfa_kit.account.last_use import LastUses
    from mfa_kit.account.snapshot import Snapshot, SnapshotPart
    from mfa_kit.account.users import AccountUser

DAY = 86400.0


class Severity(StrEnum):
    """How bad a failed rule is, worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """The position in the order; 0 is the worst."""
        return list(Severity).index(self)


class RuleResult(StrEnum):
    """The result of a rule. UNKNOWN never counts as a pass.

    ACCEPTED means that a baseline accepts all findings of the rule, and all subjects that it could not evaluate.
    """

    FAIL = "fail"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    PASS = "pass"  # noqa: S105 - no password
    NOT_APPLICABLE = "not applicable"


class Profile(StrEnum):
    """The standard by which the password policy is checked."""

    NIST = "nist"
    CIS = "cis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem that a rule found.

    `subject` is the user or resource, and `evidence` says how the problem is known. `remedy` has the commands that fix
    the problem; a line that starts with `# ` explains something, and may end with a command. `arn` is the subject's ARN
    if the rule checks users, groups and roles, because a user and a role can have the same name. Otherwise `arn` is "".
    """

    subject: str
    evidence: str
    remedy: tuple[str, ...] = ()
    arn: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedFinding:
    """A finding, or an unknown subject, that a baseline accepts.

    `owner` accepts it for `reason`, until the end of the day `until` (an ISO date). `arn` is as in a Finding.
    """

    subject: str
    evidence: str
    owner: str
    reason: str
    until: str
    arn: str = ""

    @property
    def sentence(self) -> str:
        """The evidence, and who accepts the finding, until when, and why."""
        return f"{self.evidence}; {self.owner} accepts this until {self.until}: {self.reason}"


@dataclass(frozen=True, slots=True)
class UnknownSubject:
    """A user, or another subject, that the rule could not evaluate. `arn` is as in a Finding."""

    subject: str
    why: str
    arn: str = ""


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """Says that a rule does not apply to this account, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class FindingNote:
    """Something that the reader of an audit should know although the rule passes."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits that rules check: ages in days, and the share of the device quota that may be used.

    `session` is the longest sign-in session in seconds.
    """

    unused: int = 45
    device_unused: int = 90
    rotated: int = 90
    root_used: int = 30
    quota: float = 0.8
    drilled: float = 90
    session: float = 12 * 3600.0  # the default length of a console session, if none is set for the user
    recovery_key_drilled: int = 180
    profile: Profile = Profile.NIST


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleContext:
    """The input of rules: the snapshot, its users, and the limits.

    `administered` says for each user and role, by ARN, whether it administers the account. `last_uses` finds the last
    use of each device.
    """

    snapshot: "Snapshot"
    users: "list[AccountUser]"
    administered: "Mapping[str, Administration]"
    last_uses: "LastUses"
    limits: Limits

    def days(self, time: float) -> int:
        """Return the number of whole days from `time`, in Unix seconds, to the snapshot."""
        return int((self.snapshot.at - time) // DAY)


Observation = Finding | UnknownSubject | NotApplicable | FindingNote
# The function of a rule. If the rule passes, the function yields nothing or a FindingNote.
RuleBody = Callable[[RuleContext], Iterator[Observation]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRule:
    """One check of an account. The function `look` carries out the check.

    `needs` lists parts of the account. If `look` yields nothing, the rule passes, or is unknown if one of these parts
    could not be read.
    """

    id: str
    title: str
    severity: Severity
    needs: "tuple[SnapshotPart, ...]"
    look: RuleBody


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleAnswer:
    """The result of a rule for one account.

    `why` is the text of a FindingNote, or the reason why the rule does not apply to the account, or "". `references`
    has the controls of standards that the rule checks. `accepted` has what a baseline accepts, and `findings` and
    `unknown` do not contain it.
    """

    rule: AuditRule
    result: RuleResult
    findings: tuple[Finding, ...] = ()
    unknown: tuple[UnknownSubject, ...] = ()
    why: str = ""
    references: tuple[str, ...] = ()
    accepted: tuple[AcceptedFinding, ...] = ()


def audit_rule(
    name: str, severity: Severity, title: str, *, needs: "tuple[SnapshotPart, ...]"
) -> Callable[[RuleBody], AuditRule]:
    """Return a decorator that turns a function into an AuditRule. `name` is the ID of the rule, such as `root.mfa`."""
    return lambda look: AuditRule(id=name, title=title, severity=severity, needs=needs, look=look)


def answer_rule(rule: AuditRule, context: RuleContext) -> RuleAnswer:
    """Return the answer of a rule.

    If there are findings, the rule fails, even if parts of the account could not be read. If there are no findings and
    the rule yields a NotApplicable, the rule does not apply. Otherwise, the result is unknown if a subject could not be
    evaluated, or if a part that the rule needs could not be read.
    """
    observations = list(rule.look(context))
    findings = tuple(observation for observation in observations if isinstance(observation, Finding))
    not_applicable = next((observation for observation in observations if isinstance(observation, NotApplicable)), None)
    if not_applicable is not None and not findings:
        return RuleAnswer(rule=rule, result=RuleResult.NOT_APPLICABLE, why=not_applicable.why)
    unknown = [
        *(observation for observation in observations if isinstance(observation, UnknownSubject)),
        *_unread(rule, context),
    ]
    without_findings = RuleResult.UNKNOWN if unknown else RuleResult.PASS
    return RuleAnswer(
        rule=rule,
        result=RuleResult.FAIL if findings else without_findings,
        findings=findings,
        unknown=tuple(unknown),
        why=next((observation.why for observation in observations if isinstance(observation, FindingNote)), ""),
    )


def _unread(rule: AuditRule, context: RuleContext) -> Iterator[UnknownSubject]:
    """Yield an UnknownSubject for each part of the account that the rule needs and that could not be read.

    A part that could not be read for a single user only is not included.
    """
    for hole in context.snapshot.holes:
        if hole.part in rule.needs and hole.about is None:
            yield UnknownSubject(f"the {hole.part}", hole.why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control (recommendation or requirement) of a framework.

    `title` says in mfa-kit's words what the control asks for. `rules` has the IDs of the rules that check the control.
    If there are rules, `gap` says which part of the control they do not check, or is "". Without rules, `gap` says why
    mfa-kit does not check the control. For a control of Security Hub, `standards` has the standards that contain it.
    """

    id: str
    title: str
    rules: tuple[str, ...] = ()
    gap: str = ""
    standards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """One version of a standard.

    `id` is its name on the command line, and `short` the name before a control's ID. `source` says where the IDs come
    from, and `read` when they were read, as an ISO date. `scope` says which of the standard's controls are listed.
    """

    id: str
    short: str
    name: str
    version: str
    source: str
    read: str
    scope: str
    controls: tuple[Control, ...]
