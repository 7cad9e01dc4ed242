"""Reads JSON with one object per token, in the format in which Entra imports hardware OATH tokens.

Microsoft Graph's format is `{"@context": "#$delta", "value": [{"serialNumber": …, "secretKey": …, …}]}`. A list of such
objects and a single object are also accepted. The field names are those that CSV files have as column names.
"""

from collections.abc import Iterator, Mapping

from mfa_kit.adapters.seedfiles import headed_table
from mfa_kit.adapters.seedfiles.cells import Contents, Line
from mfa_kit.adapters.seedfiles.tables import seed_file
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.json_text import JsonError, read_json
from mfa_kit.tokens.seeds import DroppedRow, SeedFile

# The maximum number of different field names in a file. No format has so many.
FIELDS = 64
# The maximum number of values, which are counted before parsing, because an empty list takes about 60 octets of memory
# and two characters of the file. 200,000 tokens with nine fields have fewer.
VALUES = 2_000_000


def is_json(contents: Contents) -> bool:
    """Return whether a file begins like a JSON object or list."""
    return contents.root is None and contents.text.lstrip().startswith(("{", "["))


def read_json_tokens(contents: Contents) -> SeedFile:
    """Return the tokens in the file. Raise IntegrityFault if it is not JSON, or has no seeds or too many fields."""
    if sum(map(contents.text.count, "[{,")) > VALUES:
        raise IntegrityFault("this JSON has too many values", "ask the vendor to split the tokens into several files")
    try:
        document = read_json(contents.text)
    except JsonError as error:
        raise IntegrityFault(f"this file is not JSON: {error}", "ask the vendor for the file again") from None
    objects = document.get("value", [document]) if isinstance(document, dict) else document
    tokens = objects if isinstance(objects, list) else []
    # Names that begin with @ are OData annotations.
    named = (name for token in tokens if isinstance(token, dict) for name in token if not name.startswith("@"))
    names = list(dict.fromkeys(named))
    if not headed_table.names_seeds(names) or len(names) > FIELDS:
        raise IntegrityFault("this JSON has no objects with a secretKey", "check that this is the right file")
    lines: Iterator[Line] = (_line(f"token {number}", token, names) for number, token in enumerate(tokens, 1))
    rows = headed_table.read_headed([("header", names), *lines], names)
    notes = tuple(headed_table.unknown_columns(names))
    return seed_file("JSON", rows, contents.wanted, notes)


def _line(where: str, token: object, names: list[str]) -> Line:
    if not isinstance(token, Mapping):
        return where, DroppedRow(where, "it is not a JSON object")
    values = [token.get(name) for name in names]
    if any(isinstance(value, float) for value in values):
        return where, DroppedRow(where, "one of its numbers has a fraction")
    # Objects, lists and null count as empty, because they are not valid in any field that mfa-kit reads.
    return where, [str(value).strip() if isinstance(value, str | int) else "" for value in values]
