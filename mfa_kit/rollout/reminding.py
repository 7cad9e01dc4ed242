"""Finds the users of a plan who still have to prove that their app works, or to enroll themselves."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.models import run_time
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.plan import Action, Plan


class Awaited(StrEnum):
    """What a user still has to do. PROOF: send codes for their staged device. SELF: enroll themselves."""

    PROOF = "proof"
    SELF = "self"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """A user to remind, and what they still have to do. `email` may be "".

    For a user with a staged device, `since` is the Unix time at which the device's run began, and `device` is the
    device's serial. `backup` is then the user's own copy, or else the administrators' file. For a user who enrolls
    themselves, `since` is when the plan was made, and `device` and `backup` are None.
    """

    user: str
    awaited: Awaited
    since: float
    email: str = ""
    device: str | None = None
    backup: str | None = None


def find_reminders(plan: Plan, results: Iterable[RowResult]) -> Iterator[Reminder]:
    """Yield the users to remind, in the plan's order. `results` has the status of every row of the plan."""
    steps = {step.user: step for step in plan.steps}
    for result in results:
        step = steps[result.user]
        email = step.row.email or ""
        if result.outcome is RowOutcome.STAGED and result.run:
            yield Reminder(
                user=result.user,
                awaited=Awaited.PROOF,
                since=run_time(result.run),
                email=email,
                device=result.device,
                backup=result.user_backup or result.admin_backup,
            )
        elif result.outcome is RowOutcome.WAITING and step.action is Action.SELF:
            yield Reminder(user=result.user, awaited=Awaited.SELF, since=plan.planned_at, email=email)
