"""`mfa-kit verify oath` and `verify user`: check that an OATH key is ready for a user, or is a user's MFA device."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import PASSPHRASE_FD, PASSWORD_STDIN, PIN_STDIN, WHICH, identity, metadata_options
from mfa_kit.cli.options import DEVICE, Verb
from mfa_kit.cli.value_types import PlaceType
from mfa_kit.core.checks import Check, Failed, Passed
from mfa_kit.core.recorded_keys import KeyDevice, KeyEvent, KeyFacts
from mfa_kit.enrollment.planning import choose_device, resolve_user
from mfa_kit.oath_keys.verifying import UNPROVEN, check_virtual, maker_check, verify_device, verify_key

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.core.text import ResultRow
    from mfa_kit.oath_keys.credential import OathKey
    from mfa_kit.wiring.settings import Settings


def check_rows(answer: Passed | Failed) -> list[ResultRow]:
    """Return a row per check, with the fields `check`, `result`, `detail` and `source`."""
    return [
        {"check": check.name, "result": check.value, "detail": check.detail, "source": check.source}
        for check in answer.checks
    ]


def print_answer(schema: str, subject: ResultRow, answer: Passed | Failed, output: Output) -> int:
    """Print the checks, and return the exit code: 0 for Proof, 1 for Refused.

    In JSON, also print the fields of `subject`, which say what was verified.
    """
    proven, rows = isinstance(answer, Passed), check_rows(answer)
    if output.form == "json":
        output.one(schema, {**subject, "answer": "proof" if proven else "refused", "checks": rows})
    else:
        output.many(schema, rows, empty="nothing was checked")
    return 0 if proven else 1


@click.command("oath", cls=Verb)
@WHICH
@click.option("--no-write", is_flag=True, help="Do not write a test credential to the key.")
@click.option(
    "--maker", is_flag=True, help="Verify the manufacturer by the FIDO attestation of the same key (two touches)."
)
@metadata_options
@PIN_STDIN
@PASSWORD_STDIN
def verify_oath(
    *,
    wanted: str | None,
    no_write: bool,
    maker: bool,
    password_stdin: bool,
    settings: Settings,
    output: Output,
    **key_options: Unpack[wiring.security_keys.KeyOptions],
) -> int:
    """Check that an OATH key is ready for a user. With --account, warn if the key has credentials of that account."""
    fido = wiring.security_keys.SecurityKeys(settings, **key_options)
    attested = KeyFacts()

    def check_maker(key: OathKey) -> Check:
        nonlocal attested
        if (examined := fido.attest_card(key.reader)) is None:
            return maker_check(None)
        verdict, evidence = examined
        attested = evidence.facts
        return maker_check((verdict, evidence.model.name if evidence.model else None))

    answer, key = verify_key(
        wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin),
        wanted,
        account=settings.account,
        new_seed=(lambda: None) if no_write else wiring.oath_keys.random_seed,
        now=time.time,
        made_by=check_maker if maker else (lambda _: UNPROVEN),
        advisories=wiring.files.read_advisories(),
    )
    wiring.ledger.record_key(settings, KeyEvent.VERIFIED, attested.beside(key.facts))
    return print_answer("verify-oath", {"key": key.what, "serial": key.serial, "where": key.where}, answer, output)


@click.command("user", cls=Verb)
@click.argument("user")
@DEVICE
@click.option(
    "--key", "wanted_key", metavar="SERIAL|READER", help="The key to check, if several have USER's credential."
)
@click.option("--resync", is_flag=True, help="Let AWS check two codes and store the clock offset.")
@click.option("--backup", type=PlaceType(), metavar="FILE", help="Compare the code with the secret in this backup.")
@identity("Identity that decrypts the backup.")
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
        answer, key = verify_device(
            device,
            wanted_key,
            keys=wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin),
            caller=caller,
            ports=ports,
            resync=resync,
            seed=wiring.backups.open_created(settings, backup, identities).seed if backup else None,
            consecutive=wiring.oath_keys.consecutive_codes,
        )
        if key:
            passed = isinstance(answer, Passed)
            on_key = KeyDevice(account=caller.account, user=name, serial=device.serial, since=device.since)
            wiring.ledger.record_key(settings, KeyEvent.VERIFIED, key.facts, on_key if passed else None)
        return print_answer("verify-user", {"user": name, "device": device.serial}, answer, output)
