"""`mfa-kit rollout activate` in several accounts: enable the devices that this computer staged in each of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout.account_results import exit_code, report_failed, show_accounts, show_users
from mfa_kit.cli.rollout.account_work import AccountWork
from mfa_kit.cli.rollout.activate import list_users, outcomes_of
from mfa_kit.cli.rollout.required_proofs import RequiredProofs, read_required
from mfa_kit.cli.rollout.running import name_next_command
from mfa_kit.cli.rollout.shared_options import split_names
from mfa_kit.cli.rollout.side_by_side import OpenWork, SideBySide
from mfa_kit.cli.rollout.turns import OneByOne
from mfa_kit.core.interaction import Progress
from mfa_kit.core.models import BackupLocation, JournalEntry, JournalState, recorded_location
from mfa_kit.core.otp import Created
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.rollout.row_status import STANDS
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings

NONE_STAGED = "no device is staged on this computer"


def activate_in_accounts(
    *,
    proofs: Path | None,
    prompt: str | None,
    accept_unknown: bool,
    groups: tuple[str, ...],
    only: str | None,
    keys: tuple[Path, ...],
    backup_dir: BackupLocation | None,
    workers: int,
    accounts: AccountsChoice,
    settings: Settings,
    output: Output,
) -> int:
    """Enable the staged devices in the chosen accounts, and return the exit code.

    Only accounts for which the ledger has a staged device are opened. Raise click.UsageError for --prompt, because
    that option is for one device.
    """
    if prompt is not None:
        raise click.UsageError(
            "--prompt is for one device; use the credentials of the device's account, without --accounts and --org"
        )
    required = read_required(proofs, None, accept_unknown=accept_unknown, selects=False)
    store = wiring.stores.open_vault(settings, backup_dir)
    named = {name.lower() for name in split_names(only)}
    with (
        name_next_command(),
        wiring.rollout_accounts.open_account_rollouts(
            settings, METHODS, accounts, store=store, workers=workers
        ) as rollouts,
    ):
        ledger = rollouts.organization.ledger
        identities = wiring.age_keys.Identities(keys, passphrase_fd=None, person=settings.interaction)
        opened_by = wiring.backups.opener(settings, identities, ledger.called)
        journal_entries = {
            account.id: list(ledger.made(account.id)) for account in rollouts.organization.selection.chosen
        }
        entries = {
            number: _wanted(account_entries, required, named) for number, account_entries in journal_entries.items()
        }
        works = _works(rollouts.organization.selection.chosen, entries)
        missing = _report_missing(journal_entries, entries, required, named, progress=settings.progress)
        side = SideBySide(
            schema="rollout-activate-accounts",
            works=works,
            turns=OneByOne(works),
            enter=rollouts.enter,
            accounts=wiring.rollout_accounts.ACCOUNTS,
            workers=workers,
            progress=settings.progress,
            output=output,
        )

        def created(entry: JournalEntry) -> Created:
            return opened_by(recorded_location(store.find(entry) or entry.backup or ""))

        def act(opened: OpenWork) -> None:
            selected = list_users(opened.ports, groups, named)
            mine = entries[opened.work.account.id]
            if selected is not None:
                mine = [entry for entry in mine if entry.spec.user.lower() in selected]
            opened.work.total = opened.tally.total = len(mine)
            results = outcomes_of(mine, created, required, opened.execution, ports=opened.ports, dry=settings.dry_run)
            opened.take_all(results, opened.tally.take)

        try:
            asked = side.do(act)
        finally:
            show_users("rollout-activate-accounts", side.works, output=output, head={})
            show_accounts("rollout-activate-account", side.works, output=output)
        report_failed(side.works, settings.progress)
        side.report_denied()
        return max(exit_code(side.works, asked=asked), int(missing))


def _wanted(entries: Sequence[JournalEntry], required: RequiredProofs, named: set[str]) -> list[JournalEntry]:
    """Return the journal entries of the staged devices to enable.

    If there is a file of proofs, leave out users who are not in the file. If `named` has names, leave out other users.
    """
    staged = [entry for entry in entries if entry.reached is JournalState.STAGED]
    if required.users is not None:
        staged = [entry for entry in staged if entry.spec.user.lower() in required.users]
    return [entry for entry in staged if not named or entry.spec.user.lower() in named]


def _works(accounts: Sequence[OrgAccount], entries: Mapping[str, Sequence[JournalEntry]]) -> list[AccountWork]:
    return [AccountWork(account=account, total=len(entries[account.id])) for account in accounts if entries[account.id]]


def _report_missing(
    journal_entries: Mapping[str, Sequence[JournalEntry]],
    entries: Mapping[str, Sequence[JournalEntry]],
    required: RequiredProofs,
    named: set[str],
    *,
    progress: Progress,
) -> bool:
    """Print the users who should have a staged device, but have none. Return whether any of them sent proofs.

    With a file of proofs, each user in the file should have a staged device, unless `named` has names and the user is
    not among them. Without a file of proofs, each user in `named` should have one; if no account has a staged device
    and `named` is empty, print this instead. A user whose device is already enabled is not printed, so that a file of
    proofs can be used again.
    """
    staged = {entry.spec.user.lower() for account_entries in entries.values() for entry in account_entries}
    enabled = {
        entry.spec.user.lower()
        for account_entries in journal_entries.values()
        for entry in account_entries
        if entry.reached in STANDS
    }
    sent = required.users or set()
    lacking = sorted(((sent & named if named and sent else sent or named) - staged) - enabled)
    if lacking:
        progress.alert(f"{NONE_STAGED} for {', '.join(lacking)}")
    elif not staged and not sent:
        progress.alert(f"{NONE_STAGED} in these accounts")
    return bool(lacking and sent)
