"""The options of commands that start a lab."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from mfa_kit.cli.value_types import Number

Function = TypeVar("Function", bound=Callable[..., object])

FILE = click.Path(path_type=Path)
OPTIONS = (
    click.option("--users", type=click.IntRange(0), help="Number of users in each new account [5]."),
    click.option(
        "--accounts", type=click.IntRange(0, 10000), help="Add an organization with this many member accounts."
    ),
    click.option(
        "--from", "source", type=FILE, metavar="FILE", help="Start with the account that FILE describes (JSON or TOML)."
    ),
    click.option("--state", "folder", type=FILE, metavar="DIR", help="Keep the account in DIR between runs."),
    click.option("--latency", type=Number(600), default=0, metavar="S", help="Add S seconds to every response."),
    click.option("--rate", type=Number(), default=0, metavar="N", help="Throttle above N requests per second."),
    click.option(
        "--burst",
        type=Number(),
        default=0,
        metavar="N",
        help="Number of requests that --rate allows at once [the rate].",
    ),
    click.option("--faults", "rules", type=FILE, metavar="FILE", help="Simulate the faults in FILE (JSON or TOML)."),
    click.option(
        "--set",
        "timings",
        multiple=True,
        metavar="NAME=VALUE",
        help="Change a quota, time or delay of the lab.",
    ),
)


def start_options(function: Function) -> Function:
    """Add the options in OPTIONS to the function of a command. The function receives them as keyword arguments."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
