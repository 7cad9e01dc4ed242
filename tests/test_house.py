"""Rules for the package's structure from the design and its contracts, and a check that each contract can fail."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mfa_kit.cli.main import cli
from mfa_kit.core import errors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mfa_kit"
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
}

# The functions that may read the plain value of a secret, or make a key URI, by file. Adding a line here is a design
# decision.
REVEALS = {
    ("adapters/files/plugins.py", "without_armor"),
    ("adapters/files/agefile.py", "_decrypted"),
    ("adapters/files/plugins.py", "count_recipients"),
    ("adapters/files/plugins.py", "decrypt_file"),
    ("adapters/files/layers.py", "RecoveryIdentity.__init__"),
    ("adapters/files/layers.py", "RecoveryIdentity.hmac_of"),
    ("adapters/files/layers.py", "RecoveryIdentity.keys"),
    ("adapters/files/layers.py", "RecoveryIdentity.sealed"),
    ("adapters/files/layers.py", "RecoveryIdentity.keys_with"),
    ("adapters/files/layers.py", "open_layers"),
    ("adapters/files/layers.py", "remove_layer"),
    ("adapters/files/layers.py", "remove_outer_layer"),
    ("adapters/files/identities.py", "seal_text"),
    ("adapters/files/identities.py", "open_line"),
    ("wiring/oath_keys.py", "_password_text"),
    ("adapters/files/identities.py", "_is_locked_ssh_key"),
    ("adapters/files/ssh.py", "_rounds"),
    ("adapters/files/ssh.py", "unlock_ssh_key"),
    ("adapters/files/identities.py", "encrypt_with_passphrase"),
    ("adapters/files/identities.py", "NewIdentity.__init__"),
    ("adapters/files/identities.py", "NewIdentity.encrypted"),
    ("adapters/files/identities.py", "_parse_identities"),
    ("adapters/files/identities.py", "_check_work"),
    ("adapters/files/identities.py", "_decrypt_with_passphrase"),
    ("adapters/files/identities.py", "_text"),
    ("adapters/files/identities.py", "UnlockedIdentity.reencrypt"),
    ("adapters/files/identities.py", "opens"),
    ("adapters/files/plugins.py", "Plugins.identities"),
    ("adapters/files/plugins.py", "encrypt"),
    ("adapters/files/plugins.py", "_Callbacks.request_passphrase"),
    ("backups/own_identity.py", "fault_of_passphrase"),
    ("adapters/files/identities.py", "recipients_of"),
    ("adapters/files/identities.py", "split_by_recipients"),
    ("disk/files.py", "_written_beside"),
    ("adapters/fido/key.py", "FidoKey.change_pin"),
    ("adapters/fido/key.py", "FidoKey.residents"),
    ("adapters/fido/key.py", "FidoKey.set_pin"),
    ("adapters/fido/key.py", "FidoKey.set_pin_policy"),
    ("adapters/fido/key.py", "FidoKey.try_pin"),
    ("adapters/fido/key.py", "FidoKey.toggle_always_uv"),
    ("adapters/fido/key.py", "_Person.request_pin"),
    ("adapters/aws/iam.py", "Iam.console_session"),
    ("adapters/aws/iam.py", "_created"),
    ("adapters/aws/clients.py", "_with_mfa"),
    ("adapters/aws/session_tokens.py", "SessionTokens._issued"),
    ("adapters/aws/session_tokens.py", "SessionTokens.role_session"),
    ("sessions/renewing.py", "read_state"),
    ("sessions/session.py", "MfaSession.answer"),
    ("sessions/session.py", "MfaSession.entry"),
    ("sessions/session.py", "parse_entry"),
    ("cli/rollout/handover.py", "Letters.with_passphrase"),
    ("cli/session.py", "_answer"),
    ("adapters/oath/applet.py", "Applet.derive_key"),
    ("adapters/oath/applet.py", "Applet.put"),
    ("adapters/oath/applet.py", "Applet.set_key"),
    ("adapters/oath/applet.py", "Applet.unlock"),
    ("adapters/files/picture.py", "read_image"),
    ("adapters/seedfiles/encoding.py", "_joined"),
    ("adapters/seedfiles/encoding.py", "_written"),
    ("adapters/seedfiles/encoding.py", "decode_base32"),
    ("adapters/seedfiles/encoding.py", "decode_base32_leniently"),
    ("adapters/seedfiles/encoding.py", "decode_hex"),
    ("adapters/seedfiles/encoding.py", "seeded_token"),
    ("adapters/seedfiles/xml_files.py", "_latin"),
    ("adapters/seedfiles/xml_files.py", "_open"),
    ("adapters/aws/signin.py", "_token"),
    ("adapters/aws/signin.py", "console_address"),
    ("adapters/files/redirect_page.py", "write_page"),
    ("adapters/printing/pdf.py", "_groups.draw"),
    ("adapters/printing/pdf.py", "_secret"),
    ("letters/sheet.py", "grouped_lines"),
    ("qr_codes/symbol.py", "text_modules"),
    ("adapters/files/identities.py", "NewIdentity.text"),
    ("security_keys/pin.py", "PrintedPin.new_pin"),
    ("security_keys/pin.py", "SealedPin.new_pin"),
    ("security_keys/pin.py", "ShownPin.new_pin"),
    ("security_keys/pin.py", "_page"),
    ("security_keys/pin.py", "_pin"),
    ("security_keys/pin.py", "pin_text"),
    ("wiring/files.py", "read_secret"),
    ("wiring/files.py", "read_secret_line"),
    ("wiring/ledger.py", "_read_key"),
    ("adapters/web/app.py", "App"),
    ("adapters/web/app.py", "_changes"),
    ("adapters/web/server.py", "PageServer.new_address"),
    ("cli/browser/page.py", "PersonAtPage.ask_code"),
    ("cli/browser/page.py", "PersonAtPage.ask_unless"),
    ("cli/browser/page.py", "PersonAtPage.choose"),
    ("cli/browser/page.py", "PersonAtPage.confirm"),
    ("cli/browser/page.py", "_qr"),
    ("cli/browser/page.py", "PageViews.entrance"),
    ("wiring/browser.py", "_print"),
    ("cli/terminal.py", "Page._beside"),
    ("cli/terminal.py", "Page.end"),
    ("cli/terminal.py", "Page.needs"),
    ("cli/terminal.py", "Page.rows"),
    ("cli/terminal.py", "Terminal._draw"),
    ("cli/terminal.py", "Terminal._room"),
    ("cli/terminal.py", "Terminal.show"),
    ("qr_codes/key_uri.py", "_notes"),
    ("qr_codes/key_uri.py", "_parameters"),
    ("qr_codes/key_uri.py", "_secret"),
    ("qr_codes/key_uri.py", "otpauth"),
    ("qr_codes/key_uri.py", "parse"),
    ("qr_codes/key_uri.py", "short_otpauth"),
    ("qr_codes/reading.py", "_text_in"),
    ("qr_codes/reading.py", "_account"),
    ("qr_codes/reading.py", "_records"),
    ("qr_codes/reading.py", "_text"),
    ("qr_codes/reading.py", "_varint"),
    ("qr_codes/reading.py", "read_export"),
    ("qr_codes/reading.py", "is_export"),
    ("core/otp.py", "_octets"),
    ("core/otp.py", "codes"),
    ("core/otp.py", "fingerprint"),
    ("core/otp.py", "from_base32"),
    ("core/otp.py", "grouped"),
    ("core/otp.py", "key_digest"),
    ("qr_codes/symbol.py", "_symbol"),
    ("qr_codes/decoding.py", "_gray_page"),
    ("qr_codes/decoding.py", "answer"),
    ("qr_codes/decoding.py", "read"),
}
KEY_URIS = {
    ("adapters/aws/iam.py", "_created"),
    ("wiring/backups.py", "uri_of"),
    ("qr_codes/reading.py", "uri_of"),
}
# A signal to a lab raises an exception. It unwinds what was begun before the process exits with the signal's number.
# core/unforeseen names SystemExit only to let it pass.
EXITS = {
    ("cli/main.py", "main"),
    ("cli/shutdown.py", "end_at_once"),
    ("lab/child.py", "unwind_on_signals.end"),
    ("core/errors.py", ""),
}
LOCAL_IMPORTS = ("cli/main.py", "cli/messages.py", "cli/options.py", "wiring/")

# Libraries that are too slow to import for a help page.
HEAVY = {
    "PIL",
    "boto3",
    "botocore",
    "cryptography",
    "defusedxml",
    "fido2",
    "jinja2",
    "moto",
    "psycopg",
    "pskc",
    "pyotp",
    "qrcode",
    "smartcard",
    "sqlite3",
    "yaml",
    "ykman",
    "yubikit",
    "zxingcpp",
}

# The contract, the module that gets an import (created if it does not exist), and the import.
PLANTED = [
    ("layers", "core.errors", "mfa_kit.qr_codes.symbol"),
    ("layers", "core.models", "mfa_kit.enrollment.enroll"),
    ("layers", "enrollment.enroll", "mfa_kit.account.snapshot"),
    ("layers", "audit.planted", "mfa_kit.policy.lint"),
    ("layers", "tokens.planted", "mfa_kit.rollout.apply"),
    ("layers", "rollout.planted", "mfa_kit.wiring.ports"),
    ("layers", "wiring.planted", "mfa_kit.cli.main"),
    ("layers", "adapters.planted", "mfa_kit.lab.aws.iam"),
    ("layers", "lab.planted", "mfa_kit.adapters.aws.iam"),
    ("cycles", "core.errors", "mfa_kit.core.models"),
    ("cycles", "enrollment.settling", "mfa_kit.enrollment.enroll"),
    ("cycles", "lab.devices.apdu", "mfa_kit.lab.devices.oathcard"),
    ("values", "adapters.planted", "mfa_kit.enrollment.ports"),
    ("values", "adapters.planted", "mfa_kit.rollout.apply"),
    ("values", "lab.planted", "mfa_kit.enrollment.settling"),
    ("adapters", "adapters.planted", "mfa_kit.adapters.aws.iam"),
    ("adapters", "adapters.files.planted", "mfa_kit.adapters.ledger.ledger"),
    ("wiring", "cli.planted", "mfa_kit.adapters.aws.iam"),
    ("wiring", "cli.planted", "mfa_kit.lab.aws.iam"),
    ("wiring", "enrollment.enroll", "mfa_kit.adapters.aws.iam"),
    ("lab", "wiring.planted", "mfa_kit.lab.aws.iam"),
    ("judges", "lab.planted", "mfa_kit.account.evaluator"),
    ("pure", "core.models", "boto3"),
    ("pure", "core.otp", "secrets"),
    ("pure", "enrollment.ports", "socket"),
    ("pure", "enrollment.enroll", "mfa_kit.qr_codes.symbol"),
    ("pure", "rollout.planted", "mfa_kit.disk.files"),
    ("pure", "rollout.planted", "mfa_kit.network.http"),
    ("pure", "tokens.planted", "subprocess"),
    ("pure", "enrollment.pacing", "time"),
]


def lint_imports(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Check contracts of the copy in a folder, instead of this checkout."""
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    chosen = [word for contract in contracts for word in ("--contract", contract)]
    return subprocess.run(
        [sys.executable, "-c", lint, "--config", ROOT / "pyproject.toml", "--no-cache", *chosen],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Make a folder with a copy of the package."""
    shutil.copytree(PACKAGE, tmp_path / "mfa_kit", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_copy_of_the_package_keeps_each_contract(copy: Path) -> None:
    """So a failure of the copy below has no other reason than the added imports."""
    done = lint_imports(copy, *CONTRACTS)
    assert done.returncode == 0, done.stdout
    for contract in CONTRACTS.values():
        assert f"{contract['name']} KEPT" in done.stdout


def plant(copy: Path, module: str, imported: str) -> None:
    """Write an import into a function of the copy's module."""
    with (copy / "mfa_kit" / f"{module.replace('.', '/')}.py").open("a", encoding="utf-8") as planted:
        planted.write(f"\ndef _planted():\n    import {imported}\n")


@pytest.mark.parametrize("contract", [contract for contract in CONTRACTS if contract != "cycles"])
def test_planted_imports_break_the_contract(copy: Path, contract: str) -> None:
    """The report names the contract and each import, even inside a function."""
    planted = [(module, imported) for broken, module, imported in PLANTED if broken == contract]
    for module, imported in planted:
        plant(copy, module, imported)
    done = lint_imports(copy, contract)
    assert done.returncode == 1
    assert f"{CONTRACTS[contract]['name']} BROKEN" in done.stdout
    for module, imported in planted:
        assert f"mfa_kit.{module} -> {imported}" in done.stdout


@pytest.mark.parametrize(("module", "imported"), [planted[1:] for planted in PLANTED if planted[0] == "cycles"])
def test_a_planted_cycle_breaks_its_contract(copy: Path, module: str, imported: str) -> None:
    """The cycles are planted one at a time. The report names the siblings, not their modules."""
    plant(copy, module, imported)
    done = lint_imports(copy, "cycles")
    assert done.returncode == 1
    assert f"{CONTRACTS['cycles']['name']} BROKEN" in done.stdout
    assert "No cycles are allowed in mfa_kit" in done.stdout


def test_a_new_package_must_have_a_layer(copy: Path) -> None:
    """Without a layer, no contract would apply to the package."""
    (copy / "mfa_kit" / "attic.py").touch()
    done = lint_imports(copy, "layers")
    assert done.returncode == 1
    assert "mfa_kit.attic" in done.stdout


def test_every_contract_has_a_planted_violation() -> None:
    """A contract that has never failed may check nothing."""
    assert {planted[0] for planted in PLANTED} == set(CONTRACTS)


def test_every_package_that_does_no_io_is_under_the_pure_contract() -> None:
    """A new use case is pure from the start."""
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    pure = {name.removeprefix("mfa_kit.") for name in CONTRACTS["pure"]["source_modules"]}
    assert packages - pure == {"adapters", "cli", "disk", "lab", "network", "posix", "qr_codes", "wiring"}


def nodes() -> Iterator[tuple[str, str, ast.AST]]:
    """Yield each syntax node of the package with its file and its function, `Class.method`, or "" outside functions."""

    def walk(node: ast.AST, file: str, names: tuple[str, ...]) -> Iterator[tuple[str, str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            yield file, ".".join(names), child
            named = (child.name,) if isinstance(child, ast.FunctionDef | ast.ClassDef) else ()
            yield from walk(child, file, names + named)

    for path in sorted(PACKAGE.rglob("*.py")):
        yield from walk(ast.parse(path.read_text("utf-8")), str(path.relative_to(PACKAGE)), ())


def users_of(name: str) -> set[tuple[str, str]]:
    """Return where the package uses a function by name: a call, or a reference that other code may call."""
    return {
        (file, function)
        for file, function, node in nodes()
        if (isinstance(node, ast.Attribute) and node.attr == name) or (isinstance(node, ast.Name) and node.id == name)
    }


def test_secrets_are_revealed_only_in_the_listed_functions() -> None:
    """`reveal` returns the value of a Seed, a key URI or a PNG."""
    assert users_of("reveal") == REVEALS


def test_key_uris_are_made_only_in_the_listed_functions() -> None:
    """The URI contains the secret."""
    assert users_of("otpauth") == KEY_URIS


# Text that this program or moto wrote. The lab reads a policy as IAM does, so a policy may have a key twice there.
OWN_JSON = {
    "core/file_formats.py",
    # Log files of CloudTrail: whoever writes an event with a key twice could as well write another event.
    "adapters/files/event_files.py",
    "lab/aws/backend.py",
    "lab/aws/policies.py",
    "lab/aws/state.py",
    "qr_codes/decoding.py",
    "sessions/session.py",
}


def test_json_from_outside_is_read_in_one_place() -> None:
    """`read_json` refuses a key that occurs twice, which two readers could understand differently."""
    readers = {"json.load", "json.loads", "json.JSONDecoder"}
    assert {file for file, _, node in nodes() if isinstance(node, ast.Attribute) and ast.unparse(node) in readers} <= (
        OWN_JSON
    )


FAULTS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.MfaKitError) and value is not errors.MfaKitError
}
# A hint that only states a fact, so the user does not know what to do.
STATES = re.compile(r"(there (is|are)|it (is|was|has|may have)|nothing is|only|aws|iam)\b", re.IGNORECASE)


def test_no_pattern_accepts_a_trailing_newline() -> None:
    r"""In Python, `$` also matches before a newline at the end. `\Z` does not, and `fullmatch` needs neither."""
    patterns = {
        call.args[0].value
        for file in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).startswith("re.")
        and "MULTILINE" not in ast.unparse(call)
        if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }
    assert len(patterns) > 50
    assert not {pattern for pattern in patterns if re.search(r"(?<!\\)\$", re.sub(r"\[\^?.[^]]*\]", "", pattern))}


