"""The settings of one run: what the command line and the configuration file say, and how to reach a person."""

from collections.abc import Callable
from dataclasses import dataclass

from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.wiring.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every verb is told.

    `interaction` is a person at the terminal, or raises Declined; `sleep` waits seconds and shows how many are left.
    """

    interaction: Interaction
    progress: Progress
    sleep: Callable[[float], None]
    config: Config
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    account: str | None = None
    yes: bool = False
    no_input: bool = False
    dry_run: bool = False
    plain: bool = False
    debug: bool = False
