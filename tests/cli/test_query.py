"""--query: a part of the JSON, chosen by a JMESPath expression."""

import json
import subprocess
import sys

import pytest

from tests.conftest import MfaKit

VIRTUAL = ("--with", "virtual", "--codes", "generated")


def test_a_query_prints_a_part_of_the_json(mfa_kit: MfaKit, user: str) -> None:
    """--query implies --output json, and may also be before the verb."""
    done = mfa_kit.run("status", user, "--query", "rows[].user")
    assert (done.code, json.loads(done.out)) == (0, [user])
    done = mfa_kit.run("--query", "rows[0].kind", "--output", "json", "status", user)
    assert done.out == '"none"\n'
    assert mfa_kit.run("status", user, "--query", "nothing").out == "null\n"


def test_with_json_lines_a_query_applies_to_each_line(mfa_kit: MfaKit, user: str) -> None:
    """Each line is one object."""
    done = mfa_kit.run("status", user, "--output", "jsonl", "--query", "[schema, user]")
    assert done.out == f'["mfa-kit/status", "{user}"]\n'


def test_a_wrong_expression_is_a_usage_error_before_anything_is_done(
    mfa_kit: MfaKit, user: str, recipient: str
) -> None:
    """No device is created."""
    done = mfa_kit.run("enroll", user, *VIRTUAL, "-r", recipient, "--query", "rows[")
    assert (done.code, done.out) == (2, "")
    assert "--query is not a JMESPath expression" in done.err
    assert mfa_kit.run("status", user, "--query", "rows[0].kind").out == '"none"\n'


def test_an_expression_that_does_not_fit_the_result_is_a_usage_error(mfa_kit: MfaKit, user: str) -> None:
    """The argument types of a function are known only when there is a result."""
    done = mfa_kit.run("status", user, "--query", "length(version)")
    assert (done.code, done.out) == (2, "")
    assert "--query cannot be applied to the result" in done.err


@pytest.mark.parametrize("form", ["table", "csv"])
def test_query_needs_a_json_form(form: str, mfa_kit: MfaKit) -> None:
    """Tables and CSV have no JSON to search."""
    done = mfa_kit.run("ledger", "show", "--output", form, "--query", "rows")
    assert (done.code, "--query works only with --output json or jsonl" in done.err) == (2, True)
    assert "try: add --output json" in done.err


def test_jmespath_is_imported_only_for_a_query(mfa_kit: MfaKit) -> None:
    """Other commands do not spend time on it. `config path` does not use boto3, which imports jmespath too."""
    for words, imported in ((["config", "path"], False), (["config", "path", "--query", "schema"], True)):
        script = f"import sys; from mfa_kit.cli.main import run; run({words}); print('jmespath' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", script], env=mfa_kit.env, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == str(imported)
