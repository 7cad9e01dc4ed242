"""`mfa-kit lab key`."""

import sys
from pathlib import Path

import click

from mfa_kit.cli.lab.start_options import FILE
from mfa_kit.cli.options import Number, Verb
from mfa_kit.wiring import lab


@click.command(cls=Verb)
@click.option(
    "--attestation", type=click.Choice(["packed", "self", "none"]), default="packed", help="How it attests [packed]."
)
@click.option("--touch", type=Number(600), default=0, metavar="S", help="Seconds until its button is touched.")
@click.option("--never-touched", is_flag=True, help="Nobody touches its button.")
@click.option("--u2f", is_flag=True, help="A key that has U2F alone.")
@click.option("--pin-stdin", is_flag=True, help="Read its PIN from standard input, one line.")
@click.option("--reader", is_flag=True, help="In a smart card reader, though the kernel could have it on USB.")
@click.option("--publish", type=FILE, metavar="DIR", help="Write metadata that knows it: blob.jwt and root.der.")
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
    """Plug in a security key, for COMMAND or until Ctrl-C. Linux and root only.

    It is on USB where the kernel has /dev/uhid, else in a reader of a private pcscd.
    """
    return lab.plug_in_key(
        click.echo,
        command,
        attestation=attestation,
        touch=None if never_touched else touch,
        u2f=u2f,
        pin=sys.stdin.readline().rstrip("\n") if pin_stdin else None,
        reader=reader,
        publish=publish,
    )
