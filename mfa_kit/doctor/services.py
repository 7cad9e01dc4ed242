"""The checks of `mfa-kit doctor` outside this computer: the account, the bucket of backups, the shared ledger."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from mfa_kit.core.errors import AccessDenied, MfaKitError
from mfa_kit.core.message import Message, mfa_kit, suggest
from mfa_kit.core.models import Caller
from mfa_kit.core.text import clock_difference
from mfa_kit.doctor.diagnosis import (
    COMPLIANCE,
    BucketState,
    Diagnosis,
    Health,
    LedgerConditions,
    LedgerState,
    bad,
    good,
    noted,
)
from mfa_kit.enrollment.ports import IamReader

if TYPE_CHECKING:
    from mfa_kit.account.reading import AccountSource

DEVICE_ACTIONS = ("CreateVirtualMFADevice", "DeleteVirtualMFADevice", "TagMFADevice", "ListMFADeviceTags")
USER_ACTIONS = ("GetUser", "ListMFADevices", "EnableMFADevice", "DeactivateMFADevice", "ResyncMFADevice")
ACCOUNT_ACTIONS = ("ListUsers", "ListVirtualMFADevices")
SIMULATE = "unknown without iam:SimulatePrincipalPolicy"
# Actions that `diagnose_account` tries, although a rollout that gives each user one device does not need them.
OPTIONAL_TO_ENROLL = {"iam:GetAccountSummary"}
# The URL of an endpoint of AWS.
AWS_ENDPOINT = re.compile(r"https?://[a-z0-9.-]+\.amazonaws\.com(\.cn)?(:\d+)?(/.*)?", re.ASCII)
# The smallest difference of the clocks, in seconds, that is reported. The measurement error is subtracted first.
NEGLIGIBLE = 2.0
# The server's timeouts that end a session or a statement, and so may end a run. The value 0 turns a timeout off.
ENDS = ("statement_timeout", "transaction_timeout", "idle_session_timeout")
# The server's settings that determine when the locks of a computer that lost its connection are released.
RELEASE = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
LEDGER_PAGE, BUCKET_PAGE = "help shared-state", "help backups-in-s3"
WITHOUT = "unknown without the permission {}"


def diagnose_endpoint(url: str) -> Diagnosis:
    """Return the line for the IAM endpoint. The host name shows whether the endpoint belongs to AWS."""
    if AWS_ENDPOINT.fullmatch(url):
        return good("endpoint", url)
    return noted("endpoint", f"{url}, not an AWS endpoint")


def diagnose_caller(caller: Caller, account: str | None) -> Iterator[Diagnosis]:
    """Yield the lines for valid credentials. `account` is the ID that their account must have, or None."""
    yield good("credentials", f"account {caller.account} as {caller.arn}")
    if account and account != caller.account:
        yield bad(
            "account", f"these credentials are not for account {account}", "choose another --profile or --account"
        )


def diagnose_account(
    iam_reader: IamReader, account: "AccountSource", caller: Caller, *, enrolls: bool
) -> Iterator[Diagnosis]:
    """Yield a line with the caller's identity in an account, then a line for each action that is tried.

    `iam_reader` and `account` read the account, and `caller` is the identity of its credentials. `enrolls` means that
    the caller's role is for enrolling users. Such a role does not need the actions in OPTIONAL_TO_ENROLL.
    """
    yield from diagnose_caller(caller, None)
    reads: list[tuple[str, Callable[[], object]]] = [
        ("iam:GetAccountSummary", iam_reader.root_has_mfa),
        ("iam:ListVirtualMFADevices", lambda: next(account.virtual(), None)),
    ]
    for action, read in reads:
        try:
            read()
        except AccessDenied as error:
            if enrolls and action in OPTIONAL_TO_ENROLL:
                yield noted(action, "denied; audits, and plans that add or replace devices, need this permission")
            else:
                yield bad(action, str(error), error.hint)
        except MfaKitError as error:
            yield bad(action, str(error), error.hint)
        else:
            yield good(action, "allowed")


def diagnose_clock(offset: float) -> Diagnosis:
    """Report how far this computer's clock is off.

    `offset` is AWS's time minus this computer's time, in seconds. It is 0 if the difference is negligible.
    """
    if not offset:
        return good("clock", "same as AWS")
    hint = "set the clock (mfa-kit computes codes with AWS's time, but other programs do not)"
    return noted("clock", clock_difference(offset), hint)


def diagnose_rights(allowed: Mapping[str, bool | None]) -> Iterator[Diagnosis]:
    """Yield a line for each action.

    `allowed` has the answer of IAM's policy simulator by action: True, False, or None if the simulator could not decide
    or could not be asked.
    """
    unsaid = SIMULATE if all(answer is None for answer in allowed.values()) else "depends on a condition, such as MFA"
    for action, answer in allowed.items():
        match answer:
            case True:
                yield good(action, "allowed")
            case False:
                hint = suggest("to see which commands need this permission", "help permissions")
                yield bad(action, "denied", hint)
            case None:
                yield Diagnosis(action, Health.UNKNOWN, unsaid)


def simulated_resources(caller: Caller) -> dict[str, str]:
    """Return the resource for which each action is checked, by action: the caller's own user or device, or `*`.

    If the caller is not a user, the user and the device have a made-up name.
    """
    start = f"arn:{caller.partition}:iam::{caller.account}"
    user = caller.arn if caller.user else f"{start}:user/mfa-kit-doctor"
    device = f"{start}:mfa/{caller.user or 'mfa-kit-doctor'}"
    return {
        **{f"iam:{action}": device for action in DEVICE_ACTIONS},
        **{f"iam:{action}": user for action in USER_ACTIONS},
        **{f"iam:{action}": "*" for action in ACCOUNT_ACTIONS},
    }


def diagnose_bucket(state: BucketState) -> Iterator[Diagnosis]:
    """Yield the lines for a bucket that can be listed: whether it is public, its versioning and its object lock."""
    yield _public_access(blocked=state.blocked, public=state.public)
    if state.versioning is None:
        yield Diagnosis("bucket versioning", Health.UNKNOWN, WITHOUT.format("s3:GetBucketVersioning"))
    elif state.versioning:
        yield good("bucket versioning", "on")
    else:
        hint = suggest(
            "turn versioning on, so that you can restore backups that another program deletes; see", BUCKET_PAGE
        )
        yield noted("bucket versioning", "off", hint)
    if state.lock is None:
        yield Diagnosis("object lock", Health.UNKNOWN, WITHOUT.format("s3:GetBucketObjectLockConfiguration"))
    elif state.lock == COMPLIANCE:
        finding = "new objects are locked in compliance mode, so mfa-kit refuses to enroll users"
        yield bad("object lock", finding, suggest("use governance mode, or no default retention; see", BUCKET_PAGE))
    else:
        mode = state.lock.lower()
        yield good("object lock", f"{mode} mode" if mode else "no default retention")


def _public_access(*, blocked: bool | None, public: bool | None) -> Diagnosis:
    subject, hint = "public access", suggest("turn on Block Public Access; see", BUCKET_PAGE)
    if public:
        return bad(subject, "the bucket is public, so mfa-kit refuses it", hint)
    if blocked:
        return good(subject, "blocked")
    if blocked is None and public is None:
        return Diagnosis(subject, Health.UNKNOWN, WITHOUT.format("s3:GetBucketPublicAccessBlock"))
    return noted(subject, "not blocked for this bucket, but the bucket is not public", hint)


def diagnose_ledger(state: LedgerState, conditions: LedgerConditions) -> Iterator[Diagnosis]:
    """Yield the lines for a ledger: server, TLS, the role's privileges, clock, schema, durability and timeouts."""
    yield good("ledger", f"{state.address}, PostgreSQL {state.server}, as {state.role}")
    yield good("ledger schema", f"version {state.schema_version}, which this mfa-kit version needs")
    yield _tls(state, conditions)
    yield _role(state, conditions)
    yield _ledger_clock(conditions)
    yield _durability(conditions)
    yield _failover(conditions)
    yield from _timeouts(state, conditions)


