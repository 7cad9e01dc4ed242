"""`mfa-kit session`: give other programs a session with MFA, in the format of `credential_process`."""

import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.environment import given
from mfa_kit.cli.options import Matching, Verb
from mfa_kit.cli.output import call_place
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import count_of, iso_time
from mfa_kit.sessions.session import LONGEST, LONGEST_OF_ROLE, ROLE_SECONDS, SHORTEST, USER_SECONDS

# The function that reads the settings, as `module:function`. Its module is imported only if no session is cached.
READ_SETTINGS = "mfa_kit.cli.settings:read_settings"

if TYPE_CHECKING:
    from mfa_kit.cli.settings import read_settings
    from mfa_kit.core.interaction import Interaction
    from mfa_kit.wiring.sessions import SessionOptions
else:
    read_settings = partial(call_place, READ_SETTINGS)

SETUP = "setup"
# A type for lengths of time of all units would load modules that a cached session does not need.
LENGTH = Matching(re.compile("[1-9][0-9]{0,3}[mh]"), "a length of time", "write 30m or 12h")


class TerminalProgress:
    """The Progress of a command whose stderr the calling program hides: all messages go to the terminal."""

    def __init__(self, person: "Interaction") -> None:
        self._person = person

    def note(self, text: str) -> None:
        """Print a line at the terminal."""
        self._person.say(text)

    def alert(self, text: str) -> None:
        """Print a line at the terminal."""
        self._person.say(text)

    def showing(self, text: str | Callable[[], str]) -> AbstractContextManager[None]:
        """Show nothing."""
        return nullcontext()


@click.command("session", cls=Verb, acts_at_once=True)
@click.argument("action", type=click.Choice([SETUP]), required=False, metavar="[setup")
@click.argument("name", required=False, metavar="PROFILE]")
@click.option("--mfa-device", "device", metavar="ARN", help="The device of the code, if the profile has no mfa_serial.")
@click.option("--role-arn", "role", metavar="ARN", help="Assume this role from the user's session.")
@click.option(
    "--duration", type=LENGTH, metavar="LENGTH", help="How long the session lasts, at least 30m [12h; 1h for a role]."
)
@click.option("--key", "key_name", metavar="SERIAL|READER", help="The key to use, if several hold the device.")
@click.option("--no-cache", is_flag=True, help="Neither use nor keep a session on this computer.")
@click.option("--logout", is_flag=True, help="Delete the kept sessions, and print the policy that ends them at AWS.")
def session(
    *,
    action: str | None,
    name: str | None,
    device: str | None,
    role: str | None,
    duration: str | None,
    key_name: str | None,
    no_cache: bool,
    logout: bool,
) -> None:
    """Print a session with MFA for a program that names this command as its credential_process.

    The code comes from the plugged-in OATH key that holds the device of --profile, or is typed at
    the terminal. The session is kept until 20 minutes before its end.

    `mfa-kit session setup PROFILE` prints the lines for the AWS configuration.
    """
    if logout:
        return _log_out()
    if action and not name:
        raise UsageFault("session setup needs a profile", "name the profile with the user's access keys")
    options = wiring.sessions.SessionOptions(
        profile=name or given().profile,
        endpoint_url=given().endpoint_url,
        device=device,
        role=role,
        seconds=_seconds(duration, role),
    )
    return _set_up(options) if action else _answer(options, key_name=key_name, keep=not no_cache)


def _seconds(duration: str | None, role: str | None) -> int:
    seconds = ROLE_SECONDS if role else USER_SECONDS
    if duration:
        seconds = int(duration[:-1]) * (3600 if duration.endswith("h") else 60)
    longest = LONGEST_OF_ROLE if role else LONGEST
    if not SHORTEST <= seconds <= longest:
        raise UsageFault(
            f"a session of {seconds / 60:.0f} minutes is not possible",
            f"give --duration from 30m to {longest // 3600}h; a session is renewed 20 minutes before its end",
        )
    return seconds


def _answer(options: "SessionOptions", *, key_name: str | None, keep: bool) -> None:
    request = wiring.sessions.read_request(options)
    session = wiring.sessions.find_cached(request) if keep else None
    if session is None:
        settings = read_settings(given())
        session = wiring.new_sessions.make_session(
            request, settings, progress=TerminalProgress(settings.interaction), key_name=key_name, keep=keep
        )
    click.echo(session.answer(request).reveal())


def _set_up(options: "SessionOptions") -> None:
    """Print the lines for the AWS configuration, and change no file."""
    request = wiring.sessions.read_request(options)
    words = [wiring.new_sessions.program_path(), "session", "--profile", options.profile or ""]
    words += ["--mfa-device", options.device] if options.device else []
    words += ["--role-arn", options.role] if options.role else []
    name = f"{options.profile}-{request.role.rpartition('/')[2] or 'mfa'}"
    if wiring.sessions.has_keys(name):
        raise UsageFault(
            f"profile {name} has access keys, which the AWS CLI and the SDKs would use instead of the session",
            f"remove the access keys of {name} from ~/.aws/credentials",
        )
    click.echo("# Add these lines to ~/.aws/config:", err=True)
    click.echo(f"[profile {name}]\ncredential_process = {' '.join(map(quote, words))}")


def _log_out() -> None:
    count = wiring.new_sessions.forget_sessions()
    click.echo(
        f"deleted {count_of(count, 'session')}, which stay valid at AWS until they expire. To end them, attach this "
        "policy to their users and roles:",
        err=True,
    )
    older = {"DateLessThan": {"aws:TokenIssueTime": iso_time(time.time())}}
    statement = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": older}
    click.echo(json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2))
