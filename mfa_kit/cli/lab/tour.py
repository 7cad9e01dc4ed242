"""`mfa-kit lab tour`."""

import click

from mfa_kit.cli.options import Verb
from mfa_kit.wiring import lab


@click.command(cls=Verb)
def tour() -> int:
    """Walk through a first day: enroll, a mistyped code, a crash and its repair, revoke."""
    wrong = lab.tour(click.echo)
    for title in wrong:
        click.echo(f"this step did not end as it should: {title}", err=True)
    return 1 if wrong else 0
