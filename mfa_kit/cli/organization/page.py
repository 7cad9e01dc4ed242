"""The audit of many accounts as one HTML page."""

from collections.abc import Iterator, Sequence

from mfa_kit.cli.html.shell import html_page, html_table, html_text, html_words
from mfa_kit.cli.organization.audited import Audited
from mfa_kit.cli.organization.visits import state_of
from mfa_kit.core.models import Caller
from mfa_kit.organization.across import Visit


def organization_page(visits: Sequence[Visit[Audited]], *, caller: Caller) -> str:
    """Return the page: the accounts, the worst first."""
    body = [
        f"<h1>Sign-in audit of {len(visits)} AWS accounts</h1>",
        f'<p class="soft">Read as {html_words(caller.arn)}</p>',
        html_table(("Account", "State", "Users without MFA"), _rows(visits)),
    ]
    return html_page(f"Sign-in audit of {len(visits)} accounts", body)


def _rows(visits: Sequence[Visit[Audited]]) -> Iterator[tuple[str, str, str]]:
    for visit in visits:
        found = visit.found.overview if visit.found else None
        yield html_words(visit.account.label), html_text(state_of(visit)), str(found.without_mfa) if found else ""
