"""`mfa-kit token list`: list the inventory of tokens."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.timestamps import iso_time
from mfa_kit.tokens.aws_check import aws_use
from mfa_kit.tokens.seeds import Sighting, StockedToken
from mfa_kit.wiring.settings import Settings


@click.command("list", cls=Verb)
@click.option(
    "--verdict", type=click.Choice(["accepted", "rejected", "untested"]), help="List only tokens with this result."
)
def list_tokens(*, verdict: str | None, settings: Settings, output: Output) -> None:
    """List the inventory: each token, its test result, whether AWS can use it, and its user."""
    stocked, last = wiring.token_records.TokenRecords(settings).tokens()
    computers = wiring.token_records.TokenRecords(settings).computers()
    rows = [_row(each, last.get(each.token.serial)) for each in stocked if verdict in {None, each.verdict}]
    if computers is not None:
        rows = [{**row, "computer": computers.get(str(row["serial"]))} for row in rows]
    output.many(
        "token-list",
        rows,
        empty="the inventory is empty; to fill it: mfa-kit token import FILE",
        narrow=("serial", "make", "verdict", "aws", "why", "user", "computer"),
    )


def _row(stocked: StockedToken, seen: Sighting | None) -> ResultRow:
    one, use = stocked.token, aws_use(stocked.token)
    return {
        "serial": one.serial,
        "make": " ".join(filter(None, (one.maker, one.model))),
        "type": one.parameters,
        "verdict": stocked.verdict,
        "offset_s": seen.seconds if seen else None,
        "read": iso_time(seen.at) if seen else None,
        "aws": use.device_type or "no",
        "why": stocked.reason or use.why,
        "user": stocked.user,
    }
