"""The last message of `mfa-kit rollout apply` and `rollout work`: what to do next."""

from collections.abc import Collection, Sequence
from shlex import quote

from mfa_kit.cli.rollout.tally import TO_RETRY
from mfa_kit.core.text import count_of
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.plan import Action, Plan

OPTIONS = ", with the options for accounts, such as --org"
MADE = {RowOutcome.ENROLLED, RowOutcome.STAGED}
UNDONE = {*TO_RETRY, RowOutcome.NOT_STARTED}


def next_step(results: Sequence[RowResult], *, plans: Collection[Plan], plan: str, folder: str, index: str = "") -> str:
    """Return one sentence that says what to do after a run with these results.

    `plans` are the plans that were carried out. `plan` is the plan file to name in commands, and `folder` the folder
    with the files of results. If the plans are from an index, `index` is the file of the index.
    """
    failed = [result for result in results if result.outcome in UNDONE]
    if failed:
        again = f"read the reasons in {folder}/results.csv, then run this command again"
        return f"next: {count_of(len(failed), 'user')} not enrolled: {again}"
    successes = [result for result in results if result.outcome in MADE]
    return _give_files(successes, plan, index) or _wait_for_users(results, plans, plan, index)


def _give_files(successes: Sequence[RowResult], plan: str, index: str) -> str:
    """Return the sentence that says how to give the users their secrets, or "" if there is nothing to give."""
    if any(result.user_backup for result in successes):
        command = f"mfa-kit rollout handover {quote(index or plan)} -o DIR"
        return f"next: write a letter and a folder for each user: {command}" + (OPTIONS if index else "")
    if any(result.outcome is RowOutcome.STAGED for result in successes):
        command = "mfa-kit rollout activate -i IDENTITY" + (OPTIONS if index else "")
        return f"next: give the users their secrets, then enable the devices: {command}"
    if without := [result for result in successes if result.admin_backup and not result.reason]:
        users = count_of(len(without), "user")
        return f"next: give {users} their secrets before they sign in: mfa-kit backup show FILE -i IDENTITY -o FILE.png"
    return ""


def _wait_for_users(results: Sequence[RowResult], plans: Collection[Plan], plan: str, index: str) -> str:
    """Return the sentence that says who still has to be enrolled: users in person, users by themselves, or no one."""
    waiting = {result.user for result in results if result.outcome is RowOutcome.WAITING}
    if waiting & {step.user for account_plan in plans for step in account_plan.steps if step.action is Action.STATION}:
        return f"next: enroll the other users in person: mfa-kit rollout station {quote(plan)}"
    if waiting:
        command = f"mfa-kit rollout remind {quote(index or plan)}"
        return f"next: list the users that the rollout still waits for: {command}" + (OPTIONS if index else "")
    return "next: nothing is left to do, because every user has a device"
