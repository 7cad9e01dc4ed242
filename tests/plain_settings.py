"""The settings of a command without options, for tests that call a function of `wiring`."""

import time

from mfa_kit.cli.messages import StderrProgress
from mfa_kit.cli.shutdown import end_at_once
from mfa_kit.core.interaction import Nobody
from mfa_kit.wiring.settings import Config, Settings


def plain_settings(**options: object) -> Settings:
    """Return settings with these options, and with nobody at the terminal."""
    return Settings(
        interaction=Nobody("this is a test"),
        progress=StderrProgress(),
        sleep=time.sleep,
        end=end_at_once,
        config=Config(),
        **options,  # type: ignore[arg-type]
    )
