"""`mfa-kit config path`: print the path of the configuration file."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.text import one_line


@click.command(cls=Verb)
def path(*, output: Output) -> None:
    """Print the path of the configuration file. The file need not exist."""
    place = str(wiring.config.path())
    if output.form == "table":
        # The path is the only output, so that a script can use it: "$(mfa-kit config path)".
        output.text(f"{one_line(place)}\n")
    else:
        output.one("config-path", {"path": place})
