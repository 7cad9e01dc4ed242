"""Reads an organization: its accounts, and its service control policies (SCPs).

The calls have the credentials of the caller's account: the management account, or that of a delegated administrator.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NotRequired, Protocol, TypedDict, TypeVar

from botocore.exceptions import ClientError

from mfa_kit.account.snapshot import ControlPolicy
from mfa_kit.adapters.aws.answers import coded
from mfa_kit.core.errors import AccessDenied, AwsFault, MfaKitError, UsageFault
from mfa_kit.core.message import Message, command
from mfa_kit.core.models import ACCOUNT_ID
from mfa_kit.core.text import one_line
from mfa_kit.organization.accounts import AccountState, OrgAccount
from mfa_kit.organization.control_policies import FULL_ACCESS, FULL_ACCESS_TEXT, OrganizationPolicies, units_of_path

T = TypeVar("T")

if TYPE_CHECKING:
    from mypy_boto3_organizations import OrganizationsClient
    from mypy_boto3_organizations.type_defs import (
        AccountTypeDef,
        PolicySummaryTypeDef,
        PolicyTargetSummaryTypeDef,
    )

# The maximum number of rows on a page (Organizations API reference, ListAccounts: MaxResults).
PAGE = 20
CONTROL: Literal["SERVICE_CONTROL_POLICY"] = "SERVICE_CONTROL_POLICY"
# The words for the types of a policy's targets.
KINDS = {"ROOT": "root", "ORGANIZATIONAL_UNIT": "unit", "ACCOUNT": "account"}
# The root and five units are at most above an account (Organizations user guide, quotas).
DEEPEST = 6
NOT_IN_ONE = "AWSOrganizationsNotInUseException"
DENIED = {"AccessDeniedException", "AccessDenied"}
NO_UNIT = {"ParentNotFoundException", "OrganizationalUnitNotFoundException", "InvalidInputException"}
# Organizations uses this phrase only if the caller's policies do not allow the action. An account that may not list the
# organization gets: "You don't have permissions to access this resource."
BY_POLICY = "not authorized to perform"
WHO = "the management account, or of a delegated administrator for a service"
OTHERWISE = "or name the accounts in a file: --accounts FILE"
NEEDS = (
    "organizations:ListAccounts, ListAccountsForParent, ListOrganizationalUnitsForParent, ListTagsForResource; for "
    "service control policies also DescribeOrganization, ListRoots, ListPolicies, DescribePolicy, ListTargetsForPolicy"
)


class AskOrganizations(Protocol):
    """Makes one read call with boto3's Organizations client and returns its result.

    An implementation may retry the call. Raises one of mfa-kit's errors if the call fails.
    """

    def __call__(self, call: Callable[["OrganizationsClient"], T]) -> T: ...


class OrganizationsPage(TypedDict):
    """The field that pages of all listings have: the token for the next page, missing or empty on the last page."""

    NextToken: NotRequired[str]


P = TypeVar("P", bound=OrganizationsPage)


@contextmanager
def _complete_answers() -> Iterator[None]:
    """Convert the error for a member that a response lacks. AWS sends all the members that this module needs."""
    try:
        yield
    except LookupError as error:
        raise AwsFault(f"a response of Organizations is incomplete: {error}", "check --endpoint-url") from None


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

    def policies(self) -> OrganizationPolicies:
        """Return the SCPs of the organization with their texts and targets. Each policy is read once.

        A text that cannot be read is None. Raise AccessDenied if the policies or their targets cannot be listed.
        """
        with _complete_answers():
            return self._read_policies()

    def _read_policies(self) -> OrganizationPolicies:
        organization = self._read(lambda client: client.describe_organization())["Organization"]
        names, is_enabled = self._roots()
        policies: dict[str, ControlPolicy] = {}
        targets: dict[str, tuple[str, ...]] = {}
        for row in self._policies() if is_enabled else ():
            policies[row["Id"]] = self._policy(row["Id"], row.get("Name", ""))
            rows = self._targets(row["Id"])
            targets[row["Id"]] = tuple(target["TargetId"] for target in rows)
            names |= {target["TargetId"]: target.get("Name", "") for target in rows}
        return OrganizationPolicies(
            management=organization.get("MasterAccountId", ""),
            policies=policies,
            targets=targets,
            names=names,
            is_enabled=is_enabled,
        )

    def _roots(self) -> tuple[dict[str, str], bool]:
        """Return the name of the organization's only root by its ID, and whether SCPs are enabled."""
        roots = [row for page in self._pages(lambda client, start: client.list_roots(**start)) for row in page["Roots"]]
        root = roots[0]
        types = root["PolicyTypes"]
        is_enabled = any(kind.get("Type") == CONTROL and kind.get("Status") == "ENABLED" for kind in types)
        return {root["Id"]: root.get("Name", "")}, is_enabled

    def _policies(self) -> Iterator["PolicySummaryTypeDef"]:
        for page in self._pages(lambda client, start: client.list_policies(Filter=CONTROL, MaxResults=PAGE, **start)):
            yield from page["Policies"]

    def _policy(self, number: str, name: str) -> ControlPolicy:
        if number == FULL_ACCESS:
            return ControlPolicy(id=number, name=name, text=FULL_ACCESS_TEXT)
        try:
            text = self._read(lambda client: client.describe_policy(PolicyId=number))["Policy"]["Content"]
        except AccessDenied as error:
            return ControlPolicy(id=number, name=name, text=None, why=str(error))
        return ControlPolicy(id=number, name=name, text=text)

    def _targets(self, number: str) -> list["PolicyTargetSummaryTypeDef"]:
        pages = self._pages(
            lambda client, start: client.list_targets_for_policy(PolicyId=number, MaxResults=PAGE, **start)
        )
        return [row for page in pages for row in page["Targets"]]

    def policy(self, number: str) -> tuple[ControlPolicy, tuple[str, ...]]:
        """Return one SCP, and the names of its targets: `the unit Production`. Raise AccessDenied if denied."""
        with _complete_answers():
            answer = self._read(lambda client: client.describe_policy(PolicyId=number))["Policy"]
            rows = self._targets(number)
        summary = answer.get("PolicySummary", {})
        targets = (f"the {KINDS.get(row.get('Type', ''), 'target')} {row.get('Name', '')}" for row in rows)
        return ControlPolicy(id=number, name=summary.get("Name", ""), text=answer.get("Content")), tuple(targets)

    def units(self, account: OrgAccount) -> tuple[str, ...]:
        """Return the IDs of the root and of the units above an account, the root first.

        They come from the path that Organizations listed. Old servers do not list it, so ask for each parent then.
        """
        if account.path:
            return units_of_path(account.path)
        ids = [account.id]
        with _complete_answers():
            while not ids[0].startswith("r-") and len(ids) <= DEEPEST:
                answer = self._read(lambda client: client.list_parents(ChildId=ids[0]))
                ids.insert(0, answer["Parents"][0]["Id"])
        return tuple(ids[:-1])

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
                if fault := _refusal(error, ou):
                    raise coded(fault, error) from None
                raise

        return self._ask(attempt)


