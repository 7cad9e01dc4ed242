"""`mfa-kit doctor`: what of this desk would not work, before anybody is waiting."""

import click

from mfa_kit.cli import flags, report


@click.command(cls=flags.Verb)
def doctor() -> int:
    """Check credentials, clock, rights, folders, terminal. Ends with 1 when something is wrong."""
    from mfa_kit.cli.kit import doctor as kit

    found = list(kit.checks(flags.common))
    rows = [{"check": one.what, "state": one.state, "found": one.found, "hint": one.hint or None} for one in found]
    report.many("doctor", rows, output=flags.given().output, empty="")
    return int(any(one.state is kit.State.BAD for one in found))
