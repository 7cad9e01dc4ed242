"""`mfa-kit rollout handover` for an index: the folders of the users of several accounts, and one table."""

from dataclasses import replace
from pathlib import Path

from mfa_kit import wiring
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout.handover import find_in_plan, finder_of_copies, prepare_letters, write_letters
from mfa_kit.cli.rollout.index_read import read_index_accounts
from mfa_kit.cli.rollout.index_work import PlannedWork
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.models import RUN, BackupLocation
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.rollout.handing_over import Handover, LeftOut
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings


def hand_over_index(
    *,
    what: str,
    folder: Path,
    only: str | None,
    deadline: str | None,
    template: Path | None,
    pdf: bool,
    paper: str,
    backup_dir: BackupLocation | None,
    accounts: AccountsChoice,
    settings: Settings,
    output: Output,
) -> int:
    """Write a folder for each user of the chosen accounts of an index, and return the exit code.

    If some accounts cannot be read, write the folders for the other accounts, and return 1. Raise UsageFault if `what`
    is a run.
    """
    if RUN.fullmatch(what):
        raise UsageFault(
            f"{what} is a run, and a run belongs to one account",
            "give the index, or leave out the options for many accounts, such as --org",
        )
    letters = prepare_letters(
        folder, deadline=deadline, template=template, pdf=pdf, paper=paper, settings=settings, by_account=True
    )
    store = wiring.stores.open_vault(settings, backup_dir)
    copy_of = finder_of_copies(store if backup_dir else None)

    def look(
        ports: "wiring.rollout.RolloutPorts", planned_work: PlannedWork, _progress: LiveProgress
    ) -> tuple[list[Handover], list[LeftOut]]:
        handovers, left_out = find_in_plan(planned_work.plan, ports, copy_of)
        return handovers, [replace(omission, account=planned_work.planned.id) for omission in left_out]

    opened = wiring.rollout_accounts.open_account_rollouts(settings, METHODS, accounts, store=store, workers=1)
    read = read_index_accounts(Path(what), look, opened, accounts=accounts, settings=settings)
    parts = [visit.found for visit in read.visits if visit.found is not None]
    handovers = [handover for part, _ in parts for handover in part]
    left_out = [omission for _, part in parts for omission in part]
    code = write_letters(letters, handovers, left_out, only=only, plan_or_run=what, settings=settings, output=output)
    return code or read.exit_code