def _call_from(
    call: Callable[["OrganizationsClient", OrganizationsPage], P], start: OrganizationsPage
) -> Callable[["OrganizationsClient"], P]:
    return lambda client: call(client, start)


def _refusal(error: ClientError, ou: str | None) -> MfaKitError | None:
    """Return the error for a response that is specific to Organizations, or None for any other response."""
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", ""), one_line(answer.get("Message") or "").rstrip(". ")
    if code == NOT_IN_ONE:
        return AwsFault(
            "the account of these credentials is not in an organization", f"use credentials of {WHO}, {OTHERWISE}"
        )
    if code in NO_UNIT and ou is not None:
        return UsageFault(
            f"there is no organizational unit {ou!r} in this organization",
            Message(
                "list the units",
                command("aws organizations list-roots"),
                command("aws organizations list-organizational-units-for-parent --parent-id ID"),
            ),
        )
    if code in DENIED and BY_POLICY in message:
        return AccessDenied(f"AWS answers {code}: {message}", f"allow the caller {NEEDS}")
    if code in DENIED:
        return AccessDenied(
            "the account of these credentials may not list the accounts of its organization",
            f"use credentials of {WHO}, {OTHERWISE}",
        )
    return None


def _account(row: "AccountTypeDef") -> OrgAccount:
    return OrgAccount(
        id=_checked_id(row.get("Id")),
        name=row.get("Name", ""),
        # AWS announced the end of `Status` for September 2026, so `Status` is only read if there is no `State`.
        state=_state(row.get("State") or row.get("Status")),
        email=row.get("Email"),
        path=next(iter(row.get("Paths", [])), ""),
    )


def _checked_id(account_id: str | None) -> str:
    if account_id is None or not ACCOUNT_ID.fullmatch(account_id):
        raise AwsFault("Organizations returned an invalid account ID", "check --endpoint-url")
    return account_id


def _state(name: str | None) -> AccountState:
    """Return the account state with this name, or UNKNOWN if there is no such state."""
    return AccountState(name) if name in set(AccountState) else AccountState.UNKNOWN
