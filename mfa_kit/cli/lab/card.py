"""`mfa-kit lab card`: plug simulated OATH keys into readers."""

import click

from mfa_kit import wiring
from mfa_kit.cli.messages import StderrProgress
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import Number
from mfa_kit.core.errors import UsageFault


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
        click.echo, count=box, readers=readers, serial=serial, touch_delay=touch_delay, progress=StderrProgress()
    )
    return 0
