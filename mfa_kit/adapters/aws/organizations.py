"""Lists the accounts of an organization with boto3. Changes nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict, TypeVar

from botocore.exceptions import ClientError

from mfa_kit.core.errors import AccessDenied, AwsFault, UsageFault
from mfa_kit.core.message import Message, command
from mfa_kit.core.models import ACCOUNT_ID
from mfa_kit.core.text import one_line
from mfa_kit.organization.accounts import AccountState, OrgAccount

if TYPE_CHECKING:
    from mypy_boto3_organizations import OrganizationsClient
    from mypy_boto3_organizations.type_defs import AccountTypeDef

# The maximum number of rows on a page (Organizations API reference, ListAccounts: MaxResults).
PAGE = 20
NOT_IN_ONE = "AWSOrganizationsNotInUseException"
DENIED = {"AccessDeniedException", "AccessDenied"}
NO_UNIT = {"ParentNotFoundException", "OrganizationalUnitNotFoundException", "InvalidInputException"}
# Organizations uses this phrase only if the caller's policies do not allow the action. An account that may not list the
# organization gets: "You don't have permissions to access this resource."
BY_POLICY = "not authorized to perform"
WHO = "the management account, or of a delegated administrator for a service"
OTHERWISE = "or name the accounts in a file: --accounts FILE"
NEEDS = "organizations:ListAccounts, ListAccountsForParent, ListOrganizationalUnitsForParent, ListTagsForResource"

T = TypeVar("T")


class AskOrganizations(Protocol):
    """Makes one read call with boto3's Organizations client and returns its result.

    An implementation may retry the call. Raises one of mfa-kit's errors if the call fails.
    """

    def __call__(self, call: Callable[["OrganizationsClient"], T]) -> T: ...


class OrganizationsPage(TypedDict):
    """The field that pages of all listings have: the token for the next page, missing or empty on the last page."""

    NextToken: NotRequired[str]


P = TypeVar("P", bound=OrganizationsPage)


class OrganizationReader:
    """Reads an organization. `ask` makes the read calls with the credentials of an account in this organization."""

    def __init__(self, ask: AskOrganizations) -> None:
        self._ask = ask

    def accounts(self, ou: str | None = None, *, with_tags: bool = False) -> Iterator[OrgAccount]:
        """Yield each account with its state, in the order in which Organizations lists them.

        `ou` is the ID of an organizational unit or of the root. If given, only the accounts in this unit and in the
        units below it are listed. With `with_tags`, each account gets its tags in the form `KEY:VALUE`, which takes one
        call per account.

        Raise AccessDenied if the caller may not list the accounts, UsageFault if there is no such unit, and AwsFault if
        the caller's account is not in an organization.
        """
        listed_ids: set[str] = set()
        for row in self._all() if ou is None else self._below(ou):
            account = _account(row)
            # An account is listed twice if it is moved to another unit during the listing.
            if account.id in listed_ids:
                continue
            listed_ids.add(account.id)
            if with_tags:
                account = replace(account, tags=tuple(f"{key}:{value}" for key, value in self._tags(account.id)))
            yield account

    def _all(self) -> Iterator["AccountTypeDef"]:
        for page in self._pages(lambda client, start: client.list_accounts(MaxResults=PAGE, **start)):
            yield from page["Accounts"]

    def _below(self, ou: str) -> Iterator["AccountTypeDef"]:
        """Yield the accounts directly in a unit, then those of each unit below it."""
        pending_units, known_units = [ou], {ou}
        while pending_units:
            parent = pending_units.pop(0)
            yield from self._directly_in(parent)
            below = [unit for unit in self._units(parent) if unit not in known_units]
            known_units.update(below)
            pending_units += below

    def _directly_in(self, parent: str) -> Iterator["AccountTypeDef"]:
        for page in self._pages(
            lambda client, start: client.list_accounts_for_parent(ParentId=parent, MaxResults=PAGE, **start), ou=parent
        ):
            yield from page["Accounts"]

    def _units(self, parent: str) -> Iterator[str]:
        for page in self._pages(
            lambda client, start: client.list_organizational_units_for_parent(
                ParentId=parent, MaxResults=PAGE, **start
            ),
            ou=parent,
        ):
            yield from (row["Id"] for row in page["OrganizationalUnits"])

    def _tags(self, account: str) -> Iterator[tuple[str, str]]:
        for page in self._pages(lambda client, start: client.list_tags_for_resource(ResourceId=account, **start)):
            yield from ((row["Key"], row["Value"]) for row in page["Tags"])

    def _pages(
        self, call: Callable[["OrganizationsClient", OrganizationsPage], P], *, ou: str | None = None
    ) -> Iterator[P]:
        """Yield the pages of a listing in order. `call` requests one page.

        The second argument of `call` has the token of the page, and is empty for the first page. `ou` is the unit that
        is listed, or None. Raise AwsFault if a page token repeats.
        """
        start: OrganizationsPage = {}
        used_tokens: set[str] = set()
        while True:
            page = self._read(_call_from(call, start), ou=ou)
            yield page
            head: OrganizationsPage = page
            token = head.get("NextToken")
            if not token:
                return
            if token in used_tokens:
                raise AwsFault(
                    "Organizations returned the same page token twice", "try again; report it if it happens again"
                )
            used_tokens.add(token)
            start = {"NextToken": token}

    def _read(self, call: Callable[["OrganizationsClient"], T], *, ou: str | None = None) -> T:
        """Make one read call and return its result. Convert errors that are specific to Organizations.

        `ou` is the unit that the call is about, or None.
        """

        def attempt(client: "OrganizationsClient") -> T:
            try:
                return call(client)
            except ClientError as error:
                _raise_refusal(error, ou)
                raise

        return self._ask(attempt)


def _call_from(
    call: Callable[["OrganizationsClient", OrganizationsPage], P], start: OrganizationsPage
) -> Callable[["OrganizationsClient"], P]:
    return lambda client: call(client, start)


def _raise_refusal(error: ClientError, ou: str | None) -> None:
    """Convert and raise an error that is specific to Organizations. Return for any other error."""
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", ""), one_line(answer.get("Message") or "").rstrip(". ")
    if code == NOT_IN_ONE:
        raise AwsFault(
            "the account of these credentials is not in an organization", f"use credentials of {WHO}, {OTHERWISE}"
        ) from None
    if code in NO_UNIT and ou is not None:
        raise UsageFault(
            f"there is no organizational unit {ou!r} in this organization",
            Message(
                "list the units",
                command("aws organizations list-roots"),
                command("aws organizations list-organizational-units-for-parent --parent-id ID"),
            ),
        ) from None
    if code in DENIED and BY_POLICY in message:
        raise AccessDenied(f"AWS answers {code}: {message}", f"allow the caller {NEEDS}") from None
    if code in DENIED:
        raise AccessDenied(
            "the account of these credentials may not list the accounts of its organization",
            f"use credentials of {WHO}, {OTHERWISE}",
        ) from None


def _account(row: "AccountTypeDef") -> OrgAccount:
    return OrgAccount(
        id=_checked_id(row.get("Id")),
        name=row.get("Name", ""),
        # AWS announced the end of `Status` for September 2026, so `Status` is only read if there is no `State`.
        state=_state(row.get("State") or row.get("Status")),
        email=row.get("Email"),
    )


def _checked_id(account_id: str | None) -> str:
    if account_id is None or not ACCOUNT_ID.fullmatch(account_id):
        raise AwsFault("Organizations returned an invalid account ID", "check --endpoint-url")
    return account_id


def _state(name: str | None) -> AccountState:
    """Return the account state with this name, or UNKNOWN if there is no such state."""
    return AccountState(name) if name in set(AccountState) else AccountState.UNKNOWN
