"""`mfa-kit rollout activate`: enable the devices that `rollout apply --stage` has left."""

from collections.abc import Sequence
from pathlib import Path

import click

from mfa_kit.cli import options
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.running import open_progress, take_results, way_of
from mfa_kit.cli.rollout.tally import exit_code, open_tally
from mfa_kit.core.models import Entry
from mfa_kit.core.otp import Created
from mfa_kit.rollout import apply as use_case
from mfa_kit.rollout.apply import End, Result
from mfa_kit.rollout.roster import Selection
from mfa_kit.wiring import backup as backups
from mfa_kit.wiring import rollout as wiring
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.rollout import RolloutPorts
from mfa_kit.wiring.settings import Settings


@click.command(cls=options.Verb)
@shared_options.GROUP
@shared_options.ONLY
@options.identity(required=True)
@options.BACKUP_DIR
@shared_options.WORKERS
def activate(
    *,
    groups: tuple[str, ...],
    only: str | None,
    keys: tuple[Path, ...],
    backup_dir: Path | None,
    workers: int,
    settings: Settings,
    output: Output,
) -> int:
    """Enable staged devices from their sealed seeds."""
    vault, _ = wiring.open_vault((), (), backup_dir)
    progress = open_progress(settings)
    with wiring.open_rollout(settings, vault=vault, workers=workers, progress=progress) as ports:
        identities = Identities(keys, passphrase_fd=None, person=settings.interaction)
        opened = backups.opener(identities, ports.ledger.called)
        named = {name.lower() for name in shared_options.split_names(only)}
        users = _users(ports, groups, named)
        entries = use_case.staged(account=ports.caller.account, users=users, desk=ports.desk)
        if missing := named - {entry.intent.user.lower() for entry in entries}:
            progress.note(f"nothing is staged here for {', '.join(sorted(missing))}")
        elif not entries:
            progress.note("nothing is staged here for who is meant")
        way = way_of(ports, workers=workers)
        tally = open_tally("rollout-activate", len(entries), ports=ports, progress=progress, output=output, way=way)
        if settings.dry_run:
            for entry in entries:
                tally.take(Result.stands(entry, End.STAGED))
            tally.show()
            return 0

        def created(entry: Entry) -> Created:
            return opened(Path(vault.find(entry) or entry.backup or ""))

        try:
            outcomes = use_case.activate(entries, opened=created, desk=ports.desk, way=way)
            asked = take_results(outcomes, tally.take, way=way, pace=ports.pace)
        finally:
            tally.show()
        return exit_code(tally, asked=asked)


def _users(ports: RolloutPorts, groups: Sequence[str], named: set[str]) -> set[str] | None:
    """Return the lower-case names of the users in all these groups that are also named; None for all users."""
    if not groups and not named:
        return None
    selection = Selection(groups=tuple(groups))
    people = ports.people.users(details=bool(groups))
    names = {person.name.lower() for person in people if selection.fits(person, set())}
    return names & named if named else names