def _tls(state: LedgerState, conditions: LedgerConditions) -> Diagnosis:
    subject = "ledger TLS"
    if state.tls:
        return good(subject, "the connection is encrypted; a server on another computer is always verified")
    # Only these addresses may be used without TLS.
    where = "a Unix socket" if conditions.socket else "loopback"
    return good(subject, f"not needed: the connection uses {where} on this computer")


def _role(state: LedgerState, conditions: LedgerConditions) -> Diagnosis:
    subject, grants = "ledger role", mfa_kit("ledger grants --desk {}", f"{state.role}=TEAM")
    other = suggest("use a separate role, without these rights, for each computer", "ledger grants --desk ROLE=TEAM")
    if state.sees_all:
        return noted(subject, f"{state.role} is not limited to a team: it is a superuser, or has BYPASSRLS", other)
    if state.auditor:
        return good(subject, f"{state.role} reads the rows of all teams, and may not write")
    if conditions.owner:
        return noted(subject, f"{state.role} owns the ledger, so it could change the log", other)
    if conditions.may_write and state.team and conditions.any_lock:
        hint = Message("let a superuser run the output of", grants)
        return noted(subject, f"{state.role} may take locks of other teams, and so block their runs", hint)
    if conditions.may_write and state.team:
        return good(subject, f"{state.role} records runs of team {state.team}")
    lacks = "has no team" if conditions.may_write else "may not record runs"
    return bad(subject, f"{state.role} {lacks}", Message("ask the owner of the ledger", grants))


