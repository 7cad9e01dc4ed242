"""Reads lists of accounts in the format of c7n-org from JSON or YAML files, and converts such lists to JSON."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import JsonError, error_of_faults, read_json
from mfa_kit.core.message import suggest
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.accounts_file import Locate, number_accounts, parse_accounts

# The maximum size of a file in octets. An organization has at most ten thousand accounts, which take about three
# megabytes.
LARGEST = 16 << 20

# A function that parses YAML. It returns the document, and a function that returns the line of an account. It raises
# UsageFault for invalid YAML.
ParseYaml = Callable[[str], tuple[object, Locate]]


def read_accounts_file(path: Path, *, parse_yaml: ParseYaml) -> Sequence[OrgAccount]:
    """Return the accounts in an accounts file. `parse_yaml` is called if the file may be YAML.

    Raise UsageFault if the file cannot be read or has errors. Each error becomes a note of the exception.
    """
    try:
        document, locate = _parse(_text(path), parse_yaml, only_json=path.suffix.lower() == ".json")
        parsed_accounts = parse_accounts(document, locate=locate)
    except UsageFault as wrong:
        raise UsageFault(f"{path}: {wrong}", wrong.hint) from None
    if parsed_accounts.faults:
        them = "it" if len(parsed_accounts.faults) == 1 else "them"
        raise error_of_faults(str(path), parsed_accounts.faults, f"correct {them}, and try again")
    return parsed_accounts.accounts


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            octets = file.read(LARGEST + 1)
        if len(octets) > LARGEST:
            raise UsageFault(f"the file is larger than {LARGEST >> 20} MB", "split it into several files")
        text = octets.decode("utf-8-sig")
    except OSError as error:
        raise UsageFault(
            f"the file cannot be read: {error.strerror}", "give an accounts file that you can read"
        ) from None
    except UnicodeDecodeError:
        raise UsageFault("the file is not in UTF-8", "save it in UTF-8") from None
    if not text.strip():
        raise UsageFault(
            "the file is empty", suggest("export the accounts of your organization", "accounts export -o FILE")
        )
    return text


def _parse(text: str, parse_yaml: ParseYaml, *, only_json: bool) -> tuple[object, Locate]:
    """Return the parsed document, and a function that says where an account is in the file.

    If `only_json` is true, parse the text as JSON. Otherwise, parse it as YAML with `parse_yaml`, but if it begins with
    `{`, try JSON first.
    """
    if not only_json and not text.lstrip().startswith("{"):
        return parse_yaml(text)
    try:
        return read_json(text), number_accounts
    except JsonError as error:
        if not only_json:
            return parse_yaml(text)
        raise _json_fault(error) from None


def _json_fault(error: JsonError) -> UsageFault:
    if error.line is None:
        return UsageFault(f"the file is not valid JSON: {error}", "correct it, and try again")
    return UsageFault(
        f"the file is not valid JSON: line {error.line}, {error.detail}",
        f"look for a missing comma, quotation mark or bracket in line {error.line} or the line before",
    )


def accounts_text(document: object) -> bytes:
    """Return a document as JSON. c7n-org can read it, because JSON is also valid YAML."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
