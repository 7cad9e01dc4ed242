"""`mfa-kit ledger init`, `migrate`, `copy`, `grants` and `status`: the ledger in PostgreSQL."""

from dataclasses import asdict
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.value_types import Age
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import iso_time
from mfa_kit.wiring.settings import Settings


@click.command("status", cls=Verb)
def ledger_status(*, settings: Settings, output: Output) -> None:
    """Show the state of the ledger in PostgreSQL, and your database role."""
    state = wiring.ledger.ledger_state(settings)
    output.one("ledger-status", {**asdict(state), "now": iso_time(state.now)})


@click.command("init", cls=Verb, acts_at_once=True)
@click.option(
    "--grace",
    type=Age(),
    metavar="AGE",
    help="How long a run stays reserved for its computer after the database server restarts [60s].",
)
def init_ledger(*, grace: float | None, settings: Settings, output: Output) -> None:
    """Create the ledger in a PostgreSQL database. Your database role becomes the owner.

    If the ledger exists, it is brought up to date.
    """
    output.one("ledger-init", {"applied": wiring.ledger.create_ledger(settings, grace=grace)})


@click.command(cls=Verb, acts_at_once=True)
def migrate(*, settings: Settings, output: Output) -> None:
    """Bring the ledger in PostgreSQL up to date with this version of mfa-kit. Only the ledger's owner can do this."""
    output.one("ledger-migrate", {"applied": wiring.ledger.migrate_ledger(settings)})


@click.command("copy", cls=Verb, acts_at_once=True)
@click.option(
    "--from", "folder", type=Path, metavar="DIR", help="Copy the ledger in this folder, not this computer's own."
)
def copy_ledger(*, folder: Path | None, settings: Settings, output: Output) -> None:
    """Copy a computer's ledger to PostgreSQL. Your database role must own the ledger there.

    Rows that were copied before are not copied again. The times of rows are kept. The ledger on the computer is not
    changed.
    """
    output.one("ledger-copy", dict(wiring.ledger.copy_ledger(settings, folder)))


@click.command(cls=Verb)
@click.option(
    "--desk", "desks", multiple=True, metavar="ROLE=TEAM", help="A role that enrolls users, and its team. Repeatable."
)
@click.option("--auditor", "auditors", multiple=True, metavar="ROLE", help="A role that reads everything. Repeatable.")
@click.option(
    "--owner", metavar="ROLE", help="A role that becomes the owner of the ledger.  [default: the owner remains]"
)
def grants(*, desks: tuple[str, ...], auditors: tuple[str, ...], owner: str | None, output: Output) -> None:
    """Print the SQL that gives roles their privileges in the ledger. mfa-kit does not run it.

    A role given with --desk can read and write only its own team's rows, and cannot change or delete the log. The roles
    must exist.
    """
    members = [_role_and_team(ports) for ports in desks]
    teams = dict(members)
    if len(teams) < len({*members}):
        raise UsageFault("a role of --desk has two teams", "use one role for each team")
    if common_roles := teams.keys() & {*auditors}:
        raise UsageFault(f"role {min(common_roles)} is given with both --desk and --auditor", "use two roles")
    if not all(auditors):
        raise UsageFault("--auditor does not name a role", "write --auditor ROLE")
    if owner == "":
        raise UsageFault("--owner does not name a role", "write --owner ROLE")
    text = wiring.ledger.grants_of(teams, auditors, owner=owner)
    if output.form == "table":
        output.text(text)
    else:
        output.one("ledger-grants", {"sql": text})


def _role_and_team(text: str) -> tuple[str, str]:
    role, _, team = text.partition("=")
    if not role or not team:
        raise UsageFault(f"--desk {text!r} does not name a role and a team", "write --desk ROLE=TEAM")
    return role, team
