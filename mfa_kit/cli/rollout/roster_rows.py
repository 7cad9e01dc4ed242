"""Reads the rows of a roster, and reports rows with errors."""

from pathlib import Path

from mfa_kit import wiring
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import count_of
from mfa_kit.rollout.roster import RosterRow
from mfa_kit.rollout.roster_accounts import RosterAccounts
from mfa_kit.rollout.roster_text import faults_table
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings


def read_roster_rows(
    file: Path, skip_bad: Path | None, *, settings: Settings, accounts: RosterAccounts | None = None
) -> list[RosterRow]:
    """Return the rows of a roster, for one account or for several `accounts`. Print which columns were not read.

    If the roster has faults, raise UsageFault with all faults as notes. With `skip_bad`, write the faulty rows to that
    file instead, and return the other rows.
    """
    roster = wiring.rosters_and_plans.read_roster(file, METHODS, accounts=accounts)
    if roster.unread:
        settings.progress.alert(roster.unread)
    if roster.faults and skip_bad:
        message = f"skipping {count_of(len({fault.line for fault in roster.faults}), 'row')} with errors"
        if not settings.dry_run:
            wiring.rollout.write_file(skip_bad, faults_table(roster.faults))
            message += f"; see {skip_bad}"
        settings.progress.alert(message)
        for fault in roster.faults:
            if not fault.cells:  # no cell of the row could be read, so the file has only the error, not the row
                settings.progress.alert(str(fault))
    elif roster.faults:
        skip = "fix the error, or skip the row" if len(roster.faults) == 1 else "fix the errors, or skip these rows"
        error = UsageFault(f"{file} has {count_of(len(roster.faults), 'error')}", f"{skip} with --skip-bad FILE")
        for fault in roster.faults:
            error.add_note(str(fault))
        raise error
    return list(roster.rows)
