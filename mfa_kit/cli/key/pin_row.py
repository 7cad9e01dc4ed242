"""The result row of a FIDO key after a change of its PIN or a reset."""

from mfa_kit.cli.results import ResultRow
from mfa_kit.security_keys.authenticator import KeyInfo


def pin_row(outcome: str, info: KeyInfo) -> ResultRow:
    """Return the row of schema `key-pin`: `outcome` says what was done, and `info` is the key's state afterward."""
    return {
        "outcome": outcome,
        "key": info.plugged.product or "security key",
        "serial": info.plugged.serial,
        "where": info.plugged.where,
        "pin": bool(info.pin_set),
        "tries_left": info.pin_retries,
        "min_pin_length": info.min_pin_length,
        "force_pin_change": info.force_pin_change,
    }
