"""How much the long nets try: a part of it by default, all of it with MFA_KIT_FULL=1. Every net asks this file.

`MFA_KIT_SEQUENCES`, `MFA_KIT_ROLLOUT_USERS`, `MFA_KIT_ROLLOUT_KILLS`, `MFA_KIT_MUTATIONS` and `MFA_KIT_FUZZ` set one
net each.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

FULL = os.environ.get("MFA_KIT_FULL") == "1"
Case = TypeVar("Case")


def size(few: int, full: int, variable: str = "") -> int:
    """Return the number of cases to try: the value of the environment variable, else `full` or `few`."""
    return int(os.environ.get(variable) or (full if FULL else few))


def sample(cases: Sequence[Case], few: int) -> list[Case]:
    """Return all cases in a full run, else `few` of them at equal distances, with the first and the last."""
    if FULL or len(cases) <= few:
        return list(cases)
    return [cases[round(at * (len(cases) - 1) / (few - 1))] for at in range(few)]
