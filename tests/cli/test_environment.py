"""Environment variables of options: which options have one, their names, and what they do."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator

import click
import pytest

from mfa_kit.cli import environment
from mfa_kit.cli.main import cli
from mfa_kit.cli.method_verb import MethodVerb, click_options
from mfa_kit.wiring.methods import registry
from tests.cli.test_options import PACKAGE
from tests.conftest import ROOT, MfaKit

EXCEPTED = Counter(name for names in environment.EXCEPTED.values() for name in names)
# A word of an option's name or help with which it may lead to a secret, or skip a confirmation or a refusal.
UNSAFE = {
    *("pin", "password", "passphrase", "secret", "seed", "codes", "stdin", "fd", "identity", "unlock", "recipient"),
    *("yes", "accept", "leave", "force", "allow", "ignore", "skip", "trust", "lost", "unencrypted", "lockout"),
    *("refuse", "confirm", "shred", "reset", "overwrite"),
}
# Options with such a word in their help that have a variable nevertheless, with the reason.
SAFE = {
    "--without-mfa": "it selects users",
    "--burst": "it sets a limit of the lab",
    "--account": "it adds a refusal",
    "--expect-sha256": "it adds a refusal",
    "--seed-encoding": "it says how a file is read, not where it is",
    "--capacity": "a number of bytes",
    "--find": "it asks for two codes at the terminal",
    "--two": "it asks for two codes at the terminal",
    "--password-profile": "it chooses the rules for passwords in the account",
    "--first-sign-in": "it chooses the text of a policy that is printed",
    "--min-length": "a number of characters, and the key itself asks for its PIN",
    "--results": "the folder of tables without secrets",
    "--count": "it shows how many credentials a key has",
    "--typed": "it asks for a code at the terminal, and takes none from a key",
    "--mfa-device": "it chooses a device, and nothing is skipped",
}


def options(command: click.Command, context: click.Context) -> Iterator[tuple[click.Context, click.Option]]:
    """Yield each option of each command with its context, in which it has its variable."""
    params = list(command.get_params(context))
    if isinstance(command, MethodVerb):
        for method in registry.METHODS.values():
            params += environment.bind(context, click_options(method.options))
    yield from ((context, each) for each in params if isinstance(each, click.Option))
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child
        if not child.hidden:  # an old name shares its options with the new one
            yield from options(child, click.Context(child, parent=context, info_name=name, **child.context_settings))


# Options of methods are options of `enroll` and of `replace`, each method with its own.
OPTIONS = list(options(cli, click.Context(cli, info_name="mfa-kit", **cli.context_settings)))
NAMES = {environment.long_name(option) for _, option in OPTIONS}
# Each variable with its command and option. Other tests read the same options as those of a program without variables.
VARIABLES = {
    (option.envvar, context.command_path, environment.long_name(option))
    for context, option in OPTIONS
    if isinstance(option.envvar, str)
}


def test_each_option_has_a_variable_or_a_reason_to_have_none() -> None:
    """A new option must be added to one of the lists.

    No list names an option that does not exist, or an option twice.
    """
    listed = EXCEPTED + Counter(environment.ALLOWED | environment.COMMON)
    assert NAMES - set(listed) == set()
    assert set(listed) - NAMES == {"--help"} - NAMES
    assert [name for name, times in listed.items() if times > 1] == []


def test_no_option_that_looks_unsafe_has_a_variable() -> None:
    """Each word of an option's name and help is looked up in the list of unsafe words."""
    found = {
        environment.long_name(option)
        for _, option in OPTIONS
        if option.envvar and set(re.findall(r"[a-z]+", f"{option.opts} {option.help}".lower())) & UNSAFE
    }
    assert found <= set(SAFE)


@pytest.mark.parametrize("name", ["--yes", "--accept-lockout", "--leave-without-mfa", "--pin-stdin", "--identity"])
def test_an_excepted_option_has_no_variable_anywhere(name: str) -> None:
    """mfa-kit sets no variable for it, and click does not read one by itself."""
    found = [option for _, option in OPTIONS if environment.long_name(option) == name]
    assert found
    assert not any(option.envvar or option.allow_from_autoenv for option in found)


def test_no_two_options_share_a_variable_and_none_has_another_use() -> None:
    """The other variables of mfa-kit are listed as reserved."""
    names = {name for name, _, _ in VARIABLES}
    assert len(names) == len(VARIABLES)
    used = {name for file in PACKAGE.rglob("*.py") for name in re.findall(r"\bMFA_KIT_[A-Z_]+\b", file.read_text())}
    assert used - names == environment.RESERVED
    assert not environment.RESERVED & names


def test_the_page_lists_the_exceptions() -> None:
    """docs/configuration.md has each reason with its options."""
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    for reason, names in environment.EXCEPTED.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {reason} |")]
        assert re.findall(r"`(--[a-z0-9-]+)`", line) == sorted(names)


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set environment variables of options. Their names are given without the prefix."""

    def set_variables(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"MFA_KIT_{name}", value)

    return set_variables


def test_a_variable_is_used_and_the_command_line_wins(mfa_kit: MfaKit, variables: Callable[..., None]) -> None:
    """An empty variable counts as unset."""
    table = mfa_kit.run("ledger", "show").out
    variables(OUTPUT="json")
    assert json.loads(mfa_kit.run("ledger", "show").out)["rows"] == []
    assert mfa_kit.run("ledger", "show", "--output", "table").out == table
    variables(OUTPUT="")
    assert mfa_kit.run("ledger", "show").out == table


def test_flags_and_repeated_options_have_variables(variables: Callable[..., None]) -> None:
    """The variable of a flag is 1 or 0.

    For an option that can be repeated, it has several values, separated by spaces.
    """
    parent = next(context for context, _ in OPTIONS if context.command_path == "mfa-kit rollout")
    plan = parent.command.get_command(parent, "plan") if isinstance(parent.command, click.Group) else None
    assert plan
    for flag, tags in (("1", "team=a"), ("0", "team=a site=b")):
        variables(ROLLOUT_PLAN_WITHOUT_MFA=flag, ROLLOUT_PLAN_TAG=tags, ROLLOUT_PLAN_PLAN="plan.json")
        found = plan.make_context("plan", [], parent=parent).params
        assert (found["without_mfa"], found["tags"]) == (flag == "1", tuple(tags.split()))


def test_a_variable_with_a_wrong_value_is_named(mfa_kit: MfaKit, variables: Callable[..., None]) -> None:
    """The error names the variable, because the user did not type the option."""
    variables(ROLLOUT_STATUS_WORKERS="many")
    done = mfa_kit.run("rollout", "status", "plan.json")
    assert (done.code, "mfa-kit: MFA_KIT_ROLLOUT_STATUS_WORKERS: " in done.err) == (2, True)
    variables(OUTPUT="poem")
    done = mfa_kit.run("ledger", "show")
    assert (done.code, "mfa-kit: MFA_KIT_OUTPUT does not take 'poem'\n" in done.err) == (2, True)


def test_a_variable_cannot_confirm_a_removal(
    mfa_kit: MfaKit, user: str, recipient: str, variables: Callable[..., None]
) -> None:
    """The device is kept, because the user could not be asked."""
    enrolled = mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient)
    assert enrolled.code == 0
    variables(YES="1", REVOKE_YES="1", LEAVE_WITHOUT_MFA="1", REVOKE_LEAVE_WITHOUT_MFA="1", NO_INPUT="1")
    assert mfa_kit.run("revoke", user).code == 6
    assert "virtual" in mfa_kit.run("status", user).out
