"""`mfa-kit doctor`: what of this desk would not work, before anybody is waiting."""

import click

from mfa_kit.cli import options, output


@click.command(cls=options.Verb)
def doctor() -> int:
    """Check credentials, clock, rights, folders, terminal. Ends with 1 when something is wrong."""
    from mfa_kit.wiring import doctor as kit

    found = list(kit.checks(options.common))
    rows = [{"check": one.what, "state": one.state, "found": one.found, "hint": one.hint or None} for one in found]
    output.many("doctor", rows, output=options.form(), empty="")
    return int(any(one.state is kit.State.BAD for one in found))
