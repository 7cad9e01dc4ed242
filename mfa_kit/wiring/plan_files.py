"""Reads and writes indexes (files that each name the plans of several accounts), and the plans that they name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mfa_kit.adapters.files import rollout_files
from mfa_kit.core.errors import UsageFault
from mfa_kit.rollout.index import PlannedAccount, RolloutIndex, parse_index
from mfa_kit.rollout.plan import CREATE, Plan, is_index
from mfa_kit.wiring.methods.registry import Methods
from mfa_kit.wiring.rosters_and_plans import plan_of, read_plan, read_reviewed


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFiles:
    """The plans of several accounts that a command reads from one or several files.

    `index` lists the accounts of all files. `plans` has the plan of each account, by account ID. `files` has the file
    from which each plan was read, by account ID: the plan or the index that was given on the command line. `label`
    names all files in messages.
    """

    index: RolloutIndex
    plans: Mapping[str, Plan]
    files: Mapping[str, Path]
    label: str


def read_plan_files(
    paths: Sequence[Path], methods: Methods, *, expected: Sequence[str], plans_too: bool = False
) -> PlanFiles:
    """Read indexes, and with `plans_too` also plans of one account each.

    Raise UsageFault if two files have a plan for the same account, and the errors of `read_index` and `read_plans`.
    """
    indexes: list[RolloutIndex] = []
    plans: dict[str, Plan] = {}
    files: dict[str, Path] = {}
    for path in dict.fromkeys(paths):
        index, file_plans = _read_plan_file(path, methods, expected=expected, plans_too=plans_too)
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
        label=", ".join(map(str, dict.fromkeys(paths))),
    )


def _read_plan_file(
    path: Path, methods: Methods, *, expected: Sequence[str], plans_too: bool
) -> tuple[RolloutIndex, dict[str, Plan]]:
    """Return the index in a file, and its plans by account ID.

    If the file is a plan, make an index with this plan only.
    """
    if not plans_too or is_index(rollout_files.read_text(path, hint=CREATE)):
        index = read_index(path, expected=expected)
        return index, read_plans(path, index, methods)
    plan, digest = read_plan(path, methods, expected=expected)
    account = PlannedAccount(id=plan.account, name="", plan=path.name, sha256=digest, counts=plan.counts)
    return RolloutIndex(by=plan.by, planned_at=plan.planned_at, accounts=[account]), {plan.account: plan}


def read_index(path: Path, *, expected: Sequence[str]) -> RolloutIndex:
    """Return an index. Raise UsageFault if the file is not an index, and the errors of `read_reviewed`."""
    text, _ = read_reviewed(path, expected=expected, kind="index")
    return parse_index(text, name=str(path))


def earlier_index(path: Path) -> RolloutIndex | None:
    """Return the index that a new index at this path would replace, or None if there is no index.

    Raise UsageFault if the file cannot be read, or if another version of mfa-kit made it.
    """
    if not path.is_file():
        return None
    try:
        text = rollout_files.read_text(path)
        return parse_index(text) if is_index(text) else None
    except UsageFault:
        raise UsageFault(
            f"{path} exists, and mfa-kit cannot read it, so it is not replaced",
            "write the index to another file: -o FILE",
        ) from None


def read_plans(path: Path, index: RolloutIndex, methods: Methods) -> dict[str, Plan]:
    """Return all plans of an index by account ID. `path` is the path of the index.

    Raise UsageFault if a plan cannot be read, has changed since the index was written, or is for another account.
    """
    return {account.id: _read_planned(path, account, methods) for account in index.accounts}


def _read_planned(path: Path, account: PlannedAccount, methods: Methods) -> Plan:
    """Return the plan of an account. `path` is the path of the index.

    Raise UsageFault if the plan cannot be read, has changed since the index was written, or is for another account.
    """
    file = path.parent / account.plan
    text, digest = read_reviewed(
        file, expected=(), hint=f"restore the folder {file.parent}, which contains the plans of {path}, or plan again"
    )
    if digest != account.sha256:
        raise UsageFault(
            f"{file} has changed since {path} was written: its SHA-256 is {digest}", "plan again, and review the plans"
        )
    plan = plan_of(text, methods, name=str(file))
    if plan.account != account.id:
        raise UsageFault(f"{file} is a plan for account {plan.account}, not for {account.id}", "plan again")
    return plan


def plans_folder(index: Path) -> Path:
    """Return the folder for the plans of an index. The folder is beside the index, and belongs to this index only."""
    return index.with_name(f"{index.name}-plans")


def write_index(path: Path, text: str, plans: Mapping[str, str]) -> None:
    """Write the plans into the folder that belongs to the index, and then the index. Replace earlier files.

    `plans` maps file names to texts. If a write fails, raise UsageFault or IntegrityFault, and keep the earlier files.
    """
    rollout_files.write_set(path, text, folder=plans_folder(path), members=plans)
