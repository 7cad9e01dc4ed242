"""The kinds of device that `enroll --with` makes, in words; deeds/kinds.py makes them. A new kind is a row in each."""

from pathlib import Path
from typing import NamedTuple

import click

from mfa_kit.cli import keys


class Row(NamedTuple):
    """One kind: a line of help, and the options that only it takes."""

    help: str
    options: tuple[click.Option, ...]


KINDS: dict[str, Row] = {
    "virtual": Row(
        help="an authenticator app, or a sealed backup alone",
        options=(
            click.Option(
                ["--codes"],
                type=click.Choice(["typed", "one", "generated"]),
                default="typed",
                show_default=True,
                help="typed: two in a row, off a phone; one: the first of them, for a queue of people; "
                "generated: computed here, and the sealed backup is then the only copy of the seed.",
            ),
            click.Option(
                ["--qr-file"],
                type=Path,
                metavar="FILE",
                help="Write the QR code to a new file, 0600 and unencrypted, in place of the screen.",
            ),
            click.Option(["--show-secret"], is_flag=True, help="Show the seed too, to type it into the app."),
        ),
    ),
    "oath": Row(
        help="a YubiKey or another key with OATH, in a reader or on USB",
        options=(
            click.Option(["--key"], metavar="SERIAL|READER", help="Which key, when several are plugged in."),
            click.Option(
                ["--touch/--no-touch"], default=True, show_default=True, help="Whether each code takes a touch."
            ),
            click.Option(["--asset"], metavar="LABEL", help="What to call the key in its tag [its serial]."),
            click.Option(["--wait"], is_flag=True, help="Wait for the next code in place of computing the last one."),
            click.Option(["--password-stdin"], **keys.PASSWORD_STDIN),
        ),
    ),
    "hardware-totp": Row(
        help="a display token that was sold for AWS",
        options=(click.Option(["--serial"], required=True, metavar="SERIAL", help="The serial number printed on it."),),
    ),
    "programmable": Row(
        help="a display token into which AWS's seed is burned",
        options=(
            click.Option(["--serial"], required=True, metavar="SERIAL", help="The serial number printed on it."),
            click.Option(
                ["--capacity"],
                type=click.IntRange(1, 999),
                metavar="OCTETS",
                help="The longest seed that its model takes; AWS's have 40 octets [asked].",
            ),
            click.Option(["--show-secret"], is_flag=True, help="Show the seed too, for a tool that takes no QR code."),
        ),
    ),
}
