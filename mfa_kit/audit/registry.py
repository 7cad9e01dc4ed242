"""The rules in the order in which they are told, and the audit: every rule's answer to one snapshot."""

from collections.abc import Sequence

from mfa_kit.account.snapshot import Snapshot
from mfa_kit.audit import devices, rights, root, users
from mfa_kit.audit.finding import Answer, Limits, Result, Rule, Scene, Severity, answer
from mfa_kit.core.errors import UsageFault

RULES: tuple[Rule, ...] = (
    root.mfa,
    root.hardware,
    root.keys,
    root.use,
    users.exist,
    users.admins_mfa,
    users.admins_phishing,
    users.admins_spare,
    users.users_mfa,
    users.sms,
    users.fido_keys,
    users.unused,
    users.old_keys,
    users.service,
    users.direct,
    users.groupless,
    rights.enforcement,
    rights.trust,
    rights.ec2,
    rights.passwords,
    devices.orphans,
    devices.quota,
    devices.there,
    devices.verified,
    devices.drilled,
)


def chosen(names: Sequence[str]) -> list[Rule]:
    """Return the rules that are named: `root.mfa`, or all of a subject's by `root`; without names, all of them."""
    for name in names:
        if not any(_named(rule, name) for rule in RULES):
            raise UsageFault(f"there is no rule {name!r}", f"name one of {', '.join(rule.id for rule in RULES)}")
    return [rule for rule in RULES if not names or any(_named(rule, name) for name in names)]


def _named(rule: Rule, name: str) -> bool:
    return name in {rule.id, rule.id.partition(".")[0]}


def audit(snapshot: Snapshot, rules: Sequence[Rule], limits: Limits) -> list[Answer]:
    """Return each rule's answer: what fails first, by severity, then what is unknown, then the rest."""
    scene = Scene.of(snapshot, limits)
    order = list(Result)
    return sorted(
        (answer(rule, scene) for rule in rules),
        key=lambda one: (order.index(one.result), one.rule.severity.rank),
    )


def fails(answers: Sequence[Answer], least: Severity) -> bool:
    """Whether anything at or above a severity is found, or could not be told: a gate does not open on a hole."""
    return any(one.result in {Result.FAIL, Result.UNKNOWN} and one.rule.severity.rank <= least.rank for one in answers)
