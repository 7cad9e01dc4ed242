"""Opens the selected accounts of an organization, several at the same time. Each account has its own credentials."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from mfa_kit.core.models import Caller
from mfa_kit.core.stopping import Stop, map_in
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.selecting import AccountsChoice, AccountSelection, labels, select_accounts
from mfa_kit.organization.slots import AccountSlots, leaving_place
from mfa_kit.wiring.accounts import list_organization, read_accounts_file
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.account.reading import MapEach
    from mfa_kit.adapters.aws.clients import Clients, Connection
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.aws.member_sessions import MemberSessions
    from mfa_kit.adapters.aws.reads import Retry
    from mfa_kit.adapters.ledger.ledger import Ledger

S = TypeVar("S")
T = TypeVar("T")

# The number of users of one account that are read at the same time, if several accounts are selected.
USERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAccount:
    """An account that mfa-kit has opened: its IAM client, and mfa-kit's identity in the account."""

    account: OrgAccount
    iam: "Iam"
    caller: Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """The accounts in which a command works, and the objects that it needs there.

    `caller` is the AWS identity of the credentials, and `home` is the IAM client for the caller's account. `selection`
    has the accounts, and `sessions` opens a session in each of them. The command works in `workers` accounts at a time.
    `within` applies a function to several users of one account at a time. When `stop` is set, the threads stop
    their work. `report` then prints for which accounts the command still waits.
    """

    caller: Caller
    home: "Iam"
    ledger: "Ledger"
    selection: AccountSelection
    workers: int
    within: "MapEach"
    sessions: "MemberSessions"
    stop: Stop
    report: Callable[[str], object]

    def enter(self, account: OrgAccount, *, turn: "Retry | None" = None, entering: Stop | None = None) -> OpenAccount:
        """Return an account with an IAM client for it.

        The client has the caller's credentials if this is the caller's account, otherwise those of a new session in the
        account. `turn`, if given, performs each read call; it may wait before the call and retry the call. To give up
        while a session is being opened, another thread sets `entering`, or if that is None, `stop`. After
        credentials have expired, the client's method `renew` reloads the caller's own credentials, and then opens a new
        session. Raise AccessDenied if no session can be opened, or UsageFault if the credentials belong to another
        account.
        """
        from mfa_kit.adapters.aws.iam import Iam

        hub = self.sessions.hub
        clients, caller = self._begin(account, entering)
        opened = [clients]

        def open_clients(_: "Connection") -> "Clients":
            nonlocal hub
            if opened:
                return opened.pop()
            self.sessions.renew(hub)
            hub = self.sessions.hub
            return self._begin(account)[0]

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

    def _begin(self, account: OrgAccount, entering: Stop | None = None) -> "tuple[Clients, Caller]":
        if account.id == self.caller.account:
            return self.sessions.own_clients(), self.caller
        return self.sessions.enter(account, entering=entering)

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
def open_organization(settings: Settings, choice: AccountsChoice) -> Iterator[Organization]:
    """Open the caller's account and the ledger, select the accounts, and yield the Organization.

    The accounts file is read first, so that its errors are found without credentials. Raise UsageFault if the file or
    an option is wrong or no account is selected, AwsFault if Organizations cannot list the accounts, and the errors of
    `connect`.
    """
    from mfa_kit.adapters.aws.member_sessions import MemberSessions

    opened: list[MemberSessions] = []
    stop = Stop()

    def open_hub(connection: "Connection") -> "Clients":
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
