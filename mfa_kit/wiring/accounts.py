"""Lists the accounts in which a command works, from a file or from Organizations."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files import accounts_file
from mfa_kit.core.errors import UsageFault
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.accounts_file import Locate
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.wiring.settings import command_for_extra

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.iam import Iam


def list_organization(choice: AccountsChoice, iam: "Iam", *, with_tags: bool = False) -> Iterable[OrgAccount]:
    """Yield the accounts of the organization or, if `choice.ou` is set, those below this organizational unit.

    The tags of the accounts are read only if `with_tags` is true or `choice` selects accounts by tags. `iam` is the
    client of the account that calls Organizations.
    """
    from mfa_kit.adapters.aws.organizations import OrganizationReader

    return OrganizationReader(iam.ask_organizations).accounts(choice.ou, with_tags=with_tags or bool(choice.tags))


def read_accounts_file(path: Path) -> Sequence[OrgAccount]:
    """Return the accounts in a file in c7n-org's format. Raise UsageFault with all errors in the file as its notes."""
    return accounts_file.read_accounts_file(path, parse_yaml=_parse_yaml)


def _parse_yaml(text: str) -> tuple[object, Locate]:
    """Parse a YAML text. Return its value, and a function that returns the position of an account, such as `line 3`.

    Raise UsageFault if the text is invalid or PyYAML is not installed.
    """
    try:
        from mfa_kit.adapters.files.yaml_text import parse_yaml
    except ModuleNotFoundError:
        raise UsageFault(
            "the file is not JSON, and YAML needs PyYAML, which is not installed", command_for_extra("org")
        ) from None
    return parse_yaml(text)
