"""Options of verbs that use a key, and of verbs that decrypt a backup."""

from pathlib import Path

import click

WHICH = click.option("--key", "wanted", metavar="SERIAL|READER", help="Which key, when several are plugged in.")
WHICH_FIDO = click.option("--key", "wanted", metavar="SERIAL|PLACE", help="Which key, when several are plugged in.")
MDS = click.option("--mds", type=click.Path(path_type=Path), metavar="FILE", help="Signed FIDO metadata, blob.jwt.")
MDS_ROOT = click.option(
    "--mds-root",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Root certificate of metadata that is not the FIDO Alliance's.",
)
PIN_STDIN = click.option("--pin-stdin", is_flag=True, help="Read the key's PIN from standard input, one line.")
PASSWORD_STDIN = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the OATH password of the key from standard input, a line; to change it, the old one and the new.",
)
PASSPHRASE_FD = click.option(
    "--passphrase-fd",
    type=click.IntRange(min=0),
    metavar="N",
    help="Read an identity's passphrase from this file descriptor, its first line; 0 is standard input.",
)