def test_every_error_says_what_to_do() -> None:
    """Every error that is raised has a hint besides its message, and the hint begins with an action."""
    silent = []
    for file, function, node in nodes():
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in FAULTS and node.args:
            if isinstance(node.args[0], ast.Starred):  # message and hint come from a table
                continue
            hint = node.args[1] if len(node.args) > 1 else ast.Constant("")
            text = ast.unparse(hint).lstrip("f'\"{")
            if not text or STATES.match(text):
                silent.append((file, function, ast.unparse(node)))
    assert silent == []


def test_one_function_ends_the_process() -> None:
    """All other code raises exceptions, so that half-made devices are settled."""
    ways = {"sys.exit", "os._exit", "os.abort", "exit", "quit", "SystemExit"}
    found = {
        (file, function)
        for file, function, node in nodes()
        if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in ways
    }
    assert found <= EXITS


# They load OpenSSL or libffi, which help pages do not need.
SLOW_IMPORTS = {"import ctypes", "import hashlib", "import hmac"}


def test_only_the_command_line_imports_inside_functions() -> None:
    """So all imports are visible at the top of the files, except for a few slow modules of Python."""
    late = {
        file
        for file, function, node in nodes()
        if isinstance(node, ast.Import | ast.ImportFrom) and function and ast.unparse(node) not in SLOW_IMPORTS
    }
    assert all(where.startswith(LOCAL_IMPORTS) for where in late)


