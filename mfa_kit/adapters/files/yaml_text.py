"""Parses YAML with PyYAML, which the extra `org` installs. yaml.SafeLoader never runs code from a document."""

from collections.abc import Iterator
from typing import Any

import yaml

from mfa_kit.core.errors import UsageFault
from mfa_kit.organization.accounts_file import Locate

ACCOUNTS = "accounts"
TIMESTAMP = "tag:yaml.org,2002:timestamp"
CORRECT = "correct the YAML, and try again"
# If PyYAML was built with libyaml, this loader is written in C and is ten times as fast.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _OneValuePerKey(Loader):  # type: ignore[misc]  # the base class is chosen at run time
    """Rejects a key that occurs twice in one mapping. PyYAML itself would use the last value."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replace merge keys (`<<`) with the entries that they merge. PyYAML calls this for each mapping.

        A mapping's own value overrides a merged value. Entries with the same key are reduced to one, because otherwise
        a few nested merges would fill the memory. Raise UsageFault if a key occurs twice in the mapping itself.
        """
        earlier_keys: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in earlier_keys:
                    raise UsageFault(f"{_line(key)}: the key {key.value[:40]!a} occurs twice", CORRECT)
                earlier_keys.add(key.value)
        super().flatten_mapping(node)
        node.value = list({_identity(key): (key, value) for key, value in node.value}.values())


# Dates remain strings, as they are in JSON.
_OneValuePerKey.yaml_implicit_resolvers = {
    first: [row for row in rows if row[0] != TIMESTAMP] for first, rows in Loader.yaml_implicit_resolvers.items()
}


def _construct_integer(loader: Any, node: yaml.ScalarNode) -> object:
    """Return an integer. A number in base 60 (`1:30:00`) remains text, as in YAML 1.2, because PyYAML is slow at it."""
    return node.value if ":" in node.value else loader.construct_yaml_int(node)


_OneValuePerKey.add_constructor("tag:yaml.org,2002:int", _construct_integer)


def _identity(key: yaml.Node) -> object:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


def parse_yaml(text: str) -> tuple[object, Locate]:
    """Parse YAML. Return the document, and a function that returns the line of an account or of one of its keys.

    Raise UsageFault if the text is not valid YAML, or if a mapping has a key twice.
    """
    try:
        loader = _OneValuePerKey(text)
        try:
            node = loader.get_single_node()
            document = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark else ""
        raise UsageFault(
            f"{place}the file is not valid YAML: {error.problem or error.context}", _correction(text, mark)
        ) from None
    except yaml.YAMLError as error:
        raise UsageFault(f"the file is not valid YAML: {str(error).splitlines()[0]}", CORRECT) from None
    except RecursionError:
        raise UsageFault("the file is nested too deep", CORRECT) from None
    except (
        ValueError,
        OverflowError,
        TypeError,
        AttributeError,
        LookupError,
    ):  # an impossible date or number
        raise UsageFault(
            "the file has a value that is not valid YAML", "put dates and numbers in quotation marks"
        ) from None
    lines = dict(_lines(node))
    return document, lambda index, key: lines.get((index, key)) or lines[index, None]


def _correction(text: str, mark: yaml.Mark | None) -> str:
    """Return a hint for malformed YAML. The usual cause is a tab in the indentation, which users cannot see."""
    lines = text.splitlines()
    if mark is None or mark.line >= len(lines):
        return CORRECT
    line = lines[mark.line]
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"indent line {mark.line + 1} with spaces, because YAML allows no tabs there"
    return f"correct line {mark.line + 1} or the line before, and try again"


def _lines(root: yaml.Node | None) -> Iterator[tuple[tuple[int, str | None], str]]:
    """Yield the position of each account and of each key in it, with its line, such as `line 3`.

    A position is a pair: the index of the account, and the name of the key or, for the account itself, None.
    """
    for index, account in enumerate(_accounts(root)):
        yield (index, None), _line(account)
        if isinstance(account, yaml.MappingNode):
            yield from (
                ((index, key.value), _line(key)) for key, _ in account.value if isinstance(key, yaml.ScalarNode)
            )


def _accounts(root: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            if key.value == ACCOUNTS and isinstance(value, yaml.SequenceNode):
                return list(value.value)
    return []


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
