"""The checks of `mfa-kit doctor` for a ledger in PostgreSQL."""

from collections.abc import Iterator
from shlex import quote

from mfa_kit.account.diagnosis import Diagnosis, Health
from mfa_kit.adapters.ledger.postgresql.address import SERVER
from mfa_kit.adapters.ledger.postgresql.owning import LedgerConditions, LedgerState

# The smallest difference of the clocks, in seconds, that is reported. The measurement error is subtracted first.
NEGLIGIBLE = 2.0
# The server's timeouts that end a session or a statement, and so may end a run. The value 0 turns a timeout off.
ENDS = ("statement_timeout", "transaction_timeout", "idle_session_timeout")
# The server's settings that determine when the locks of a computer that lost its connection are released.
RELEASE = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
PAGE = "docs/shared-state.md"


def diagnose_ledger(state: LedgerState, conditions: LedgerConditions) -> Iterator[Diagnosis]:
    """Yield the lines for a ledger: server, TLS, the role's privileges, clock, schema, durability and timeouts."""
    yield Diagnosis("ledger", Health.GOOD, f"{state.address}, PostgreSQL {state.server}, as {state.role}")
    yield Diagnosis("ledger schema", Health.GOOD, f"version {state.schema_version}, which this mfa-kit version needs")
    yield _tls(state, conditions)
    yield _role(state, conditions)
    yield _clock(conditions)
    yield _durability(conditions)
    yield from _timeouts(state, conditions)


def _tls(state: LedgerState, conditions: LedgerConditions) -> Diagnosis:
    subject = "ledger TLS"
    if state.tls:
        return Diagnosis(
            subject, Health.GOOD, "the connection is encrypted; a server on another computer is always verified"
        )
    # Only these addresses may be used without TLS.
    where = "a Unix socket" if conditions.socket else "loopback"
    return Diagnosis(subject, Health.GOOD, f"not needed: the connection uses {where} on this computer")


def _role(state: LedgerState, conditions: LedgerConditions) -> Diagnosis:
    subject, grants = "ledger role", f"mfa-kit ledger grants --desk {quote(state.role)}=TEAM"
    other = "use a separate role, without these rights, for each computer: mfa-kit ledger grants --desk ROLE=TEAM"
    if state.sees_all:
        return Diagnosis(
            subject, Health.NOTED, f"{state.role} is not limited to a team: it is a superuser, or has BYPASSRLS", other
        )
    if state.auditor:
        return Diagnosis(subject, Health.GOOD, f"{state.role} reads the rows of all teams, and may not write")
    if conditions.owner:
        return Diagnosis(subject, Health.NOTED, f"{state.role} owns the ledger, so it could change the log", other)
    if conditions.may_write and state.team and conditions.any_lock:
        hint = f"let a superuser run the output of: {grants}"
        return Diagnosis(
            subject, Health.NOTED, f"{state.role} may take locks of other teams, and so block their runs", hint
        )
    if conditions.may_write and state.team:
        return Diagnosis(subject, Health.GOOD, f"{state.role} records runs of team {state.team}")
    lacks = "has no team" if conditions.may_write else "may not record runs"
    return Diagnosis(subject, Health.BAD, f"{state.role} {lacks}", f"ask the owner of the ledger: {grants}")


def _clock(conditions: LedgerConditions) -> Diagnosis:
    subject, off = "ledger clock", abs(conditions.ahead) - conditions.accuracy
    if off < NEGLIGIBLE:
        return Diagnosis(subject, Health.GOOD, "same as this computer")
    direction = "ahead of" if conditions.ahead > 0 else "behind"
    finding = f"the server's clock is {abs(conditions.ahead):.0f} s {direction} this computer's"
    return Diagnosis(
        subject, Health.NOTED, finding, "set both clocks, because the times in the log come from the server's clock"
    )


def _durability(conditions: LedgerConditions) -> Diagnosis:
    subject = "ledger durability"
    off = [name for name in ("fsync", "synchronous_commit") if conditions.settings.get(name) == "off"]
    if not off:
        return Diagnosis(subject, Health.GOOD, "an acknowledged record survives a power cut")
    finding = f"{' and '.join(off)} of the server {'is' if len(off) == 1 else 'are'} off"
    hint = "turn on what is off, because a power cut would lose records of devices"
    return Diagnosis(subject, Health.BAD, finding, hint)


def _timeouts(state: LedgerState, conditions: LedgerConditions) -> Iterator[Diagnosis]:
    """Yield a line for the timeouts in ENDS. Unless the session uses a Unix socket, also yield one for RELEASE."""
    limits = [name for name in ENDS if conditions.settings.get(name, "0") != "0"]
    if limits:
        finding = ", ".join(f"{name} is {conditions.settings[name]} ms" for name in limits)
        name = state.role.replace('"', '""')
        hint = "; ".join(f'alter role "{name}" set {limit} = 0' for limit in limits)
        yield Diagnosis("ledger timeouts", Health.NOTED, f"{finding}, which may end a run", hint)
    else:
        yield Diagnosis(
            "ledger timeouts", Health.GOOD, "no timeout of the server ends idle sessions or long statements"
        )
    if conditions.socket:
        return
    other = [name for name in RELEASE if conditions.settings.get(name) != SERVER[name]]
    if other:
        finding = ", ".join(f"{name} is {conditions.settings.get(name)} instead of {SERVER[name]}" for name in other)
        hint = f"after a computer loses its connection, its locks are released earlier or later than usual; see {PAGE}"
        yield Diagnosis("ledger locks", Health.NOTED, finding, hint)
        return
    most = int(SERVER["tcp_user_timeout"]) // 1000
    yield Diagnosis("ledger locks", Health.GOOD, f"released at most {most} s after a computer has lost its connection")