def verbs(group: click.Group, *words: str) -> Iterator[tuple[str, ...]]:
    """Return the words of each command, including groups."""
    context = click.Context(group)
    for name in group.list_commands(context):
        yield (*words, name)
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from verbs(command, *words, name)


VERBS = [(), *verbs(cli)]
# Each help page is printed by a separate process, forked from one that has only the command tree.
HELPS = """
import contextlib, io, json, os, sys
from mfa_kit.cli.main import run
pages = []
for words in json.loads(sys.argv[1]):
    ours, theirs = os.pipe()
    if os.fork() == 0:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            run([*words, "--help"])
        imported = sorted(sys.modules)
        with os.fdopen(theirs, "w") as file:
            json.dump([said.getvalue(), imported], file)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as file:
        pages.append(json.load(file))
    os.wait()
print(json.dumps(pages))
"""


@pytest.fixture(scope="module")
def helps() -> dict[tuple[str, ...], tuple[str, set[str]]]:
    """Return the help page of each command, and the modules that were imported for it."""
    done = subprocess.run(
        [sys.executable, "-c", HELPS, json.dumps(VERBS)],
        # Coverage would start in the process too, and it imports sqlite3.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        words: (page, set(imported)) for words, (page, imported) in zip(VERBS, json.loads(done.stdout), strict=True)
    }


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_help_imports_no_slow_library(
    words: tuple[str, ...], helps: dict[tuple[str, ...], tuple[str, set[str]]]
) -> None:
    """Help prints at once. Libraries for AWS, keys and databases are imported only by the code that uses them."""
    page, modules = helps[words]
    imported = {name.partition(".")[0] for name in modules}
    assert "Usage: " in page
    assert {"click", "mfa_kit"} <= imported
    assert not imported & HEAVY


