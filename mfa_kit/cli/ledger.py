"""`mfa-kit ledger`: what this desk did. It is this desk's memory and no evidence; CloudTrail is, by the request ids."""

import click

from mfa_kit.cli import options, output


@click.group(cls=options.Noun)
def ledger() -> None:
    """Show what this desk did, with AWS request ids."""


USER = click.option("--user", metavar="NAME", help="Only what was done for this user.")
SINCE = click.option("--since", type=options.Moment(), default=0.0, help="From a time on: 2026-11-25, or 7d.")


@ledger.command()
@USER
@SINCE
def show(*, user: str | None, since: float) -> None:
    """Show calls to AWS, openings of backups, and how far each run came."""
    output.many("ledger", _rows(user, since), output=options.form(), empty="nothing yet")


@ledger.command()
@USER
@SINCE
def export(*, user: str | None, since: float) -> None:
    """Write the same as JSON lines, to be matched with CloudTrail's requestID."""
    output.many("ledger", _rows(user, since), output="jsonl", empty="")


def _rows(user: str | None, since: float) -> list[output.Row]:
    from dataclasses import asdict

    from mfa_kit.wiring import ledger as kit

    return [{**asdict(each), "at": options.written(each.at)} for each in kit.history(user, since)]
