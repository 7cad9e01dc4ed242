"""The table of checks that a verification prints."""

from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.checks import Proof, Refused


def check_rows(answer: Proof | Refused) -> list[ResultRow]:
    """Return a row per check, with the fields `check`, `result`, `detail` and `source`."""
    return [
        {"check": check.name, "result": check.value, "detail": check.detail, "source": check.source}
        for check in answer.checks
    ]


def print_answer(schema: str, subject: ResultRow, answer: Proof | Refused, output: Output) -> int:
    """Print the checks, and return the exit code: 0 for Proof, 1 for Refused.

    In JSON, also print the fields of `subject`, which say what was verified.
    """
    proven, rows = isinstance(answer, Proof), check_rows(answer)
    if output.form == "json":
        output.one(schema, {**subject, "answer": "proof" if proven else "refused", "checks": rows})
    else:
        output.many(schema, rows, empty="nothing was checked")
    return 0 if proven else 1
