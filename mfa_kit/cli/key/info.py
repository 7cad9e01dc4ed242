"""`mfa-kit key info`."""

from pathlib import Path

import click

from mfa_kit.cli.key.sources import FidoSource, KeySource, OathSource, any_of, complain
from mfa_kit.cli.key_options import ALLOW_OLDER, MDS, MDS_ROOT, PASSWORD_STDIN, PIN_STDIN, WHICH
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import Cell
from mfa_kit.core.errors import MfaKitError
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.security_keys import SecurityKeys
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@WHICH
@PASSWORD_STDIN
@click.option("--count", is_flag=True, help="Also count the resident credentials. Asks for the PIN.")
@PIN_STDIN
@MDS
@MDS_ROOT
@ALLOW_OLDER
def info(
    *,
    wanted: str | None,
    password_stdin: bool,
    count: bool,
    pin_stdin: bool,
    mds: Path | None,
    mds_root: Path | None,
    allow_older: bool,
    settings: Settings,
    output: Output,
) -> None:
    """Show what one key reports about itself, and its OATH credentials. Asks for its OATH password if it has one.

    To prove which model a FIDO key is, use `verify fido2`.
    """
    fido = FidoSource(
        SecurityKeys(settings, mds=mds, mds_root=mds_root, allow_older=allow_older, pin_stdin=pin_stdin), count=count
    )
    row: dict[str, Cell] = {}
    wrong: list[tuple[KeySource, MfaKitError]] = []
    for source in (fido, OathSource(OathKeys(settings, password_stdin=password_stdin))):
        try:
            row |= {name: cell for name, cell in source.info(wanted).items() if row.get(name) in (None, ())}
        except MfaKitError as fault:
            wrong.append((source, fault))
    news = [fault for source, fault in wrong if any_of(source)]
    if not row:
        raise (news or [fault for _, fault in wrong])[0]
    complain(news, settings.progress)
    output.one("key-info", row)
