"""`mfa-kit token list`: list the inventory of tokens."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.message import suggest
from mfa_kit.core.text import iso_time
from mfa_kit.tokens.aws_check import aws_use
from mfa_kit.tokens.seeds import Sighting, StockedToken
from mfa_kit.wiring.settings import Settings


@click.command("list", cls=Verb)
@click.option(
    "--verdict", type=click.Choice(["accepted", "rejected", "untested"]), help="List only tokens with this result."
)
def list_tokens(*, verdict: str | None, settings: Settings, output: Output) -> None:
    """List the inventory: each token, its test result, whether AWS can use it, and its user."""
    stocked, last = wiring.ledger.TokenRecords(settings).tokens()
    computers = wiring.ledger.TokenRecords(settings).computers()
    rows = [_row(entry, last.get(entry.token.serial)) for entry in stocked if verdict in {None, entry.verdict}]
    if computers is not None:
        rows = [{**row, "computer": computers.get(str(row["serial"]))} for row in rows]
    output.many(
        "token-list",
        rows,
        empty=suggest("the inventory is empty; to fill it", "token import FILE"),
        narrow=("serial", "make", "verdict", "aws", "why", "user", "computer"),
    )


def _row(entry: StockedToken, sighting: Sighting | None) -> ResultRow:
    token, use = entry.token, aws_use(entry.token)
    return {
        "serial": token.serial,
        "make": " ".join(filter(None, (token.maker, token.model))),
        "type": token.parameters,
        "verdict": entry.verdict,
        "offset_s": sighting.seconds if sighting else None,
        "read": iso_time(sighting.at) if sighting else None,
        "aws": use.device_type or "no",
        "why": entry.reason or use.why,
        "user": entry.user,
    }
