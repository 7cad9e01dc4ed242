"""Makes a session with MFA, if no other process has just made it. One lock surrounds the code, the call and the files.

So twenty programs that need a session at once make one, with one code. A failure is stored, so that the next programs
fail at once and the user is not asked again and again.
"""

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mfa_kit.core.errors import (
    AwsFault,
    Declined,
    DeviceFault,
    IntegrityFault,
    MfaKitError,
    Throttled,
    UsageFault,
)
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.otp import PERIOD, Secret, step
from mfa_kit.sessions.session import MfaSession, SessionRequest, parse_entry

# Seconds after a failure during which the device is not asked for another code.
PAUSE = 30
# STS shortens the session of root to this many seconds (STS API reference, GetSessionToken).
ROOT_SECONDS = 3600
# Added to ROOT_SECONDS, because the request takes a while and the Date header has whole seconds.
TOLERANCE = 60
# The name of root's first MFA device. Further devices can have any name.
ROOT_DEVICE = ":mfa/root-account-mfa-device"
NO_ROOT = "use the access keys of an IAM user, and delete those of root"
FAILURES = {kind.exit_code: kind for kind in (UsageFault, DeviceFault, AwsFault, IntegrityFault, Throttled)}


class SessionFiles(Protocol):
    """The files of sessions, by name."""

    def read(self, name: str) -> Secret[bytes] | None:
        """Return the content of a file, or None if there is none that only this user can change."""
        ...

    def write(self, name: str, content: Secret[bytes]) -> None:
        """Create or replace a file as a whole. Raise IntegrityFault if this fails."""
        ...

    def hold(self, name: str) -> AbstractContextManager[None]:
        """Wait for the lock with this name, and hold it. Raise IntegrityFault if the folder cannot be used."""
        ...


class SessionIssuer(Protocol):
    """STS, as a user with long-term access keys calls it. Each request is sent once."""

    @property
    def offset(self) -> float | None:
        """AWS's time minus the local time in seconds, from the last answer, or None before the first answer."""
        ...

    def is_root(self) -> bool:
        """Return whether the access keys belong to root."""
        ...

    def user_session(self, request: SessionRequest, code: str) -> MfaSession:
        """Return a new session with MFA (GetSessionToken)."""
        ...

    def role_session(self, request: SessionRequest, user: MfaSession) -> MfaSession:
        """Return a new session of a role, from a session of the user (AssumeRole)."""
        ...


