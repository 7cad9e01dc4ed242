"""Tests that each `mfa-kit` command line in the package's texts exists: its verb, and its options."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import mfa_kit
from mfa_kit.cli import main
from mfa_kit.cli.method_verb import MethodVerb, click_options
from mfa_kit.wiring.methods.registry import METHODS

SOURCE = Path(mfa_kit.__file__).parent
# A command line ends at punctuation that no command contains. After a colon or a backtick, mfa-kit begins a command;
# elsewhere it may also be the subject of a sentence.
COMMAND = re.compile(r"(: |`|\$ |)\bmfa-kit((?: [^\s`;,():>|…]+)+)")
VALUE = "{}"
# The name of the lab's card reader.
NAMES = {"lab reader"}


def literals(tree: ast.AST) -> Iterator[str]:
    """Yield each string, with VALUE in place of each value."""
    parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.value


def literals_of_commands(tree: ast.AST) -> Iterator[str]:
    """Yield each command line that a call of `mfa_kit` or `suggest` has as a literal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"mfa_kit", "suggest"}:
            yield next(literals(node.args[node.func.id == "suggest"]), "")


def command_lines() -> Iterator[tuple[str, str]]:
    """Yield files and command lines in their strings. In a sentence, the word after mfa-kit is a verb of its own."""
    for file in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        yield from ((file.relative_to(SOURCE).as_posix(), line) for line in literals_of_commands(tree))
        for text in literals(tree):
            for found in COMMAND.finditer(text):
                line = found[2].strip()
                if (found[1] or line.split()[0] in main.COMMANDS) and line not in NAMES:
                    yield file.relative_to(SOURCE).as_posix(), line


def options_of(command: click.Command, ctx: click.Context) -> set[str]:
    params = [*command.get_params(ctx)]
    if isinstance(command, MethodVerb):
        params += [option for method in METHODS.values() for option in click_options(method.options)]
    return {name for param in params for name in (*param.opts, *param.secondary_opts)}


def fault(line: str) -> str | None:
    """Return what is wrong with a command line, or None. Its arguments are not checked."""
    command: click.Command = main.cli
    # A command keeps the help option of the first context, so these contexts have the names of real ones.
    ctx = click.Context(command, **command.context_settings)
    words = line.split()
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words[0].partition(VALUE)[0]
        found = command.get_command(ctx, name)
        if found is None:
            return f"no verb {name}" if name else None
        command, ctx = found, click.Context(found, parent=ctx)
        del words[0]
    known = options_of(command, ctx)
    for word in words:
        if word == "--":
            break
        option = word.partition("=")[0].partition(VALUE)[0].strip(".'\"[]")
        if option.strip("-") and option.startswith("-") and option not in known:
            return f"no option {option}"
    return None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("status", None),
        ("rollout plan --only alice -o plan.json", None),
        ("enroll {} --with hardware-totp --serial {}", None),
        ("policy show{}", None),
        ("key password {}", None),
        ("lab run -- aws --region x", None),
        ("stats", "no verb stats"),
        ("rollout plans", "no verb plans"),
        ("rollout plan --out plan.json", "no option --out"),
    ],
)
def test_the_check_finds_a_wrong_command_line(line: str, said: str | None) -> None:
    """It finds a verb or an option that does not exist."""
    assert fault(line) == said


def test_each_command_line_in_a_text_exists() -> None:
    """Hints, messages, help texts, docstrings and commands in findings are checked."""
    found = list(command_lines())
    assert len(found) > 100
    assert [(file, line, said) for file, line in found if (said := fault(line))] == []
