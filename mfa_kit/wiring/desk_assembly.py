"""Combines ports into a desk, for the use cases that write. It does not matter how the desk's IAM was opened."""

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
    """Combine ports into a desk. `oath_keys` and `progress` default to those of the settings."""
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
