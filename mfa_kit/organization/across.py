"""Does the same work in many accounts. After an error in one account, the work in the others continues."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from mfa_kit.core.errors import AccessDenied, MfaKitError, only_our_errors
from mfa_kit.organization.accounts import AccountState, OrgAccount

if TYPE_CHECKING:
    from mfa_kit.account.snapshot import Snapshot

S = TypeVar("S")
T = TypeVar("T")


class VisitState(StrEnum):
    """The kind of outcome of a command's work in one account.

    KEPT: an earlier run has read the account. SKIPPED: the account is not active.
    """

    READ = "read"
    PARTLY = "partly read"
    KEPT = "kept"
    SKIPPED = "skipped"
    DENIED = "denied"
    FAILED = "failed"


UNREAD = {VisitState.DENIED, VisitState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit(Generic[T]):
    """The outcome of a command's work in one account.

    `found` is the result. If there is no result, `found` is None, `why` gives the reason, and `hint` says what to do.
    `code` is the exit code of an error, otherwise 0.
    """

    account: OrgAccount
    state: VisitState
    found: T | None = None
    why: str = ""
    hint: str = ""
    code: int = 0

    def mapped(self, change: Callable[[T], S]) -> "Visit[S]":
        """Return a copy of this Visit with the result `change(found)`, or with None if it has no result."""
        result = None if self.found is None else change(self.found)
        return Visit(account=self.account, state=self.state, found=result, why=self.why, hint=self.hint, code=self.code)


class RunEach(Protocol):
    """Calls a function with several items at a time, and yields each result when it is ready.

    After the generator is closed, the function is not called with further items.
    """

    def __call__(self, function: Callable[[S], T], items: Iterable[S], /) -> Generator[T, None, None]:
        """Call `function` with each item, and yield each return value when it is ready."""
        ...


def visit_accounts(
    accounts: Sequence[OrgAccount],
    work: Callable[[OrgAccount], T],
    *,
    run_each: RunEach,
    is_whole: Callable[[T], bool] = lambda _: True,
) -> Generator[Visit[T], None, None]:
    """Call `work` for each account, and yield the outcomes in the order in which the accounts finish.

    `run_each` makes these calls, several at a time. `is_whole` returns False for a result in which a part of the
    account is missing because it could not be read. If `work` raises MfaKitError, the outcome has the error instead of
    a result.
    """

    def visit(account: OrgAccount) -> Visit[T]:
        try:
            with only_our_errors():
                result = work(account)
        except AccessDenied as error:
            return _unread(account, VisitState.DENIED, error)
        except MfaKitError as error:
            return _unread(account, VisitState.FAILED, error)
        state = VisitState.READ if is_whole(result) else VisitState.PARTLY
        return Visit(account=account, state=state, found=result)

    return run_each(visit, accounts)


def _unread(account: OrgAccount, state: VisitState, error: MfaKitError) -> Visit[T]:
    return Visit(account=account, state=state, why=str(error), hint=error.hint, code=error.exit_code)


def skipped(accounts: Iterable[OrgAccount]) -> list[Visit[T]]:
    """Return the outcomes of accounts in which no work is done, because none of them is known to be active.

    The outcome is SKIPPED. If the state of an account is UNKNOWN, the account may be active, so the outcome is FAILED.
    """
    return [
        Visit(account=account, state=VisitState.FAILED, why="Organizations does not say whether the account is active")
        if account.state is AccountState.UNKNOWN
        else Visit(account=account, state=VisitState.SKIPPED, why=f"the account is {account.state}")
        for account in accounts
    ]


def all_denied(visits: Sequence[Visit[T]]) -> bool:
    """Return whether two or more accounts were tried and all of them denied access.

    If so, the cause is probably in the caller's credentials, not in the accounts.
    """
    tried = [visit for visit in visits if visit.state is not VisitState.SKIPPED]
    return len(tried) > 1 and all(visit.state is VisitState.DENIED for visit in tried)


class AccountFolders(Protocol):
    """The folder with the results of a command that works in many accounts. It has a subfolder for each account."""

    def write(self, account: str, files: Mapping[str, str]) -> None:
        """Write the subfolder of the account with this ID. `files` maps file names to their texts.

        An earlier subfolder of the account is replaced. If the new subfolder cannot be written, the earlier subfolder
        is kept, and IntegrityFault is raised.
        """
        ...

    def write_file(self, name: str, text: str) -> None:
        """Write a file about all accounts, and replace an earlier file of this name.

        Raise IntegrityFault if the file cannot be written.
        """
        ...

    def begin(self, start_time: float, options: Mapping[str, Sequence[str]]) -> None:
        """Record the start of a run that reads every account. `start_time` is in Unix seconds by AWS's clock.

        `options` maps the names of command-line options to their values. A command that continues this run must have
        the same options.
        """
        ...

    def began(self, options: Mapping[str, Sequence[str]]) -> float | None:
        """Return the start time, in Unix seconds, of the earlier run that this command can continue.

        Return None if no earlier run is recorded. Raise UsageFault if the options of that run differ from `options`.
        """
        ...

    def snapshot(self, account: str) -> "Snapshot | None":
        """Return the snapshot that an earlier run took of the account with this ID.

        Return None if there is no snapshot, or if it is damaged or incomplete.
        """
        ...
