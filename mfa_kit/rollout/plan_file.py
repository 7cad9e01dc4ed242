"""Write and read plan files: a JSON object with a summary for people, then one row per line (docs/formats.md)."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.json_text import list_of, object_of, read_json
from mfa_kit.core.timestamps import checked_time, iso_time
from mfa_kit.rollout.plan import Action, Plan, PlanStep, action_of
from mfa_kit.rollout.roster import RosterRow, key_fingerprint, parse_roster, row_cells
from mfa_kit.rollout.roster_method import RosterMethod
from mfa_kit.rollout.roster_text import DEVICE_NAME

SCHEMA, INDEX_SCHEMA = "mfa-kit/rollout-plan", "mfa-kit/rollout-index"
VERSION = 1
# The field of a plan for the column `device_name` of a roster.
NAME = "name"
# Matches the beginning of an index. The rest is not read, because a plan may have several megabytes.
INDEX_BEGIN = re.compile(rf'\s*\{{\s*"schema"\s*:\s*"{re.escape(INDEX_SCHEMA)}"')
CREATE = "create a plan: mfa-kit rollout plan ROSTER -o PLAN"


def is_index(text: str) -> bool:
    """Return whether a text is an index (a list of the plans of several accounts) of any version, and not a plan."""
    return INDEX_BEGIN.match(text) is not None


def plan_text(plan: Plan) -> str:
    """Return the text of a plan file.

    The fields counts, calls, seconds and shut_out in the file are a summary for people, which `parse_plan` ignores.
    """
    head = {
        "schema": SCHEMA,
        "version": VERSION,
        "account": plan.account,
        "partition": plan.partition,
        "by": plan.by,
        "made": iso_time(plan.planned_at),
        "report_age": plan.report_age,
        "counts": plan.counts,
        "calls": plan.calls,
        "seconds": round(plan.seconds),
        "shut_out": plan.shut_out,
    }
    rows = [json.dumps(_step_fields(step)) for step in plan.steps]
    return json.dumps(head, indent=1)[:-2] + ',\n "rows": [\n' + ",\n".join(rows) + "\n ]\n}\n"


def _step_fields(step: PlanStep) -> dict[str, object]:
    row = {NAME if column == DEVICE_NAME else column: cell for column, cell in row_cells(step.row).items() if cell}
    rest = {
        "key": key_fingerprint(step.row.recipient) if step.row.recipient else "",
        "key_before": step.key_before,
        "reason": step.reason,
        "devices": list(step.devices),
        "repair": step.repair,
    }
    return {**row, "action": step.action, **{name: value for name, value in rest.items() if value}}


def plan_digest(text: str) -> str:
    """Return the SHA-256 of a plan file's text in hex, as sha256sum prints it for the file."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    return hashlib.sha256(text.encode()).hexdigest()


def parse_plan(
    text: str, *, methods: Iterable[RosterMethod], parse_key: Callable[[str], str], name: str = "this file"
) -> Plan:
    """Parse a plan file. Its rows are checked like those of a roster.

    The cell `kind` of a row has the name of one of `methods`, or `self`. `parse_key` returns a public key without its
    comment, or raises UsageFault. Raise UsageFault if the text is not a plan, or has another version of the format. The
    message of the error begins with `name`.
    """
    try:
        return _parse(object_of(read_json(text)), methods=methods, parse_key=parse_key)
    except (ValueError, KeyError, TypeError, RecursionError, UsageFault):
        raise UsageFault(f"{name} is not a rollout plan, or another version of mfa-kit made it", CREATE) from None


def _parse(found: Mapping[str, object], *, methods: Iterable[RosterMethod], parse_key: Callable[[str], str]) -> Plan:
    if (found["schema"], found["version"]) != (SCHEMA, VERSION):
        raise ValueError("it has another schema or version")
    steps = [object_of(step) for step in list_of(found["rows"])]
    lines = "\n".join(json.dumps({**step, DEVICE_NAME: step.get(NAME)}) for step in steps)
    rows = parse_roster(lines or "user", methods=methods, parse_key=parse_key).rows
    report_age = found["report_age"]
    if not isinstance(report_age, float | int | None):
        raise TypeError("the age of the report is not a number")
    return Plan(
        account=str(found["account"]),
        partition=str(found["partition"]),
        by=str(found["by"]),
        planned_at=checked_time(datetime.fromisoformat(str(found["made"])).timestamp()),
        steps=[_parse_step(row, fields) for row, fields in zip(rows, steps, strict=True)],
        report_age=report_age,
    )


def _parse_step(row: RosterRow, fields: Mapping[str, object]) -> PlanStep:
    """Return the step with this row, from the fields of its line in the plan file.

    Raise ValueError if the action does not fit the kind of device, which happens if a user edited only one of the two.
    """
    action, repair, meant = Action(str(fields["action"])), fields.get("repair") is True, action_of(row.kind)
    others = {Action.ENROLL, Action.STATION, Action.SELF} - {meant}
    if action in others:
        raise ValueError(f"the action {action} is not possible for {row.kind}")
    if repair and (action is not Action.BLOCKED or meant is Action.SELF):
        raise ValueError(f"repair is not possible for {row.kind} with the action {action}")
    return PlanStep(
        row=row,
        action=action,
        reason=str(fields.get("reason", "")),
        devices=tuple(map(str, list_of(fields.get("devices", [])))),
        repair=repair,
        key_before=str(fields.get("key_before", "")),
    )
