"""Display tokens whose seed AWS has."""

from collections.abc import Mapping
from typing import Any

from mfa_kit.cli import flags, terminal
from mfa_kit.display import DisplayToken
from mfa_kit.ports import Carrier, Inventory


def carrier(own: Mapping[str, Any], inventory: Inventory) -> Carrier:
    """Return the token that `--serial` names."""
    person = terminal.person(flags.common())
    return DisplayToken(own["serial"], now=inventory.now, interaction=person, progress=terminal.Talk())
