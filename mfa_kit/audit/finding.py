"""What a rule is and what it answers. A rule looks at one snapshot and at nothing else, so it cannot write."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.account.snapshot import Hole, Part, Person, Snapshot, people

DAY = 86400.0


class Severity(StrEnum):
    """How bad it is when a rule fails; in order, worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Severity).index(self)


class Result(StrEnum):
    """What a rule came to. Unknown is never a pass."""

    FAIL = "fail"
    UNKNOWN = "unknown"
    PASS = "pass"  # noqa: S105 - no password
    NOT_APPLICABLE = "not applicable"


class Profile(StrEnum):
    """By whose advice passwords are judged."""

    NIST = "nist"
    CIS = "cis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: with whom, how it is known, and what puts it right: commands, or `# ` and a sentence."""

    subject: str
    evidence: str
    remedy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unsure:
    """Somebody of whom a rule cannot tell."""

    subject: str
    why: str


@dataclass(frozen=True, slots=True)
class Beside:
    """A rule has nothing to say of this account."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From when on something is old: in days; quotas as a share."""

    unused: int = 45  # CIS 1.12
    rotated: int = 90  # CIS 1.14, FSBP IAM.3
    root_used: int = 30
    quota: float = 0.8
    drilled: float = 90
    profile: Profile = Profile.NIST


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What rules look at: the snapshot, its people, and the limits."""

    snapshot: Snapshot
    people: list[Person]
    limits: Limits

    @classmethod
    def of(cls, snapshot: Snapshot, limits: Limits) -> "Scene":
        return cls(snapshot=snapshot, people=people(snapshot), limits=limits)

    def days(self, at: float) -> int:
        """Return how many whole days ago something was."""
        return int((self.snapshot.at - at) // DAY)


@dataclass(frozen=True, slots=True)
class Aside:
    """What is to be known of a rule that is kept."""

    why: str


Said = Finding | Unsure | Beside | Aside
Look = Callable[[Scene], Iterator[Said]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One question. `needs` are the parts of the account without which a look that found nothing says nothing."""

    id: str
    title: str
    severity: Severity
    references: tuple[str, ...]
    needs: tuple[Part, ...]
    look: Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a rule came to. `why` says it where there are neither findings nor somebody to name."""

    rule: Rule
    result: Result
    findings: tuple[Finding, ...] = ()
    unsure: tuple[Unsure, ...] = ()
    why: str = ""


def rule(
    name: str, severity: Severity, title: str, *, needs: tuple[Part, ...], references: tuple[str, ...] = ()
) -> Callable[[Look], Rule]:
    """Make a rule of the function below it."""
    return lambda look: Rule(id=name, title=title, severity=severity, references=references, needs=needs, look=look)


def answer(asked: Rule, scene: Scene) -> Answer:
    """Let a rule look. Findings stand whatever else could not be read; without them a hole makes it unknown."""
    said = list(asked.look(scene))
    findings = tuple(each for each in said if isinstance(each, Finding))
    unsure = [each for each in said if isinstance(each, Unsure)]
    unsure += [_unread(hole) for hole in scene.snapshot.holes if hole.part in asked.needs and hole.about is None]
    beside = next((each for each in said if isinstance(each, Beside)), None)
    if findings:
        result = Result.FAIL
    elif beside is not None:
        return Answer(rule=asked, result=Result.NOT_APPLICABLE, why=beside.why)
    else:
        result = Result.UNKNOWN if unsure else Result.PASS
    aside = next((each.why for each in said if isinstance(each, Aside)), "")
    return Answer(rule=asked, result=result, findings=findings, unsure=tuple(unsure), why=aside)


def _unread(hole: Hole) -> Unsure:
    return Unsure(f"the {hole.part}", hole.why)
