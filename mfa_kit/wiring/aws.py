"""Opens IAM together with the ledger, which records each write to AWS."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mfa_kit.adapters.aws.event_history import AwsEventHistory
from mfa_kit.core import wrong_codes
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.local_servers import speaks_to_lab
from mfa_kit.core.models import Call, Caller
from mfa_kit.core.stopping import Stop
from mfa_kit.core.text import clock_difference, one_line
from mfa_kit.enrollment.backends import ask_until
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.oath_keys import code_of_own_device
from mfa_kit.wiring.settings import ACCOUNTS, Settings, harden

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.answers import Retry
    from mfa_kit.adapters.aws.clients import Clients, Connection, KeptSession
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.ledger.ledger import Ledger
    from mfa_kit.usage.updating import UseHistory


class OneLineFormatter(logging.Formatter):
    """Formats a log record as one line, because a server other than AWS could send request IDs with line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, without control characters."""
        return one_line(super().format(record))


def keep_session() -> "KeptSession":
    """Return an object that opens clients for several commands with the same credentials."""
    from mfa_kit.adapters.aws.clients import KeptSession

    return KeptSession()


def open_iam(
    settings: Settings,
    observe: Callable[[Call], None],
    *,
    check: Callable[[], None] = lambda: None,
    workers: int = 1,
    turn: "Retry | None" = None,
    clients: "Callable[[Connection], Clients] | None" = None,
    stop: Stop | None = None,
) -> "Iam":
    """Return an IAM client with the credentials from the options and the environment.

    If the profile needs an MFA code, the user is asked for the code. `check` is called before each write, and `observe`
    after it. Up to `workers` calls may be in progress at a time. `turn`, if given, is a function that performs each
    read call, and that may wait before the call and retry the call. `clients` replaces the function that creates
    boto3's clients, for commands that also open sessions in other accounts. When `stop` is set, pauses, prompts and
    requests end in all threads.
    """
    from mfa_kit.adapters.aws.clients import Connection, open_clients
    from mfa_kit.adapters.aws.iam import Iam

    stop = stop or Stop()
    return Iam(
        observe=observe,
        check=check,
        connection=Connection(
            profile=settings.profile,
            region=settings.region,
            endpoint_url=settings.endpoint_url,
            ask_code=lambda serial: _ask_session_code(serial, settings, stop),
            workers=workers,
        ),
        sleep=stop.sleep,
        turn=turn,
        clients=clients or (settings.opener() if settings.opener else open_clients),
        stop=stop,
    )


@contextmanager
def connect(
    settings: Settings,
    *,
    workers: int = 1,
    turn: "Retry | None" = None,
    clients: "Callable[[Connection], Clients] | None" = None,
    stop: Stop | None = None,
) -> Iterator[tuple["Iam", "Ledger", Caller]]:
    """Open AWS and the ledger, and yield three values: the IAM client, the ledger and the Caller.

    The Caller is the AWS identity of the credentials. `workers`, `turn`, `clients` and `stop` are passed to `open_iam`.
    Raise UsageFault if --account names another account than the caller's, AwsFault if AWS refuses the credentials, and
    IntegrityFault if the ledger cannot be used.
    """
    harden()
    if settings.debug:
        handler = logging.StreamHandler()
        handler.setFormatter(OneLineFormatter("%(asctime)s %(name)s: %(message)s"))
        logging.basicConfig(handlers=[handler])
        logging.getLogger("mfa_kit").setLevel(logging.DEBUG)
    with open_ledger(settings) as ledger:
        iam = open_iam(
            settings,
            ledger.called,
            check=ledger.check,
            workers=workers,
            turn=turn,
            clients=clients,
            stop=stop,
        )
        # The account number does not show whether this is the lab, because other simulators use the same number.
        caller = replace(identify(iam, settings.profile), lab=speaks_to_lab(iam.endpoint_url, os.environ))
        clock = f", {clock_difference(iam.offset())}" if iam.offset() else ""
        name = caller.arn if settings.whole_names else caller.name
        settings.progress.note(f"account {account_label(caller.account, lab=caller.lab)} as {name}{clock}")
        if settings.account is not None and settings.account != caller.account:
            raise UsageFault(
                f"these credentials belong to account {caller.account}, but --account is {settings.account}",
                "choose another --profile",
            )
        yield iam, ledger, caller


def event_history(iam: "Iam", stop: Stop) -> "UseHistory":
    """Return a UseHistory, which reads CloudTrail in the account whose client is `iam`."""
    return AwsEventHistory(iam.ask_service, sleep=stop.sleep)


def identify(iam: "Iam", profile: str | None) -> Caller:
    """Return the identity of the credentials of an AWS profile, with which `iam` was opened.

    Store its account in ACCOUNTS, unless the answer comes from another server than AWS.
    """
    caller = iam.caller()
    if iam.is_aws:
        ACCOUNTS[profile] = caller.account
    return caller


def _ask_session_code(serial: str, settings: Settings, stop: Stop) -> str:
    """Return the six digits of a code of the MFA device that a profile names.

    The code comes from the plugged-in key that holds the device's credential, or else the user types it. Only AWS can
    check whether the code is right. Ctrl-C interrupts only the main thread. A prompt in another thread
    ends within a second after `stop` is set.
    """

    def now() -> float:
        stop.check()
        return time.time()

    if not (settings.typed or settings.no_input or settings.dry_run):
        code = code_of_own_device(serial, settings, now=now, using=settings.progress.note)
        if code is not None:
            return code
    return ask_until(
        wrong_codes.digits,
        f"code of {serial}",
        now=now,
        interaction=settings.interaction,
        instead="credentials that need no code, such as those of a session, or a profile without mfa_serial",
    )


def account_label(account: str, *, lab: bool) -> str:
    """Return an account number for messages, with a remark if the account belongs to a lab."""
    return f"{account} (LAB, nothing here is real)" if lab else account
