"""JSON from outside: what one reader could understand differently than another is refused, wherever it is read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.account.evaluator import statements
from mfa_kit.adapters.files.snapshots import read_snapshot
from mfa_kit.adapters.metadata.index import packaged_payload
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import JsonError, read_json
from mfa_kit.lab.aws.description import read_description
from mfa_kit.lab.aws.faults import read_rules
from mfa_kit.rollout.plan_files import parse_plan
from mfa_kit.rollout.roster_files import CellFault, read_rows

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_other_json_is_read_as_the_library_reads_it(value: object) -> None:
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "it has the key 'a' twice in one object"),
        ('[{"x": {"\\u0061": 1, "a": 1}}]', "it has the key 'a' twice in one object"),
        ('{"\x1b": 1, "\\u001b": 2}', "line 1 is not valid JSON"),
        ('{"\\u001b": 1, "\\u001b": 2}', r"it has the key '\\x1b' twice in one object"),
        ("[" * 100_000, "it is nested too deep"),
        ("9" * 5000, "a number in it is too long"),
        ('{"at": 1%s}' % ("0" * 400), "a number in it is too long"),
        ("[1e999]", "a number in it is too large"),
        ("[-1e999]", "a number in it is too large"),
        ("[NaN]", "NaN is not a JSON value"),
        ("[-Infinity]", "-Infinity is not a JSON value"),
        ("\n{", "line 2 is not valid JSON"),
        (b"[\xff]", "it is not UTF-8"),
    ],
)
def test_text_that_is_not_json_is_refused(text: str | bytes, what: str) -> None:
    with pytest.raises(JsonError) as error:
        read_json(text)
    assert str(error.value) == what.replace("\\\\", "\\")


def from_file(read: Callable[[Path], object]) -> Callable[[str, Path], object]:
    def write_and_read(text: str, folder: Path) -> object:
        (folder / "outside.json").write_text(text)
        return read(folder / "outside.json")

    return write_and_read


POLICY = '{"Version": "2012-10-17", "Statement": [], "Statement": []}'
READERS: dict[str, tuple[str, Callable[[str, Path], object]]] = {
    "policy": (POLICY, lambda text, _: statements(text)),
    "plan": ('{"schema": "mfa-kit/rollout-plan", "schema": "mfa-kit/rollout-plan"}',
             lambda text, _: parse_plan(text, methods=(), parse_key=str)),
    "snapshot": ('{"schema": "x", "schema": "mfa-kit/snapshot"}', from_file(read_snapshot)),
    "lab's account": ('{"version": 1, "version": 1}', from_file(read_description)),
    "lab's rules": ('[{"operation": "x", "operation": "y"}]', from_file(read_rules)),
    "metadata": ('{"entries": [], "no": 1, "no": 2, "nextUpdate": "2026-01-01"}',
                 lambda text, _: packaged_payload(text.encode())),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_a_key_that_occurs_twice_is_refused_everywhere(name: str, tmp_path: Path) -> None:
    """Some readers take the first value, and others the last."""
    text, read = READERS[name]
    with pytest.raises(UsageFault):
        read(text, tmp_path)


def test_a_row_of_a_roster_with_a_key_twice_is_a_fault() -> None:
    """The other rows are read."""
    fault, row = read_rows('{"user": "ada", "user": "bob"}\n{"user": "cyd"}').rows
    assert isinstance(fault, CellFault)
    assert "it has the key 'user' twice" in str(fault)
    assert not isinstance(row, CellFault)
