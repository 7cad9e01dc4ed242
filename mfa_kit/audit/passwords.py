"""Rules about the password policy.

Without a framework, an audit applies only `passwords.policy`. The other rules check controls of frameworks.
"""

from collections.abc import Callable, Iterator
from typing import assert_never

from mfa_kit.account.snapshot import AccountPasswordPolicy, SnapshotPart
from mfa_kit.audit.finding import (
    AuditRule,
    Finding,
    Observation,
    Profile,
    RuleContext,
    Severity,
    UnknownSubject,
    audit_rule,
)
from mfa_kit.core.message import command
from mfa_kit.core.text import few

SUBJECT = "password policy"
# The minimum lengths of NIST SP 800-63B-4 3.1.1.2: of a password that is the only factor, and of a password that is
# used with MFA.
ALONE, BESIDE_MFA = 15, 8
CIS_LENGTH, REUSE, PCI_LENGTH, PCI_REUSE, MONTHS = 14, 24, 12, 4, 90
KINDS = {"upper": "uppercase letters", "lower": "lowercase letters", "numbers": "numbers", "symbols": "symbols"}
SAME = "# the same command fixes this"
Weakness = str | UnknownSubject


@audit_rule("passwords.policy", Severity.MEDIUM, "The password policy is strong", needs=(SnapshotPart.PASSWORDS,))
def passwords_policy(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each weakness of the password policy, according to `limits.profile`.

    A short minimum length is a weakness in both profiles. In the NIST profile, required character classes and the
    expiry of passwords are weaknesses too. In the CIS profile, it is a weakness if recent passwords can be reused.
    """
    match context.limits.profile:
        case Profile.NIST:
            yield from _answer(context, _weak_by_nist)
        case Profile.CIS:
            yield from _answer(context, _weak_by_cis)
        case _:
            assert_never(context.limits.profile)


def _answer(
    context: RuleContext, weaknesses: Callable[[AccountPasswordPolicy, RuleContext], Iterator[Weakness]]
) -> Iterator[Observation]:
    """Yield a Finding for each weakness, and pass on each UnknownSubject.

    Only the first Finding has the command, because this command fixes all weaknesses.
    """
    policy = context.snapshot.passwords
    if policy is None:
        return
    number = 0
    for weakness in weaknesses(policy, context):
        if isinstance(weakness, UnknownSubject):
            yield weakness
            continue
        yield Finding(subject=SUBJECT, evidence=weakness, remedy=(SAME if number else _set_policy(context, policy),))
        number += 1


def _short(policy: AccountPasswordPolicy, least: int, whose: str) -> Iterator[str]:
    clause = "the minimum length is" if policy.custom else "no policy is set, and IAM's default minimum length is"
    if policy.length < least:
        yield f"{clause} {policy.length}: {whose} requires {least}"


def _reused(policy: AccountPasswordPolicy, least: int, whose: str) -> Iterator[str]:
    if policy.reuse < least:
        blocked = f"only the last {policy.reuse} passwords are" if policy.reuse else "no earlier password is"
        yield f"{blocked} blocked from reuse: {whose} requires {least}"


def _weak_by_cis(policy: AccountPasswordPolicy, _: RuleContext) -> Iterator[Weakness]:
    yield from _short(policy, CIS_LENGTH, "CIS")
    yield from _reused(policy, REUSE, "CIS")


def _weak_by_nist(policy: AccountPasswordPolicy, context: RuleContext) -> Iterator[Weakness]:
    yield from _short_by_nist(policy, context)
    classes = [words for name, words in KINDS.items() if getattr(policy, name)]
    if classes or not policy.custom:
        asked = (
            f"it requires {', '.join(classes)}" if classes else "IAM's default requires three of four character classes"
        )
        yield f"{asked}: NIST forbids such rules"
    if policy.max_age:
        yield f"passwords expire after {policy.max_age} days: NIST requires a change only after a compromise"


def _short_by_nist(policy: AccountPasswordPolicy, context: RuleContext) -> Iterator[Weakness]:
    """Yield a weakness if passwords may be too short.

    A policy that requires 15 characters is always strong enough. A policy that requires 8 to 14 is strong enough if all
    users with a console password have MFA, and there is at least one such user. If it is unknown whether all have MFA,
    yield an UnknownSubject.
    """
    if policy.length >= ALONE:
        return
    alone, unread, people = _single_factor_users(context)
    if policy.length < BESIDE_MFA or alone or not (people or unread):
        where = f" if the password is the only factor, as for {few(alone)}" if alone else ""
        yield from (f"{text}{where}" for text in _short(policy, ALONE, "NIST"))
    elif unread:
        yield UnknownSubject(
            SUBJECT, f"{policy.length} characters are enough only if every console user has MFA, which is unknown"
        )


def _single_factor_users(context: RuleContext) -> tuple[list[str], bool, bool]:
    """Return three facts about users with a console password.

    The first is the names of those without MFA. The second is whether there may be more of them, because a part
    of the account could not be read. The third is whether any user has a console password.
    """
    people = [user for user in context.users if user.password]
    unread = context.snapshot.hole(SnapshotPart.DETAILS, SnapshotPart.REPORT) is not None or any(
        user.mfa is None for user in people
    )
    return [user.name for user in people if user.mfa is False], unread, bool(people)


def _set_policy(context: RuleContext, policy: AccountPasswordPolicy | None) -> str:
    """Return the command that sets a strong policy. IAM resets each setting that the command omits."""
    least = ALONE if context.limits.profile is Profile.NIST else CIS_LENGTH
    length = max(least, policy.length if policy and policy.custom else 0)
    return command(
        "aws iam update-account-password-policy --minimum-password-length {} --allow-users-to-change-password "
        "--password-reuse-prevention {}",
        str(length),
        str(REUSE),
    )


# Each of the rules below checks one requirement of a framework.


def _control_rule(
    name: str, title: str, weaknesses: Callable[[AccountPasswordPolicy, RuleContext], Iterator[Weakness]]
) -> AuditRule:
    return audit_rule(f"passwords.{name}", Severity.MEDIUM, title, needs=(SnapshotPart.PASSWORDS,))(
        lambda context: _answer(context, weaknesses)
    )


def _without(kind: str) -> Callable[[AccountPasswordPolicy, RuleContext], Iterator[Weakness]]:
    def weaknesses(policy: AccountPasswordPolicy, _: RuleContext) -> Iterator[Weakness]:
        if not getattr(policy, kind):
            yield f"it does not require {KINDS[kind]}"

    return weaknesses


def _weak_by_hub(policy: AccountPasswordPolicy, context: RuleContext) -> Iterator[Weakness]:
    yield from _short(policy, BESIDE_MFA, "Security Hub")
    for kind in KINDS:
        yield from _without(kind)(policy, context)


def _weak_by_pci(policy: AccountPasswordPolicy, _: RuleContext) -> Iterator[Weakness]:
    yield from _short(policy, PCI_LENGTH, "PCI DSS")
    if not (policy.numbers and (policy.upper or policy.lower)):
        yield "it does not require letters and numbers: PCI DSS requires both"


def _does_not_expire(policy: AccountPasswordPolicy, _: RuleContext) -> Iterator[Weakness]:
    if not 0 < policy.max_age <= MONTHS:
        yield f"passwords do not expire within {MONTHS} days"


def _single_factor(policy: AccountPasswordPolicy, context: RuleContext) -> Iterator[Weakness]:
    """Yield a weakness if a user without MFA does not have to change their password within 90 days."""
    if 0 < policy.max_age <= MONTHS:
        return
    alone, unread, _ = _single_factor_users(context)
    if alone:
        yield f"the password is the only factor of {few(alone)}, and does not expire within {MONTHS} days"
    elif unread:
        yield UnknownSubject(SUBJECT, "whether every console user has MFA is unknown")


CONTROL_RULES = (
    _control_rule("nist", "Passwords are long enough, without composition rules", _weak_by_nist),
    _control_rule("hub", "Passwords have at least 8 characters, and characters of four kinds", _weak_by_hub),
    _control_rule("pci", "Passwords have at least 12 characters, with letters and numbers", _weak_by_pci),
    _control_rule(
        "length-14", "Passwords have at least 14 characters", lambda policy, _: _short(policy, CIS_LENGTH, "CIS")
    ),
    _control_rule(
        "reuse-24", "The last 24 passwords cannot be used again", lambda policy, _: _reused(policy, REUSE, "CIS")
    ),
    _control_rule(
        "reuse-4", "The last 4 passwords cannot be used again", lambda policy, _: _reused(policy, PCI_REUSE, "PCI DSS")
    ),
    _control_rule("expiry-90", "Passwords expire within 90 days", _does_not_expire),
    _control_rule("single-factor", "A password that is the only factor expires within 90 days", _single_factor),
    *(_control_rule(kind, f"Passwords need {words}", _without(kind)) for kind, words in KINDS.items()),
)
