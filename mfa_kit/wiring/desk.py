"""The desk of every verb that talks to AWS.

The kit is the only place that opens adapters, and the only one that imports inside functions: a verb pays for what it
uses.
"""

import gc
import logging
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfa_kit.cli import messages
from mfa_kit.core import models, otp
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Call, Caller
from mfa_kit.enrollment.pacing import InTurn, Patience
from mfa_kit.enrollment.phone import ask_until
from mfa_kit.enrollment.ports import Desk, Inventory, Vault
from mfa_kit.wiring import config
from mfa_kit.wiring.backup_records import recorded
from mfa_kit.wiring.methods import registry
from mfa_kit.wiring.methods.recipe import Context
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.this_computer import backup_dir, harden, home

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.ledger.ledger import Ledger

# The account of `mfa-kit lab`; AWS gives nobody this number.
LAB_ACCOUNT = "000000000000"


def load() -> None:
    """Load boto3, and take it out of the search for garbage: all of it stays to the end (docs/decisions/007).

    Not after zxing-cpp, which tells on stderr of each of its types that was not collected when the process ends.
    """
    if "boto3" not in sys.modules and "zxingcpp" not in sys.modules:
        import boto3  # noqa: F401 - adapters use it

        gc.freeze()


def vault(to: Sequence[str], to_files: Sequence[Path], folder: Path | None) -> Vault:
    """Return the vault for these recipients, else for the configured ones. Raise UsageFault for one that is none."""
    load()
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.files.recipients import read_recipients

    chosen = read_recipients(to, to_files) if to or to_files else config.recipients()
    return AgeFiles(backup_dir(folder), chosen)


def run_id(inventory: Inventory) -> str:
    return models.run_id(inventory.now(), secrets.token_bytes(4))


def opened(settings: Settings, observe: Callable[[Call], None], **how: Any) -> "Iam":
    """Open IAM with the credentials that the flags and the environment say; codes are asked for at the terminal."""
    from mfa_kit.adapters.aws.iam import Iam

    return Iam(
        observe=observe,
        profile=settings.profile,
        region=settings.region,
        endpoint_url=settings.endpoint_url,
        ask_code=lambda serial: _session_code(serial, settings),
        **how,
    )


def beside_lab(account: str) -> str:
    """Write an account's number, with LAB beside that of the lab."""
    return f"{account} (LAB, nothing here is real)" if account == LAB_ACCOUNT else account


@contextmanager
def connected(settings: Settings, **how: Any) -> Iterator[tuple["Iam", "Ledger", Caller]]:
    """Open AWS and the ledger, tell who we are, and refuse any account but the one that was asked for."""
    from mfa_kit.adapters.ledger.ledger import Ledger

    harden()
    talk = messages.Talk()
    if settings.debug:
        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
        logging.getLogger("mfa_kit").setLevel(logging.DEBUG)
    with Ledger(home()) as ledger:
        iam = opened(settings, ledger.called, **how)
        caller = iam.caller()
        clock = f", {ahead(iam.offset())}" if iam.offset() else ""
        talk.note(f"account {beside_lab(caller.account)} as {caller.arn}{clock}")
        if settings.account is not None and settings.account != caller.account:
            raise UsageFault(
                f"these credentials are of account {caller.account}, and --account asks for {settings.account}",
                "choose another --profile",
            )
        yield iam, ledger, caller


@contextmanager
def desk(settings: Settings, *, vault: Vault, oath_keys: OathKeys | None = None) -> Iterator[tuple[Desk, Caller]]:
    """Bundle what a verb that writes needs, over AWS and the ledger."""
    with connected(settings) as (iam, ledger, caller):
        talk, pause = messages.Talk(), settings.sleep
        yield (
            Desk(
                inventory=iam,
                registrar=InTurn(iam, Patience(sleep=pause, progress=talk)),
                vault=recorded(vault, ledger),
                journal=ledger,
                progress=talk,
                carrier=registry.finder(
                    Context(settings=settings, inventory=iam, oath_keys=oath_keys or OathKeys(settings))
                ),
                sleep=pause,
                on_keys=registry.ON_KEYS,
                resumable=registry.RESUMABLE,
                dry=settings.dry_run,
            ),
            caller,
        )


def _session_code(serial: str, settings: Settings) -> str:
    """Ask for a code of the device that a profile names; AWS alone knows whether it is right."""
    return ask_until(
        otp.digits,
        f"code of {serial}",
        now=time.time,
        interaction=settings.interaction,
        instead="credentials that need no code, such as a session's or a role's without mfa_serial",
    )


def ahead(offset: float) -> str:
    """Say how far the clocks are apart; codes are computed for AWS's."""
    return f"this machine's clock is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} AWS's"
