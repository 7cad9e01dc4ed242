"""`mfa-kit config show`: print the settings in the configuration file."""

from dataclasses import asdict

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import UsageFault


@click.command("show", cls=Verb)
def show_config(*, output: Output) -> None:
    """Print the settings in the configuration file. The table omits unset keys."""
    values = asdict(wiring.config.load())
    if values["ledger"]:
        values["ledger"] = _without_password(values["ledger"])
    row = {wiring.config.key_of(name): value or None for name, value in values.items()}
    output.one("config-show", {"path": str(wiring.config.path()), **row})


def _without_password(address: str) -> str:
    """Return the address of a ledger, or why the address is not shown.

    The address is shown only if `check_address` accepts it, because any other address may contain a password.
    """
    try:
        wiring.ledger.check_address(address)
    except UsageFault as fault:
        return f"not shown: {fault}"
    return address