# The wiring and the adapters that help pages use: the settings, and the methods, whose options and texts are in them.
FOR_HELP = re.compile(r"mfa_kit\.wiring\.(settings|methods(\..*)?)")
FOR_METHODS = {
    "mfa_kit.adapters",
    "mfa_kit.adapters.files",
    "mfa_kit.disk.files",
    "mfa_kit.wiring.files",
}


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_help_imports_no_wiring(words: tuple[str, ...], helps: dict[tuple[str, ...], tuple[str, set[str]]]) -> None:
    """A command imports what opens AWS, keys, backups and the ledger when it runs, and its help does without."""
    _, modules = helps[words]
    opening = {name for name in modules if name.startswith(("mfa_kit.adapters", "mfa_kit.wiring."))}
    assert {name for name in opening if not FOR_HELP.fullmatch(name)} <= FOR_METHODS


def test_the_start_of_the_program_imports_no_slow_library() -> None:
    """The check covers everything that `python -m mfa_kit` imports at its start."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mfa_kit", "enroll", "--help"],
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "Usage: " in done.stdout
    assert {"click", "mfa_kit"} <= imported
    assert not imported & HEAVY


# A command in a message, up to the value that follows.
COMMAND = re.compile(r"(?:^|[\s:(`$])(mfa-kit|aws|chown|chmod|rm|mv|cp|mkdir|age|gpg|ykman|sudo|kill) [^;]*$")
QUOTED = {"command", "quote", "shlex.join", "shlex.quote"}
# Values in messages that are not words of a shell: numbers, words of the program, and text around a command.
NOT_SHELL = {
    "HTML",
    "' --user-paths' if user_paths else ''",
    "error",
    "names",
    "or_else",
    "user_id()",
    "ours",
    "verb",
}
NOT_SHELL |= {"' '.join(arguments)", "_kind(holder)", "kind", "arn", "holder", "judge", "path", "self._path.parent"}


def unquoted(code: str) -> list[str]:
    """Return the values that are put into a command unquoted."""
    found = []
    for node in ast.walk(ast.parse(code)):
        text = ""
        for part in node.values if isinstance(node, ast.JoinedStr) else ():
            if isinstance(part, ast.Constant):
                text += str(part.value)
                continue
            value = part.value  # type: ignore[attr-defined]
            if COMMAND.search(text) and not (isinstance(value, ast.Call) and ast.unparse(value.func) in QUOTED):
                found.append(ast.unparse(value))
            text += "X"
    return found


def test_values_in_printed_commands_are_quoted() -> None:
    """Users copy these commands into a shell, and the names and paths in them may come from someone else."""
    assert unquoted('f"remove it: rm {file}"') == ["file"]
    assert unquoted('f"move it: mv {quote(file)} {file}.other"') == ["file"]
    assert unquoted('f"remove it: rm {quote(file)}; {x}"') == []
    found = {value for file in sorted(PACKAGE.rglob("*.py")) for value in unquoted(file.read_text("utf-8"))}
    assert found - NOT_SHELL == set()


SEARCHES = {"search", "match", "fullmatch", "sub", "subn", "findall", "finditer", "replace"}
# The objects that `cli`, `organization` and `rollout` search or replace in: cells, names, IDs, arguments and files.
# None is a message of ours, except that `reason` quotes the account's ID from a message of AWS, and `EXTRA` and `GIVEN`
# are patterns for messages of click, which have no fields.
SEARCHED = {"ARN", "CELL", "PATH", "RESOURCE", "SURROGATE", "pattern", "self.pattern", "EXTRA", "GIVEN", "reason"}
SEARCHED |= {"CLOCK", "CODE", "DIGEST", "EMAIL", "EXTERNAL_ID", "GAP", "INDEX_BEGIN", "JSON_DOCUMENT", "PRIVATE", "RUN"}
SEARCHED |= {
    "ACCOUNT_ID",
    "EXCEL_SEPARATOR",
    "NAME_AND_ID",
    "OLD_DEVICE",
    "ROLE_ARN",
    "ROUNDED",
    "SERIAL",
    "SHORT",
    "TAG_KEY",
    "TAG_VALUE",
}
SEARCHED |= {"USER_NAME", "re", "results", "compiled", "declared.name", "name"}
# Marks of Markdown in the pages of the documentation.
SEARCHED |= {"ALSO", "ITEM", "LINK", "PAGE", "named"}
# The names of columns, and dates in cells.
SEARCHED |= {"LABELS.get(name, name)", "DAY"}
SEARCHED |= {"outcome.value", "state.value", "name.removeprefix('--').upper()"}
SEARCHED |= {"SECRET_COLUMN", "ROLE_ARN if text.startswith('arn:') else ROLE_NAME"}


def searched(code: str) -> Iterator[str]:
    """Yield the objects whose methods search a text, or replace a part of it."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SEARCHES:
            owner = node.func.value
            if node.func.attr != "replace" or len(node.args) > 1:
                yield ast.unparse(owner).split(".replace(")[0]


