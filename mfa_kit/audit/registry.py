"""The list of rules, and the audit of one account: their answers for its snapshot, after a baseline was applied."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mfa_kit.account.escalation import administrations
from mfa_kit.account.last_use import LastUses
from mfa_kit.account.snapshot import Acceptance, AccountUsage, RootVerdict, Snapshot, SnapshotPart
from mfa_kit.account.users import WAYS, account_users
from mfa_kit.audit import break_glass, credentials, devices, passwords, policies, rights, root
from mfa_kit.audit import users as user_rules
from mfa_kit.audit.baseline import apply_baseline, entries_about, unused_entries
from mfa_kit.audit.finding import AuditRule, Limits, Profile, RuleAnswer, RuleContext, RuleResult, Severity, answer_rule
from mfa_kit.audit.frameworks import references
from mfa_kit.core.errors import UsageFault

RULES: tuple[AuditRule, ...] = (
    root.root_mfa,
    root.root_hardware,
    root.root_keys,
    root.root_use,
    root.root_central,
    root.root_credentials,
    devices.root_device_used,
    user_rules.admins_exist,
    user_rules.admins_mfa,
    user_rules.admins_phishing,
    user_rules.admins_spare,
    user_rules.users_mfa,
    user_rules.users_sms,
    user_rules.users_fido_keys,
    devices.users_spare_untested,
    credentials.users_unused,
    credentials.users_old_keys,
    credentials.users_keys_mfa,
    credentials.users_initial_keys,
    user_rules.users_service,
    user_rules.users_direct,
    user_rules.users_groupless,
    rights.groups_enforcement,
    rights.roles_trust,
    rights.roles_ec2,
    policies.roles_support,
    policies.policies_full,
    policies.policies_cloudshell,
    passwords.passwords_policy,
    credentials.sessions_duration,
    credentials.users_identity_center,
    policies.certificates_expired,
    devices.devices_orphans,
    devices.devices_quota,
    devices.devices_recalled,
    devices.devices_unused,
    devices.backups_there,
    devices.backups_verified,
    devices.backups_drilled,
    break_glass.recovery_key_sealed,
    break_glass.recovery_key_drilled,
    break_glass.recovery_key_unopened,
    break_glass.recovery_key_retired,
    break_glass.recovery_key_custodians,
    break_glass.recovery_key_people,
)
# Rules that are applied only for the controls of a framework.
CONTROL_RULES: tuple[AuditRule, ...] = (
    user_rules.users_all_mfa,
    credentials.users_two_keys,
    credentials.users_unused_90,
    policies.policies_administrator,
    *passwords.CONTROL_RULES,
)
ALL_RULES = (*RULES, *CONTROL_RULES)
# For each password profile, the CONTROL_RULES that together check the same as `passwords.policy`. The controls that
# these rules check are also the references of `passwords.policy`.
BY_PROFILE = {Profile.NIST: ("passwords.nist",), Profile.CIS: ("passwords.length-14", "passwords.reuse-24")}


def choose_rules(names: Sequence[str]) -> list[AuditRule]:
    """Return the rules with these names, or all of RULES if there are no names.

    A name is a rule (`root.mfa`) or a group of rules (`root`). Raise UsageFault for an unknown name, and for one of
    CONTROL_RULES.
    """
    for name in names:
        if any(rule.id == name for rule in CONTROL_RULES):
            raise UsageFault(
                f"the rule {name!r} is only for controls of a framework",
                "show the controls of a framework: --framework ID",
            )
        if not any(_is_named(rule, name) for rule in RULES):
            raise UsageFault(f"there is no rule {name!r}", f"use one of {', '.join(rule.id for rule in RULES)}")
    return [rule for rule in RULES if not names or any(_is_named(rule, name) for name in names)]


def _is_named(rule: AuditRule, name: str) -> bool:
    return name in {rule.id, rule.id.partition(".")[0]}


def audit_snapshot(snapshot: Snapshot, rules: Sequence[AuditRule], limits: Limits) -> list[RuleAnswer]:
    """Return the answers of the rules, sorted by result (failures first) and then by severity (worst first)."""
    administered = administrations(snapshot)
    users = account_users(snapshot, administered)  # computed once for all rules
    last_uses = LastUses(snapshot.usage or AccountUsage(), now=snapshot.at)
    context = RuleContext(snapshot=snapshot, users=users, administered=administered, last_uses=last_uses, limits=limits)
    order = list(RuleResult)
    return sorted(
        (replace(answer_rule(rule, context), references=_references(rule, limits)) for rule in rules),
        key=lambda answer: (order.index(answer.result), answer.rule.severity.rank),
    )


def _references(rule: AuditRule, limits: Limits) -> tuple[str, ...]:
    names = BY_PROFILE[limits.profile] if rule is passwords.passwords_policy else (rule.id,)
    return tuple(reference for name in names for reference in references(name))


def fails_at(answers: Sequence[RuleAnswer], least: Severity) -> bool:
    """Return whether a rule of the severity `least` or worse has failed or is unknown.

    Unknown counts as a failure, so that a check in CI never passes because something could not be read.
    """
    open_ = {RuleResult.FAIL, RuleResult.UNKNOWN}
    return any(answer.result in open_ and answer.rule.severity.rank <= least.rank for answer in answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """The rules to apply, the limits that they check, and the accepted findings, which are those of a baseline.

    The audit fails if a rule of the severity `fail_on` or worse fails or is unknown.
    """

    rules: Sequence[AuditRule]
    limits: Limits
    fail_on: Severity
    accepted: Sequence[Acceptance]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountAudit:
    """The audit of one account.

    `raw_answers` are the answers of the rules before the baseline was applied, and `answers` those afterward. `unused`
    has the entries of the baseline whose findings this account no longer has.
    """

    snapshot: Snapshot
    raw_answers: Sequence[RuleAnswer]
    answers: Sequence[RuleAnswer]
    unused: tuple[Acceptance, ...]
    failed: bool


def audit_account(snapshot: Snapshot, options: AuditOptions) -> AccountAudit:
    """Apply the rules to a snapshot, and the baseline to their answers."""
    raw_answers = audit_snapshot(snapshot, options.rules, options.limits)
    entries = entries_about(snapshot.account, options.accepted)
    answers = apply_baseline(raw_answers, entries, time=snapshot.at)
    return AccountAudit(
        snapshot=snapshot,
        raw_answers=raw_answers,
        answers=answers,
        unused=tuple(unused_entries(answers, entries)),
        failed=fails_at(answers, options.fail_on),
    )


def unused_in_all(accepted: Sequence[Acceptance], unused: Mapping[str, Sequence[Acceptance]]) -> list[Acceptance]:
    """Return the entries of a baseline whose findings no longer exist in any of the accounts that they are about.

    `unused` has the unused entries of each audited account, by the account's ID.
    """

    def is_unused(entry: Acceptance) -> bool:
        about = [entries for account, entries in unused.items() if entry.account in {"", account}]
        return bool(about) and all(entry in entries for entries in about)

    return [entry for entry in accepted if is_unused(entry)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOverview:
    """The figures of one account.

    `results` has the result of each rule by its ID. `failed` has the number of failed rules for each severity. `users`
    is the number of all users, or None if not all were read. `ways` counts the users with a console password by the way
    in which they sign in (WAYS), and is None if these users or their devices were not all read.
    `holes` counts the parts of the account that could not be read. `root` says how well root is protected. `at` is the
    Unix time of the snapshot.
    """

    at: float
    users: int | None
    results: Mapping[str, RuleResult]
    failed: Mapping[Severity, int] = field(default_factory=dict)
    ways: Mapping[str, int] | None = field(default_factory=dict)
    holes: int = 0
    root: RootVerdict = RootVerdict.UNKNOWN

    @property
    def unknown(self) -> int:
        """The number of rules that could not be evaluated."""
        return sum(result is RuleResult.UNKNOWN for result in self.results.values())

    @property
    def passwords(self) -> int | None:
        """The number of users with a console password, or None if it is not known."""
        return None if self.ways is None else sum(self.ways.values())

    @property
    def without_mfa(self) -> int | None:
        """The number of users with a console password and no MFA, or None if it is not known."""
        return None if self.ways is None else self.ways.get(WAYS[-1], 0)

    @property
    def badness(self) -> tuple[int, ...]:
        """The sort key: the number of failed rules of each severity, worst first, then the number of unknown rules."""
        return (*(self.failed.get(severity, 0) for severity in Severity), self.unknown)


def overview_of(snapshot: Snapshot, answers: Sequence[RuleAnswer]) -> AuditOverview:
    """Return the figures of an account, from its snapshot and the answers of the rules for this snapshot."""
    users = account_users(snapshot)
    unread = {hole.part for hole in snapshot.holes} & {SnapshotPart.DETAILS, SnapshotPart.REPORT, SnapshotPart.DEVICES}
    return AuditOverview(
        at=snapshot.at,
        users=None if SnapshotPart.DETAILS in unread else len(users),
        results={answer.rule.id: answer.result for answer in answers},
        failed=Counter(answer.rule.severity for answer in answers if answer.result is RuleResult.FAIL),
        ways=None if unread else Counter(user.sign_in_way for user in users if user.password),
        holes=len(snapshot.holes),
        root=snapshot.root.verdict if snapshot.has_root else RootVerdict.NO_CREDENTIALS,
    )
