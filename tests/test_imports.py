"""Checks of the import graph that includes the table of commands, because import-linter does not read strings.

A string that names a module, alone or as `module:function`, counts as an import; so does an import inside a function.
"""

import ast
import inspect
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import click
import pytest

from mfa_kit import wiring
from mfa_kit.cli.main import COMMANDS, cli
from mfa_kit.cli.options import Rows
from mfa_kit.cli.output import load_place

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
LAYERS: list[list[str]] = [
    [name.strip() for name in layer.split("|")]
    for contract in CONTRACTS
    if contract["id"] == "layers"
    for layer in contract["layers"]
]
Graph = Mapping[str, set[str]]


def imports(tree: ast.AST, known: set[str]) -> Iterator[str]:
    """Yield the package's modules that a module imports or names in a string."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found = [name if (name := f"{module}.{alias.name}") in known else module for alias in names]
            case ast.Constant(value=str(text)) if "." in text:
                found = [text.partition(":")[0]]
            case _:
                continue
        yield from (name for name in found if name in known)


def graph(package: Path) -> Graph:
    """Return the modules of the package in a folder, each with the modules that it imports."""
    files = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in package.rglob("*.py")
    }
    known = set(files)
    return {name: {*imports(ast.parse(path.read_text("utf-8")), known)} - {name} for name, path in files.items()}


def siblings(found: Graph) -> Iterator[Graph]:
    """Yield for each package the imports between its direct members, which may be packages themselves."""
    inside: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for importer, names in found.items():
        for name in names:
            one, other = importer.split("."), name.split(".")
            shared = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
            if shared is not None:  # a package and its members are not siblings
                package = ".".join(one[:shared])
                inside[package][f"{package}.{one[shared]}"].add(f"{package}.{other[shared]}")
    yield from inside.values()


def cycle(found: Graph) -> list[str]:
    """Return one cycle of imports with its first name repeated at the end, or nothing."""
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        names: list[str] = error.args[1]
        return names[::-1]
    return []


def upward(found: Graph) -> set[tuple[str, str]]:
    """Return the imports that do not lead to a lower layer. Within a package, all imports are allowed."""
    level = {f"mfa_kit.{name}": at for at, layer in enumerate(LAYERS) for name in layer}

    def package(module: str) -> str:
        return ".".join(module.split(".")[:2])

    return {
        (importer, name)
        for importer, names in found.items()
        for name in names
        if {package(importer), package(name)} <= set(level)
        and package(importer) != package(name)
        and level[package(importer)] >= level[package(name)]
    }


def verbs(rows: Rows) -> Iterator[str]:
    """Yield the place of every command of the table."""
    for row in rows.values():
        if isinstance(row.held, str):
            yield row.held
        else:
            yield from verbs(row.held)


@pytest.fixture(scope="module")
def whole() -> Graph:
    return graph(ROOT / "mfa_kit")


def test_the_table_of_commands_is_a_list_of_imports(whole: Graph) -> None:
    """Each place of a command is found, and every string that looks like a place is known."""
    assert {place.partition(":")[0] for place in verbs(COMMANDS)} <= whole["mfa_kit.cli.main"]


def test_every_entry_of_the_table_is_a_command() -> None:
    """The module exists, and its function is a click command."""

    def commands(group: click.Group) -> Iterator[click.Command | None]:
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            yield found
            if isinstance(found, click.Group):
                yield from commands(found)

    assert all(isinstance(found, click.Command) for found in commands(cli))


def test_a_verb_has_the_options_for_many_accounts_if_it_takes_accounts() -> None:
    """The function takes what the options give."""
    for place in verbs(COMMANDS):
        command = load_place(place)
        takes_accounts = "accounts" in inspect.signature(command.callback).parameters
        assert any(param.name == "in_file" for param in command.params) is takes_accounts, place


def test_no_modules_import_each_other(whole: Graph) -> None:
    """Indirect imports count too."""
    assert cycle(whole) == []


def test_no_packages_import_each_other(whole: Graph) -> None:
    """The direct members of each package are checked."""
    assert [found for each in siblings(whole) if (found := cycle(each))] == []


def test_every_import_goes_down(whole: Graph) -> None:
    """The layers are those of the contract `layers`."""
    assert upward(whole) == set()


def test_the_wiring_loads_each_of_its_modules_when_it_is_used(whole: Graph) -> None:
    """The package names all of its modules for mypy and for these checks, and no other name is found."""
    own = {name for name in whole if re.fullmatch(r"mfa_kit\.wiring\.\w+", name) and name != "mfa_kit.wiring.methods"}
    assert whole["mfa_kit.wiring"] == own
    assert {getattr(wiring, name.rpartition(".")[2]).__name__ for name in own} == own
    assert not hasattr(wiring, "wires")


def test_a_module_of_the_wiring_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what is missing, and does not say that the wiring has no such module."""
    monkeypatch.setitem(sys.modules, "mfa_kit.core.text", None)
    monkeypatch.delitem(sys.modules, "mfa_kit.wiring.doctor", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"mfa_kit\.core\.text"):
        vars(wiring)["__getattr__"]("doctor")


