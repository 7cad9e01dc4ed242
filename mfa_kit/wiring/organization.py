"""Opens the selected accounts of an organization, several at the same time. Each account has its own credentials."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mfa_kit.adapters.aws.answers import our_errors, read
from mfa_kit.adapters.files import accounts_file
from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.core.models import Caller
from mfa_kit.core.stopping import Stop, map_in
from mfa_kit.organization.accounts import (
    AccountsChoice,
    AccountSelection,
    OrgAccount,
    labels,
    only_account,
    select_accounts,
)
from mfa_kit.organization.accounts_file import Locate, accounts_document, with_own_profile
from mfa_kit.organization.control_policies import ControlSource, OrganizationControl
from mfa_kit.organization.member_root import OrganizationRoot
from mfa_kit.organization.slots import AccountSlots, leaving_place
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.files import check_new, write_new_file
from mfa_kit.wiring.settings import Settings, command_for_extra, load_boto3

if TYPE_CHECKING:
    from mfa_kit.account.reading import MapEach
    from mfa_kit.adapters.aws.answers import Retry
    from mfa_kit.adapters.aws.clients import Clients, Connection
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.aws.member_sessions import MemberSessions
    from mfa_kit.adapters.aws.organizations import OrganizationReader
    from mfa_kit.adapters.ledger.ledger import Ledger

S = TypeVar("S")
T = TypeVar("T")

# The number of users of one account that are read at the same time, if several accounts are selected.
USERS = 4
# The same for a command that works in one account. AWS does not publish IAM's rate limits, but IAM is known to accept
# this many requests at a time.
AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAccount:
    """An account that mfa-kit has opened: its IAM client, and mfa-kit's identity in the account."""

    account: OrgAccount
    iam: Iam
    caller: Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """The accounts in which a command works, and the objects that it needs there.

    `caller` is the AWS identity of the credentials, and `home` is the IAM client for the caller's account. `selection`
    has the accounts. `sessions` opens a session in each of them; it is None if the command works in the caller's
    account only, with `home`. The command works in `workers` accounts at a time.
    `within` applies a function to several users of one account at a time. When `stop` is set, the threads stop
    their work. `report` then prints for which accounts the command still waits.
    """

    caller: Caller
    home: Iam
    ledger: Ledger
    selection: AccountSelection
    within: MapEach
    stop: Stop
    report: Callable[[str], object]
    sessions: MemberSessions | None = None
    workers: int = 1

    @property
    def home_account(self) -> str:
        """The ID of the caller's account, in which the caller needs no role."""
        return self.caller.account

    def enter(self, account: OrgAccount, *, turn: Retry | None = None, entering: Stop | None = None) -> OpenAccount:
        """Return an account with an IAM client for it.

        The client has the caller's credentials if this is the caller's account, otherwise those of a new session in the
        account. `turn`, if given, performs each read call; it may wait before the call and retry the call. To give up
        while a session is being opened, another thread sets `entering`, or if that is None, `stop`. After
        credentials have expired, the client's method `renew` reloads the caller's own credentials, and then opens a new
        session. Raise AccessDenied if no session can be opened, or UsageFault if the credentials belong to another
        account.
        """
        from mfa_kit.adapters.aws.iam import Iam

        sessions = self.sessions
        if sessions is None:
            return OpenAccount(account=account, iam=self.home, caller=self.caller)
        hub = sessions.hub
        clients, caller = self._begin(sessions, account, entering)
        opened = [clients]

        def open_clients(_: Connection) -> Clients:
            nonlocal hub
            if opened:
                return opened.pop()
            sessions.renew(hub)
            hub = sessions.hub
            return self._begin(sessions, account)[0]

        return OpenAccount(
            account=account,
            iam=Iam(
                observe=self.ledger.called,
                check=self.ledger.check,
                sleep=leaving_place(self.stop.sleep),
                turn=turn,
                clients=open_clients,
            ),
            caller=replace(caller, lab=self.caller.lab),
        )

    def _begin(
        self, sessions: MemberSessions, account: OrgAccount, entering: Stop | None = None
    ) -> tuple[Clients, Caller]:
        if account.id == self.caller.account:
            return sessions.own_clients(), self.caller
        return sessions.enter(account, entering=entering)

    def each(self, function: Callable[[S], T], items: Iterable[S]) -> Generator[T, None, None]:
        """Apply a function to `workers` items at a time, and yield each result when it is ready.

        An item that waits because AWS throttles its account does not count as one of the `workers` items. After Ctrl-C,
        or if the generator is closed, no thread sends another request, and no further item is started.
        """
        places = AccountSlots(function, number=self.workers, waits_for=self._say_what_ends)
        return places.work_through(items, on_error=self.stop.set)

    def _say_what_ends(self, items: Sequence[object]) -> None:
        accounts = [item for item in items if isinstance(item, OrgAccount)]
        self.report(f"Stopping: waiting for the last requests to {labels(accounts) or 'AWS'} to end.")


