"""The kinds of device that `enroll --with` makes. A new kind is a row here and a file for its carrier."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from mfa_kit.cli.kit import desk as kit
from mfa_kit.models import Kind
from mfa_kit.ports import Carrier, Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind: a line of help, options that only it takes, and the carrier made from their values."""

    help: str
    options: tuple[click.Option, ...]
    carrier: Callable[[Mapping[str, Any], Inventory], Carrier]


KINDS: dict[Kind, Row] = {
    Kind.VIRTUAL: Row(
        help="an authenticator app, or a sealed backup alone",
        options=(
            click.Option(
                ["--codes"],
                type=click.Choice(["generated"]),
                required=True,
                help="generated: computed here; the sealed backup is then the only copy of the seed.",
            ),
        ),
        carrier=kit.backup_alone,
    ),
}
