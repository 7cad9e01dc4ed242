"""`mfa-kit ledger grants`: print the SQL that gives roles their privileges in the ledger."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import UsageFault


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
    members = [_role_and_team(each) for each in desks]
    teams = dict(members)
    if len(teams) < len({*members}):
        raise UsageFault("a role of --desk has two teams", "use one role for each team")
    if both := teams.keys() & {*auditors}:
        raise UsageFault(f"role {min(both)} is given with both --desk and --auditor", "use two roles")
    if not all(auditors):
        raise UsageFault("--auditor does not name a role", "write --auditor ROLE")
    if owner == "":
        raise UsageFault("--owner does not name a role", "write --owner ROLE")
    text = wiring.shared_ledger.grants_of(teams, auditors, owner=owner)
    if output.form == "table":
        output.text(text)
    else:
        output.one("ledger-grants", {"sql": text})


def _role_and_team(text: str) -> tuple[str, str]:
    role, _, team = text.partition("=")
    if not role or not team:
        raise UsageFault(f"--desk {text!r} does not name a role and a team", "write --desk ROLE=TEAM")
    return role, team
