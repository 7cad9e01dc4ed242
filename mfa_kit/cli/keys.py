"""The options of verbs that use a key, and what was given of them, for the kit that opens it."""

from pathlib import Path
from typing import Any

import click


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    ctx.find_root().meta[f"{__name__}.{param.name}"] = value


def note(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Keep what an option of a method was given, for `given`, and pass it on."""
    _keep(ctx, param, value)
    return value


def given(name: str) -> Any:
    """Return what an option of this file was given on the command line that is being run; None without it."""
    return click.get_current_context().find_root().meta.get(f"{__name__}.{name}")


def _file(*, text: str) -> dict[str, Any]:
    kind = click.Path(path_type=Path)
    return {"type": kind, "expose_value": False, "callback": _keep, "metavar": "FILE", "help": text}


def _switch(*, text: str) -> dict[str, Any]:
    return {"is_flag": True, "expose_value": False, "callback": _keep, "help": text}


WHICH = click.option("--key", "wanted", metavar="SERIAL|READER", help="Which key, when several are plugged in.")
MDS = _file(text="Signed FIDO metadata, blob.jwt.")
mds = click.option("--mds", **MDS)
MDS_ROOT = _file(text="Root certificate of metadata that is not the FIDO Alliance's.")
mds_root = click.option("--mds-root", **MDS_ROOT)
PIN_STDIN = _switch(text="Read the key's PIN from standard input, one line.")
pin_stdin = click.option("--pin-stdin", **PIN_STDIN)
pins_stdin = click.option(
    "--pin-stdin",
    **_switch(text="Read PINs from standard input, a line each: to change one, the old and the new."),
)
count = click.option("--count", **_switch(text="Also count the resident credentials, after the key's PIN."))
_FROM_STDIN = "Read the OATH password of the key from standard input, a line; to change it, the old one and the new."
PASSWORD_STDIN = click.option("--password-stdin", is_flag=True, help=_FROM_STDIN)
# Of the verbs that do not take it as a parameter yet.
password_stdin = click.option("--password-stdin", **_switch(text=_FROM_STDIN))
_FIRST_LINE = "Read an identity's passphrase from this file descriptor, its first line; 0 is standard input."
PASSPHRASE_FD = click.option("--passphrase-fd", type=click.IntRange(min=0), metavar="N", help=_FIRST_LINE)
