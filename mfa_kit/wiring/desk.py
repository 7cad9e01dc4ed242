"""Opens a Desk (the set of ports that a use case needs to change devices) with AWS, the ledger and the backups."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mfa_kit.core import models
from mfa_kit.core.models import Caller
from mfa_kit.core.stopping import Stop
from mfa_kit.enrollment.pacing import InTurn, Patience
from mfa_kit.enrollment.ports import Desk, Inventory, Vault
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.desk_assembly import assemble_desk
from mfa_kit.wiring.methods.recipe import Methods
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import open_vault

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.ledger.ledger import Ledger


def new_run_id(inventory: Inventory) -> str:
    """Return the ID of a run that begins now, according to AWS's clock."""
    import secrets

    return models.run_id(inventory.now(), secrets.token_bytes(4))


def desk_of(
    settings: Settings,
    methods: Methods,
    *,
    iam: "Iam",
    ledger: "Ledger",
    vault: Vault | None = None,
    oath_keys: OathKeys | None = None,
) -> Desk:
    """Return a Desk (the ports with which devices are made and removed) that changes one user at a time.

    `vault` is the store of backups. It defaults to the configured folder and recipients. `oath_keys` defaults to a new
    OathKeys.
    """
    return assemble_desk(
        settings,
        methods,
        inventory=iam,
        registrar=InTurn(iam, Patience(sleep=settings.sleep, progress=settings.progress)),
        vault=vault or open_vault(settings),
        ledger=ledger,
        sleep=settings.sleep,
        oath_keys=oath_keys,
    )


@contextmanager
def open_desk(
    settings: Settings,
    methods: Methods,
    *,
    vault: Vault | None = None,
    oath_keys: OathKeys | None = None,
    stop: Stop | None = None,
) -> Iterator[tuple[Desk, Caller]]:
    """Connect to AWS and the ledger. Yield a Desk that changes one user at a time, and the Caller.

    The Caller is the AWS identity of the credentials. `vault` is the store of backups. It defaults to the configured
    folder and recipients. A command that uses OATH keys itself passes its `oath_keys`, so that the user types each
    password only once. `stop` is as in `open_iam`. Raise the errors of `connect`.
    """
    vault = vault or open_vault(settings)
    with connect(settings, stop=stop) as (iam, ledger, caller):
        yield desk_of(settings, methods, iam=iam, ledger=ledger, vault=vault, oath_keys=oath_keys), caller
