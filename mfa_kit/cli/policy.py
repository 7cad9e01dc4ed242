"""`mfa-kit policy`: the policies that make MFA stick, as text. Nothing is attached to anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mfa_kit.cli import options
from mfa_kit.cli.audit import MAX_AGE, SNAPSHOT

FILE = click.Path(path_type=Path, allow_dash=True)


@click.group(cls=options.Noun)
def policy() -> None:
    """Print, check and try out policies that demand MFA. Nothing is attached to anything."""


@policy.command()
@click.option(
    "--variant",
    type=click.Choice(["self-managed", "admin-managed"]),
    default="self-managed",
    show_default=True,
    help="Who enrolls devices: users themselves, or administrators alone.",
)
@click.option("--first-sign-in", is_flag=True, help="Let users change their password before they have a device.")
@click.option("--user-paths", is_flag=True, help="Some users have a path, such as /team/.")
@click.option("--own-names", is_flag=True, help="A user may name a device as himself only.")
@click.option("--partition", metavar="NAME", help="aws, aws-us-gov, aws-cn ... [that of the region].")
def show(**wish: Any) -> None:
    """Print a policy that demands MFA: JSON on stdout, and each line explained on stderr."""
    from mfa_kit.cli.deeds import policy as deed

    deed.show(options.common(), **wish)


@policy.command()
@click.argument("policy_file", metavar="[FILE]", type=FILE, required=False)
@click.option("--on", type=click.Choice(["group", "user", "role"]), help="What FILE is attached to, or is to be.")
@SNAPSHOT
@MAX_AGE
def lint(**wish: Any) -> int:
    """Find the traps in the policy of FILE (- is stdin), or in all of the account's own that speak of MFA."""
    from mfa_kit.cli.deeds import policy as deed

    return deed.lint(options.common(), **wish)


@policy.command()
@click.option("--policy", "document", type=FILE, metavar="FILE", help="Try this one [as `policy show` prints it].")
@click.option("--group", metavar="NAME", help="Attached to this group [to everybody].")
@click.option("--self-enroll", is_flag=True, help="Whoever may still sign in and enroll counts as not locked out.")
@click.option("--all", "everybody", is_flag=True, help="List those too for whom nothing changes.")
@SNAPSHOT
@MAX_AGE
def lockout(**wish: Any) -> None:
    """Tell who could no longer sign in or call, were a policy attached today. Exit code 6 while anybody could not."""
    from mfa_kit.cli.deeds import policy as deed

    deed.lockout(options.common(), **wish)


@policy.command()
@click.option("--user", metavar="NAME", help="One new colleague, instead of the whole account.")
@click.option("--group", metavar="NAME", help="The group that the colleague joins.")
@click.option("--admin", metavar="NAME", default="admin", show_default=True, help="Name of the first administrator.")
@SNAPSHOT
@MAX_AGE
def onboard(**wish: Any) -> None:
    """Print the commands of a safe start, in the order that locks nobody out, for a person to read and run."""
    from mfa_kit.cli.deeds import policy as deed

    deed.onboard(options.common(), **wish)
