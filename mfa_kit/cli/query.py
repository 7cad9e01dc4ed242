"""Expressions of `--query`: JMESPath, as in the AWS CLI."""

from collections.abc import Callable

import jmespath
from jmespath.exceptions import JMESPathError

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import Message, mfa_kit


def compile_query(expression: str) -> Callable[[object], object]:
    """Return a function that applies an expression to a document. Raise UsageFault for invalid JMESPath.

    The returned function raises UsageFault if the expression cannot be applied to a document.
    """
    try:
        compiled = jmespath.compile(expression)
    except JMESPathError as error:
        raise UsageFault(
            f"--query is not a JMESPath expression: {_first_line(error)}",
            "write an expression such as rows[].user; see https://jmespath.org",
        ) from None

    def search(document: object) -> object:
        try:
            result: object = compiled.search(document)
        except JMESPathError as error:
            raise UsageFault(
                f"--query cannot be applied to the result: {_first_line(error)}",
                Message("to see what the command did", mfa_kit("ledger show"), "to see the whole result, omit --query"),
            ) from None
        return result

    return search


def _first_line(error: JMESPathError) -> str:
    return str(error).partition("\n")[0].rstrip(":.")
