"""Identity-based policies as IAM evaluates them: explicit deny, then allow, then the implicit deny.

Written from the "Policy evaluation logic" and "IAM JSON policy elements" pages of the user guide. A condition operator
that is not here is an error, never a match: a policy that the lab cannot judge must not look as if it had been judged.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Any

from mfa_kit.lab.aws.wire import IamError

Context = Mapping[str, str | Sequence[str]]
Test = Callable[[str, str], bool]
LITERAL = {"${*}": "*", "${?}": "?", "${$}": "$"}


class EvalDecision(Enum):
    """What a set of policies says about one request."""

    ALLOW = "allow"
    IMPLICIT = "implicit deny"
    EXPLICIT = "explicit deny"


def _glob(wanted: str, value: str) -> bool:
    """Match `*` and `?`, as IAM has them: no brackets, and `${*}` is the character.

    Of each star but the last the first match will do; to try all of them would take a policy of many for ever.
    """
    runs = [""]
    for part in re.split(r"(\$\{[*?$]\}|[*?])", wanted):
        if part == "*":
            runs.append("")
        else:
            runs[-1] += "." if part == "?" else re.escape(LITERAL.get(part, part))
    if len(runs) == 1:
        return re.fullmatch(runs[0], value, re.DOTALL) is not None
    regex = f"{runs[0]}{''.join(f'(?>.*?{run})' for run in runs[1:-1])}.*{runs[-1]}"
    return re.fullmatch(regex, value, re.DOTALL) is not None


def _plain(wanted: str) -> str:
    return re.sub(r"\$\{([*?$])\}", r"\1", wanted)


def _arn(wanted: str, value: str) -> bool:
    """Match each of the six parts of an ARN by itself, as ArnLike does."""
    patterns, parts = wanted.split(":", 5), value.split(":", 5)
    return len(patterns) == len(parts) and all(map(_glob, patterns, parts))


def _when(text: str) -> datetime:
    if text.isdigit():
        return datetime.fromtimestamp(int(text), UTC)
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


TESTS: Mapping[str, Test] = {
    "StringEquals": lambda wanted, value: _plain(wanted) == value,
    "StringEqualsIgnoreCase": lambda wanted, value: _plain(wanted).lower() == value.lower(),
    "StringLike": _glob,
    "ArnEquals": _arn,
    "ArnLike": _arn,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "NumericEquals": lambda wanted, value: float(value) == float(wanted),
    "NumericLessThan": lambda wanted, value: float(value) < float(wanted),
    "NumericLessThanEquals": lambda wanted, value: float(value) <= float(wanted),
    "NumericGreaterThan": lambda wanted, value: float(value) > float(wanted),
    "NumericGreaterThanEquals": lambda wanted, value: float(value) >= float(wanted),
    "DateLessThan": lambda wanted, value: _when(value) < _when(wanted),
    "DateGreaterThan": lambda wanted, value: _when(value) > _when(wanted),
    "IpAddress": lambda wanted, value: ip_address(value) in ip_network(wanted, strict=False),
}
NEGATED: Mapping[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
    "NotIpAddress": "IpAddress",
}


def as_list(value: Any) -> list[Any]:
    """Read a policy's element, which may stand bare or in a list."""
    return value if isinstance(value, list) else [value]


def _filled(text: str, context: Context) -> str | None:
    """Put the values of policy variables in. None when one has no value: such an element matches nothing."""
    missing: list[str] = []

    def value(found: re.Match[str]) -> str:
        name, _, default = found[1].partition(",")
        if found[0] in LITERAL:
            return found[0]
        got = _look(context, name.strip())
        if isinstance(got, str):
            return re.sub(r"[*?]", r"${\g<0>}", got)
        if not default:
            missing.append(name)
        return default.strip().strip("'")

    filled = re.sub(r"\$\{([^}]*)\}", value, text)
    return None if missing else filled


def _look(context: Context, key: str) -> str | Sequence[str] | None:
    """Look up a key of the context; their names are not distinguished by case."""
    return next((value for name, value in context.items() if name.lower() == key.lower()), None)


def _condition(operator: str, key: str, wanted: list[str], context: Context) -> bool:
    """Whether one line of a Condition holds."""
    quantifier, _, bare = operator.rpartition(":")
    name = bare.removesuffix("IfExists")
    got = _look(context, key)
    if name == "Null":
        return any((got is None) == (str(one).lower() == "true") for one in wanted)
    if got is None:
        if quantifier and not bare.endswith("IfExists"):
            return quantifier == "ForAllValues"
        return bare.endswith("IfExists") or name in NEGATED
    test = TESTS.get(NEGATED.get(name, name))
    if test is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise IamError("NotImplemented", f"The lab does not play the condition operator {operator}.")
    values = [got] if isinstance(got, str) else list(got)
    filled = [text for text in (_filled(str(one), context) for one in wanted) if text is not None]
    held = [any(test(text, value) for text in filled) != (name in NEGATED) for value in values]
    return all(held) if quantifier == "ForAllValues" else any(held)


def conditions_hold(statement: Mapping[str, Any], context: Context) -> bool:
    """Whether all conditions of a statement hold."""
    return all(
        _condition(operator, key, as_list(wanted), context)
        for operator, lines in statement.get("Condition", {}).items()
        for key, wanted in lines.items()
    )


def _covers(statement: Mapping[str, Any], element: str, match: Callable[[str], bool]) -> bool:
    if element in statement:
        return any(map(match, as_list(statement[element])))
    if f"Not{element}" in statement:
        return not any(map(match, as_list(statement[f"Not{element}"])))
    return False


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    def on(text: str) -> bool:
        filled = _filled(text, context)
        return filled is not None and _glob(filled, resource)

    return (
        _covers(statement, "Action", lambda text: _glob(text.lower(), action.lower()))
        and _covers(statement, "Resource", on)
        and conditions_hold(statement, context)
    )


def condition_keys(documents: Iterable[str]) -> set[str]:
    """Collect the condition keys that policies ask about, in conditions and in variables."""
    found: set[str] = set()
    for document in documents:
        found |= {re.split(r"[,}]", each)[0].strip() for each in re.findall(r"\$\{([^*?$][^}]*\})", document)}
        found |= {
            key for one in parse_statements(document) for lines in one.get("Condition", {}).values() for key in lines
        }
    return found


def parse_statements(document: str) -> list[Mapping[str, Any]]:
    """Read the statements of a policy document. Those of a version without policy variables have none."""
    found = json.loads(document)
    if found.get("Version") != "2012-10-17" and "${" in document:
        found = json.loads(document.replace("${", "${$}{"))
    return as_list(found["Statement"])


def decide(documents: Iterable[str], action: str, resource: str, context: Context) -> EvalDecision:
    """Judge an action, `service:Name`, on a resource. A resource of `*` is covered by `*` alone."""
    verdict = EvalDecision.IMPLICIT
    for document in documents:
        for statement in parse_statements(document):
            if _applies(statement, action, resource, context):
                if statement["Effect"] == "Deny":
                    return EvalDecision.EXPLICIT
                verdict = EvalDecision.ALLOW
    return verdict
