"""Which columns name the account in a narrow table for many accounts."""

import pytest

from mfa_kit.cli.visits import account_columns

SHOP = {"account": "000000000001", "account_name": "shop"}


@pytest.mark.parametrize(
    ("other", "columns"),
    [
        ({"account": "000000000002", "account_name": "old"}, ("account_name",)),
        ({"account": "000000000002", "account_name": "shop"}, ("account", "account_name")),
        ({"account": "000000000002", "account_name": None}, ("account", "account_name")),
    ],
)
def test_a_narrow_table_has_the_id_where_names_do_not_tell_accounts_apart(
    other: dict[str, str | None], columns: tuple[str, ...]
) -> None:
    """Organizations allows two accounts of one name, and an accounts file may omit names. Rows repeat per user."""
    assert account_columns([SHOP, SHOP, other]) == columns