class CodeState(NamedTuple):
    """What is known about a device between two runs.

    `step` is the last time step in which a code was sent to AWS, and `offset` is AWS's time minus the local time. If
    the last attempt failed, `failed_at` is its local time, and the others are the error's exit code and texts.
    """

    step: int = -1
    offset: float = 0.0
    failed_at: float = 0.0
    exit_code: int = 0
    sentence: str = ""
    hint: str = ""

    def check(self, now: float) -> None:
        """Raise the error of the last attempt, if it was less than PAUSE seconds ago."""
        ago = now - self.failed_at
        if 0 <= ago < PAUSE:
            raise FAILURES.get(self.exit_code, AwsFault)(
                f"{self.sentence} ({ago:.0f} s ago)", f"try again in {PAUSE - ago:.0f} s; {self.hint}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPorts:
    """What a renewal needs.

    `ask_code` returns a code of the device. Its argument returns AWS's time. `limited` returns a context that raises
    DeviceFault when the time for the whole command has passed. Without `keep`, sessions are neither read nor written.
    """

    files: SessionFiles
    issuer: SessionIssuer
    ask_code: Callable[[Callable[[], float]], str]
    now: Callable[[], float]
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    limited: Callable[[], AbstractContextManager[None]]
    keep: bool = True


def find_session(request: SessionRequest, files: SessionFiles, now: float) -> MfaSession | None:
    """Return the session in the cache, or None if it is missing, damaged or valid for too short a time."""
    text = files.read(request.name)
    session = parse_entry(text, request) if text else None
    return session if session and session.is_fresh(now) else None


def renew(request: SessionRequest, ports: SessionPorts) -> MfaSession:
    """Return a session, which is made unless another process has made it meanwhile.

    Raise UsageFault for root, DeviceFault for the key, AwsFault for an answer of AWS, IntegrityFault for the files, and
    Declined if there is neither a key nor a terminal.
    """
    if ROOT_DEVICE in request.device:
        raise UsageFault(f"{request.device} is root's device, and root gets no session", NO_ROOT)
    with ports.limited(), ports.files.hold(request.shared):
        session = _find(request, ports)
        if session:
            return session
        user = _find(request.of_user, ports) if request.role else None
        session = user or _with_code(request.of_user, ports)
        if request.role:
            session = ports.issuer.role_session(request, session)
            _keep(request, session, ports)
        return session


def _find(request: SessionRequest, ports: SessionPorts) -> MfaSession | None:
    return find_session(request, ports.files, ports.now()) if ports.keep else None


def _with_code(request: SessionRequest, ports: SessionPorts) -> MfaSession:
    """Return a new session of the user. Store a failure, so that the user is not asked again at once."""
    read_state(request, ports.files).check(ports.now())
    try:
        with ports.limited():
            return _ask(request, ports)
    except Declined:
        raise  # nobody was asked, so the next attempt need not wait
    except MfaKitError as error:
        with suppress(IntegrityFault):  # the error itself matters more
            _note(request, ports, failed_at=ports.now(), error=error)
        raise


def _ask(request: SessionRequest, ports: SessionPorts) -> MfaSession:
    """Return a new session of the user, for one code that was not sent before."""
    if request.seconds <= ROOT_SECONDS and ports.issuer.is_root():
        raise UsageFault("these access keys belong to root, which gets no session", NO_ROOT)
    # Written first, so that nobody touches a key in vain if the disk is full.
    state = _note(request, ports)

    def aws_time() -> float:
        return ports.now() + state.offset

    seconds = (state.step + 1) * PERIOD - aws_time()
    if 0 < seconds <= 2 * PERIOD:  # a later step was sent before this computer's clock was corrected
        ports.say(f"the current code was used already; the next one is there in {math.ceil(seconds)} s")
        ports.sleep(seconds)
    code = ports.ask_code(aws_time)
    _note(request, ports, sent=step(aws_time()))
    session = ports.issuer.user_session(request, code)
    left = session.expires - (ports.now() + session.offset)
    if request.seconds > ROOT_SECONDS + TOLERANCE >= left:
        raise UsageFault(
            f"AWS shortened the session to {left / 60:.0f} minutes, as it does for root, which gets no session", NO_ROOT
        )
    _keep(request, session, ports)
    return session


def _keep(request: SessionRequest, session: MfaSession, ports: SessionPorts) -> None:
    _note(request, ports)
    if ports.keep:
        ports.files.write(request.name, session.entry(request))


def _state_name(request: SessionRequest) -> str:
    return f"{request.shared}.state"


def read_state(request: SessionRequest, files: SessionFiles) -> CodeState:
    """Return what is known about the device of a request. A damaged file counts as none."""
    text = files.read(_state_name(request))
    try:
        state = CodeState(*read_json(text.reveal())) if text else CodeState()
        return CodeState(int(state.step), float(state.offset), float(state.failed_at), int(state.exit_code), *state[4:])
    except (ArithmeticError, RecursionError, TypeError, ValueError):
        return CodeState()


def _note(
    request: SessionRequest,
    ports: SessionPorts,
    *,
    sent: int | None = None,
    failed_at: float = 0.0,
    error: MfaKitError | None = None,
) -> CodeState:
    """Write the state of the device: the step of the code that is `sent` now, AWS's offset, and the last failure."""
    before, offset = read_state(request, ports.files), ports.issuer.offset
    state = CodeState(
        before.step if sent is None else sent,
        before.offset if offset is None else offset,
        failed_at,
        *((error.exit_code, str(error), str(error.hint)) if error else ()),
    )
    ports.files.write(_state_name(request), Secret(json.dumps(state).encode()))
    return state
