"""Visits (outcomes in accounts) for the page of many accounts: some are denied or skipped, others failed some rules."""

import random
from collections import Counter

from mfa_kit.account.users import WAYS
from mfa_kit.audit.finding import RuleResult
from mfa_kit.audit.registry import RULES, AuditOverview
from mfa_kit.cli.audit_output import Audited
from mfa_kit.core.models import Caller
from mfa_kit.organization.accounts import AccountState, OrgAccount
from mfa_kit.organization.across import Visit, VisitState

CALLER = Caller(account="000000000000", arn="arn:aws:iam::000000000000:user/lab-admin", lab=True)


def audited(chance: random.Random, share: float) -> Audited:
    """Return the result of an audit in which about this share of the rules fails, from 0 to 1."""
    weights = (share, share / 10, 0, 1 - share, 0.05)
    results = {rule.id: chance.choices(list(RuleResult), weights)[0] for rule in RULES}
    ways = {way: chance.randrange(20) for way in WAYS[:2]} | {
        way: int(chance.randrange(20) * share) for way in WAYS[2:]
    }
    overview = AuditOverview(
        at=1.7e9,
        users=sum(ways.values()) + 3,
        results=results,
        failed=Counter(rule.severity for rule in RULES if results[rule.id] is RuleResult.FAIL),
        ways=ways,
    )
    return Audited(overview=overview, document=None, failed=share > 0)


def made_visits(count: int) -> list[Visit[Audited]]:
    """Return `count` visits, the same each time. Of 40 accounts, one is denied and one is suspended."""
    chance, found = random.Random(count), []
    for number in range(count):
        name = f"{chance.choice(('payments', 'search', 'data'))}-{chance.choice(('production', 'staging'))}-{number:03}"
        account = OrgAccount(id=f"{number + 1:012}", name=name, state=AccountState.ACTIVE)
        visit: Visit[Audited]
        match number % 40:
            case 7:
                visit = Visit(
                    account=account,
                    state=VisitState.DENIED,
                    why=f"the role arn:aws:iam::{account.id}:role/mfa-kit-audit cannot be assumed",
                    hint="check that the role exists and trusts the caller",
                )
            case 9:
                visit = Visit(account=account, state=VisitState.SKIPPED, why="the account is SUSPENDED")
            case _:
                share = chance.choice((0, 0.1, 0.3, 0.5))
                visit = Visit(account=account, state=VisitState.READ, found=audited(chance, share))
        found.append(visit)
    return found
