"""The options of commands that can work in many accounts, and of commands that read an account.

The choice of accounts is parsed into an AccountsChoice, which says how to select them and which role to assume in each.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, cast

import click

from mfa_kit.cli import options
from mfa_kit.cli.environment import command_line, given, long_name
from mfa_kit.cli.options import Matching
from mfa_kit.cli.value_types import Age, F, LocalPath, add_options
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import Message
from mfa_kit.organization.accounts import AUDIT_ROLE, EXTERNAL_ID, ROLE_NAME, SOURCE_IDENTITY, WORKERS, AccountsChoice

TITLE = "Options for many accounts"
# The ID of an organization's root or of an organizational unit (Organizations API reference, ListAccountsForParent).
UNIT = re.compile(r"r-[0-9a-z]{4,32}|ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}")


def many_option(*names: str, **how: Any) -> Callable[[F], F]:
    """Return a decorator that adds an option. The help lists the option under the title TITLE."""
    return click.option(*names, cls=options.TitledOption, title=TITLE, **how)


FILE = many_option(
    "--accounts",
    "in_file",
    type=LocalPath(),
    metavar="FILE",
    help="Work in the accounts listed in FILE (c7n-org's format).",
)
ORG = many_option("--org", "in_org", is_flag=True, help="Work in all accounts of the organization.")
UNIT_ID = many_option(
    "--ou",
    type=Matching(UNIT, "the ID of an organizational unit", "write an ID such as ou-abcd-12345678, or r-abcd"),
    metavar="ID",
    help="Only accounts in this organizational unit and the units below it.",
)
INCLUDE = many_option("-a", "--include", multiple=True, metavar="NAME|ID", help="Only this account (repeatable).")
EXCLUDE = many_option("--exclude", multiple=True, metavar="NAME|ID", help="Leave out this account (repeatable).")
TAG = many_option(
    *("-t", "--account-tag", "account_tags"),
    multiple=True,
    metavar="TAG",
    help="Only accounts with this tag, such as env:prod. Repeat it to require several.",
)
EXTERNAL = many_option(
    "--external-id",
    type=Matching(EXTERNAL_ID, "an external ID", "use 2 to 1224 letters, digits and +=,.@:/-_"),
    metavar="ID",
    help="External ID that the roles' trust policies require.",
)
SOURCE = many_option(
    "--source-identity",
    type=Matching(SOURCE_IDENTITY, "a source identity", "use 2 to 256 letters, digits and +=,.@-_"),
    metavar="NAME",
    help="Source identity to record in CloudTrail, such as your user name.",
)
PARALLEL = many_option(
    "--workers", "parallel", type=click.IntRange(1, 64), help=f"Accounts to work on at the same time [{WORKERS}]."
)
RESUME = many_option("--resume", is_flag=True, help="Continue: skip accounts that are complete in --output-dir.")
OUTPUT_DIR = many_option(
    "--output-dir", type=LocalPath(), metavar="DIR", help="Write the results of each account to DIR/<account ID>."
)


def role_option(default: str | None) -> Callable[[F], F]:
    """Return a decorator that adds the option for the role to assume in each account.

    The value is passed as `role_name`. `default` is shown in the help.
    """
    return many_option(
        "--role-name",
        type=Matching(ROLE_NAME, "the name of a role", "write a name such as mfa-kit-audit"),
        metavar="NAME",
        help=f"Role to assume in each account{f' [{default}]' if default else ''}.",
    )


def account_options(
    *,
    role: str | None = AUDIT_ROLE,
    workers: bool = True,
    results: bool = True,
    in_one: Sequence[str] = (),
    implied_by: str = "",
) -> Callable[[F], F]:
    """Return a decorator that adds the options for work in many accounts to the function of a command.

    The command's function gets the parameter `accounts`: an AccountsChoice, or None if the command is to work in one
    account.

    `role` is the role to assume if neither --role-name nor the file of accounts names a role. Pass `role=None` for a
    command that writes, `workers=False` for a command that has its own option --workers, and `results=False` to omit
    --resume and --output-dir. `in_one` names the parameters of the command that need one account: they are refused
    together with several accounts. If the parameter `implied_by` has a value, --org is not needed.
    """
    added = [FILE, ORG, UNIT_ID, INCLUDE, EXCLUDE, TAG, role_option(role), EXTERNAL, SOURCE]
    added += [PARALLEL] if workers else []
    added += [RESUME, OUTPUT_DIR] if results else []

    def add(function: F) -> F:
        @wraps(function)
        def parse_choice(**values: Any) -> Any:
            own = {name: values.pop(name) for name in NAMES if name in values}
            own["in_org"] = own["in_org"] or bool(values.get(implied_by))
            accounts = choose(own, role=role)
            if accounts is not None:
                _refuse_in_many(values, in_one)
            with _name_next_command(accounts):
                return function(accounts=accounts, **values)

        return cast("F", add_options(*added)(parse_choice))

    return add


def _refuse_in_many(values: Mapping[str, Any], in_one: Sequence[str]) -> None:
    """Raise UsageFault if one of the parameters named in `in_one` has a value, because they need one account."""
    context = click.get_current_context()
    for param in context.command.params:
        if param.name in in_one and values[param.name] not in (None, False, ()):
            name = param.human_readable_name if isinstance(param, click.Argument) else param.opts[0]
            raise UsageFault(
                f"{name} can be used only with one account",
                "leave it out, or leave out --accounts and --org and use the credentials of each account",
            )


@contextmanager
def _name_next_command(choice: AccountsChoice | None) -> Iterator[None]:
    """After Ctrl-C, add a note to the KeyboardInterrupt with the command that continues work in many accounts.

    Without a folder of results, there is no note, because the work cannot be continued.
    """
    try:
        yield
    except KeyboardInterrupt as interrupted:
        if choice is not None and choice.output_dir is not None:
            resume = () if choice.resume else ("--resume",)
            interrupted.add_note(Message("to continue", command_line(*resume)))
        raise


# The parameters that these options set, and the fields of AccountsChoice that they become.
FIELDS = ("ou", "include", "exclude", "role_name", "external_id", "source_identity", "resume", "output_dir")
NAMES = {"in_file": "file", "in_org": "org", "account_tags": "tags", "parallel": "workers"} | {
    name: name for name in FIELDS
}


def choose(values: Mapping[str, Any], *, role: str | None) -> AccountsChoice | None:
    """Return the AccountsChoice for these options, or None if neither --accounts nor --org is given.

    `values` maps the names of parameters to values, and `role` is the default role. Raise UsageFault for options that
    cannot be used together, or if no role is named for --org.
    """
    chosen = {NAMES[name]: value for name, value in values.items() if value}
    org = chosen.pop("org", False)
    if not org and "file" not in chosen:
        params = click.get_current_context().command.params
        if misplaced_option := next((long_name(param) for param in params if values.get(param.name or "")), None):
            raise UsageFault(
                f"{misplaced_option} can be used only with several accounts",
                "add --org or --accounts FILE, or omit the option",
            )
        return None
    _check_together(values)
    if org and not (role or "role_name" in chosen):
        raise UsageFault("--role-name is missing", "name the role to assume in each account: --role-name NAME")
    return AccountsChoice(**{"role_name": role, **chosen}, replaces_roles="role_name" in chosen)


def _check_together(values: Mapping[str, Any]) -> None:
    """Raise UsageFault for options that cannot be used together."""
    if values.get("in_file") and values.get("in_org"):
        raise UsageFault("--accounts and --org both choose the accounts", "give one of them")
    if values.get("ou") and not values.get("in_org"):
        raise UsageFault(
            "--ou works only with --org, not with --accounts",
            "give --org instead of --accounts, or select accounts with --include",
        )
    if given().account is not None:
        raise UsageFault(
            "--account allows one account only, so it cannot be used with --accounts or --org",
            "remove --account (or MFA_KIT_ACCOUNT), or choose the account with --include",
        )
    if values.get("resume") and not values.get("output_dir"):
        raise UsageFault("--resume needs a folder for results", "add --output-dir DIR")


SNAPSHOT = click.option(
    "--snapshot",
    "file",
    type=LocalPath(),
    metavar="FILE",
    help="Read this snapshot instead of AWS. If FILE does not exist, it is created from AWS with mode 0600.",
)
MAX_AGE = click.option(
    "--max-age",
    type=Age(),
    default="4h",
    show_default=True,
    help="Request a new credential report if the last is older than AGE, and refuse an older one. IAM makes at most "
    "one in 4 hours.",
)
