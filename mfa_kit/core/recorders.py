"""Which computer made each device, and tested each backup, if several computers share the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorders:
    """The computers that recorded the rows of a shared ledger. `here` is this computer.

    `devices` has the computer that made each device, by run and serial. `drills` has the computer on which each backup
    last passed a test, by the backup's name.
    """

    here: str
    devices: Mapping[tuple[str, str], str]
    drills: Mapping[str, str]
