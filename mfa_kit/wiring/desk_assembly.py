"""Combines ports into a Desk (the ports with which use cases make and remove devices), after IAM was opened."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mfa_kit.core.interaction import Progress
from mfa_kit.enrollment.ports import Desk, Inventory, Registrar, Vault
from mfa_kit.wiring.backup_records import recorded
from mfa_kit.wiring.methods.recipe import Context, Methods
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.ledger import Ledger


def assemble_desk(
    settings: Settings,
    methods: Methods,
    *,
    inventory: Inventory,
    registrar: Registrar,
    vault: Vault,
    ledger: "Ledger",
    sleep: Callable[[float], None],
    oath_keys: OathKeys | None = None,
    progress: Progress | None = None,
) -> Desk:
    """Return a Desk with the ports in the arguments. It records the recipients of each new backup in the ledger.

    `progress` defaults to that of the settings, and `oath_keys` to a new OathKeys.
    """
    context = Context(settings=settings, inventory=inventory, oath_keys=oath_keys or OathKeys(settings))
    return Desk(
        inventory=inventory,
        registrar=registrar,
        vault=recorded(vault, ledger),
        journal=ledger,
        progress=progress or settings.progress,
        carrier=methods.carrier_finder(context),
        sleep=sleep,
        on_keys=methods.on_keys,
        resumable=methods.resumable,
        dry=settings.dry_run,
    )
