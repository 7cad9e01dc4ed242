"""`mfa-kit lab`: rehearse without AWS. The lab listens on loopback alone, and what runs in it reaches nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mfa_kit.cli import options
from mfa_kit.core.errors import UsageFault

File = click.Path(path_type=Path)
OPTIONS = (
    click.option("--users", type=click.IntRange(0), help="How many users a fresh account has [5]."),
    click.option("--from", "source", type=File, metavar="FILE", help="Start from a described account, JSON or TOML."),
    click.option("--state", "folder", type=File, metavar="DIR", help="Keep the account here between runs."),
    click.option("--latency", type=options.Number(600), default=0, metavar="S", help="Seconds each answer takes more."),
    click.option("--rate", type=options.Number(), default=0, metavar="N", help="Throttle above N requests a second."),
    click.option("--burst", type=options.Number(), default=0, metavar="N", help="Requests that may come at once [N]."),
    click.option("--faults", "rules", type=File, metavar="FILE", help="Rules of what goes wrong, JSON or TOML."),
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A window or a delay of the lab."),
)


def _lab_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@click.group(cls=options.Noun)
def lab() -> None:
    """Rehearse without AWS: an IAM that says no as IAM does."""


@lab.command()
@_lab_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(*, command: tuple[str, ...], **wish: Any) -> int:
    """Run COMMAND in a lab of its own and return its status: `mfa-kit lab run -- COMMAND`."""
    from mfa_kit.wiring import lab as kit

    return kit.run(command, region=options.common().region, **wish)


@lab.command()
@_lab_options
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1 [any].")
def serve(**wish: Any) -> None:
    """Serve a lab until Ctrl-C, and print the environment to export."""
    from mfa_kit.wiring import lab as kit

    kit.serve(click.echo, region=options.common().region, **wish)


@lab.command()
@click.option(
    "--reader",
    "names",
    multiple=True,
    default=("Yubico YubiKey OTP+FIDO+CCID",),
    show_default=True,
    help="Name of a reader.",
)
@click.option(
    "--serial",
    type=click.IntRange(1, 2**32 - 1000),
    default=12345678,
    show_default=True,
    help="Serial number of the first key.",
)
@click.option("--touch-delay", type=options.Number(600), default=1, show_default=True, help="Seconds to a touch.")
@click.option(
    "--box",
    type=click.IntRange(0, 99),
    default=0,
    metavar="N",
    help="Have N keys in a box; a number that is typed here puts that one in, or pulls it out.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def card(*, command: tuple[str, ...], box: int, **wish: Any) -> int:
    """Plug OATH keys into readers of a private pcscd, for COMMAND or until Ctrl-C. Linux and root only.

    Each reader has one key. The system's smart card service is not touched, and nothing listens outside.
    """
    from mfa_kit.wiring import lab as kit

    if box and command:
        raise UsageFault("the keys of a --box are put in by hand here", "run COMMAND in another terminal")
    return kit.card(click.echo, command, box=box, **wish)


@lab.command("fido-register")
@click.argument("user")
@click.argument("name")
def fido_register(*, user: str, name: str) -> None:
    """Register a FIDO key NAME for USER in the lab, as only the console can on AWS."""
    from mfa_kit.wiring import lab as kit

    click.echo(kit.ask("POST", "fido", user=user, name=name)["SerialNumber"])


@lab.command()
def tour() -> int:
    """Walk through a first day: enroll, a mistyped code, a crash and its repair, revoke."""
    from mfa_kit.wiring import lab as kit

    wrong = kit.tour(click.echo)
    for title in wrong:
        click.echo(f"this step did not end as it should: {title}", err=True)
    return 1 if wrong else 0


@lab.command()
@click.option(
    "--attestation", type=click.Choice(["packed", "self", "none"]), default="packed", help="How it attests [packed]."
)
@click.option("--touch", type=options.Number(600), default=0, metavar="S", help="Seconds until its button is touched.")
@click.option("--never-touched", is_flag=True, help="Nobody touches its button.")
@click.option("--u2f", is_flag=True, help="A key that has U2F alone.")
@click.option("--pin-stdin", is_flag=True, help="Read its PIN from standard input, one line.")
@click.option("--reader", is_flag=True, help="In a smart card reader, though the kernel could have it on USB.")
@click.option("--publish", type=File, metavar="DIR", help="Write metadata that knows it: blob.jwt and root.der.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def key(*, touch: float, never_touched: bool, command: tuple[str, ...], **wish: Any) -> int:
    """Plug in a security key, for COMMAND or until Ctrl-C. Linux and root only.

    It is on USB where the kernel has /dev/uhid, else in a reader of a private pcscd.
    """
    from mfa_kit.wiring import lab_key

    return lab_key.serve(click.echo, command, touch=None if never_touched else touch, **wish)
