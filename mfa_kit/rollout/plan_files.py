"""Plan files: the text of plans and of indexes.

A plan file is a JSON object with a summary for people, then one row per line. An index is a file that lists the plan
files of several accounts, with the SHA-256 of each. The SHA-256 of an index therefore also identifies the contents of
its plans. In commands, a plan file is an index with one entry.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import list_of, object_of, read_json
from mfa_kit.core.message import suggest
from mfa_kit.core.models import ACCOUNT_ID, RosterMethod
from mfa_kit.core.text import checked_time, iso_time
from mfa_kit.rollout.plan import (
    Action,
    Plan,
    PlanFiles,
    PlannedAccount,
    PlanStep,
    RolloutIndex,
    UnplannedAccount,
    action_of,
)
from mfa_kit.rollout.roster import ACTION, DEVICE_NAME, RosterRow, key_fingerprint, row_cells
from mfa_kit.rollout.roster_files import WRONG, parse_roster

SCHEMA, INDEX_SCHEMA = "mfa-kit/rollout-plan", "mfa-kit/rollout-index"
# The version of both formats.
VERSION = 1
# The fields of a plan for the columns `device_name` and `action` of a roster. The action of a step is another one.
NAME, CHANGE = "name", "change"
FIELDS = {DEVICE_NAME: NAME, ACTION: CHANGE}
# Matches the beginning of an index. The rest is not read, because a plan may have several megabytes.
INDEX_BEGIN = re.compile(rf'\s*\{{\s*"schema"\s*:\s*"{re.escape(INDEX_SCHEMA)}"')
# Match the beginning of what `rollout plan` may replace: a plan or an index, and the rows that --skip-bad left out.
REPLACED_PLAN = re.compile(rb'\s*\{\s*"schema"\s*:\s*"mfa-kit/rollout-(plan|index)"')
REPLACED_ROWS = re.compile(rf"[^\n]*\b{WRONG}\b".encode())
CREATE = suggest("create a plan", "rollout plan ROSTER -o PLAN")
CREATE_INDEX = suggest("create it", "rollout plan ROSTER --accounts FILE -o INDEX")
DIGEST = re.compile(r"[0-9a-f]{64}")


def is_index(text: str) -> bool:
    """Return whether a text is an index of any version, and not a plan."""
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
    return _document_text(head, rows=[_step_fields(step) for step in plan.steps])


def _document_text(head: Mapping[str, object], **lists: Sequence[Mapping[str, object]]) -> str:
    """Return the text of a JSON object with the fields of `head`, and then the lists, with an entry per line."""
    lines = {name: ",\n".join(map(json.dumps, entries)) for name, entries in lists.items()}
    texts = [f'\n "{name}": [\n{text}\n ]' if text else f'\n "{name}": []' for name, text in lines.items()]
    return ",".join([json.dumps(head, indent=1)[:-2], *texts]) + "\n}\n"


def _step_fields(step: PlanStep) -> dict[str, object]:
    row = {FIELDS.get(column, column): cell for column, cell in row_cells(step.row).items() if cell}
    details = {
        "pair": step.row.pair,
        "key": key_fingerprint(step.row.recipient) if step.row.recipient else "",
        "key_before": step.key_before,
        "reason": step.reason,
        "devices": list(step.devices),
        "repair": step.repair,
    }
    return {**row, "action": step.action, **{name: value for name, value in details.items() if value}}


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
        return _parse(_read_document(text, SCHEMA), methods=methods, parse_key=parse_key)
    except (ValueError, KeyError, TypeError, RecursionError, UsageFault):
        raise UsageFault(f"{name} is not a rollout plan, or another version of mfa-kit made it", CREATE) from None


def _read_document(text: str, schema: str) -> Mapping[str, object]:
    """Return the JSON object in a plan file or an index. Raise ValueError for another schema or version."""
    document = object_of(read_json(text))
    if (document["schema"], document["version"]) != (schema, VERSION):
        raise ValueError("it has another schema or version")
    return document


def _planned_at(document: Mapping[str, object]) -> float:
    return checked_time(datetime.fromisoformat(str(document["made"])).timestamp())


def _parse(document: Mapping[str, object], *, methods: Iterable[RosterMethod], parse_key: Callable[[str], str]) -> Plan:
    steps = [object_of(step) for step in list_of(document["rows"])]
    lines = "\n".join(
        json.dumps({**step, **{column: step.get(name) for column, name in FIELDS.items()}}) for step in steps
    )
    rows = parse_roster(lines or "user", methods=methods, parse_key=parse_key, of_plan=True).rows
    report_age = document["report_age"]
    if not isinstance(report_age, float | int | None):
        raise TypeError("the age of the report is not a number")
    return Plan(
        account=str(document["account"]),
        partition=str(document["partition"]),
        by=str(document["by"]),
        planned_at=_planned_at(document),
        steps=[_parse_step(row, fields) for row, fields in zip(rows, steps, strict=True)],
        report_age=report_age,
    )


def _parse_step(row: RosterRow, fields: Mapping[str, object]) -> PlanStep:
    """Return the step with this row, from the fields of its line in the plan file.

    Raise ValueError if the action does not fit the kind of device, which happens if a user edited only one of the two.
    """
    action, repair, meant = Action(str(fields["action"])), fields.get("repair") is True, action_of(row)
    others = {Action.ENROLL, Action.STATION, Action.SELF} - {meant}
    if action in others:
        raise ValueError(f"the action {action} is not possible for {row.kind}")
    if repair and (action is not Action.BLOCKED or meant is Action.SELF):
        raise ValueError(f"repair is not possible for {row.kind} with the action {action}")
    return PlanStep(
        row=replace(row, pair=fields.get("pair") is True),
        action=action,
        reason=str(fields.get("reason", "")),
        devices=tuple(map(str, list_of(fields.get("devices", [])))),
        repair=repair,
        key_before=str(fields.get("key_before", "")),
    )


def merge_plan_files(
    paths: Sequence[Path], read: Callable[[Path], tuple[RolloutIndex, Mapping[str, Plan]]]
) -> PlanFiles:
    """Return the plans of several files together. `read` returns the index in a file, and its plans by account ID.

    Raise UsageFault if two files have a plan for the same account.
    """
    indexes: list[RolloutIndex] = []
    plans: dict[str, Plan] = {}
    files: dict[str, Path] = {}
    for path in paths:
        index, file_plans = read(path)
        if duplicates := [number for number in file_plans if number in plans]:
            raise UsageFault(
                f"{files[duplicates[0]]} and {path} both have a plan for account {duplicates[0]}",
                "give one of these files, then run the command again with the other file",
            )
        indexes.append(index)
        plans |= file_plans
        files |= dict.fromkeys(file_plans, path)
    unplanned = {account.id: account for index in indexes for account in index.unplanned if account.id not in plans}
    return PlanFiles(
        index=replace(
            indexes[0],
            accounts=[account for index in indexes for account in index.accounts],
            unplanned=[*unplanned.values()],
        ),
        plans=plans,
        files=files,
        label=", ".join(map(str, paths)),
    )


def plan_file_name(account: str, digest: str) -> str:
    """Return the name of the plan file for the account with this ID. `digest` is the SHA-256 of the plan in hex.

    The name depends on the content of the plan, so a new plan does not overwrite the plan of an earlier index.
    """
    return f"{account}-{digest[:8]}.json"


def index_text(index: RolloutIndex) -> str:
    """Return the text of an index: JSON with an account per line."""
    head = {
        "schema": INDEX_SCHEMA,
        "version": VERSION,
        "by": index.by,
        "made": iso_time(index.planned_at),
        "counts": index.counts,
    }
    return _document_text(
        head, accounts=[asdict(account) for account in index.accounts], unplanned=[*map(asdict, index.unplanned)]
    )


def parse_index(text: str, *, name: str = "this file") -> RolloutIndex:
    """Parse the text of an index file. Raise UsageFault for any other text, or another version of the format.

    The message of the error begins with `name`.
    """
    try:
        return _parse_index(_read_document(text, INDEX_SCHEMA))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageFault(
            f"{name} is not an index of plans, or another version of mfa-kit made it", CREATE_INDEX
        ) from None


def _parse_index(document: Mapping[str, object]) -> RolloutIndex:
    accounts = [_parse_account(object_of(entry)) for entry in list_of(document["accounts"])]
    if len({account.id for account in accounts}) < len(accounts):
        raise ValueError("it has an account twice")
    unplanned = map(object_of, list_of(document["unplanned"]))
    return RolloutIndex(
        by=str(document["by"]),
        planned_at=_planned_at(document),
        accounts=accounts,
        unplanned=[
            UnplannedAccount(id=str(entry["id"]), name=str(entry["name"]), why=str(entry["why"])) for entry in unplanned
        ],
    )


def _parse_account(fields: Mapping[str, object]) -> PlannedAccount:
    number, digest, plan = str(fields["id"]), str(fields["sha256"]), str(fields["plan"])
    if not ACCOUNT_ID.fullmatch(number) or not DIGEST.fullmatch(digest):
        raise ValueError("the account ID or the hash is invalid")
    folder, _, name = plan.partition("/")
    if name != plan_file_name(number, digest) or not _is_folder(folder):
        raise ValueError("the file name of the plan is wrong, or the folder of the plan is not beside the index")
    counts = {action: _count(users) for action, users in object_of(fields["counts"]).items()}
    return PlannedAccount(id=number, name=str(fields["name"]), plan=plan, sha256=digest, counts=counts)


def _is_folder(name: str) -> bool:
    """Return whether a text can be the name of a folder. Raise ValueError if it cannot be encoded as a file name."""
    name.encode("utf-8", "surrogateescape")
    return name not in {"", ".", ".."} and "\0" not in name


def _count(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("it is not a number")
    return value
