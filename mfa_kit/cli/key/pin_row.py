"""What is printed of a FIDO key when its PIN was changed, or it was reset."""

from mfa_kit.cli.results import ResultRow
from mfa_kit.security_keys.authenticator import KeyInfo


def pin_row(outcome: str, info: KeyInfo) -> ResultRow:
    """Return the row of schema `key-pin`: what was done, and what the key says afterward."""
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
