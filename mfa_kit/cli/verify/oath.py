"""`mfa-kit verify oath`: check that an OATH key is ready to be given to a user."""

import time
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import ALLOW_OLDER, MDS, MDS_ROOT, PASSWORD_STDIN, PIN_STDIN, WHICH
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.verify.receipt import print_answer
from mfa_kit.oath_keys.acceptance import UNPROVEN, maker_check, verify_key
from mfa_kit.wiring.settings import Settings


@click.command("oath", cls=Verb)
@WHICH
@click.option("--no-write", is_flag=True, help="Do not write a test credential to the key.")
@click.option(
    "--maker", is_flag=True, help="Verify the manufacturer by the FIDO attestation of the same key (two touches)."
)
@MDS
@MDS_ROOT
@ALLOW_OLDER
@PIN_STDIN
@PASSWORD_STDIN
def verify_oath(
    *,
    wanted: str | None,
    no_write: bool,
    maker: bool,
    mds: Path | None,
    mds_root: Path | None,
    allow_older: bool,
    pin_stdin: bool,
    password_stdin: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Check that an OATH key is ready for a user. With --account, warn if the key has credentials of that account."""
    fido = wiring.security_keys.SecurityKeys(
        settings, mds=mds, mds_root=mds_root, allow_older=allow_older, pin_stdin=pin_stdin
    )
    answer, key = verify_key(
        wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin),
        wanted,
        account=settings.account,
        new_seed=(lambda: None) if no_write else wiring.oath_keys.random_seed,
        now=time.time,
        made_by=(lambda key: maker_check(fido.attest_card(key.reader))) if maker else (lambda _: UNPROVEN),
    )
    return print_answer("verify-oath", {"key": key.what, "serial": key.serial, "where": key.where}, answer, output)
