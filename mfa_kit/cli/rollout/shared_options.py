"""Arguments and options that several verbs of `mfa-kit rollout` share."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from mfa_kit.cli import options

F = TypeVar("F", bound=Callable[..., object])

PLAN_FILE = click.argument("plan_file", metavar="PLAN", type=Path)
WORKERS = click.option(
    "--workers", type=click.IntRange(1, 64), default=8, show_default=True, help="How many users are worked on at once."
)
RESULTS = click.option(
    "--results", type=Path, metavar="DIR", help="Where results.csv, results.json and failed.csv go [beside PLAN]."
)
EXPECTED = click.option(
    "--expect-sha256", "expected", metavar="HEX", help="Refuse any other plan than the reviewed one."
)
ONLY = click.option("--only", metavar="A,B", help="Only the users named here.")
GROUP = click.option("--group", "groups", multiple=True, metavar="NAME", help="Users of a group of IAM.")
RECIPIENT = click.option(
    "-r", "--recipient", "to", multiple=True, metavar="RECIPIENT", help="Who can open every backup: an age or SSH key."
)
RECIPIENTS_FILE = click.option(
    "-R", "--recipients-file", "to_files", multiple=True, type=Path, metavar="FILE", help="Recipients, one a line."
)


def backup_options(function: F) -> F:
    """Add the options for the recipients and the folder of backups."""
    return RECIPIENT(RECIPIENTS_FILE(options.BACKUP_DIR(function)))


def split_names(only: str | None) -> list[str]:
    """Return the user names in `--only A,B`; an empty result means that the option was not given."""
    return [name.strip() for name in (only or "").split(",") if name.strip()]
