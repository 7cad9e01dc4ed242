"""Lists the users of an account with boto3, page by page."""

from collections.abc import Iterator

from mfa_kit.adapters.aws.pages import PAGE, Ask, pages
from mfa_kit.rollout.selection import ListedUser


class People:
    """Lists the users of one account. `ask` makes the read calls with the IAM client of this account."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def users(self, *, details: bool) -> Iterator[ListedUser]:
        """Yield every user. Without `details`, groups and tags are empty.

        With `details`, the call takes longer, because IAM also sends the users' policies.
        """
        if not details:
            for page in pages(self._ask, lambda iam, start: iam.list_users(MaxItems=PAGE, **start)):
                yield from (ListedUser(name=row["UserName"], path=row["Path"]) for row in page["Users"])
            return
        for detailed in pages(
            self._ask,
            lambda iam, start: iam.get_account_authorization_details(MaxItems=PAGE, Filter=["User"], **start),
        ):
            for row in detailed["UserDetailList"]:
                yield ListedUser(
                    name=row["UserName"],
                    path=row["Path"],
                    groups=tuple(row.get("GroupList", ())),
                    tags=tuple((tag["Key"], tag["Value"]) for tag in row.get("Tags", ())),
                )
