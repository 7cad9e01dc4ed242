"""Makes sessions for other programs: with the code of a key, or a typed one, and within the time that callers allow."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from types import FrameType
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.session_folder import SessionFolder
from mfa_kit.core import wrong_codes
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.message import PROGRAM
from mfa_kit.core.stopping import INTERRUPTS, sleep
from mfa_kit.enrollment.backends import ask_until
from mfa_kit.posix.processes import alarm
from mfa_kit.sessions.renewing import SessionPorts, renew
from mfa_kit.sessions.session import MfaSession, SessionRequest
from mfa_kit.wiring.oath_keys import code_of_own_device
from mfa_kit.wiring.sessions import session_folder
from mfa_kit.wiring.settings import Settings, harden, load_boto3

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.session_tokens import SessionTokens

# Seconds for everything. AWS's SDK for Go ends the program after a minute.
LIMIT = 45.0


class TimeLimit:
    """Ends the work of the main thread as Ctrl-C does, when the time has passed."""

    def __init__(self) -> None:
        self._passed = False

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        self._passed = True
        INTERRUPTS.arrive(number, frame)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the time run until the context ends."""
        with alarm(LIMIT, self._arrive), self.limited():
            yield

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Raise DeviceFault in place of the KeyboardInterrupt that the end of the time causes."""
        try:
            yield
        except KeyboardInterrupt:
            if not self._passed:
                raise
            INTERRUPTS.forget()
            raise DeviceFault(
                f"no session was made within {LIMIT:.0f} s, after which the calling program may give up",
                "touch the key or type the code sooner, and try again",
            ) from None


def make_session(
    request: SessionRequest, settings: Settings, *, progress: LiveProgress, key_name: str | None, keep: bool
) -> MfaSession:
    """Return a session from the cache or from AWS. Without `keep`, sessions are neither read nor written.

    Questions go to the terminal of `settings`, and so does `progress`, with the request to touch the key. Raise the
    errors of `renew`.
    """
    harden()
    settings = replace(settings, progress=progress)
    limit = TimeLimit()
    ports = SessionPorts(
        files=SessionFolder(session_folder()),
        issuer=LateIssuer(settings),
        ask_code=lambda now: _ask_code(request.device, settings, key_name, now),
        now=time.time,
        sleep=sleep,
        say=settings.interaction.say,
        limited=limit.limited,
        keep=keep,
    )
    with limit.running():
        return renew(request, ports)


class LateIssuer:
    """STS. boto3 loads at the first call, because a process that waited for another one does not need it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _tokens(self) -> "SessionTokens":
        load_boto3()
        from mfa_kit.adapters.aws.session_tokens import SessionTokens

        settings = self._settings
        return SessionTokens(settings.profile, settings.region, settings.endpoint_url)

    @property
    def offset(self) -> float | None:
        """AWS's time minus the local time in seconds, from the last answer, or None before the first answer."""
        return self._tokens.offset if "_tokens" in vars(self) else None

    def is_root(self) -> bool:
        """Return whether the access keys belong to root."""
        return self._tokens.is_root()

    def user_session(self, request: SessionRequest, code: str) -> MfaSession:
        """Return a new session with MFA (GetSessionToken)."""
        return self._tokens.user_session(request, code)

    def role_session(self, request: SessionRequest, user: MfaSession) -> MfaSession:
        """Return a new session of a role, from a session of the user (AssumeRole)."""
        return self._tokens.role_session(request, user)


def _ask_code(device: str, settings: Settings, key_name: str | None, now: Callable[[], float]) -> str:
    if not settings.typed:
        code = code_of_own_device(device, settings, now=now, key_name=key_name, using=settings.interaction.say)
        if code is not None:
            return code
    return ask_until(
        wrong_codes.digits,
        f"code of {device}",
        now=now,
        interaction=settings.interaction,
        instead="the key that holds the device's credential, or run this command at a terminal first",
    )


def program_path() -> str:
    """Return the path of mfa-kit, because programs that start it look for it without a shell, some without PATH."""
    return shutil.which(PROGRAM) or PROGRAM


def forget_sessions() -> int:
    """Delete the sessions in the cache, and return their number. They stay valid at AWS."""
    return SessionFolder(session_folder()).remove_sessions()
