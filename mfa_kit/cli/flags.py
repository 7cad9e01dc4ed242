"""The common options of the command line that is being run, and the command line itself."""

from typing import NamedTuple

import click

from mfa_kit.core.message import PROGRAM, Command

# The key in the `meta` of click's context under which the whole command line is stored.
ARGUMENTS = "mfa_kit.arguments"


class Flags(NamedTuple):
    """The values of the common options, which can be given before or after the name of the command.

    This is a NamedTuple, because Python would take ten times as long to define a dataclass when the module loads.
    """

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    account: str | None = None
    ledger: str | None = None
    output: str | None = None
    query: str | None = None
    yes: bool = False
    no_input: bool = False
    dry_run: bool = False
    wide: bool = False
    plain: bool = False
    quiet: bool = False
    debug: bool = False


def given() -> Flags:
    """Return the common options of the command line that is being run."""
    return Flags(**click.get_current_context().find_root().ensure_object(dict))


def command_line(*more: str) -> Command:
    """Return the command that is being run, with `more` options. No option takes a secret, so it contains none."""
    return Command([PROGRAM, *click.get_current_context().meta[ARGUMENTS], *more])
