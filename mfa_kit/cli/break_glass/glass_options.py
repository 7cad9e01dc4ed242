"""Options and result rows that several commands of `mfa-kit break-glass` share."""

from pathlib import Path

import click

from mfa_kit.break_glass.custodians import Group
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.wiring import break_glass as wiring

GLASS_DIR = click.option(
    "--dir", "folder", type=Path, metavar="DIR", help="Folder of the break-glass files [default: the newest]."
)
PRESENT = click.option(
    "-i",
    "--identity",
    "keys",
    multiple=True,
    type=Path,
    metavar="FILE",
    help="Identity of a custodian who is present. The others are asked for at the terminal.",
)
THRESHOLD = click.option(
    "--threshold", required=True, type=click.IntRange(min=1), metavar="M", help="How many custodians are needed."
)
CUSTODIAN = click.option(
    "--custodian",
    "custodians",
    multiple=True,
    required=True,
    metavar="NAME=KEY",
    help="A custodian, and their age or SSH public key. Repeat it for each one, in the order in which they decrypt.",
)


def print_plan(group: Group, output: Output) -> None:
    """Print the sets of a group, with the size of each file."""
    rows: list[ResultRow] = [
        {"file": each.file, "custodians": each.names, "octets": size} for each, size in wiring.plan(group).items()
    ]
    output.many("break-glass-plan", rows, empty="")


def glass_row(glass: wiring.Glass, outcome: str) -> ResultRow:
    """Return the row for a folder that was written."""
    group = glass.manifest.group
    return {
        "outcome": outcome,
        "recipient": glass.manifest.recipient,
        "threshold": group.threshold,
        "custodians": group.names,
        "files": len(group.sets()),
        "folder": str(glass.folder),
    }
