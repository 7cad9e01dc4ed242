"""How a user of a roster gets a device: the facts about an enrollment method that rosters and plans need."""

from dataclasses import dataclass

from mfa_kit.core import models
from mfa_kit.core.models import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterMethod:
    """How the user of a row gets a device. If `method` is None, the user enrolls the device.

    `unattended` means that `rollout apply` makes the device without help from a person. `by_serial` means that AWS
    already has the device's seed, so the roster must contain the serial that is printed on the device.
    """

    method: Method | None = None
    unattended: bool = False
    by_serial: bool = False

    @property
    def name(self) -> str:
        """The word in the roster column `kind`: the name of an enrollment method, or `self`."""
        return self.method.name if self.method else "self"

    def __str__(self) -> str:
        return self.name


SELF = RosterMethod()
# The method of a row whose cell `kind` is empty.
VIRTUAL = RosterMethod(method=models.VIRTUAL, unattended=True)