def test_no_message_is_searched() -> None:
    """A message has its parts as fields. Whoever searches in its words breaks when they are worded better."""
    assert list(searched("TOUCH.search(text)")) == ["TOUCH"]
    assert list(searched('message.replace("press Enter", "press Start")')) == ["message"]
    folders = ("cli", "organization", "rollout")
    files = [file for folder in folders for file in sorted((PACKAGE / folder).rglob("*.py")) if file.name != "man.py"]
    assert {owner for file in files for owner in searched(file.read_text("utf-8"))} - SEARCHED == set()


def imported(file: Path) -> Iterator[str]:
    """Yield the top-level modules that a file imports when it runs. Imports for types only are left out."""
    tree = ast.parse(file.read_text("utf-8"))
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test).endswith("TYPE_CHECKING")
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_each_imported_library_has_a_lower_bound() -> None:
    """A library that only another library asks for could be too old for our own calls."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in {"all", "dev"}}
    asked = [Requirement(line) for line in (*project["dependencies"], *chain(*extras.values()))]
    bounded = {canonicalize_name(each.name) for each in asked if re.search("[>=]=", str(each.specifier))}
    modules = (
        {name for file in PACKAGE.rglob("*.py") for name in imported(file)} - sys.stdlib_module_names - {"mfa_kit"}
    )
    sources = packages_distributions()
    assert {name for name in modules if not bounded & {canonicalize_name(each) for each in sources[name]}} == set()
    assert {"PIL", "cryptography", "smartcard"} <= modules
