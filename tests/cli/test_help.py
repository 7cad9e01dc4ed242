"""Help: the order of commands, the block of common options, the options of each method."""

import pytest

from mfa_kit.cli.environment import Flags
from mfa_kit.cli.method_verb import click_options
from mfa_kit.wiring.methods.registry import METHODS
from tests.conftest import MfaKit

BLOCK = "Common options (explained by mfa-kit --help):\n"


@pytest.mark.parametrize(
    ("words", "order"),
    [
        ((), ["lab", "doctor", "enroll", "revoke", "rollout", "backup", "audit", "ledger", "man"]),
        (("rollout",), ["plan", "apply", "work", "activate", "station", "status", "undo"]),
        (("backup",), ["add", "list", "verify", "drill", "restore", "prune"]),
        (("key", "pin"), ["set", "change", "policy"]),
    ],
)
def test_commands_are_in_the_order_of_work(words: tuple[str, ...], order: list[str], mfa_kit: MfaKit) -> None:
    """The order is not alphabetical, and no line is cut off."""
    page = mfa_kit.run(*words, "--help").out
    listed = [line.split()[0] for line in page.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()]
    assert [name for name in listed if name in order] == order
    assert "..." not in page.replace("[ARGS]...", "")


def test_the_help_of_a_verb_only_names_the_common_options(mfa_kit: MfaKit) -> None:
    """The help of the program explains each of them."""
    block = mfa_kit.run("status", "--help").out.partition(BLOCK)[2]
    explained = mfa_kit.run("--help").out.partition("Common options:\n")[2]
    names = block.split()
    assert len(names) == len(Flags._fields)
    assert len(block.splitlines()) <= 3
    assert all(name in explained for name in names)


@pytest.mark.parametrize("verb", ["enroll", "replace"])
def test_the_options_of_each_method_are_in_one_section(verb: str, mfa_kit: MfaKit) -> None:
    """With --with, only the options of that method are listed."""
    page = mfa_kit.run(verb, "--help").out
    for name, method in METHODS.items():
        section = page.partition(f"Options of --with {name}:\n")[2].partition("\n\n")[0]
        assert all(option.opts[-1] in section for option in click_options(method.options))
    assert "--qr-file" not in mfa_kit.run(verb, "--with", "oath", "--help").out


def test_the_help_of_completion_has_the_lines_of_each_shell(mfa_kit: MfaKit) -> None:
    """They can be copied, because no line is wrapped."""
    lines = [line.strip() for line in mfa_kit.run("completion", "--help").out.splitlines()]
    assert "mfa-kit completion bash >$d/mfa-kit" in lines
    assert 'mfa-kit completion zsh >"${fpath[1]}/_mfa-kit"' in lines
    assert "mfa-kit completion fish >~/.config/fish/completions/mfa-kit.fish" in lines
