"""`mfa-kit policy onboard` and `policy offboard`: print the commands that set up or end access."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import MAX_AGE, SNAPSHOT
from mfa_kit.cli.letters import letter_text
from mfa_kit.cli.options import Verb
from mfa_kit.cli.visits import alert_unread
from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.core.message import clauses
from mfa_kit.core.text import ResultRow, printable
from mfa_kit.policy.onboard import (
    AdminTraces,
    SetupStep,
    StepState,
    account_steps,
    colleague_steps,
    find_traces,
    offboard_steps,
    shell_script,
)
from mfa_kit.policy.onboard import root_ceremony as ceremony

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@click.option("--user", metavar="NAME", help="Set up one new colleague instead of the whole account.")
@click.option("--group", metavar="NAME", help="The group that the new colleague joins.")
@click.option("--admin", metavar="NAME", default="admin", show_default=True, help="Name of the first administrator.")
@click.option(
    "--root-ceremony",
    is_flag=True,
    help="Print how several people give root two devices that no one can use alone.",
)
@SNAPSHOT
@MAX_AGE
def onboard(
    *,
    user: str | None,
    group: str | None,
    admin: str,
    root_ceremony: bool,
    file: Path | None,
    max_age: float,
    settings: Settings,
    output: Output,
) -> None:
    """Print the commands that set up MFA, in an order that locks no user out. Read them, then run them yourself."""
    if (user is None) != (group is None):
        raise UsageFault("--user and --group must be given together", "give both: --user NAME --group GROUP")
    if root_ceremony and user is not None:
        raise UsageFault(
            "--root-ceremony cannot be used with --user", "omit --user and --group, or omit --root-ceremony"
        )
    source = wiring.audit.SnapshotSource(file=file, max_age=max_age, central_root=root_ceremony)
    snapshot = wiring.audit.snapshot_of_account(settings, source)
    if root_ceremony:
        letter = ceremony(snapshot, text=wiring.files.packaged_text("policy/root_ceremony.md"))
        todo = [
            SetupStep(what=step.text, why=section.title, state=StepState.TO_DO, commands=step.commands)
            for section in letter.sections
            for step in section.steps
        ]
        _print_steps("policy-onboard", todo, letter_text(letter), output)
        return
    if user is not None and group is not None:
        steps = colleague_steps(snapshot, user, group)
    else:
        steps = account_steps(snapshot, admin=admin)
    alert_unread(snapshot.unread_users, settings.progress)
    _print_steps("policy-onboard", steps, _script(steps), output)


def _script(steps: Sequence[SetupStep]) -> str:
    return printable(shell_script(steps)) + "\n"


def _print_steps(schema: str, steps: Sequence[SetupStep], text: str, output: Output) -> None:
    """Print the text of the steps. If the output form is not a table, print a row for each step."""
    if output.form == "table":
        output.text(text)
        return
    rows: list[ResultRow] = [
        {"step": number, "what": step.what, "why": step.why, "state": step.state, "commands": step.commands}
        for number, step in enumerate(steps, 1)
    ]
    output.many(schema, rows, empty="")


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
    steps = offboard_steps(snapshot, user, _traces(user, settings))
    alert_unread(snapshot.unread_users, settings.progress)
    _print_steps("policy-offboard", steps, _script(steps), output)


def _traces(user: str, settings: Settings) -> AdminTraces | None:
    """Return what this computer knows about the keys of a user, or None if the ledger cannot be read."""
    try:
        seals, gone = wiring.backups.read_seals(settings)
        names = _custodians(settings)
    except MfaKitError as error:
        settings.progress.alert(clauses([f"what {user} can decrypt is not known: {error}", error.hint]))
        return None
    backups = wiring.backups.backups_named(sorted({seal.backup for seal in seals}))
    users = {backup.name: backup.user for backup in backups}
    return find_traces(user, seals, users=users, gone=gone, configured=settings.config.recipients, custodians=names)


def _custodians(settings: Settings) -> tuple[str, ...]:
    """Return the names of the custodians of the newest break-glass identity, or () if this computer has none."""
    ports = wiring.break_glass.open_ports(settings)
    newest = ports.folders.newest()
    return tuple(ports.folders.read(newest).manifest.group.names) if newest else ()
