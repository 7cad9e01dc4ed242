"""The audit of one account of an organization, reduced to the figures that are compared between accounts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mfa_kit.account.account_users import WAYS, account_users
from mfa_kit.account.snapshot import RootVerdict, Snapshot
from mfa_kit.audit.finding import RuleAnswer, RuleResult, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOverview:
    """The figures of one account.

    `results` has the result of each rule by its ID. `failed` has the number of failed rules for each severity. `users`
    is the number of all users. `ways` counts the users with a console password by the way in which they sign in (WAYS).
    `holes` counts the parts of the account that could not be read. `root` says how well root is protected. `at` is the
    Unix time of the snapshot.
    """

    at: float
    users: int
    results: Mapping[str, RuleResult]
    failed: Mapping[Severity, int] = field(default_factory=dict)
    ways: Mapping[str, int] = field(default_factory=dict)
    holes: int = 0
    root: RootVerdict = RootVerdict.UNKNOWN

    @property
    def unknown(self) -> int:
        """The number of rules that could not be evaluated."""
        return sum(result is RuleResult.UNKNOWN for result in self.results.values())

    @property
    def passwords(self) -> int:
        """The number of users with a console password."""
        return sum(self.ways.values())

    @property
    def without_mfa(self) -> int:
        """The number of users with a console password and no MFA."""
        return self.ways.get(WAYS[-1], 0)

    @property
    def badness(self) -> tuple[int, ...]:
        """The sort key: the number of failed rules of each severity, worst first, then the number of unknown rules."""
        return (*(self.failed.get(severity, 0) for severity in Severity), self.unknown)


def overview_of(snapshot: Snapshot, answers: Sequence[RuleAnswer]) -> AuditOverview:
    """Return the figures of an account, from its snapshot and the answers of the rules for this snapshot."""
    users = account_users(snapshot)
    return AuditOverview(
        at=snapshot.at,
        users=len(users),
        results={answer.rule.id: answer.result for answer in answers},
        failed=Counter(answer.rule.severity for answer in answers if answer.result is RuleResult.FAIL),
        ways=Counter(user.sign_in_way for user in users if user.password),
        holes=len(snapshot.holes),
        root=snapshot.root.verdict if snapshot.has_root else RootVerdict.NO_CREDENTIALS,
    )
