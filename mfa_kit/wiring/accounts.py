"""Lists the accounts in which a command works, from a file or from Organizations, and writes new accounts files."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files import accounts_file
from mfa_kit.core.errors import UsageFault
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.accounts_file import Locate, accounts_document
from mfa_kit.organization.choice import AccountsChoice
from mfa_kit.organization.selecting import AccountSelection, select_accounts
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.files import check_new, write_new_file
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.iam import Iam


def choose_accounts(choice: AccountsChoice, iam: "Iam") -> AccountSelection:
    """Return the accounts that the options select, from a file or Organizations. Raise UsageFault or AwsFault."""
    listed = list_organization(choice, iam) if choice.file is None else read_accounts_file(choice.file)
    return select_accounts(listed, choice)


def list_organization(choice: AccountsChoice, iam: "Iam", *, with_tags: bool = False) -> Iterable[OrgAccount]:
    """Yield the accounts of the organization. Their tags are read with `with_tags`, or if the options select by tag."""
    from mfa_kit.adapters.aws.organizations import OrganizationReader

    return OrganizationReader(iam.ask_organizations).accounts(choice.ou, with_tags=with_tags or bool(choice.tags))


def read_accounts_file(path: Path) -> Sequence[OrgAccount]:
    """Return the accounts in a file in c7n-org's format. Raise UsageFault, whose notes list all errors in the file."""
    return accounts_file.read_accounts_file(path, parse_yaml=_parse_yaml)


def _parse_yaml(text: str) -> tuple[object, Locate]:
    """Parse YAML. Raise UsageFault if PyYAML is not installed."""
    try:
        from mfa_kit.adapters.files.yaml_text import parse_yaml
    except ModuleNotFoundError:
        raise UsageFault(
            "the file is not JSON, and YAML needs PyYAML, which is not installed", "pip install 'mfa-kit[org]'"
        ) from None
    return parse_yaml(text)


def export_accounts(settings: Settings, choice: AccountsChoice, *, out: Path, with_tags: bool) -> AccountSelection:
    """Write the accounts of the organization that the options select to a new file, and return them.

    In the caller's own account, mfa-kit uses the caller's credentials instead of a role, because StackSets do not
    deploy roles to the management account. If the credentials come from a profile, the file therefore names the profile
    for this account.
    """
    check_new(out)
    with connect(settings) as (iam, _, caller):
        with settings.progress.showing("listing accounts"):
            listed = list(list_organization(choice, iam, with_tags=with_tags))
        found = select_accounts(listed, choice)
        profile = settings.profile or os.environ.get("AWS_PROFILE")
        written = [
            replace(account, profile=profile) if profile and account.id == caller.account else account
            for account in found.chosen
        ]
        if any(account.id == caller.account and account.profile is None for account in written):
            settings.progress.note(
                f"these credentials belong to account {caller.account}, so no role is assumed there; other programs"
                f" assume the role {choice.role_name}"
            )
        text = accounts_file.accounts_text(accounts_document(written, partition=caller.partition))
    if not settings.dry_run:
        write_new_file(out, text)
    return found
