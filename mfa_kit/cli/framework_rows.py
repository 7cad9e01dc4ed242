"""Prints the verdicts on the controls of a framework: `mfa-kit audit --framework`."""

from collections import Counter
from collections.abc import Sequence

from mfa_kit.account.snapshot import Snapshot
from mfa_kit.audit.controls.control import Framework
from mfa_kit.audit.frameworks import ControlAnswer, ControlResult
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rule_rows import audit_head, rule_row


def print_controls(snapshot: Snapshot, framework: Framework, controls: Sequence[ControlAnswer], output: Output) -> None:
    """Print the verdict on each control of a framework.

    The form `table` has a paragraph per control: the verdict, then the findings. JSON is one document. JSON Lines and
    CSV have a line per control.
    """
    match output.form:
        case "table":
            names = max(len(control.control.id) for control in controls)
            for control in controls:
                _print_paragraph(control, output, names)
        case "json":
            answers = {answer.rule.id: answer for control in controls for answer in control.answers}
            document = {
                **audit_head(snapshot),
                "framework": framework_row(framework),
                "controls": [control_row(control) for control in controls],
                "rules": [rule_row(answer) for answer in answers.values()],
            }
            output.one("audit-framework", document)
        case _:
            rows = [{"framework": framework.id, **control_row(control)} for control in controls]
            output.many("audit-control", rows, empty="")


def framework_row(framework: Framework) -> ResultRow:
    """Return the row of a framework: its name and version, and the source of its control IDs."""
    return {
        "id": framework.id,
        "name": framework.name,
        "version": framework.version,
        "scope": framework.scope,
        "source": framework.source,
        "read": framework.read,
    }


def control_row(answer: ControlAnswer) -> ResultRow:
    """Return the row of a control: its verdict, and the rules that check it."""
    subjects = dict.fromkeys(finding.subject for rule_answer in answer.answers for finding in rule_answer.findings)
    return {
        "control": answer.control.id,
        "result": answer.result,
        "title": answer.control.title,
        "rules": answer.control.rules,
        "why": answer.why or None,
        "fails_for": tuple(subjects),
        "standards": answer.control.standards,
    }


def control_totals(framework: Framework, controls: Sequence[ControlAnswer]) -> str:
    """Return a line with the framework, its number of controls, and the number of controls with each verdict."""
    counts = Counter(control.result for control in controls)
    totals = ", ".join(f"{counts[result]} {result}" for result in ControlResult if counts[result])
    return f"{framework.name} {framework.version}, {framework.scope}: {len(controls)} controls: {totals}"


def _print_paragraph(answer: ControlAnswer, output: Output, names: int) -> None:
    """Print a control: its verdict and title, its findings, and the subjects that could not be evaluated.

    `names` is the width of the column of control IDs.
    """
    word = f"{answer.result.upper():<14}"
    output.titled([word, f"{answer.control.id:<{names}}"], answer.control.title, painted=(word,))
    if answer.why:
        output.prose(f"    ({answer.why})")
    for rule_answer in answer.answers:
        for finding in rule_answer.findings:
            output.prose(f"    {finding.subject}: {finding.evidence}")
        output.prose(*(f"    {unknown.subject}: {unknown.why}" for unknown in rule_answer.unknown))
