"""The enrollment methods. To add one, add a file to this folder and a row here."""

from mfa_kit.wiring.methods.recipe import Methods

METHODS = Methods(
    {
        "virtual": "mfa_kit.wiring.methods.virtual:METHOD",
        "oath": "mfa_kit.wiring.methods.oath:METHOD",
        "fido2": "mfa_kit.wiring.methods.fido2:METHOD",
        "hardware-totp": "mfa_kit.wiring.methods.hardware_totp:METHOD",
        "programmable": "mfa_kit.wiring.methods.programmable:METHOD",
    }
)
