"""The checks of `mfa-kit doctor`: this computer, the account, the bucket of backups, and the shared ledger.

Of this computer: files, variables, the terminal, security keys and card readers.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from mfa_kit.core.errors import AccessDenied, DeviceFault, MfaKitError
from mfa_kit.core.message import Message, ShellText, command, mfa_kit, suggest
from mfa_kit.core.models import Caller
from mfa_kit.core.text import clock_difference, without_controls
from mfa_kit.doctor.diagnosis import (
    COMPLIANCE,
    BucketState,
    Diagnosis,
    FileFacts,
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


PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
# The environment variable with the name of a file to which programs write the keys of their TLS connections. With these
# keys, recorded traffic can be decrypted.
KEY_LOG = "SSLKEYLOGFILE"
# The smallest window, in columns and lines, that has room for a QR code and the prompts beside it. The QR code of a
# device with a longer name may need a larger window.
WINDOW = (71, 24)
# sudo does not search ~/.local/bin, where pipx and uv install programs.
INSTALL = command("sudo {} udev install", ShellText('"$(command -v mfa-kit)"'))
READ_WRITE_OF_GROUP = 0o060


def diagnose_extras(installed: Mapping[str, bool], command: Callable[[str], str]) -> Iterator[Diagnosis]:
    """Yield a line for each extra, by its name. `command` returns the command that installs an extra."""
    for extra, is_installed in installed.items():
        yield good(f"extra {extra}", "installed") if is_installed else noted(f"extra {extra}", "absent", command(extra))


def diagnose_folder(subject: str, folder: FileFacts, *, user: int) -> Diagnosis:
    """Return the line for a folder that only the user with the ID `user` should have access to."""
    if folder.fault:
        return bad(subject, f"{folder.path}: {folder.fault}", "check its permissions")
    if folder.mode is None:
        return noted(subject, f"{folder.path}, does not exist yet")
    finding = f"{folder.path}, mode {folder.mode:o}"
    if folder.owner != user:
        return bad(subject, f"{finding}, belongs to another user", command("chown {} {}", str(user), folder.path))
    if folder.mode & 0o077:
        return bad(subject, f"{finding}: other users can read it", command("chmod 700 {}", folder.path))
    return good(subject, finding)


def diagnose_backup_folder(folder: FileFacts, *, user: int, shared_ledger: bool) -> Diagnosis:
    """Return the line for the folder of backups.

    With a shared ledger, it is NOTED, because other computers that use the ledger cannot read backups in the folder.
    """
    diagnosis = diagnose_folder("backup folder", folder, user=user)
    if not shared_ledger or diagnosis.health is Health.BAD:
        return diagnosis
    return noted(
        diagnosis.what,
        f"{diagnosis.found}; other computers that use the ledger could not read it",
        "set backup-dir to s3://BUCKET/PREFIX, or accept this: --local-backups",
    )


def diagnose_environment(
    env: Mapping[str, str], *, host_of: Callable[[str], str], is_file: Callable[[str], bool]
) -> Iterator[Diagnosis]:
    """Yield a line for each environment variable that affects where requests are sent or who could read them.

    Only the host of a proxy's URL is shown, because the URL may contain a password.
    """
    for name in PROXIES:
        if value := env.get(name) or env.get(name.lower()):
            yield noted("proxy", f"{name} {value if name == 'NO_PROXY' else host_of(value)}")
    for name in BUNDLES:
        if value := env.get(name):
            yield _bundle(f"{name} {value}", f"unset {name}, or set it to a file that exists", exists=is_file(value))
    if value := env.get(KEY_LOG):
        finding = f"{KEY_LOG} {value}: programs write the keys of TLS connections to this file"
        yield bad("TLS key log", finding, f"unset {KEY_LOG}")


def diagnose_profile_bundle(bundle: str, *, exists: bool) -> Diagnosis:
    """Return the line for a CA bundle in the AWS configuration. The owner of such a CA could intercept requests."""
    return _bundle(f"ca_bundle {bundle} in the AWS profile", "correct ca_bundle in the AWS profile", exists=exists)


def _bundle(finding: str, hint: str, *, exists: bool) -> Diagnosis:
    return noted("CA bundle", finding) if exists else bad("CA bundle", finding, hint)


def diagnose_terminal(size: tuple[int, int] | None) -> Diagnosis:
    """Return the line for a terminal of `size`, in columns and lines, or None if there is no terminal."""
    if size is None:
        return noted("terminal", "none, so mfa-kit cannot ask questions")
    columns, lines = size
    if columns < WINDOW[0] or lines < WINDOW[1]:
        hint = f"enlarge it to {WINDOW[0]} by {WINDOW[1]} or more, so that a QR code fits"
        return bad("terminal", f"{columns} by {lines}", hint)
    return good("terminal", f"{columns} by {lines}")


def diagnose_rule(name: str, rule: str | None, *, current: bool) -> Diagnosis:
    """Return the line for the udev rule with this file name, which is installed at `rule`, or not at all.

    A missing rule is not reported as a fault, because desktop systems have their own rules.
    """
    if rule is None:
        return noted("udev rule", f"{name} is not installed", INSTALL)
    if not current:
        return noted("udev rule", f"{rule} differs from the rule of this mfa-kit version", INSTALL)
    return good("udev rule", rule)


def diagnose_node(node: FileFacts, *, opens: bool, rule: bool, group: str, user: str, in_group: bool) -> Diagnosis:
    """Return the line for the device node of a key on USB. `opens` says whether this user can open it.

    `rule` says whether the udev rule is installed, `group` is the name of the node's group, and `in_group` says
    whether the user named `user` is in this group.
    """
    subject = "key on USB"
    if opens:
        return good(subject, f"{node.path} can be opened")
    if node.mode is None:
        finding = f"a key is connected, but its device node {node.path} does not exist here"
        return bad(subject, finding, f"pass the device to the container: --device {node.path}")
    finding = f"{node.path} is a key that you cannot open: group {group}, mode {node.mode:o}"
    if node.group == 0 or node.mode & READ_WRITE_OF_GROUP != READ_WRITE_OF_GROUP:
        hint = "unplug the key and plug it in again, so that the udev rule applies to it" if rule else INSTALL
    elif in_group:
        hint = f"sign in again, because you joined the group {group} after you signed in"
    else:
        hint = Message(command("sudo usermod --append --groups {} {}", group, user), "then sign in again")
    return bad(subject, finding, hint)


def diagnose_readers(read_names: Callable[[], list[str]], *, listens: Callable[[], bool]) -> Diagnosis:
    """Check the smart card service by asking it for its readers, as each command for OATH keys does.

    `listens` returns whether the service runs. It is not a fault if the service is stopped, because a computer without
    readers does not need it. It is a fault if the service runs, but refuses or does not answer.
    """
    try:
        names = [without_controls(name) for name in read_names()]
    except DeviceFault as fault:
        return Diagnosis("smart cards", Health.BAD if listens() else Health.NOTED, str(fault), fault.hint)
    return good("smart cards", ", ".join(names) or "the service works; no reader is plugged in")
