"""`mfa-kit rollout activate`: enable the devices that `rollout apply --stage` created."""

from collections.abc import Sequence
from pathlib import Path

import click

from mfa_kit.cli import options
from mfa_kit.cli.backup_options import BACKUP_DIR, identity
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.running import name_next_command, take_results
from mfa_kit.cli.rollout.tally import Tally, exit_code
from mfa_kit.core.models import Entry
from mfa_kit.core.otp import Created
from mfa_kit.core.place_text import recorded_place
from mfa_kit.core.places import Place
from mfa_kit.rollout.activate import activate_devices, staged_entries
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.selection import UserSelection
from mfa_kit.wiring import rollout as wiring
from mfa_kit.wiring.backup_opening import opener
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.rollout import RolloutPorts
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import open_vault


@click.command(cls=options.Verb)
@shared_options.GROUP
@shared_options.ONLY
@identity(required=True)
@BACKUP_DIR
@shared_options.WORKERS
def activate(
    *,
    groups: tuple[str, ...],
    only: str | None,
    keys: tuple[Path, ...],
    backup_dir: Place | None,
    workers: int,
    settings: Settings,
    output: Output,
) -> int:
    """Enable staged devices, using the secrets from their encrypted backups."""
    vault = open_vault(settings, backup_dir)
    progress = settings.progress
    with (
        name_next_command(),
        wiring.open_rollout(settings, METHODS, vault=vault, workers=workers, progress=progress) as ports,
    ):
        identities = Identities(keys, passphrase_fd=None, person=settings.interaction)
        opened = opener(settings, identities, ports.ledger.called)
        named = {name.lower() for name in shared_options.split_names(only)}
        users = _list_users(ports, groups, named)
        entries = staged_entries(account=ports.caller.account, users=users, desk=ports.desk)
        if missing := named - {entry.intent.user.lower() for entry in entries}:
            progress.alert(f"no device is staged on this computer for {', '.join(sorted(missing))}")
        elif not entries:
            progress.alert("no device is staged on this computer for these users")
        execution = ports.execution(workers=workers)
        tally = Tally(
            "rollout-activate",
            total=len(entries),
            progress=progress,
            output=output,
            pace=ports.pace,
            stop=execution.stop,
        )
        if settings.dry_run:
            for entry in entries:
                tally.take(RowResult.of_entry(entry, RowOutcome.STAGED))
            tally.show()
            return 0

        def created(entry: Entry) -> Created:
            return opened(recorded_place(vault.find(entry) or entry.backup or ""))

        try:
            outcomes = activate_devices(entries, open_backup=created, desk=ports.desk, execution=execution)
            asked = take_results(outcomes, tally, execution=execution, progress=progress)
        finally:
            tally.show()
        return exit_code(tally, asked=asked)


def _list_users(ports: RolloutPorts, groups: Sequence[str], named: set[str]) -> set[str] | None:
    """Return the lower-case names of the users to activate, or None for all users.

    If `groups` has names, only members of at least one of these groups are returned. If `named` has names, only these
    users are returned.
    """
    if not groups and not named:
        return None
    selection = UserSelection(groups=tuple(groups))
    people = ports.people.users(details=bool(groups))
    names = {person.name.lower() for person in people if selection.matches(person, set())}
    return names & named if named else names