class UserThreads:
    """A MapEach (like `map`, but in threads) that applies a function to `number` users of an account at a time.

    Each account has its own threads, so the waiting threads of a throttled account do not delay the other accounts. The
    number of calls that all accounts make at a time is limited separately.
    """

    def __init__(self, number: int, *, stop: Stop) -> None:
        self._number, self._stop = number, stop

    def __call__(self, function: Callable[[S], T], items: Iterable[S], /) -> Iterator[T]:
        """Yield the results in the order of the items. Raise KeyboardInterrupt after `stop` is set."""

        def apply(item: S) -> T:
            self._stop.check()
            return function(item)

        with ThreadPoolExecutor(self._number, thread_name_prefix="user") as pool:
            yield from map_in(pool, apply, items)


@contextmanager
def open_organization(settings: Settings, choice: AccountsChoice | None) -> Iterator[Organization]:
    """Open the caller's account and the ledger, select the accounts, and yield the Organization.

    If `choice` is None, the only account is that of the caller. The accounts file is read first, so that its errors are
    found without credentials. Raise UsageFault if the file or an option is wrong or no account is selected, AwsFault if
    Organizations cannot list the accounts, and the errors of `connect`.
    """
    load_boto3()
    with _open_caller(settings) if choice is None else _open_selected(settings, choice) as organization:
        yield organization


@contextmanager
def _open_caller(settings: Settings) -> Iterator[Organization]:
    """Yield the Organization of a command that works in the caller's account. After any error, its threads stop."""
    stop = settings.stop
    with (
        connect(settings, stop=stop) as (iam, ledger, caller),
        ThreadPoolExecutor(AT_ONCE) as pool,
        stop.after_error(),
    ):
        yield Organization(
            caller=caller,
            home=iam,
            ledger=ledger,
            selection=only_account(caller.account),
            within=partial(map_in, pool),
            stop=stop,
            report=settings.progress.alert,
        )


@contextmanager
def _open_selected(settings: Settings, choice: AccountsChoice) -> Iterator[Organization]:
    from mfa_kit.adapters.aws.member_sessions import MemberSessions

    opened: list[MemberSessions] = []
    stop = settings.stop

    def open_hub(connection: Connection) -> Clients:
        opened.append(MemberSessions(connection, source_identity=choice.source_identity, stop=stop))
        return opened[-1].hub

    listed = None if choice.file is None else read_accounts_file(choice.file)
    with connect(settings, workers=choice.workers, clients=open_hub, stop=stop) as (iam, ledger, caller):
        with settings.progress.showing("listing accounts"):
            selection = select_accounts(list_organization(choice, iam) if listed is None else listed, choice)
        yield Organization(
            caller=caller,
            home=iam,
            ledger=ledger,
            selection=selection,
            workers=choice.workers,
            within=UserThreads(USERS if len(selection.chosen) > 1 else choice.workers, stop=stop),
            sessions=opened[-1],
            stop=stop,
            report=settings.progress.alert,
        )


def list_organization(choice: AccountsChoice, iam: Iam, *, with_tags: bool = False) -> Iterable[OrgAccount]:
    """Yield the accounts of the organization or, if `choice.ou` is set, those below this organizational unit.

    The tags of the accounts are read only if `with_tags` is true or `choice` selects accounts by tags. `iam` is the
    client of the account that calls Organizations.
    """
    return _reader(iam).accounts(choice.ou, with_tags=with_tags or bool(choice.tags))


def _reader(iam: Iam) -> OrganizationReader:
    from mfa_kit.adapters.aws.organizations import OrganizationReader

    return OrganizationReader(iam.ask_organizations)


