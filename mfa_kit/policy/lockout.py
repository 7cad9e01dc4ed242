"""Who could no longer sign in or call, were a policy attached today. Reads a snapshot, and judges each person by it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.account.evaluator import (
    NO_MFA,
    PLAIN_KEYS,
    WITH_MFA,
    WORK,
    Context,
    Verdict,
    evaluate,
    holds,
    named,
    statements,
    stops,
)
from mfa_kit.account.snapshot import Part, Person, Snapshot, command, few, people
from mfa_kit.account.source import Account
from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.core.models import DeviceType

CODES = {DeviceType.VIRTUAL, DeviceType.HARDWARE_TOTP}
WAYS: Mapping[str, Context] = {"access keys": PLAIN_KEYS, "console without MFA": NO_MFA, "session with MFA": WITH_MFA}


class Standing(StrEnum):
    """How somebody would stand; in order, worst first. The first three are lockouts: unknown is never green."""

    LOCKED = "locked out"
    ENROLLS = "locked out until he enrolls"
    UNKNOWN = "unknown"
    CHANGES = "has to change how he works"
    RISKS = "one lost device from it"
    FINE = "fine"
    NO_WAY = "has no way in today"


NOTHING = "the policies deny all work even with MFA"
JUDGED = "what the policies deny depends on conditions that cannot be judged"
MEND = "let the policy leave some work, or leave this user out of the group"
SESSION = "let the policy leave sts:GetSessionToken, as that of `mfa-kit policy show` does"
ROLE = "give the program a role, or leave this user out of the group"
UNREAD = "which MFA devices this user has could not be read"
SHUT = {Standing.LOCKED, Standing.ENROLLS, Standing.UNKNOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What would become of a person by one way in, and what to do first. `already`: his policies do it today."""

    user: str
    way: str
    standing: Standing
    why: str
    first: str = ""
    already: bool = False

    @property
    def shut(self) -> bool:
        return self.standing in SHUT


def concerned(snapshot: Snapshot, group: str | None) -> list[Person]:
    """Return the people whom a policy on a group, or on everybody, reaches. Raise UsageFault for an unknown group."""
    if group is not None and not any(one.name == group for one in snapshot.groups):
        if hole := snapshot.hole(Part.DETAILS):
            raise UsageFault(
                f"the groups could not be read: {hole.why}",
                "ask an administrator for iam:GetAccountAuthorizationDetails",
            )
        raise UsageFault(f"there is no group {group!r}", "list them: aws iam list-groups")
    return [one for one in people(snapshot) if group is None or group in one.user.groups]


def may_have_to_change(one: Person) -> bool:
    """Whether a password was set after it was last used: only then it may have to be changed, which IAM is asked."""
    row = one.credentials
    return bool(
        row and row.password and (row.password_used is None or (row.password_changed or 0.0) > row.password_used)
    )


def lockout(snapshot: Snapshot, document: str, *, group: str | None = None) -> list[Fate]:
    """Return what would become of each person, by each way in, worst first."""
    fates = [fate for one in concerned(snapshot, group) for fate in _fates(one, (document,), snapshot)]
    order = list(Standing)
    return sorted(fates, key=lambda fate: (order.index(fate.standing), fate.user))


def _fates(one: Person, more: tuple[str, ...], snapshot: Snapshot) -> list[Fate]:
    if one.credentials is None:
        why = "the credential report does not have this user, or could not be read"
        return [Fate(user=one.name, way="any", standing=Standing.UNKNOWN, why=why)]
    fates = []
    if one.password:
        fates.append(_console(one, more, snapshot))
    if one.keys:
        fates.append(_keys(one, more))
    if not fates:
        why = "neither a console password nor an active access key"
        fates.append(Fate(user=one.name, way="none", standing=Standing.NO_WAY, why=why))
    return fates


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What would become of somebody's work: whether all of it would stop, or does today, and what of it would."""

    would: bool | None
    does: bool
    lost: str


def _work(one: Person, more: tuple[str, ...], context: Context) -> _Work:
    found = {**one.about, **context}
    would = stops((*one.documents, *more), found, boundary=one.boundary)
    lost: list[tuple[str, str]] = []
    if would is False:
        would, lost = _lost(one, more, found)
    return _Work(
        would=None if one.unread and not would else would,
        does=stops(one.documents, found, boundary=one.boundary) is True,
        lost=few([action if resource == "*" else f"{action} on {resource}" for action, resource in lost]),
    )


