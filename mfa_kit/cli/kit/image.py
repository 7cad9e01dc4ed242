"""A QR code that somebody else showed: read from an image, with what it holds checked."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.cli import flags, terminal
from mfa_kit.cli.kit.desk import harden
from mfa_kit.errors import IntegrityFault
from mfa_kit.otp import Created, KeyUri

if TYPE_CHECKING:
    from mfa_kit.adapters.picture import Plain

STDIN = "-"


def load(image: str) -> tuple["Plain | None", Created]:
    """Read the QR code of an image, `-` for stdin, and return the file and what is in it. Raise IntegrityFault."""
    from mfa_kit import keyuri, qr
    from mfa_kit.adapters import picture

    harden()
    plain = None if image == STDIN else picture.load(Path(image))
    uri = qr.read(plain.picture if plain else picture.read(sys.stdin.buffer))
    uri = _chosen(uri)
    return plain, Created(keyuri.seed_of(uri), uri)


def _chosen(uri: KeyUri) -> KeyUri:
    """Return the URI, and of the export of an authenticator app that of the account that a person chooses."""
    from mfa_kit import migration

    if not migration.is_migration(uri):
        return uri
    accounts, which = migration.accounts(uri)
    fit = [each for each in accounts if each.for_aws]
    if not fit:
        raise IntegrityFault(
            f"of the {len(accounts)} accounts in this export, picture {which}, none is of the kind that AWS uses",
            "export the AWS account alone, or give the picture that it is in",
        )
    if len(fit) == 1:
        return migration.uri_of(fit[0])
    person = terminal.person(flags.common())
    labels = [each.label for each in fit]
    instead = "an export of the one account alone"
    return migration.uri_of(fit[person.choose(f"picture {which}; which account", labels, instead=instead)])


def shred(plain: "Plain") -> int:
    """Overwrite and remove an image; return how many other names it has."""
    from mfa_kit.adapters import picture

    return picture.shred(plain)
