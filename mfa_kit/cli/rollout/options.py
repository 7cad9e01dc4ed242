"""Arguments and options that several commands of `mfa-kit rollout` share."""

from pathlib import Path

import click

from mfa_kit.cli.messages import GIVEN
from mfa_kit.cli.value_types import LocalPath


def note_plan(_ctx: click.Context, _param: click.Parameter, file: Path | None) -> Path | None:
    """Have messages name the plan file in the commands that they suggest."""
    GIVEN["PLAN"] = str(file)
    return file


PLAN_FILE = click.argument("plan_file", metavar="PLAN", type=LocalPath(), callback=note_plan)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Number of users processed at the same time.",
)
RESULTS = click.option(
    "--results",
    type=LocalPath(),
    metavar="DIR",
    help="Folder for results.csv, results.json and failed.csv [next to PLAN].",
)
EXPECTED = click.option(
    "--expect-sha256",
    "expected",
    multiple=True,
    metavar="HEX",
    help="Refuse PLAN if the SHA-256 of its file is not HEX.",
)
RECORD = click.option(
    "--record",
    "records",
    multiple=True,
    type=LocalPath(),
    metavar="DIR",
    help="Also read the records of runs in DIR, such as the results of another computer. Repeatable.",
)


def split_names(_ctx: click.Context, _param: click.Parameter, texts: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the names in an option's texts, which have commas between them."""
    joined = ",".join((texts,) if isinstance(texts, str) else texts or ())
    return tuple(name.strip() for name in joined.split(",") if name.strip())


ONLY = click.option("--only", metavar="A,B", callback=split_names, help="Only these users.")
GROUP = click.option("--group", "groups", multiple=True, metavar="NAME", help="Only users in this IAM group.")
HANDOVER_TABLE = "handover.csv"
SHIPPING = click.option(
    "--shipping",
    type=LocalPath(),
    metavar="ROSTER",
    help=f"Also copy the other columns of ROSTER, such as addresses, to {HANDOVER_TABLE}.",
)
