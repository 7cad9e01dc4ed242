"""`mfa-kit verify`: a table of checks, and exit code 1 when the answer is no."""

from pathlib import Path
from typing import Any

import click

from mfa_kit import revocation
from mfa_kit.cli import flags, report
from mfa_kit.cli.kit import desk as kit
from mfa_kit.cli.kit import oath as oath_kit
from mfa_kit.cli.revoke import WHICH
from mfa_kit.cli.verify_fido2 import fido2
from mfa_kit.cli.verify_token import token
from mfa_kit.enrollment import user_named
from mfa_kit.verification import Proof, Refused


@click.group(cls=flags.Noun)
def verify() -> None:
    """Prove that a key is fit, and that a user's device answers."""


verify.add_command(fido2)


def tell(schema: str, answer: Proof | Refused, **row: Any) -> int:
    """Print the checks, and return the exit code."""
    output = flags.common().output
    checks = [
        {"check": check.name, "result": check.value, "detail": check.detail, "source": check.source}
        for check in answer.checks
    ]
    if output == "json":
        row |= {"answer": "proof" if isinstance(answer, Proof) else "refused", "checks": checks}
        report.one(schema, row, output=output)
    else:
        report.many(schema, checks, output=output, empty="nothing was checked")
    return 0 if isinstance(answer, Proof) else 1


@verify.command()
@click.option("--key", "wanted", metavar="SERIAL|READER", help="Which key, when several are plugged in.")
@click.option("--no-write", is_flag=True, help="Leave out the credential that is written, used and deleted again.")
@oath_kit.password_stdin
def oath(*, wanted: str | None, no_write: bool) -> int:
    """Prove that an OATH key is fit to be given to somebody; --account says whose credentials to look for."""
    answer, key = oath_kit.acceptance(wanted, write=not no_write, account=flags.common().account)
    return tell("verify-oath", answer, key=key.what, serial=key.serial, where=key.where)


@verify.command()
@click.argument("user")
@WHICH
@click.option("--key", "wanted_key", metavar="SERIAL|READER", help="Which key, when several hold the credential.")
@click.option("--resync", is_flag=True, help="Let AWS judge two codes, and keep the clock offset that it finds.")
@click.option("--backup", type=Path, metavar="FILE", help="Compare with the seed of this sealed backup.")
@click.option("-i", "--identity", "keys", multiple=True, type=Path, metavar="FILE", help="What opens the backup.")
@oath_kit.password_stdin
def user(
    *,
    user: str,
    wanted: str | None,
    wanted_key: str | None,
    resync: bool,
    backup: Path | None,
    keys: tuple[Path, ...],
) -> int:
    """Prove that the key at hand is USER's MFA device: by AWS for your own, else by its label and a code."""
    with kit.desk(flags.common(), vault=kit.vault((), (), None)) as (desk, caller):
        name = user_named(user, caller=caller)
        device = revocation.choose(name, wanted, devices=desk.inventory.devices(name))
        answer = oath_kit.belongs(
            device, wanted_key, caller=caller, desk=desk, resync=resync, backup=backup, identities=keys
        )
        return tell("verify-user", answer, user=name, device=device.serial)


verify.add_command(token)
