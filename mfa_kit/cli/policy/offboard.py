"""`mfa-kit policy offboard`: print the commands that end a user's access to the account."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import MAX_AGE, SNAPSHOT, note_unread_users
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.policy.onboard import print_steps
from mfa_kit.policy.onboard import offboard_steps
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@click.argument("user")
@SNAPSHOT
@MAX_AGE
def offboard(*, user: str, file: Path | None, max_age: float, settings: Settings, output: Output) -> None:
    """Print the commands that end USER's access, reversible ones first. Read them, then run them yourself."""
    source = wiring.audit.SnapshotSource(
        file=file, max_age=max_age, afresh=lambda account_user: account_user.name.lower() == user.lower()
    )
    snapshot = wiring.audit.snapshot_of_account(settings, source)
    steps = offboard_steps(snapshot, user)
    note_unread_users(snapshot, settings.progress)
    print_steps("policy-offboard", steps, output)
