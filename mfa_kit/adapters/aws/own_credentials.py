"""Loads the user's own credentials from one or several profiles. Only one prompt for an MFA code is shown at a time.

A session with MFA may assume any number of roles. So if several profiles have roles with the same source profile and
MFA device, they need only one code. The AWS CLI asks for one code per role.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from botocore.credentials import Credentials

from mfa_kit.adapters.aws.clients import AskCode, Clients, Connection, open_clients, open_session, profile_settings
from mfa_kit.adapters.aws.refusals import our_errors
from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.core.otp import PERIOD

# A profile has all these settings if it assumes a role with a code (AWS CLI user guide, "Using an IAM role in the AWS
# CLI").
ROLE_WITH_MFA = {"role_arn", "source_profile", "mfa_serial"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRole:
    """The role that a profile names. `source` has the credentials of a session with MFA that may assume the role."""

    source: Credentials
    role: str
    external_id: str | None
    session_name: str | None


class OwnCredentials:
    """Loads the user's credentials, and asks for an MFA code if they need one.

    Any number of threads may use one object. Only one prompt at a time is shown.

    If an error occurs after a prompt for a code, the user is not asked for another code of that MFA device during the
    next PERIOD seconds. The same error is raised instead. Otherwise several threads could send AWS one wrong code after
    another. `clock` returns a monotonic time in seconds.
    """

    def __init__(self, connection: Connection, *, clock: Callable[[], float] = time.monotonic) -> None:
        ask = partial(self._ask, connection.ask_code) if connection.ask_code else None
        self._wanted, self._clock = replace(connection, ask_code=ask), clock
        self._lock, self._asked = threading.RLock(), threading.local()
        self._refused: dict[str, tuple[float, MfaKitError]] = {}
        self._sources: dict[tuple[str, str], Credentials] = {}

    def open(self) -> Clients:
        """Create clients with the credentials of the Connection that was given to the constructor."""
        with self._lock, self.remembering():
            return open_clients(self._wanted)

    def of_profile(self, profile: str) -> Credentials | ProfileRole:
        """Return the credentials of a profile, or a ProfileRole.

        A ProfileRole is returned if the profile names a role that requires an MFA code, and a source profile with
        access keys. Raise UsageFault if the profile has no credentials, and Declined if a code is needed and cannot be
        asked for.
        """
        with self._lock, self.remembering(), our_errors():
            settings = profile_settings(profile)
            if settings.keys() >= ROLE_WITH_MFA:
                source = self._source(settings["source_profile"], settings["mfa_serial"])
                if source is not None:
                    return ProfileRole(
                        source=source,
                        role=settings["role_arn"],
                        external_id=settings.get("external_id"),
                        session_name=settings.get("role_session_name"),
                    )
            credentials = open_session(replace(self._wanted, profile=profile, stored=False)).get_credentials()
            if credentials is None:
                raise UsageFault(
                    f"the profile {profile} has no credentials", "name another profile in the accounts file"
                )
            # Load them now. Otherwise botocore would load them at the first request, and its prompt for a code could
            # appear together with the prompt of another thread.
            credentials.get_frozen_credentials()
            return credentials

    def forget_sources(self) -> None:
        """Forget all sessions with MFA, so that the next use of a source profile asks for a code again.

        The caller does this when one of the sessions has expired.
        """
        with self._lock:
            self._sources.clear()

    def _source(self, profile: str, serial: str) -> Credentials | None:
        """Return the credentials of a session with MFA. The session is requested once, with a profile's access keys.

        `serial` is the serial of the MFA device. Return None if the profile has no long-term access keys.
        """
        known = self._sources.get((profile, serial))
        if known is None and "role_arn" not in profile_settings(profile):
            session = open_session(replace(self._wanted, profile=profile, mfa_serial=serial, stored=False))
            credentials = session.get_credentials()
            # boto3 sets `method` to `explicit` only for the session with MFA that `open_session` made.
            if credentials is not None and credentials.method == "explicit":
                known = self._sources[profile, serial] = credentials
        return known

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """If the `with` block raises an error after this thread asked for a code, store the error for the MFA device.

        For PERIOD seconds, that error is then raised instead of another prompt for the device.
        """
        self._asked.serial = None
        try:
            yield
        except MfaKitError as error:
            if self._asked.serial is not None:
                self._refused[self._asked.serial] = self._clock() + PERIOD, error
            raise

    def _ask(self, ask: AskCode, serial: str) -> str:
        with self._lock:
            until, error = self._refused.get(serial, (0.0, None))
            if error is not None and self._clock() < until:
                raise type(error)(str(error), error.hint)
            self._asked.serial = serial
            return ask(serial)