def _lost(one: Person, more: tuple[str, ...], context: Context) -> tuple[bool | None, list[tuple[str, str]]]:
    """Tell what of that which somebody may do now would be denied, or may be, and whether it is all of it."""
    denies = [each for text in more for each in statements(text) if not each.allow]
    if all(holds(each, context) is False for each in denies):
        return False, []

    def may(pair: tuple[str, str]) -> bool:
        verdict = evaluate(one.documents, *pair, context, boundary=one.boundary)
        return verdict in {Verdict.ALLOW, Verdict.UNKNOWN}

    own = [pair for text in one.documents for pair in named(text, allow=True)]
    others = [pair for text in more for pair in named(text, allow=False)]
    verdicts = {pair: evaluate(more, *pair, context) for pair in (*own, *others)}
    lost = {
        pair: verdict
        for pair, verdict in verdicts.items()
        if verdict in {Verdict.EXPLICIT, Verdict.UNKNOWN} and may(pair)
    }
    if not lost or any(may(pair) for pair in own if pair not in lost):
        return False, list(lost)
    return (True if set(lost.values()) == {Verdict.EXPLICIT} else None), list(lost)


# A row of a table: whether it is the case, and what it would make of somebody. The first that is the case counts.
Row = tuple[bool, Standing, str]


def _fate(one: Person, way: str, rows: Iterable[Row], *, first: str, already: bool) -> Fate:
    standing, why = next((standing, why) for case, standing, why in rows if case)
    shut = standing in SHUT
    return Fate(
        user=one.name, way=way, standing=standing, why=why, first=first if shut else "", already=already and shut
    )


def _console(one: Person, more: tuple[str, ...], snapshot: Snapshot) -> Fate:
    usable = one.kinds - {DeviceType.SMS}
    with_mfa, bare = _work(one, more, WITH_MFA), _work(one, more, NO_MFA)
    what = "only a phone number, which AWS takes no more" if one.devices else "no MFA device"
    change = _changes_first(one, snapshot)
    denied = _judged(one, more, "iam:ChangePassword", one.user.arn) is Verdict.EXPLICIT
    rows: tuple[Row, ...] = (
        (with_mfa.would is True, Standing.LOCKED, NOTHING),
        (None in {bare.would, with_mfa.would}, Standing.UNKNOWN, JUDGED),
        (not bare.would and bool(with_mfa.lost), Standing.CHANGES, f"denied even with MFA: {with_mfa.lost}"),
        (not bare.would and bool(bare.lost) and not usable, Standing.CHANGES, f"denied without MFA: {bare.lost}"),
        (not bare.would and not bare.lost, Standing.FINE, "nothing demands MFA of this sign-in"),
        (not bare.would, Standing.FINE, f"signs in with {', '.join(sorted(usable))}"),
        (len(one.devices) == 1 and bool(usable), Standing.RISKS, _single(one)),
        (bool(usable), Standing.FINE, f"signs in with {', '.join(sorted(usable))}"),
        (one.mfa is not False and not one.devices, Standing.UNKNOWN, UNREAD),
        (change is None, Standing.UNKNOWN, f"{what}, and whether a new password is due could not be read"),
        (bool(change) and denied, Standing.LOCKED, f"{what}, and a new password is due, which is denied without MFA"),
        (_may_enroll(one, more), Standing.ENROLLS, f"{what}; may sign in and enroll one, and nothing else"),
        (True, Standing.LOCKED, f"{what}, and may not enroll one"),
    )
    return _fate(one, "console", rows, first=MEND if with_mfa.would else _enroll(one), already=bare.does)


def _single(one: Person) -> str:
    serials = ", ".join(each.serial for each in one.devices)
    return f"has one device, {serials}" if one.complete else f"has {serials}; others are looked for with --group"


def _enroll(one: Person) -> str:
    """Write what gives a device of use; beside one that is of none it takes --add."""
    return command("mfa-kit", "enroll", one.name, "--with", "virtual", *(["--add"] if one.devices else []))


