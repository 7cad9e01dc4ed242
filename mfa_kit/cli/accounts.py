"""`mfa-kit accounts export`: write the accounts of the organization to a file."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli import account_options
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.text import count_of
from mfa_kit.organization.accounts import AUDIT_ROLE, AccountsChoice
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@click.option("-o", "--out", type=Path, required=True, metavar="FILE", help="New file to write, JSON.")
@account_options.UNIT_ID
@account_options.INCLUDE
@account_options.EXCLUDE
@account_options.TAG
@account_options.role_option(AUDIT_ROLE)
@account_options.EXTERNAL
@click.option("--with-tags", is_flag=True, help="Also write the accounts' tags (one call per account).")
def export(
    *,
    out: Path,
    ou: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    account_tags: tuple[str, ...],
    role_name: str | None,
    external_id: str | None,
    with_tags: bool,
    settings: Settings,
    output: Output,
) -> None:
    """Write the accounts of the organization to a file, for --accounts of other commands and for c7n-org.

    This needs credentials of the management account, or of a delegated administrator. Only ACTIVE accounts are written.
    """
    choice = AccountsChoice(
        ou=ou,
        include=include,
        exclude=exclude,
        tags=account_tags,
        role_name=role_name or AUDIT_ROLE,
        external_id=external_id,
    )
    found = wiring.organization.export_accounts(settings, choice, out=out, with_tags=with_tags)
    for account in found.skipped:
        settings.progress.note(f"left out: {account.label} is {account.state}")
    output.one(
        "accounts-export",
        {
            "file": str(out),
            "accounts": len(found.chosen),
            "left_out": [{"id": each.id, "name": each.name, "state": each.state} for each in found.skipped] or None
            if output.form in {"json", "jsonl"}
            else count_of(len(found.skipped), "account")
            if found.skipped
            else None,
        },
    )