def _ledger_clock(conditions: LedgerConditions) -> Diagnosis:
    subject, off = "ledger clock", abs(conditions.ahead) - conditions.accuracy
    if off < NEGLIGIBLE:
        return good(subject, "same as this computer")
    direction = "ahead of" if conditions.ahead > 0 else "behind"
    finding = f"the server's clock is {abs(conditions.ahead):.0f} s {direction} this computer's"
    return noted(subject, finding, "set both clocks, because the times in the log come from the server's clock")


def _durability(conditions: LedgerConditions) -> Diagnosis:
    subject = "ledger durability"
    off = [name for name in ("fsync", "synchronous_commit") if conditions.settings.get(name) == "off"]
    if not off:
        return good(subject, "an acknowledged record survives a power cut")
    finding = f"{' and '.join(off)} of the server {'is' if len(off) == 1 else 'are'} off"
    hint = "turn on what is off, because a power cut would lose records of devices"
    return bad(subject, finding, hint)


def _failover(conditions: LedgerConditions) -> Diagnosis:
    """Return the line that says whether each acknowledged record is on a standby too."""
    subject, settings = "ledger failover", conditions.settings
    if settings.get("in_hot_standby") == "on":
        hint = "give the address of the server that takes records, or promote this one"
        return bad(subject, "this server is a standby, which takes no records", hint)
    if settings.get("synchronous_standby_names") and settings.get("synchronous_commit") in {"on", "remote_apply"}:
        return good(subject, "an acknowledged record is on a synchronous standby too")
    finding = "no standby is synchronous, so a standby that takes over may lack the last records"
    hint = suggest("set synchronous_standby_names; for what to do after a failover, see", LEDGER_PAGE)
    return noted(subject, finding, hint)


def _timeouts(state: LedgerState, conditions: LedgerConditions) -> Iterator[Diagnosis]:
    """Yield a line for the timeouts in ENDS. Unless the session uses a Unix socket, also yield one for RELEASE."""
    limits = [name for name in ENDS if conditions.settings.get(name, "0") != "0"]
    if limits:
        finding = ", ".join(f"{name} is {conditions.settings[name]} ms" for name in limits)
        name = state.role.replace('"', '""')
        hint = "; ".join(f'alter role "{name}" set {limit} = 0' for limit in limits)
        yield noted("ledger timeouts", f"{finding}, which may end a run", hint)
    else:
        yield good("ledger timeouts", "no timeout of the server ends idle sessions or long statements")
    if conditions.socket:
        return
    other = [name for name in RELEASE if conditions.settings.get(name) != conditions.required[name]]
    if other:
        finding = ", ".join(
            f"{name} is {conditions.settings.get(name)} instead of {conditions.required[name]}" for name in other
        )
        hint = "after a computer loses its connection, its locks are released earlier or later than usual; see"
        yield noted("ledger locks", finding, suggest(hint, LEDGER_PAGE))
        return
    most = int(conditions.required["tcp_user_timeout"]) // 1000
    yield good("ledger locks", f"released at most {most} s after a computer has lost its connection")
