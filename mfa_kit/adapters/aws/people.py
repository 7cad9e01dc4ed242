"""The users of an account over boto3, by pages: who they are, and no more. Reads only."""

from collections.abc import Callable, Iterator
from typing import Any

from mfa_kit.rollout.roster import Person

PAGE = 1000


class People:
    """Asks by an operation's name as boto3 has it, and its parameters."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def _pages(self, operation: str, **wanted: Any) -> Iterator[Any]:
        more: dict[str, Any] = {}
        while True:
            page = self._ask(operation, MaxItems=PAGE, **wanted, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"Marker": page["Marker"]}

    def users(self, *, details: bool) -> Iterator[Person]:
        """Yield every user; with `details` his groups and tags too, for which IAM sends the policies as well."""
        if not details:
            for page in self._pages("list_users"):
                yield from (Person(name=row["UserName"], path=row["Path"]) for row in page["Users"])
            return
        for page in self._pages("get_account_authorization_details", Filter=["User"]):
            for row in page["UserDetailList"]:
                yield Person(
                    name=row["UserName"],
                    path=row["Path"],
                    groups=tuple(row.get("GroupList", ())),
                    tags=tuple((tag["Key"], tag["Value"]) for tag in row.get("Tags", ())),
                )
