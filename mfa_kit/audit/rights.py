"""Rules about groups, roles and the password policy."""

from collections.abc import Iterator
from typing import assert_never

from mfa_kit.account.evaluator import NO_MFA, NOBODY, PLAIN_KEYS, WITH_MFA, lets_in
from mfa_kit.account.snapshot import Entity, Part, PasswordPolicy, Person, command, few
from mfa_kit.audit.finding import Beside, Finding, Profile, Said, Scene, Severity, Unsure, rule

EC2 = {"ec2.amazonaws.com", "ec2.amazonaws.com.cn"}
# NIST SP 800-63B-4 3.1.1.2 and CIS AWS Foundations 3.0, 1.8 and 1.9.
LENGTH = {Profile.NIST: 15, Profile.CIS: 14}
REUSE = 24


@rule(
    "groups.enforcement",
    Severity.HIGH,
    "Groups with console users demand MFA",
    needs=(Part.DETAILS, Part.REPORT),
)
def enforcement(scene: Scene) -> Iterator[Said]:
    """Judge a group by its members, whose other groups may demand it as well."""
    members: dict[str, list[Person]] = {group.name: [] for group in scene.snapshot.groups}
    for one in scene.people:
        if one.password:
            for name in one.user.groups:
                members.setdefault(name, []).append(one)
    if not any(members.values()) and not scene.snapshot.hole(Part.DETAILS, Part.REPORT):
        yield Beside("no group has users with a console password")
    for name, users in members.items():
        demanded = {one.name: one.demands_mfa for one in users}
        free = [user for user, told in demanded.items() if told is False]
        if free:
            paths = " --user-paths" if any(one.has_path for one in users) else ""
            yield Finding(
                subject=name,
                evidence=f"no policy demands MFA of {len(free)} of its {len(users)} console users: {few(free)}",
                remedy=(
                    f"mfa-kit policy show{paths} > force-mfa.json",
                    command("mfa-kit", "policy", "lockout", "--policy", "force-mfa.json", "--group", name),
                    command("aws", "iam", "put-group-policy", "--group-name", name)
                    + " --policy-name force-mfa --policy-document file://force-mfa.json",
                ),
            )
        elif None in demanded.values():
            yield Unsure(name, "whether its policies demand MFA depends on conditions that cannot be judged")


@rule(
    "roles.trust",
    Severity.MEDIUM,
    "Roles for people of this account demand MFA",
    needs=(Part.DETAILS,),
)
def trust(scene: Scene) -> Iterator[Said]:
    """Find roles that users of this account may assume, by name or by the account; services are others."""
    account = scene.snapshot.account
    seen = False
    for role in scene.snapshot.roles:
        with_mfa = _people(role, account, mfa=True)
        seen = seen or bool(with_mfa)
        without = _people(role, account, mfa=False)
        if without:
            yield Finding(
                subject=role.name,
                evidence=f"may be assumed without MFA by {few(sorted(without))}",
                remedy=(
                    command("aws", "iam", "get-role", "--role-name", role.name)
                    + " --query Role.AssumeRolePolicyDocument > trust.json",
                    '# add to its statement: "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}',
                    command("aws", "iam", "update-assume-role-policy", "--role-name", role.name)
                    + " --policy-document file://trust.json",
                ),
            )
    if not seen and not scene.snapshot.hole(Part.DETAILS):
        yield Beside("no role is for people of this account")


def _people(role: Entity, account: str, *, mfa: bool) -> set[str]:
    """Return the principals of this account that are people and that a role lets in, with MFA or without."""
    contexts = (WITH_MFA,) if mfa else (PLAIN_KEYS, NO_MFA)
    found = {who for context in contexts for who in lets_in(role.trust or NOBODY, context)}
    return {
        name
        for kind, name in found
        if kind == "AWS"
        and (name in {"*", account} or (f"::{account}:" in name and name.endswith(":root")) or _is_user(name, account))
    }


def _is_user(name: str, account: str) -> bool:
    return f"::{account}:user/" in name


@rule(
    "roles.ec2",
    Severity.LOW,
    "Instances use roles, not keys of users",
    needs=(Part.DETAILS, Part.REPORT),
    references=("CIS 3.0 1.18",),
)
def ec2(scene: Scene) -> Iterator[Said]:
    """Tell that keys of programs are in use; from where, the data never shows."""
    used = [
        (one.name, key)
        for one in scene.people
        if one.credentials is not None and not one.password
        for key in one.keys
        if key.used is not None and scene.days(key.used) < scene.limits.unused
    ]
    if scene.snapshot.hole(Part.DETAILS, Part.REPORT):  # what is on another page is not missing
        return
    if not used:
        yield Beside("no access key of a program is in use")
    for role in scene.snapshot.roles:
        if any(kind == "Service" and name in EC2 for kind, name in lets_in(role.trust or NOBODY, {})):
            return
    for name, key in used:
        where = f"for {key.service or 'some service'} in {key.region or 'some region'}"
        yield Finding(
            subject=name,
            evidence=f"a long-lived key of a program is in use {where}, and no role is there for EC2 instances; "
            "from where it is used IAM does not tell",
            remedy=("# where it runs on EC2, give the instance a role: mfa-kit policy onboard",),
        )


@rule(
    "passwords.policy",
    Severity.MEDIUM,
    "The password policy is strong",
    needs=(Part.PASSWORDS,),
    references=("NIST SP 800-63B-4 3.1.1.2", "CIS 3.0 1.8", "CIS 3.0 1.9"),
)
def passwords(scene: Scene) -> Iterator[Said]:
    """By --password-profile: length first. NIST wants neither classes of characters nor an expiry, CIS no reuse."""
    policy = scene.snapshot.passwords
    if policy is None:
        return
    for number, evidence in enumerate(_weak(policy, scene.limits.profile)):
        remedy = (strong(scene.limits.profile, policy),) if number == 0 else ("# the same command",)
        yield Finding(subject="password policy", evidence=evidence, remedy=remedy)


def _weak(policy: PasswordPolicy, profile: Profile) -> Iterator[str]:
    least = LENGTH[profile]
    whose = "" if policy.custom else "there is none, and IAM's own asks for "
    if policy.length < least:
        yield f"{whose}{policy.length} characters: {profile.upper()} wants {least}"
    classes = [name for name in ("upper", "lower", "numbers", "symbols") if getattr(policy, name)]
    match profile:
        case Profile.NIST:
            if classes or not policy.custom:
                asked = ", ".join(classes) or "three classes of characters out of four"
                yield f"it demands {asked}: NIST has verifiers impose no such rules"
            if policy.max_age:
                yield f"passwords expire after {policy.max_age} days: NIST has them changed on evidence of compromise"
        case Profile.CIS:
            if policy.reuse < REUSE:
                yield f"{policy.reuse or 'no'} earlier passwords are refused: CIS wants {REUSE}"
        case _:
            assert_never(profile)


def strong(profile: Profile, policy: PasswordPolicy | None) -> str:
    """Return the command that sets a strong policy; what it does not name falls back to IAM's default."""
    length = max(LENGTH[profile], policy.length if policy and policy.custom else 0)
    return command(
        "aws",
        "iam",
        "update-account-password-policy",
        "--minimum-password-length",
        str(length),
        "--allow-users-to-change-password",
        "--password-reuse-prevention",
        str(REUSE),
    )
