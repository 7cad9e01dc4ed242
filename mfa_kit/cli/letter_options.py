"""Options of commands that write letters."""

import click

from mfa_kit.letters.sheet import Paper

PAPER = click.option(
    "--paper",
    type=click.Choice([str(paper) for paper in Paper]),
    default="a4",
    show_default=True,
    help="Paper size of letters.",
)
