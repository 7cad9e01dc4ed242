"""Opens the selected accounts of an organization, several at the same time. Each account has its own credentials."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from mfa_kit.account.reading import MapEach
from mfa_kit.core.models import Caller
from mfa_kit.core.stopping import Stop
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.choice import AccountsChoice
from mfa_kit.organization.selecting import AccountSelection
from mfa_kit.wiring.accounts import choose_accounts
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.clients import Clients, Connection
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.aws.member_sessions import MemberSessions
    from mfa_kit.adapters.aws.reads import Retry
    from mfa_kit.adapters.ledger.ledger import Ledger

S = TypeVar("S")
T = TypeVar("T")

# An account may use 1/SHARES of the threads for users. If there are fewer accounts than SHARES, they share all threads
# equally.
SHARES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAccount:
    """An account that mfa-kit has opened: its IAM, and mfa-kit's identity in the account."""

    account: OrgAccount
    iam: "Iam"
    caller: Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """The accounts in which a command works.

    `caller` is the identity that opens all sessions, and `home` is the IAM of the caller's account. `within` applies a
    function to several users of an account at a time, in threads that all accounts share. `stop` ends the work in all
    threads.
    """

    caller: Caller
    home: "Iam"
    ledger: "Ledger"
    selection: AccountSelection
    workers: int
    within: MapEach
    sessions: "MemberSessions"
    stop: Stop

    def enter(self, account: OrgAccount, *, turn: "Retry | None" = None) -> OpenAccount:
        """Open an account, with the caller's credentials if it is the caller's account, otherwise with a session.

        Each read waits for its `turn`. When credentials have expired, `renew` of the account's IAM also reloads the
        caller's own credentials. Raise AccessDenied, or UsageFault if the credentials belong to another account.
        """
        from mfa_kit.adapters.aws.iam import Iam

        hub = self.sessions.hub
        clients, caller = self._begin(account)
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
            iam=Iam(observe=self.ledger.called, sleep=self.stop.sleep, turn=turn, clients=open_clients),
            caller=replace(caller, lab=self.caller.lab),
        )

    def _begin(self, account: OrgAccount) -> "tuple[Clients, Caller]":
        if account.id == self.caller.account:
            return self.sessions.own_clients(), self.caller
        return self.sessions.enter(account)

    def each(self, function: Callable[[S], T], items: Iterable[S]) -> Generator[T, None, None]:
        """Apply a function to items in `workers` threads, and yield each result when it is ready.

        At most one item per thread is in progress, so that results do not pile up in memory. After Ctrl-C, or if the
        generator is closed, no thread starts another call, and all work in the organization is stopped.
        """
        waiting = iter(items)
        pool = ThreadPoolExecutor(self.workers)
        try:
            going = {pool.submit(function, item) for item in islice(waiting, self.workers)}
            while going:
                done, going = wait(going, return_when=FIRST_COMPLETED)
                while done:
                    going |= {pool.submit(function, item) for item in islice(waiting, 1)}
                    yield done.pop().result()
        except BaseException:
            self.stop.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


class SharedThreads:
    """Threads that all accounts share. It is a MapEach, in which one account uses at most `share` threads at a time.

    Without this limit, a large or throttled account would use all threads, and the other accounts would wait for it.
    """

    def __init__(self, pool: ThreadPoolExecutor, *, share: int, stop: Stop) -> None:
        self._pool, self._share, self._stop = pool, share, stop

    def __call__(self, function: Callable[[S], T], items: Iterable[S], /) -> Iterator[T]:
        """Yield the results in order. After `stop`, raise KeyboardInterrupt."""

        def apply(item: S) -> T:
            self._stop.check()
            return function(item)

        waiting = iter(items)
        going: deque[Future[T]] = deque(self._pool.submit(apply, item) for item in islice(waiting, self._share))
        while going:
            found = going.popleft().result()
            going.extend(self._pool.submit(apply, item) for item in islice(waiting, 1))
            yield found


@contextmanager
def open_organization(settings: Settings, choice: AccountsChoice) -> Iterator[Organization]:
    """Open the caller's account and the ledger, and select the accounts. Raise UsageFault if no account is selected."""
    from mfa_kit.adapters.aws.member_sessions import MemberSessions

    opened: list[MemberSessions] = []
    stop = Stop()

    def open_hub(wanted: "Connection") -> "Clients":
        opened.append(MemberSessions(wanted, source_identity=choice.source_identity, stop=stop))
        return opened[-1].hub

    with (
        connect(settings, workers=choice.workers, clients=open_hub, stop=stop) as (iam, ledger, caller),
        ThreadPoolExecutor(choice.workers) as pool,
    ):
        with settings.progress.showing("listing accounts"):
            selection = choose_accounts(choice, iam)
        yield Organization(
            caller=caller,
            home=iam,
            ledger=ledger,
            selection=selection,
            workers=choice.workers,
            within=SharedThreads(
                pool, share=max(1, choice.workers // min(SHARES, len(selection.chosen) or 1)), stop=stop
            ),
            sessions=opened[-1],
            stop=stop,
        )
