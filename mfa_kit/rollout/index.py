"""An index: a file that lists the plan files of several accounts, with the SHA-256 of each.

The SHA-256 of an index therefore also identifies the contents of its plans.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.json_text import list_of, object_of, read_json
from mfa_kit.core.message import suggest
from mfa_kit.core.models import ACCOUNT_ID
from mfa_kit.core.timestamps import checked_time, iso_time
from mfa_kit.rollout.plan import INDEX_SCHEMA, Action, Plan

VERSION = 1
CREATE = suggest("create it", "rollout plan ROSTER --accounts FILE -o INDEX")
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAccount:
    """An account with a plan: the file of the plan, relative to the folder of the index, and the file's SHA-256 in hex.

    `counts` has the plan's number of users for each action, such as `enroll`.
    """

    id: str
    name: str
    plan: str
    sha256: str
    counts: Mapping[str, int]

    @property
    def label(self) -> str:
        """The account for messages: `NAME (ID)`, or the ID if the account has no name."""
        return f"{self.name} ({self.id})" if self.name else self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class UnplannedAccount:
    """A chosen account that has no plan, because mfa-kit could not read the account. `why` is a sentence."""

    id: str
    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutIndex:
    """The index of the plans that one command made at `planned_at` (Unix seconds).

    `by` is the ARN of the caller, who assumed the roles in the accounts. `unplanned` are the accounts without a plan.
    """

    by: str
    planned_at: float
    accounts: Sequence[PlannedAccount]
    unplanned: Sequence[UnplannedAccount] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The number of users for each action, in all accounts together."""
        totals = sum((Counter(account.counts) for account in self.accounts), Counter[str]())
        return {action.value: totals[action.value] for action in Action}

    def find(self, number: str) -> PlannedAccount | None:
        """Return the account with an ID, or None if it is not in the index."""
        return next((account for account in self.accounts if account.id == number), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFiles:
    """The plans that a command reads from one or several files.

    `index` lists the accounts of all files. `plans` has the plan of each account, by account ID. `files` has the file
    from which each plan was read, by account ID: the plan or the index that was given on the command line. `label`
    names all files in messages.
    """

    index: RolloutIndex
    plans: Mapping[str, Plan]
    files: Mapping[str, Path]
    label: str


def index_of_plan(plan: Plan, *, name: str, sha256: str) -> RolloutIndex:
    """Return an index with one plan only. `name` and `sha256` are the name and the SHA-256 of its file."""
    account = PlannedAccount(id=plan.account, name="", plan=name, sha256=sha256, counts=plan.counts)
    return RolloutIndex(by=plan.by, planned_at=plan.planned_at, accounts=[account])


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
    accounts = [
        json.dumps(
            {
                "id": account.id,
                "name": account.name,
                "plan": account.plan,
                "sha256": account.sha256,
                "counts": account.counts,
            }
        )
        for account in index.accounts
    ]
    unplanned = [
        json.dumps({"id": account.id, "name": account.name, "why": account.why}) for account in index.unplanned
    ]
    return f"{json.dumps(head, indent=1)[:-2]},{_lines('accounts', accounts)},{_lines('unplanned', unplanned)}\n}}\n"


def _lines(name: str, items: Sequence[str]) -> str:
    return f'\n "{name}": [\n' + ",\n".join(items) + "\n ]" if items else f'\n "{name}": []'


def parse_index(text: str, *, name: str = "this file") -> RolloutIndex:
    """Parse the text of an index file. Raise UsageFault for any other text, or another version of the format.

    The message of the error begins with `name`.
    """
    try:
        return _parse(object_of(read_json(text)))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageFault(f"{name} is not an index of plans, or another version of mfa-kit made it", CREATE) from None


def _parse(document: Mapping[str, object]) -> RolloutIndex:
    if (document["schema"], document["version"]) != (INDEX_SCHEMA, VERSION):
        raise ValueError("it has another schema or version")
    accounts = [_parse_account(object_of(entry)) for entry in list_of(document["accounts"])]
    if len({account.id for account in accounts}) < len(accounts):
        raise ValueError("it has an account twice")
    unplanned = map(object_of, list_of(document["unplanned"]))
    return RolloutIndex(
        by=str(document["by"]),
        planned_at=checked_time(datetime.fromisoformat(str(document["made"])).timestamp()),
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
