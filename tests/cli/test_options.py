"""Checks of all options: none takes a secret as its value, and all are used."""

import ast
import dataclasses
import inspect
import re
import subprocess
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import FunctionType

import click
import pytest

from mfa_kit.cli import account_options, main
from mfa_kit.cli.environment import Flags
from mfa_kit.cli.main import cli
from mfa_kit.cli.method_verb import click_options
from mfa_kit.cli.options import Noun
from mfa_kit.cli.output import load_place
from mfa_kit.cli.rollout.apply import ApplyOptions
from mfa_kit.cli.value_types import Age, LocalPath, Moment, PlaceType
from mfa_kit.core.errors import UsageFault
from mfa_kit.organization.accounts import AccountsChoice
from mfa_kit.wiring.methods import registry
from tests.conftest import MfaKit, Nobody

PACKAGE = Path(main.__file__).parents[1]
# Anyone who can list processes can read a command line, and the shell's history keeps it.
SECRET = {
    *("pin", "pins", "puk", "password", "passwords", "passphrase", "passphrases", "secret", "secrets", "seed", "seeds"),
    *("code", "codes", "otp", "key", "keys", "token", "tokens", "credential", "credentials", "unlock", "private"),
}
# Options that have such a word in their name or metavar but take no secret, with the reason.
NO_SECRET = {
    "--key": "the serial number, the reader or the node of a key that is plugged in",
    "--key-profile": "the name of a table in the configuration",
    "--custodian": "the name and the public key of a custodian",
    "--lost": "the serial number of a key that is gone",
    "--passphrases": "the folder for letters",
}
# A value of these types is not a secret: a number, a fixed word, a duration, or the place of a file.
OPEN_TYPES = (
    click.Choice,
    click.File,
    LocalPath,
    click.types.BoolParamType,
    click.types.FloatParamType,
    click.types.IntParamType,
    Age,
    Moment,
    PlaceType,
)
COMMON = {*Flags._fields, "help", "version"}


def commands(group: click.Group, *words: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its words, including the program itself."""
    yield " ".join(words), group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *words, name)
        elif command is not None:
            yield " ".join((*words, name)), command


COMMANDS = dict(commands(cli))


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    """Yield each parameter of each command and of each method, with the words of the command or the method."""
    for words, command in COMMANDS.items():
        yield from ((words, param) for param in command.params)
    for name, method in registry.METHODS.items():
        yield from ((f"--with {name}", param) for param in click_options(method.options))


def takes_text(param: click.Parameter) -> bool:
    """Return whether the value can be any text."""
    if isinstance(param, click.Option) and (param.is_flag or param.count):
        return False
    return not isinstance(param.type, OPEN_TYPES)


def words_of(param: click.Parameter) -> set[str]:
    """Return the words of a parameter's names and of its metavar."""
    text = " ".join([*param.opts, param.name or "", param.metavar or ""])
    return set(re.findall(r"[a-z]+", text.lower()))


def could_be_secret(param: click.Parameter) -> bool:
    return takes_text(param) and bool(words_of(param) & SECRET)


def test_no_option_takes_a_secret_as_its_value() -> None:
    """PINs, passwords, secrets and codes come from a descriptor, standard input, a file or a terminal."""
    found = {(words, param.opts[-1]) for words, param in parameters() if could_be_secret(param)}
    assert {each for each in found if each[1] not in NO_SECRET} == set()
    assert {name for _, name in found} == set(NO_SECRET)


@pytest.mark.parametrize(
    "option",
    [
        click.Option(["--pin"]),
        click.Option(["--new-password"], type=str),
        click.Option(["-p", "--unlock", "how"]),
        click.Option(["--from", "where"], metavar="SEED"),
        click.Argument(["code"]),
        click.Argument(["codes"], nargs=2, type=click.UNPROCESSED),
    ],
    ids=lambda option: option.opts[-1],
)
def test_the_check_finds_an_option_that_takes_a_secret(option: click.Parameter) -> None:
    """The option's name or metavar has an unsafe word, in upper or lower case."""
    assert could_be_secret(option)


@pytest.mark.parametrize(
    "option",
    [
        click.Option(["--pin-stdin"], is_flag=True),
        click.Option(["--passphrase-fd"], type=click.IntRange(min=0)),
        click.Option(["--seeds"], type=LocalPath()),
        click.Option(["--codes"], type=click.Choice(["typed", "generated"])),
        click.Option(["--name"], help="Name of the device in IAM."),
    ],
    ids=lambda option: option.opts[-1],
)
def test_an_option_for_the_place_of_a_secret_is_allowed(option: click.Parameter) -> None:
    """It takes a descriptor, a file or a fixed choice."""
    assert not could_be_secret(option)


# Texts that may be paths, and what else they may be.
PATHS_OR = {
    ("backup add", "--image"): "a path, - for stdin, or a key URI, which is a secret and must not be quoted",
    ("rollout handover", "--passphrases"): "a path, but an S3 URL gets an error of its own",
    ("rollout handover", "plan_or_run"): "a path or the ID of a run",
    ("rollout undo", "plan_or_run"): "a path or the ID of a run",
}


def test_paths_have_a_type_of_their_own() -> None:
    """A local path that the system refuses is then refused before a command does anything."""
    texts = {
        (words, param.opts[-1])
        for words, param in parameters()
        if words_of(param) & {"file", "dir", "plan", "roster", "csv", "html"} and takes_text(param)
    }
    assert texts == PATHS_OR.keys()


@pytest.mark.parametrize("name", ["a" * 256, "there/" + "a" * 5000])
def test_a_path_that_is_too_long_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=r": File name too long$") as refused:
        LocalPath().convert(str(tmp_path / name), None, None)
    assert refused.value.hint


