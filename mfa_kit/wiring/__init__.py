"""Creates the adapters that a command needs, from its settings.

A module of this package is loaded when it is first used: a command writes `from mfa_kit import wiring`, and
`wiring.audit` loads the module `audit`. So the help of a command loads neither the adapters nor their libraries.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mfa_kit.wiring import age_keys as age_keys
    from mfa_kit.wiring import audit as audit
    from mfa_kit.wiring import aws as aws
    from mfa_kit.wiring import backups as backups
    from mfa_kit.wiring import break_glass as break_glass
    from mfa_kit.wiring import browser as browser
    from mfa_kit.wiring import doctor as doctor
    from mfa_kit.wiring import evidence as evidence
    from mfa_kit.wiring import files as files
    from mfa_kit.wiring import lab as lab
    from mfa_kit.wiring import ledger as ledger
    from mfa_kit.wiring import new_sessions as new_sessions
    from mfa_kit.wiring import oath_keys as oath_keys
    from mfa_kit.wiring import organization as organization
    from mfa_kit.wiring import ports as ports
    from mfa_kit.wiring import rollout as rollout
    from mfa_kit.wiring import security_keys as security_keys
    from mfa_kit.wiring import seed_files as seed_files
    from mfa_kit.wiring import sessions as sessions
    from mfa_kit.wiring import settings as settings
    from mfa_kit.wiring import stores as stores
else:

    def __getattr__(name: str) -> object:
        """Return a module of this package, which is imported when it is first used."""
        place = f"{__name__}.{name}"
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name != place:
                raise
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
