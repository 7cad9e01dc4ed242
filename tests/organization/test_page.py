"""The HTML page of an audit of many accounts."""

import re
from dataclasses import replace
from html import unescape

import pytest

from mfa_kit.audit.finding import Severity
from mfa_kit.audit.registry import RULES
from mfa_kit.cli.audit_output import organization_page
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.across import VisitState
from tests.organization.visits import CALLER, made_visits


def text_of(page: str) -> str:
    """Return the text of a page without its markup."""
    return unescape(re.sub(r"<wbr>|<span[^>]*>|</span>|</?b>", "", page))


def rows_of(page: str) -> list[list[str]]:
    """Return the rows of the map (the table with a row per account and a column per check): the text of each cell."""
    body = page.partition('<div class="map"')[2].partition("<tbody>\n")[2].partition("\n</tbody>")[0]
    return [re.split(r"<td[^>]*>", re.sub(r"^<tr><th[^>]*>", "", text_of(row))) for row in body.split("\n")]


@pytest.mark.parametrize(("accounts", "each"), [(100, 2_000), (1000, 15_000)])
def test_the_size_of_the_page_is_bounded(accounts: int, each: int) -> None:
    """A page about 1,000 accounts is small enough for an email. `each` is how many bytes a rule may add."""
    assert len(organization_page(made_visits(accounts), RULES, caller=CALLER).encode()) <= each * len(RULES)


def test_the_worst_account_is_the_first() -> None:
    """The rows are sorted by the number of failed checks of each severity. The sign of each check shows its result."""
    visits = made_visits(100)
    rows = rows_of(organization_page(visits, RULES, caller=CALLER))
    counts = [[row[7:].count(sign) for sign in "CHML?"] for row in rows]
    assert counts == sorted(counts, reverse=True)
    by_id = {visit.account.id: visit.found.overview for visit in visits if visit.found}
    assert {row[1] for row in rows} == set(by_id)
    for row in rows:
        assert row[7:].count("?") == by_id[row[1]].unknown
        assert [row[7:].count(sign) for sign in "CHML"] == [
            by_id[row[1]].failed.get(severity, 0) for severity in Severity
        ]
        assert [int(cell or 0) for cell in row[2:7]] == list((by_id[row[1]].ways or {}).values())


def test_accounts_that_were_not_read_are_in_lists_of_their_own() -> None:
    """A reason that several accounts share, and its hint, are shown once. These accounts do not count as passed."""
    page = text_of(organization_page(made_visits(100), RULES, caller=CALLER))
    assert "98 accounts passed" not in page
    assert re.search(
        r"\d+ of 97 accounts passed every check, \d+ failed a check \(\d+ of them a critical check\).* 3 could not be",
        page,
    )
    unread, skipped = re.findall(r"<details open><summary>(.*?)</details>", page, re.DOTALL)
    assert unread.startswith("3 accounts could not be read")
    assert unread.count("cannot be assumed") == 1
    unread_accounts = [visit.account for visit in made_visits(100) if visit.state is VisitState.DENIED]
    assert all(account.label in unread for account in unread_accounts)
    assert unread.count("check that the role exists") == 1
    assert skipped.startswith("3 accounts skipped")
    assert skipped.count("the account is SUSPENDED") == 1


def test_many_accounts_that_were_not_read_are_folded() -> None:
    """The list of these accounts is folded at first, so that the results stay on the screen."""
    page = organization_page(made_visits(1000), RULES, caller=CALLER)
    assert "<details><summary>25 accounts could not be read" in page


def test_a_page_without_results_has_the_reasons() -> None:
    """If no account was read, the page has no map and no charts."""
    visits = [replace(visit, state=VisitState.FAILED, found=None, why="no answer") for visit in made_visits(3)]
    page = organization_page(visits, RULES, caller=CALLER)
    assert "0 of 3 accounts passed every check" in text_of(page)
    assert page.count("no answer") == 1
    assert all(visit.account.label in text_of(page) for visit in visits)
    assert '<div class="map"' not in page


def test_names_of_accounts_are_not_markup() -> None:
    """The members of an organization choose the names of their accounts."""
    visits = [
        replace(visit, account=OrgAccount(id=visit.account.id, name="<script>alert(1)</script>"))
        for visit in made_visits(100)
    ]
    page = organization_page(visits, RULES, caller=CALLER)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 97


def test_each_sign_is_explained() -> None:
    """The legend has each sign of the map, and each column's heading names its check."""
    page = text_of(organization_page(made_visits(100), RULES, caller=CALLER))
    for said in ("C critical", "H high", "M medium", "L low", "? unknown", "· pass", "- not applicable"):
        assert said in page, said
    assert 'title="Root signs in with MFA (critical)">root.mfa' in page
