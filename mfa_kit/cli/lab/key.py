"""`mfa-kit lab key`: plug in a simulated security key."""

import sys
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.lab.start_options import FILE
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import Number


@click.command(cls=Verb)
@click.option(
    "--attestation",
    type=click.Choice(["packed", "self", "none"]),
    default="packed",
    help="Kind of attestation [packed].",
)
@click.option("--touch", type=Number(600), default=0, metavar="S", help="Seconds until the key is touched.")
@click.option("--never-touched", is_flag=True, help="The key is never touched.")
@click.option("--u2f", is_flag=True, help="The key supports only U2F.")
@click.option("--pin-stdin", is_flag=True, help="Read the key's PIN from stdin, one line.")
@click.option("--reader", is_flag=True, help="Use a smart card reader even if USB is possible.")
@click.option("--publish", type=FILE, metavar="DIR", help="Write metadata that lists the key: blob.jwt and root.der.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def key(
    *,
    command: tuple[str, ...],
    attestation: str,
    touch: float,
    never_touched: bool,
    u2f: bool,
    pin_stdin: bool,
    reader: bool,
    publish: Path | None,
) -> int:
    """Plug in a simulated security key, while COMMAND runs or until Ctrl-C. Needs Linux and root.

    The key is on USB if the kernel has /dev/uhid, otherwise in a reader of a private pcscd. Outside a lab, COMMAND gets
    no AWS credentials.
    """
    return wiring.lab.plug_in_key(
        click.echo,
        command,
        attestation=attestation,
        touch=None if never_touched else touch,
        u2f=u2f,
        pin=sys.stdin.readline().rstrip("\n") if pin_stdin else None,
        reader=reader,
        publish=publish,
    )
