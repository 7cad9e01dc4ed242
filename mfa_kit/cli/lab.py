"""`mfa-kit lab`: run or serve a lab on loopback, take the tour, and plug in simulated keys.

A command that runs in the lab gets no AWS credentials except those of the lab.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli.messages import StderrProgress
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import LocalPath, Number, add_options
from mfa_kit.core.errors import UsageFault

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.wiring.settings import Settings

FILE = LocalPath()
# The options of commands that start a lab, as in wiring.lab.LabChoices.
start_options = add_options(
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


@click.command(cls=Verb, needs_config=False)
@start_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(*, command: tuple[str, ...], settings: Settings, **choices: Unpack[wiring.lab.LabChoices]) -> int:
    """Run COMMAND in a new lab: `mfa-kit lab run -- COMMAND`. The exit code is COMMAND's exit code."""
    return wiring.lab.run(command, region=settings.region, progress=settings.progress, **choices)


@click.command(cls=Verb, needs_config=False)
@start_options
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1 [any].")
def serve(*, port: int, settings: Settings, **choices: Unpack[wiring.lab.LabChoices]) -> None:
    """Run a lab until Ctrl-C, and print the environment variables to export."""
    wiring.lab.serve(click.echo, region=settings.region, port=port, **choices)


@click.command(cls=Verb, needs_config=False)
def tour(*, settings: Settings, output: Output) -> int:
    """Take a tour in a new lab: enroll a user, mistype a code, repair after a crash, and revoke the device."""
    failed = wiring.lab.tour(lambda text: output.prose(*text.split("\n")), person=settings.interaction)
    for title in failed:
        settings.progress.alert(f"this step failed: {title}")
    return 1 if failed else 0


@click.command("fido-register", cls=Verb)
@click.argument("user")
@click.argument("name")
def fido_register(*, user: str, name: str) -> None:
    """Register a FIDO key NAME for USER in the lab. In AWS, only the console can register keys."""
    click.echo(wiring.lab.register_fido_key(user, name))


@click.command(cls=Verb)
@click.option(
    "--reader",
    "readers",
    multiple=True,
    default=("Yubico YubiKey OTP+FIDO+CCID",),
    show_default=True,
    help="Name of a reader. Repeat it for several readers.",
)
@click.option(
    "--serial",
    type=click.IntRange(1, 2**32 - 1000),
    default=12345678,
    show_default=True,
    help="Serial number of the first key.",
)
@click.option("--touch-delay", type=Number(600), default=1, show_default=True, help="Seconds until a key is touched.")
@click.option(
    "--box",
    type=click.IntRange(0, 99),
    default=0,
    metavar="N",
    help="Simulate a box of N keys. Type a key's number to plug it in or to remove it.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def card(*, command: tuple[str, ...], readers: tuple[str, ...], serial: int, touch_delay: float, box: int) -> int:
    """Plug simulated OATH keys into readers of a private pcscd, while COMMAND runs or until Ctrl-C.

    Needs Linux and root. Each reader has one key. The system's smart card service is not changed, and nothing listens
    on a network. Outside a lab, COMMAND gets no AWS credentials.
    """
    if box and command:
        raise UsageFault(
            "--box cannot be used with COMMAND, because you type which key to plug in",
            "run COMMAND in another terminal",
        )
    if not box:
        return wiring.lab.plug_in_cards(click.echo, command, readers=readers, serial=serial, touch_delay=touch_delay)
    wiring.lab.open_box(
        click.echo,
        sys.stdin,
        count=box,
        readers=readers,
        serial=serial,
        touch_delay=touch_delay,
        note=StderrProgress().note,
    )
    return 0


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
