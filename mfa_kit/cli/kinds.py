"""The kinds of device that `enroll --with` makes, in words; deeds/kinds.py makes them. A new kind is a row in each."""

from pathlib import Path
from typing import NamedTuple

import click

from mfa_kit.cli import keys


class Row(NamedTuple):
    """One kind: a line of help, the options that only it takes, and what its own help begins with.

    `single` names those of the options that are about one device: where many are made, the roster and what is plugged
    in say that. `calls` asks for what a row of a roster is made with; without it none is made at a desk.
    """

    help: str
    options: tuple[click.Option, ...]
    about: str = ""
    single: frozenset[str] = frozenset()
    calls: str = ""


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
        single=frozenset({"qr_file"}),
        calls="when {user} is here with a phone, press Enter",
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
        single=frozenset({"key", "asset", "password_stdin"}),
        calls="insert the key for {user}",
    ),
    "fido2": Row(
        help="a security key, which a person registers in the console",
        about="IAM has no API to register a security key: that is done on one page of AWS's console. mfa-kit checks "
        "the key, brings you to the page, and waits until IAM lists the key with its certifications.",
        options=(
            click.Option(["--key"], metavar="SERIAL|PLACE", help="Which key, when several are plugged in."),
            click.Option(["--skip-key-check"], is_flag=True, help="Do not verify the key first; none need be here."),
            click.Option(
                ["--require"],
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="What the key has to be, here and by IAM's word: a policy file.",
            ),
            click.Option(["--mds"], **keys.MDS),
            click.Option(["--mds-root"], **keys.MDS_ROOT),
            click.Option(["--pin-stdin"], **keys.PIN_STDIN),
            click.Option(["--asset"], metavar="LABEL", help="What to call the key [its serial, else its AAGUID]."),
            click.Option(
                ["--open"],
                is_flag=True,
                help="Open the page in the browser, signed in for 15 minutes and for this user's MFA alone.",
            ),
            click.Option(
                ["--open-role"], metavar="ARN", help="The role to sign in with; without it your access keys do."
            ),
            click.Option(
                ["--timeout"],
                type=click.IntRange(1),
                default=600,
                show_default=True,
                metavar="SECONDS",
                help="How long to wait for IAM to list the key.",
            ),
        ),
        single=frozenset({"key", "asset", "pin_stdin"}),
        calls="insert the key for {user}",
    ),
    "hardware-totp": Row(
        help="a display token that was sold for AWS",
        options=(click.Option(["--serial"], required=True, metavar="SERIAL", help="The serial number printed on it."),),
        single=frozenset({"serial"}),
        calls="take token {serial} for {user}, and press Enter",
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
