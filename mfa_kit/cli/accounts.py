"""`mfa-kit accounts export`: write the accounts of the organization to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import EXCLUDE, EXTERNAL, INCLUDE, TAG, UNIT_ID, role_option
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import LocalPath, add_options
from mfa_kit.core.text import Cell, count_of
from mfa_kit.organization.accounts import AUDIT_ROLE, AccountsChoice

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@click.option("-o", "--out", type=LocalPath(), required=True, metavar="FILE", help="New file to write, JSON.")
@add_options(UNIT_ID, INCLUDE, EXCLUDE, TAG, role_option(AUDIT_ROLE), EXTERNAL)
@click.option("--with-tags", is_flag=True, help="Also write the accounts' tags (one call per account).")
def export(
    *, out: Path, account_tags: tuple[str, ...], with_tags: bool, settings: Settings, output: Output, **selected: Any
) -> None:
    """Write the accounts of the organization to a file, for --accounts of other commands and for c7n-org.

    This needs credentials of the management account, or of a delegated administrator. Only ACTIVE accounts are written.
    """
    choice = AccountsChoice(tags=account_tags, **{name: value for name, value in selected.items() if value})
    found = wiring.organization.export_accounts(settings, choice, out=out, with_tags=with_tags)
    for account in found.skipped:
        settings.progress.note(f"left out: {account.label} is {account.state}")
    left_out: Cell = [{"id": account.id, "name": account.name, "state": account.state} for account in found.skipped]
    if found.skipped and output.form not in {"json", "jsonl"}:
        left_out = count_of(len(found.skipped), "account")
    output.one(
        "accounts-export",
        {
            "file": str(out),
            "accounts": len(found.chosen),
            "left_out": left_out or None,
        },
    )