def control_of(organization: Organization) -> OrganizationControl:
    """Begin to read the service control policies in another thread, so that the caller does not wait for the calls.

    Return an OrganizationControl that waits for them.
    """
    reader = _reader(organization.home)
    pool = ThreadPoolExecutor(1)
    policies = pool.submit(reader.policies)
    pool.shutdown(wait=False)
    return OrganizationControl(read=policies.result, units=reader.units)


@contextmanager
def open_explanations(settings: Settings) -> Iterator[tuple[ControlSource, Callable[[str], str]]]:
    """Connect to AWS, and yield the reader of the organization and a function that decodes authorization messages.

    Raise the errors of `connect`. The function raises MfaKitError if the caller may not decode messages.
    """
    load_boto3()

    with connect(settings) as (iam, _, _):

        def decode(text: str) -> str:
            return str(
                iam.ask_service("sts", None, lambda sts: sts.decode_authorization_message(EncodedMessage=text))[
                    "DecodedMessage"
                ]
            )

        yield _reader(iam), decode


def read_accounts_file(path: Path) -> Sequence[OrgAccount]:
    """Return the accounts in a file in c7n-org's format. Raise UsageFault with all errors in the file as its notes."""
    return accounts_file.read_accounts_file(path, parse_yaml=_parse_yaml)


def _parse_yaml(text: str) -> tuple[object, Locate]:
    """Parse a YAML text. Return its value, and a function that returns the position of an account, such as `line 3`.

    Raise UsageFault if the text is invalid or PyYAML is not installed.
    """
    try:
        from mfa_kit.adapters.files.yaml_text import parse_yaml
    except ModuleNotFoundError:
        raise UsageFault(
            "the file is not JSON, and YAML needs PyYAML, which is not installed", command_for_extra("org")
        ) from None
    return parse_yaml(text)


def export_accounts(settings: Settings, choice: AccountsChoice, *, out: Path, with_tags: bool) -> AccountSelection:
    """Write the accounts that the options (`choice`) select to the new file `out`, and return the selection.

    In a dry run, no file is written. With `with_tags`, the file also has the tags of the accounts.
    """
    check_new(out)
    with connect(settings) as (iam, _, caller), settings.progress.showing("listing accounts"):
        listed = list(list_organization(choice, iam, with_tags=with_tags))
    selection = select_accounts(listed, choice)
    profile = settings.profile or os.environ.get("AWS_PROFILE")
    written = with_own_profile(selection.chosen, caller.account, profile=profile)
    if any(account.id == caller.account and account.profile is None for account in written):
        settings.progress.note(
            f"these credentials belong to account {caller.account}, so no role is assumed there; other programs"
            f" that read the file assume the role {choice.role_name}"
        )
    if not settings.dry_run:
        write_new_file(out, accounts_file.accounts_text(accounts_document(written, partition=caller.partition)))
    return selection


def root_of(organization: Organization) -> Callable[[], OrganizationRoot]:
    """Call `_open_organization_root` in another thread, so that the caller does not wait for the calls to AWS.

    Return a function that waits for the OrganizationRoot and returns it. For a command that works in one account, there
    are no calls.
    """
    home = organization.caller.account
    if organization.sessions is None:
        return lambda: OrganizationRoot(home=home)
    pool = ThreadPoolExecutor(1)
    asked = pool.submit(_open_organization_root, home, organization.home, organization.sessions)
    pool.shutdown(wait=False)
    return asked.result


def _open_organization_root(home: str, iam: Iam, sessions: MemberSessions) -> OrganizationRoot:
    """Ask IAM whether the organization manages root access centrally, and return the OrganizationRoot.

    `home` is the ID of the caller's account, and `iam` its IAM client. `sessions` opens root sessions. If the request
    fails, the result has neither `seen` nor `read`.
    """
    from mfa_kit.adapters.aws import member_sessions

    try:
        root_access = member_sessions.read_central_root_access(iam.ask)
    except MfaKitError:
        return OrganizationRoot(home=home)

    def attempt(act: Callable[[], T]) -> T:
        def once() -> T:
            with our_errors():
                return act()

        return read(once, sleep=leaving_place(sessions.stop.sleep))

    reader = member_sessions.MemberRootReader(sessions, attempts=attempt)
    return OrganizationRoot(
        home=home, seen=root_access, read=reader.posture if root_access.manages_credentials else None
    )