def _judged(one: Person, more: tuple[str, ...], action: str, on: str, context: Context = NO_MFA) -> Verdict:
    return evaluate((*one.documents, *more), action, on, {**one.about, **context}, boundary=one.boundary)


def _changes_first(one: Person, snapshot: Snapshot) -> bool | None:
    """Whether a new password has to be chosen before anything else; None where IAM did not say."""
    row = one.credentials
    if row and row.password_expires is not None and row.password_expires <= snapshot.at:
        return True
    return snapshot.must_change.get(one.name) if may_have_to_change(one) else False


def _may_enroll(one: Person, more: tuple[str, ...]) -> bool:
    """Whether somebody may make and enable a first device of his own, named as himself, without MFA."""
    start = one.user.arn.partition(":user/")[0]
    own = (("iam:CreateVirtualMFADevice", f"{start}:mfa/{one.name}"), ("iam:EnableMFADevice", one.user.arn))
    return all(_judged(one, more, action, on) is Verdict.ALLOW for action, on in own)


def _keys(one: Person, more: tuple[str, ...]) -> Fate:
    with_mfa, bare = _work(one, more, WITH_MFA), _work(one, more, PLAIN_KEYS)
    session = _judged(one, more, "sts:GetSessionToken", "*", PLAIN_KEYS)
    codes = bool(one.kinds & CODES)
    unused = "" if any(key.used for key in one.keys) else "; they were never used"
    rows: tuple[Row, ...] = (
        (with_mfa.would is True, Standing.LOCKED, f"{NOTHING}{unused}"),
        (bare.would is None, Standing.UNKNOWN, JUDGED),
        (not bare.would and bool(with_mfa.lost), Standing.CHANGES, f"denied even with MFA: {with_mfa.lost}{unused}"),
        (not bare.would and bool(bare.lost), Standing.CHANGES, f"denied to keys without MFA: {bare.lost}{unused}"),
        (not bare.would, Standing.FINE, "nothing demands MFA of these keys"),
        (not one.password, Standing.LOCKED, f"a service user: nobody types a code for a program{unused}"),
        (session is Verdict.EXPLICIT, Standing.LOCKED, f"sts:GetSessionToken is denied: no session with MFA{unused}"),
        (codes, Standing.CHANGES, f"the keys work in sessions with MFA only, and scripts that use them stop{unused}"),
        (DeviceType.FIDO2 in one.kinds, Standing.LOCKED, f"security keys only, and STS takes codes{unused}"),
        (one.mfa is not False and not one.devices, Standing.UNKNOWN, UNREAD),
        (True, Standing.LOCKED, f"no device that gives codes{unused}"),
    )
    first = ROLE if not one.password else SESSION if session is Verdict.EXPLICIT else _enroll(one)
    return _fate(one, "access keys", rows, first=MEND if with_mfa.would else first, already=bare.does)


def helpers(fates: Sequence[Fate], snapshot: Snapshot) -> list[str]:
    """Return the administrators among the users who would still get in: those who could help the others."""
    judged = {fate.user for fate in fates}
    open_to = {fate.user for fate in fates if not fate.shut and fate.standing is not Standing.NO_WAY}
    return [
        one.name
        for one in people(snapshot)
        if one.admin and (one.password or one.keys) and (one.name in open_to or one.name not in judged)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How IAM's own simulator judges a policy: what it judges otherwise than we, or why it was not asked."""

    differing: tuple[str, ...] = ()
    why_not: str = ""


def compare(document: str, account: Account) -> Compared:
    """Let SimulateCustomPolicy judge the policy as well, for each way in."""
    differing = []
    actions = (*WORK, "sts:GetSessionToken", "iam:ChangePassword", "iam:ListVirtualMFADevices")
    try:
        for way, context in WAYS.items():
            theirs = account.simulated([document], actions, context)
            for action, verdict in theirs.items():
                ours = evaluate([document], action, "*", context)
                if Verdict.EXPLICIT in {ours, verdict} and ours is not verdict:
                    differing.append(f"{action} by {way}: IAM says {verdict}, we say {ours}")
    except MfaKitError as error:
        return Compared(why_not=str(error))
    return Compared(differing=tuple(differing))