@pytest.mark.parametrize("header", ["-----BEGIN OPENSSH PRIVATE KEY-----\n", "AGE-SECRET-KEY-PQ-1"])
def test_a_private_key_in_place_of_a_path_is_not_quoted(header: str, mfa_kit: MfaKit) -> None:
    """It may be longer than a path can be."""
    for words in (("backup", "verify", "--all", "-i"), ("audit", "--snapshot"), ("evidence", "export", "-o")):
        done = mfa_kit.run(*words, header + "SEED" * 2000)
        assert (done.code, "SEED" in done.out + done.err) == (2, False)
        assert "a private key was given instead of the name of its file" in done.err


@pytest.mark.parametrize("name", ["a", "there/a", "file/a", "link"])
def test_there_need_not_be_anything_at_a_path(name: str, tmp_path: Path) -> None:
    """The command that reads or writes it says what is wrong."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert LocalPath().convert(str(tmp_path / name), None, None) == tmp_path / name


REFUSED = {
    "plan": ("rollout", "plan", "roster.csv", "-o"),
    "results": ("rollout", "apply", "plan.json", "--results"),
    "letters": ("rollout", "handover", "plan.json", "-o"),
    "passphrases": ("rollout", "handover", "p", "-o", "new", "--passphrase-files", "-i", "key", "--passphrases"),
    "snapshot": ("audit", "--snapshot"),
    "identity": ("backup", "verify", "--all", "-i"),
}


@pytest.mark.parametrize("name", ["closed", "closed/a", "link"])
@pytest.mark.parametrize("words", REFUSED.values(), ids=REFUSED)
def test_a_path_in_a_closed_folder_is_refused(words: tuple[str, ...], name: str, nobody: Nobody) -> None:
    """It is the folder of another user, something in it, or a link to something in it."""
    folder = nobody.home.parent
    (folder / "closed").mkdir(mode=0o700)
    (folder / "link").symlink_to("closed/a")
    done = nobody.process(*words, folder / name)
    assert (done.code, done.out) == (2, "")
    assert f"mfa-kit: {folder}/{name} cannot be used: Permission denied\n" in done.err


@pytest.mark.parametrize("words", [("evidence", "export", "-o", "new.zip", "--sign"), ("verify", "fido2", "--mds")])
def test_a_file_that_cannot_be_read_is_refused(words: tuple[str, ...], nobody: Nobody) -> None:
    """Before the account or a key is read."""
    file = nobody.home.parent / "file"
    file.touch(mode=0o600)
    done = nobody.process(*words, file)
    assert (done.code, done.out) == (2, "")
    assert f"mfa-kit: {file} cannot be read: Permission denied\n" in done.err


def test_logs_in_a_closed_folder_are_refused(nobody: Nobody) -> None:
    closed = nobody.home.parent / "closed"
    closed.mkdir(mode=0o700)
    done = nobody.process("usage", "update", "--cloudtrail", closed / "logs")
    assert (done.code, f"{closed}/logs cannot be read: Permission denied" in done.err) == (2, True), done.err


def test_standard_input_is_read_in_a_closed_folder(nobody: Nobody) -> None:
    """There, `-` is no path either."""
    closed = nobody.home.parent / "closed"
    closed.mkdir(mode=0o700)
    child = nobody.start("policy", "lint", "-", stdin=subprocess.PIPE, cwd=closed)
    out, err = child.communicate('{"Version": "2012-10-17", "Statement": []}')
    assert (child.returncode, out) == (0, "no traps found; policies checked: 1\n"), err


def unread(function: Callable[..., object]) -> list[str]:
    """Return the parameters that a function never reads."""
    assert isinstance(function, FunctionType)
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    arguments = tree.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    rest = [each for each in (arguments.vararg, arguments.kwarg) if each]
    read = {
        node.id
        for statement in tree.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    return [each.arg for each in (*named, *rest) if each.arg not in read]


def attributes(files: Iterable[Path], *, of: str = "") -> set[str]:
    """Return the names of the attributes that files read; with `of`, only those of a variable with that name."""
    return {
        node.attr
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and (not of or ast.unparse(node.value) == of)
    }


def keys(files: Iterable[Path]) -> set[str]:
    """Return the keys that these files read, as in `options["to"]` and `options.get("to")`."""
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    read = [node.slice for node in nodes if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)]
    read += [
        node.args[0]
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args
    ]
    return {node.value for node in read if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@cache
def read_outside_cli() -> set[str]:
    files = [file for file in PACKAGE.rglob("*.py") if file.parts[len(PACKAGE.parts)] != "cli"]
    return attributes(files) | keys(files)


VERBS = {words: command for words, command in COMMANDS.items() if not isinstance(command, Noun)}


@pytest.mark.parametrize("words", VERBS)
def test_a_verb_reads_each_of_its_parameters(words: str) -> None:
    """Options, arguments, settings and output are checked. An option that is never read has no effect."""
    command = VERBS[words]
    assert command.callback
    function = inspect.unwrap(command.callback)
    assert unread(function) == []
    if place := function.__globals__.get("WORK"):  # the function that gets all options, and does the work
        function = load_place(place)
        assert unread(function) == []
    names = inspect.signature(function).parameters
    by_callback = {param.name for param in command.params if not param.expose_value and param.callback}
    rest = {param.name or "" for param in command.params} - COMMON - set(names) - by_callback
    # account_options parses these
    if command.callback is not function:
        rest -= set(account_options.NAMES)
    # apply_options parses these into one value
    if "options" in names and names["options"].annotation == ApplyOptions.__name__:
        fields = {field.name for field in dataclasses.fields(ApplyOptions)}
        rest -= fields & attributes((PACKAGE / "cli" / "rollout").glob("*.py"))
    # these are passed on as a whole, and read elsewhere
    if any(each.kind is each.VAR_KEYWORD for each in names.values()):
        rest -= read_outside_cli()
    assert rest == set()


def test_each_field_of_accounts_choice_is_read() -> None:
    """Otherwise an option for many accounts would have no effect."""
    places = [
        *(PACKAGE / "organization").rglob("*.py"),
        *(PACKAGE / "wiring").rglob("*.py"),
        *(PACKAGE / "cli").rglob("*.py"),
    ]
    assert {each.name for each in fields(AccountsChoice)} - attributes(places) == set()


@pytest.mark.parametrize("name", registry.METHODS)
def test_a_method_reads_each_of_its_options(name: str) -> None:
    """The method's own file reads it, or a verb does through `method_options`, or what opens a new device."""
    options = registry.METHODS[name].options
    read = attributes([Path(inspect.getfile(options))])
    read |= attributes((PACKAGE / "cli").rglob("*.py"), of="method_options")
    read |= attributes([PACKAGE / "wiring/ports.py"], of="options")
    assert {each.name for each in fields(options)} - read == set()


def test_the_check_finds_a_parameter_that_is_never_read() -> None:
    """A parameter that is only assigned counts as never read."""

    def verb(first: str, *, second: str, settings: object, output: object, **others: object) -> object:  # noqa: ARG001
        second = "always this"  # noqa: F841
        return [first, settings]

    assert unread(verb) == ["second", "output", "others"]