def unchecked(tree: ast.Module) -> list[str]:
    """Return the uses of `call_place` whose function mypy does not know: not imported by the same name for mypy."""
    places = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    known = set()
    for branch in tree.body:
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING":
            names = [node for node in branch.body if isinstance(node, ast.ImportFrom)]
            imported = {f"{node.module}:{alias.name}" for node in names for alias in node.names}
            for node in branch.orelse:
                match node:
                    case ast.Assign([ast.Name(name)], ast.Call(ast.Name("partial"), [ast.Name("call_place"), place])):
                        text = ast.literal_eval(places[ast.unparse(place)])
                        if text in imported and text.endswith(f":{name}"):
                            known.add(node.lineno)
                    case _:
                        pass
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "call_place"]
    return [f"line {node.lineno}" for node in uses if node.lineno not in known]


def test_mypy_knows_each_function_that_is_called_by_its_place() -> None:
    """For mypy, the module imports the function that the place names, so its arguments are checked."""
    texts = {str(path): path.read_text("utf-8") for path in (ROOT / "mfa_kit" / "cli").rglob("*.py")}
    users = {path: ast.parse(text) for path, text in texts.items() if "call_place" in text}
    assert {path: lines for path, tree in users.items() if (lines := unchecked(tree))} == {}
    assert {Path(path).name for path in users} >= {"audit.py", "station.py", "post.py", "session.py"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import run_audit\n", "import print_audit\n"),
        (':run_audit"', ':print_audit"'),
        ("cli.audit_output import", "cli.ocsf import"),
        ("else:\n    run_audit", "else:\n    work"),
        ("    return run_audit(", "    return call_place(WORK, "),
    ],
)
def test_a_function_that_mypy_does_not_know_is_found(old: str, new: str) -> None:
    """The place and the import name two functions, or the function is called without its name."""
    text = (ROOT / "mfa_kit" / "cli" / "audit.py").read_text("utf-8")
    assert text.count(old) == 1
    assert unchecked(ast.parse(text)) == []
    assert unchecked(ast.parse(text.replace(old, new)))


def in_a_cycle(found: Graph, module: str) -> bool:
    """Return whether the imports of a module lead back to it."""
    reached, left = set[str](), [module]
    while left:
        new = found[left.pop()] - reached
        reached |= new
        left += new
    return module in reached


@pytest.mark.parametrize(
    ("module", "planted", "wrong"),
    [
        ("cli.revoke", 'PLACE = "mfa_kit.cli.main:cli"', {"cycle"}),
        ("cli.revoke", "def late(): from mfa_kit.cli import main", {"cycle"}),
        ("cli.revoke", 'PLACE = "mfa_kit.cli.token:accept"', set()),
        ("cli.revoke", 'TEXT = "see mfa_kit.cli.main"', set()),
        ("core.errors", 'PLACE = "mfa_kit.cli.revoke:revoke"', {"layer", "cycle"}),
        ("core.errors", "def late(): import mfa_kit.cli.revoke", {"layer", "cycle"}),
        ("tokens.seeds", 'PLACE = "mfa_kit.policy.lint"', {"layer"}),
    ],
)
def test_an_added_name_in_a_string_is_found(whole: Graph, module: str, planted: str, wrong: set[str]) -> None:
    """A name in a string closes a cycle through the table of commands, and may not lead to a higher layer."""
    name = f"mfa_kit.{module}"
    text = (ROOT / f"{name.replace('.', '/')}.py").read_text("utf-8")
    assert not in_a_cycle(whole, name)
    found = {**whole, name: {*imports(ast.parse(f"{text}\n{planted}\n"), set(whole))} - {name}}
    seen = {"cycle"} if in_a_cycle(found, name) and cycle(found) else set[str]()
    assert seen | ({"layer"} if upward(found) - upward(whole) else set()) == wrong


def test_two_packages_that_import_each_other_are_found() -> None:
    """No module is in a cycle, but neither package works without the other."""
    found = {"p.a.one": {"p.b.one"}, "p.b.two": {"p.a.two"}, "p.a.two": set[str](), "p.b.one": set[str]()}
    assert cycle(found) == []
    assert [set(cycle(each)) for each in siblings(found)] == [{"p.a", "p.b"}]


# What Windows lacks in Python's library, as far as a command-line program may want it.
LACKING_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}
LACKING_NAMES = re.compile(
    r"\bos\.(get(e?[ug]id|grouplist|pgid)|fork|O_(CLOEXEC|DIRECTORY|NOCTTY|NOFOLLOW|NONBLOCK)|pread|pwrite|"
    r"setsid|sync|uname)\b|\bsignal\.(pthread_\w+|sigwait|SIG(ALRM|HUP|KILL|QUIT|TSTP|USR1|USR2))\b|"
    r"\bsocket\.AF_UNIX\b|\btime\.(clock_gettime|CLOCK_\w+)\b"
)
GUARDS = ('if sys.platform == "win32":\n    raise ImportError', 'if sys.platform != "win32":')


def lacking(text: str) -> set[str]:
    """Return what an unguarded module uses that Windows lacks."""
    names = {name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for name in node.names}
    found = {alias.name for alias in names} & LACKING_MODULES | {each[0] for each in LACKING_NAMES.finditer(text)}
    return set() if any(guard in text for guard in GUARDS) else found


def test_what_windows_lacks_is_in_guarded_modules() -> None:
    """`mypy --platform win32` finds more than this test, but takes longer. New calls belong in the package posix."""
    assert lacking("import fcntl\nfcntl.flock(1, 2)\nos.getuid()") == {"fcntl", "os.getuid"}
    assert lacking(f"import fcntl\n{GUARDS[0]}()") == set()
    assert {
        str(path): found for path in (ROOT / "mfa_kit").rglob("*.py") if (found := lacking(path.read_text("utf-8")))
    } == {}
