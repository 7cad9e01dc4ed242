"""Writes the accounts of an organization to a new accounts file."""

import os
from dataclasses import replace
from pathlib import Path

from mfa_kit.adapters.files import accounts_file
from mfa_kit.organization.accounts_file import accounts_document
from mfa_kit.organization.selecting import AccountsChoice, AccountSelection, select_accounts
from mfa_kit.wiring.accounts import list_organization
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.files import check_new, write_new_file
from mfa_kit.wiring.settings import Settings


def export_accounts(settings: Settings, choice: AccountsChoice, *, out: Path, with_tags: bool) -> AccountSelection:
    """Write the accounts that the options (`choice`) select to the new file `out`, and return the selection.

    In a dry run, no file is written. With `with_tags`, the file also has the tags of the accounts.

    In the caller's own account, mfa-kit uses the caller's credentials instead of a role, because the caller's account
    is usually the management account, and StackSets do not deploy roles there. If the credentials come from a profile,
    the file therefore names the profile for this account.
    """
    check_new(out)
    with connect(settings) as (iam, _, caller):
        with settings.progress.showing("listing accounts"):
            listed = list(list_organization(choice, iam, with_tags=with_tags))
        selection = select_accounts(listed, choice)
        profile = settings.profile or os.environ.get("AWS_PROFILE")
        written = [
            replace(account, profile=profile) if profile and account.id == caller.account else account
            for account in selection.chosen
        ]
        if any(account.id == caller.account and account.profile is None for account in written):
            settings.progress.note(
                f"these credentials belong to account {caller.account}, so no role is assumed there; other programs"
                f" that read the file assume the role {choice.role_name}"
            )
        text = accounts_file.accounts_text(accounts_document(written, partition=caller.partition))
    if not settings.dry_run:
        write_new_file(out, text)
    return selection
