"""The settings of one command, from the command line and the configuration file, and the ports to the user."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.interaction import Interaction, LiveProgress
from mfa_kit.wiring.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that every command gets.

    `interaction` asks the user at the terminal, or raises Declined if there is no terminal. `sleep` waits for a number
    of seconds and shows a countdown. `end` reports a fault and ends the process; it is called if the session that holds
    the locks of runs in PostgreSQL is lost. `account` is the ID that the caller's account must have. `ledger` is the
    URL of the ledger (mfa-kit's own records) in PostgreSQL, or None if it is a file on this computer. With
    `whole_names`, messages contain the caller's ARN instead of the caller's name.
    """

    interaction: Interaction
    progress: LiveProgress
    sleep: Callable[[float], None]
    end: Callable[[IntegrityFault], NoReturn]
    config: Config
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    account: str | None = None
    ledger: str | None = None
    yes: bool = False
    no_input: bool = False
    dry_run: bool = False
    plain: bool = False
    quiet: bool = False
    debug: bool = False
    whole_names: bool = True

    @property
    def still(self) -> bool:
        """Whether lines on stderr must not be redrawn, because of --plain or --quiet."""
        return self.plain or self.quiet
