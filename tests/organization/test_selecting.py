"""Tests of the selection of accounts by ID, name, tag and state, and of the role in each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.main import CONTEXT
from mfa_kit.cli.options import Noun, Verb
from mfa_kit.core.errors import UsageFault
from mfa_kit.organization.accounts import AccountsChoice, AccountSelection, AccountState, OrgAccount, select_accounts

DEV = OrgAccount(id="000000000001", name="dev", tags=("env:dev", "team:web"), state=AccountState.ACTIVE)
PROD = OrgAccount(id="000000000002", name="prod", tags=("env:prod", "team:web"), state=AccountState.ACTIVE)
OLD = OrgAccount(id="000000000003", name="old", tags=("env:prod",), state=AccountState.SUSPENDED)
TWIN = OrgAccount(id="000000000004", name="prod", state=None)
LISTED = [DEV, PROD, OLD]


def names(selection: AccountSelection) -> tuple[list[str], list[str]]:
    return [account.name for account in selection.chosen], [account.name for account in selection.skipped]


def fault(choice: AccountsChoice, *accounts: OrgAccount) -> tuple[str, str]:
    with pytest.raises(UsageFault) as caught:
        select_accounts(accounts or LISTED, choice)
    return str(caught.value), caught.value.hint


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (AccountsChoice(), (["dev", "prod"], ["old"])),
        (AccountsChoice(include=("dev",)), (["dev"], [])),
        (AccountsChoice(include=("000000000002", "dev", "dev")), (["dev", "prod"], [])),
        (AccountsChoice(exclude=("000000000001",)), (["prod"], ["old"])),
        (AccountsChoice(include=("dev", "prod"), exclude=("dev",)), (["prod"], [])),
        (AccountsChoice(tags=("team:web",)), (["dev", "prod"], [])),
        (AccountsChoice(tags=("team:web", "env:prod")), (["prod"], [])),
        (AccountsChoice(tags=("env:prod",)), (["prod"], ["old"])),
    ],
)
def test_accounts_are_chosen_by_id_name_and_tag(choice: AccountsChoice, chosen: tuple[list[str], list[str]]) -> None:
    """An account must have all tags. An account that is not ACTIVE is skipped, with its state."""
    assert names(select_accounts(iter(LISTED), choice)) == chosen


def test_an_account_without_a_known_state_is_chosen() -> None:
    """A file has no states, so its accounts are chosen. A state that mfa-kit does not know is not ACTIVE."""
    unknown = replace(OLD, state=AccountState.UNKNOWN)
    assert names(select_accounts([TWIN, unknown], AccountsChoice())) == (["prod"], ["old"])


def test_unknown_names_are_errors_with_suggestions() -> None:
    """Each unknown name is reported. With a misspelled --exclude, a command would otherwise work in that account."""
    assert fault(AccountsChoice(exclude=("Prd",))) == ("--exclude: there is no account 'Prd'", "did you mean 'prod'?")
    assert fault(AccountsChoice(include=("00000000002",)))[1] == "did you mean '000000000002'?"
    assert fault(AccountsChoice(include=("000000000099",)))[1] == "check the ID; 3 accounts are listed"
    assert fault(AccountsChoice(include=("x-ray",)))[1] == "check the name; 3 accounts are listed"
    assert fault(AccountsChoice(tags=("env:prd",))) == (
        "--account-tag: no account has the tag 'env:prd'",
        "did you mean 'env:prod'?",
    )
    with pytest.raises(UsageFault) as caught:
        select_accounts(LISTED, AccountsChoice(include=("x-ray", "Dev")))
    assert caught.value.__notes__ == ["--include: there is no account 'Dev': did you mean 'dev'?"]


def test_a_name_of_several_accounts_is_an_error() -> None:
    """The error has the IDs of these accounts."""
    assert fault(AccountsChoice(include=("prod",)), DEV, PROD, TWIN) == (
        "--include: 2 accounts are named 'prod': 000000000002, 000000000004",
        "give the ID: --include 000000000002",
    )


def test_an_empty_selection_is_an_error() -> None:
    """The error says whether no account is listed, none matches, or none is ACTIVE."""
    with pytest.raises(UsageFault, match="no accounts were found"):
        select_accounts([], AccountsChoice())
    assert fault(AccountsChoice(include=("dev",), tags=("env:prod",)))[0].endswith("together select no account")
    assert fault(AccountsChoice(include=("old",)))[0] == (
        "none of the selected accounts is ACTIVE: old (000000000003) is SUSPENDED"
    )


def test_the_role_of_the_command_line_replaces_the_files_role() -> None:
    """In a chain it replaces the last role. The default role is for accounts without a role. A profile is kept."""
    hub = "arn:aws:iam::000000000001:role/hub"
    accounts = [
        replace(DEV, roles=("own",)),
        replace(PROD, roles=(hub, "own")),
        replace(TWIN, profile="twin"),
        OrgAccount(id="000000000005"),
    ]
    default = select_accounts(accounts, AccountsChoice(external_id="x-1"))
    assert [account.roles for account in default.chosen] == [("own",), (hub, "own"), (), ("mfa-kit-audit",)]
    assert {account.external_id for account in default.chosen} == {"x-1"}
    named = select_accounts(accounts, AccountsChoice(role_name="write", replaces_roles=True))
    assert [account.roles for account in named.chosen] == [("write",), (hub, "write"), (), ("write",)]


def test_without_a_default_role_each_account_needs_one() -> None:
    """Verbs that write have no default role."""
    assert fault(AccountsChoice(role_name=None), replace(DEV, roles=("own",)), PROD) == (
        "1 account without a role: prod (000000000002)",
        "name the role to assume: --role-name NAME",
    )


def verb(parsed: list[Any], **how: Any) -> click.Group:
    """Return a command with the options for many accounts, which appends its AccountsChoice to `parsed`."""

    @click.command(cls=Verb)
    @account_options(**how)
    def run(*, accounts: AccountsChoice | None) -> None:
        parsed.append(accounts)

    @click.group(cls=Noun, context_settings=CONTEXT)
    def program() -> None:
        pass

    program.add_command(run)
    return program


@pytest.fixture
def parse() -> Callable[..., AccountsChoice | None]:
    """Return a function that parses a command line and returns its AccountsChoice, or None. It raises usage errors."""

    def parse_line(line: str, **how: Any) -> AccountsChoice | None:
        parsed: list[Any] = []
        CliRunner().invoke(verb(parsed, **how), ["run", *line.split()], catch_exceptions=False, standalone_mode=False)
        found: AccountsChoice | None = parsed[0]
        return found

    return parse_line


def test_the_options_become_one_value(parse: Callable[..., AccountsChoice | None]) -> None:
    """The options become an AccountsChoice, or None without --accounts and --org."""
    assert parse("") is None
    assert parse("--org") == AccountsChoice()
    line = (
        "--org --ou ou-abcd-12345678 -a dev --include prod --exclude old -t env:dev --account-tag team:web"
        " --role-name audit --external-id x-1 --source-identity alice --workers 4 --resume --output-dir out"
    )
    assert parse(line) == AccountsChoice(
        ou="ou-abcd-12345678",
        include=("dev", "prod"),
        exclude=("old",),
        tags=("env:dev", "team:web"),
        role_name="audit",
        replaces_roles=True,
        external_id="x-1",
        source_identity="alice",
        workers=4,
        resume=True,
        output_dir=Path("out"),
    )
    in_file = AccountsChoice(file=Path("accounts.yml"), role_name=None)
    assert parse("--accounts accounts.yml", role=None, workers=False, results=False) == in_file
    assert (in_file.org, AccountsChoice().org) == (False, True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--org --accounts f", "--accounts and --org both choose the accounts"),
        ("--accounts f --ou r-abcd", "--ou works only with --org, not with --accounts"),
        ("--ou r-abcd", "--ou can be used only with several accounts"),
        ("-a dev", "--include can be used only with several accounts"),
        ("--workers 3", "--workers can be used only with several accounts"),
        ("--resume --output-dir x", "--resume can be used only with several accounts"),
        ("--org --resume", "--resume needs a folder for results"),
        ("--org --account 000000000001", "--account allows one account only"),
        ("--accounts f --account 000000000001", "--account allows one account only"),
        ("--org --ou ou-1", "'ou-1' is not the ID of an organizational unit"),
        ("--org --role-name arn:aws:iam::000000000001:role/x", "'arn:aws:iam::000000000001:role/x' is not the name"),
        ("--org --external-id x", "'x' is not an external ID"),
        ("--org --source-identity aws:me", "'aws:me' is not a source identity"),
        (f"--org --source-identity {'a' * 257}", f"'{'a' * 80}' is not a source identity"),
    ],
)
def test_options_that_exclude_each_other_are_usage_errors(
    parse: Callable[..., AccountsChoice | None], line: str, said: str
) -> None:
    """The error is raised before any file is read."""
    with pytest.raises(UsageFault) as caught:
        parse(line)
    assert str(caught.value).startswith(said)
    assert caught.value.hint


def test_help_lists_the_options_under_a_separate_title() -> None:
    """The options for many accounts are separate from the options for one account."""
    page = CliRunner().invoke(verb([]), ["run", "--help"], standalone_mode=False, terminal_width=80).output
    before, _, after = page.partition("Options for many accounts:\n")
    assert ("--org" in before, "--org" in after.partition("Common options")[0]) == (False, True)
    assert max(map(len, page.splitlines())) <= 80


def test_a_verb_that_writes_needs_a_role(parse: Callable[..., AccountsChoice | None]) -> None:
    """With --org, such a verb requires --role-name. With a file it does not, because accounts there may have roles."""
    with pytest.raises(UsageFault, match="--role-name is missing"):
        parse("--org", role=None)
    found = parse("--org --role-name mfa-kit-enroll", role=None)
    assert found
    assert (found.role_name, found.replaces_roles) == ("mfa-kit-enroll", True)


def test_a_name_of_12_digits_is_not_taken_for_an_id() -> None:
    """The owner of an account can give it the ID of another account as its name."""
    poser = OrgAccount(id="222222222222", name="000000000001", state=AccountState.ACTIVE)
    assert names(select_accounts([*LISTED, poser], AccountsChoice(include=("000000000001",)))) == (["dev"], [])
    assert "there is no account" in fault(AccountsChoice(include=("000000000001",)), poser, PROD)[0]
