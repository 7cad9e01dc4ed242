"""Makes the context that enrollment methods get from a command that equips users."""

from mfa_kit.enrollment.ports import Inventory
from mfa_kit.wiring.methods.recipe import Context
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.settings import Settings


def method_context(settings: Settings, inventory: Inventory, oath_keys: OathKeys) -> Context:
    """Return a context. It checks tokens with the inventory of this computer."""
    return Context(settings=settings, inventory=inventory, oath_keys=oath_keys, check_token=_check_token)


def _check_token(serial: str, user: str) -> None:
    from mfa_kit.wiring import token_records

    token_records.check_free(serial, user)
