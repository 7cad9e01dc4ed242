"""Options of commands that use a key, and of commands that decrypt a backup."""

from pathlib import Path

import click

WHICH = click.option("--key", "wanted", metavar="SERIAL|READER", help="The key to use, if several are plugged in.")
WHICH_FIDO = click.option("--key", "wanted", metavar="SERIAL|PLACE", help="The key to use, if several are plugged in.")
MDS = click.option("--mds", type=click.Path(path_type=Path), metavar="FILE", help="Signed FIDO metadata (blob.jwt).")
MDS_ROOT = click.option(
    "--mds-root",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Root certificate of the metadata, if it is not the FIDO Alliance's.",
)
ALLOW_OLDER = click.option(
    "--allow-older", is_flag=True, help="Accept metadata that is older than metadata used before."
)
PIN_STDIN = click.option("--pin-stdin", is_flag=True, help="Read the key's PIN from stdin, one line.")
PASSWORD_STDIN = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the key's OATH password from stdin (to change it: old, then new, one per line).",
)
PASSPHRASE_FD = click.option(
    "--passphrase-fd",
    type=click.IntRange(min=0),
    metavar="N",
    help="Read an identity's passphrase from the first line of this file descriptor (0 is stdin).",
)
