"""`mfa-kit rollout activate`: enable the devices that `rollout apply --stage` created."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR, identity
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import required_proofs, shared_options
from mfa_kit.cli.rollout.required_proofs import RequiredProofs, read_required
from mfa_kit.cli.rollout.running import name_next_command, take_results
from mfa_kit.cli.rollout.tally import Tally, exit_code
from mfa_kit.core.interaction import Progress
from mfa_kit.core.models import BackupLocation, JournalEntry, recorded_location
from mfa_kit.core.otp import Created
from mfa_kit.rollout.activate import activate_devices, check_proofs, staged_entries
from mfa_kit.rollout.execution import Execution
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.roster import UserSelection
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings


@click.command(cls=options.Verb)
@required_proofs.PROOFS
@required_proofs.PROMPT
@required_proofs.ACCEPT_UNKNOWN_CLOCK
@shared_options.GROUP
@shared_options.ONLY
@identity(required=True)
@BACKUP_DIR
@shared_options.WORKERS
@account_options(role=None, workers=False, results=False)
def activate(
    *,
    proofs: Path | None,
    prompt: str | None,
    accept_unknown: bool,
    groups: tuple[str, ...],
    only: str | None,
    keys: tuple[Path, ...],
    backup_dir: BackupLocation | None,
    workers: int,
    settings: Settings,
    output: Output,
) -> int:
    """Enable staged devices, using the secrets from their encrypted backups.

    With --proofs or --prompt, enable only the devices of users who can already produce codes that AWS accepts.
    """
    required = read_required(proofs, prompt, accept_unknown=accept_unknown, selects=bool(groups or only))
    store = wiring.stores.open_vault(settings, backup_dir)
    progress = settings.progress
    with (
        name_next_command(),
        wiring.rollout.open_rollout(settings, METHODS, store=store, workers=workers, progress=progress) as ports,
    ):
        identities = wiring.age_keys.Identities(keys, passphrase_fd=None, person=settings.interaction)
        opened = wiring.backups.opener(settings, identities, ports.ledger.called)
        entries, without = _choose(ports, required, groups, only, progress)
        execution = ports.execution(workers=workers)
        tally = Tally(
            "rollout-activate",
            total=len(entries) + len(without),
            progress=progress,
            output=output,
            pace=ports.pace,
            stop=execution.stop,
            more=() if required.users is None else ("clock_offset",),
        )

        def created(entry: JournalEntry) -> Created:
            known = required.secrets.get(entry.spec.serial)
            return known or opened(recorded_location(store.find(entry) or entry.backup or ""))

        if not settings.dry_run:
            required.ask(entries, created, settings=settings, ports=ports)
        outcomes = outcomes_of(entries, created, required, execution, ports=ports, dry=settings.dry_run)
        try:
            for result in without:
                tally.take(result)
            asked = take_results(outcomes, tally, execution=execution, progress=progress)
        finally:
            tally.show()
        return exit_code(tally, asked=asked)


def _choose(
    ports: "wiring.rollout.RolloutPorts",
    required: RequiredProofs,
    groups: Sequence[str],
    only: str | None,
    progress: Progress,
) -> tuple[list[JournalEntry], list[RowResult]]:
    """Return the journal entries of the staged devices to enable.

    Also return a result for each user who sent proofs, but has no staged device.
    """
    named = {name.lower() for name in shared_options.split_names(only)}
    selected = list_users(ports, groups, named)
    users = selected
    if required.users is not None:
        users = required.users if selected is None else required.users & selected
    entries = staged_entries(account=ports.caller.account, users=users, ports=ports.ports)
    without = required.rows_without_device(entries, selected=selected, ports=ports)
    if missing := named - {entry.spec.user.lower() for entry in entries}:
        progress.alert(f"no device is staged on this computer for {', '.join(sorted(missing))}")
    elif not entries and required.users is None:
        progress.alert("no device is staged on this computer for these users")
    return entries, without


def outcomes_of(
    entries: Sequence[JournalEntry],
    open_backup: Callable[[JournalEntry], Created],
    required: RequiredProofs,
    execution: Execution,
    *,
    ports: "wiring.rollout.RolloutPorts",
    dry: bool,
) -> Generator[RowResult, None, None]:
    """Enable the devices, and yield the result of each.

    In a dry run, enable nothing, and only check the proofs in the file of --proofs, if there is one.
    """
    require = required.require(ports.ports.iam_reader.now)
    if not dry:
        return activate_devices(
            entries, open_backup=open_backup, ports=ports.ports, execution=execution, require_proof=require
        )
    if require is None or required.lines is None:
        return (RowResult.of_entry(entry, RowOutcome.STAGED) for entry in entries)
    return check_proofs(entries, open_backup=open_backup, execution=execution, require_proof=require)


def list_users(ports: "wiring.rollout.RolloutPorts", groups: Sequence[str], named: set[str]) -> set[str] | None:
    """Return the lower-case names of the users whose devices may be enabled, or None for all users.

    If `groups` has names, only members of at least one of these groups are returned. If `named` has names, only these
    users are returned.
    """
    if not groups and not named:
        return None
    selection = UserSelection(groups=tuple(groups))
    people = ports.people.users(details=bool(groups))
    names = {person.name.lower() for person in people if selection.matches(person, set())}
    return names & named if named else names
