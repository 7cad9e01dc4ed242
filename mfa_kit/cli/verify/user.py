"""`mfa-kit verify user`: check that a plugged-in key is a user's MFA device."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import PASSPHRASE_FD, PASSWORD_STDIN
from mfa_kit.cli.options import DEVICE, Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.value_types import PlaceType
from mfa_kit.cli.verify.receipt import print_answer
from mfa_kit.core.models import BackupLocation
from mfa_kit.enrollment.planning import choose_device, resolve_user
from mfa_kit.oath_keys.belonging import check_virtual, verify_device
from mfa_kit.wiring.settings import Settings


@click.command("user", cls=Verb)
@click.argument("user")
@DEVICE
@click.option(
    "--key", "wanted_key", metavar="SERIAL|READER", help="The key to check, if several have USER's credential."
)
@click.option("--resync", is_flag=True, help="Let AWS check two codes and store the clock offset.")
@click.option("--backup", type=PlaceType(), metavar="FILE", help="Compare the code with the secret in this backup.")
@click.option(
    "-i", "--identity", "keys", multiple=True, type=Path, metavar="FILE", help="Identity that decrypts the backup."
)
@PASSPHRASE_FD
@PASSWORD_STDIN
def verify_user(
    *,
    user: str,
    wanted: str | None,
    wanted_key: str | None,
    resync: bool,
    backup: BackupLocation | None,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    password_stdin: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Check that the plugged-in key is USER's MFA device.

    If the device is your own, AWS checks a code. For another user's device, only the name of the
    key's credential is checked. To check a code too, add --backup or --resync.
    """
    identities = wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction)
    with wiring.ports.open_ports(settings, store=wiring.stores.open_backup_store(settings)) as (ports, caller):
        name = resolve_user(user, caller=caller, iam_reader=ports.iam_reader)
        device = choose_device(name, wanted, devices=ports.iam_reader.devices(name))
        check_virtual(device)
        answer = verify_device(
            device,
            wanted_key,
            keys=wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin),
            caller=caller,
            ports=ports,
            resync=resync,
            seed=wiring.backups.open_created(settings, backup, identities).seed if backup else None,
            consecutive=wiring.oath_keys.consecutive_codes,
        )
        return print_answer("verify-user", {"user": name, "device": device.serial}, answer, output)
