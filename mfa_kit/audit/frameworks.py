"""The frameworks, and the verdict on each of their controls from the answers of the rules that check it.

Rules do not contain the numbers of controls. To add a framework, add a file with its data, and add it to FRAMEWORKS.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.audit.controls.cis import CIS
from mfa_kit.audit.controls.fedramp import FEDRAMP
from mfa_kit.audit.controls.nist import NIST
from mfa_kit.audit.controls.pci_dss import PCI_DSS
from mfa_kit.audit.controls.security_hub import BEST_PRACTICES, SECURITY_HUB
from mfa_kit.audit.finding import AuditRule, Control, Framework, RuleAnswer, RuleResult
from mfa_kit.core.errors import UsageFault

FRAMEWORKS: Mapping[str, Framework] = {
    framework.id: framework for framework in (*CIS, SECURITY_HUB, BEST_PRACTICES, PCI_DSS, *NIST, FEDRAMP)
}


def standards(rule: str) -> tuple[str, ...]:
    """Return the short names of the frameworks with a control that a rule checks completely or in part."""
    return tuple(
        framework.short
        for framework in FRAMEWORKS.values()
        if any(rule in control.rules for control in framework.controls)
    )


def references(rule: str) -> tuple[str, ...]:
    """Return the controls that a rule checks completely or in part, such as `CIS 5.0 1.4`, ordered by framework.

    A control of Security Hub that is in FSBP too is listed only once, as `Security Hub IAM.5 (FSBP)`.
    """
    control_names = []
    for framework in FRAMEWORKS.values():
        for control in framework.controls:
            if rule in control.rules and framework is not BEST_PRACTICES:
                best = framework is SECURITY_HUB and control in BEST_PRACTICES.controls
                control_names.append(f"{framework.short} {control.id}{' (FSBP)' if best else ''}")
    return tuple(control_names)


# The results of rules, worst first. The worst result of a control's rules decides. A rule that does not apply decides
# only if no rule applies.
WORST = (RuleResult.FAIL, RuleResult.UNKNOWN, RuleResult.ACCEPTED, RuleResult.PASS, RuleResult.NOT_APPLICABLE)


class ControlResult(StrEnum):
    """The verdict on a control. Unknown, accepted and not covered never count as a pass."""

    FAIL = "fail"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    PASS = "pass"  # noqa: S105 - no password
    NOT_APPLICABLE = "not applicable"
    NOT_COVERED = "not covered"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlAnswer:
    """The verdict on a control, with the answers of its rules.

    `why` is the reason for the verdict, or a FindingNote of one of these rules, or "".
    """

    control: Control
    result: ControlResult
    answers: tuple[RuleAnswer, ...] = ()
    why: str = ""


def choose_framework(name: str) -> Framework:
    """Return the framework with this ID, in upper or lower case. Raise UsageFault if there is none."""
    if (chosen := FRAMEWORKS.get(name.lower())) is None:
        raise UsageFault(f"there is no framework {name!r}", f"use one of {', '.join(FRAMEWORKS)}")
    return chosen


def framework_rules(framework: Framework, rules: Iterable[AuditRule]) -> list[AuditRule]:
    """Return those of `rules` that check the controls of a framework."""
    rule_ids = {rule for control in framework.controls for rule in control.rules}
    return [rule for rule in rules if rule.id in rule_ids]


def answer_controls(framework: Framework, answers: Sequence[RuleAnswer]) -> list[ControlAnswer]:
    """Return the verdict on each control of a framework, in the framework's order."""
    answers_by_rule = {answer.rule.id: answer for answer in answers}
    return [_answer(control, answers_by_rule) for control in framework.controls]


def _answer(control: Control, answers_by_rule: Mapping[str, RuleAnswer]) -> ControlAnswer:
    if not control.rules:
        return ControlAnswer(control=control, result=ControlResult.NOT_COVERED, why=control.gap)
    answers = tuple(answers_by_rule[rule] for rule in control.rules)
    worst = min((answer.result for answer in answers), key=WORST.index)
    if worst in {RuleResult.PASS, RuleResult.NOT_APPLICABLE} and control.gap:
        return ControlAnswer(
            control=control, result=ControlResult.UNKNOWN, answers=answers, why=f"checked in part: {control.gap}"
        )
    why = _accepted(answers) if worst is RuleResult.ACCEPTED else _why(answers, worst)
    return ControlAnswer(control=control, result=ControlResult(worst), answers=answers, why=why)


def _accepted(answers: Iterable[RuleAnswer]) -> str:
    entries = (finding for answer in answers for finding in answer.accepted)
    return "; ".join(
        f"{finding.owner} accepts {finding.subject} until {finding.until}: {finding.reason}" for finding in entries
    )


def _why(answers: Iterable[RuleAnswer], result: RuleResult) -> str:
    return next((answer.why for answer in answers if answer.result is result and answer.why), "")
