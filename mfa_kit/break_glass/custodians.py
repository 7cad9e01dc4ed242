"""The custodians of a break-glass identity, and the sets of custodians that can open it together.

A break-glass identity is an age identity that is encrypted to the custodians' keys. Its threshold says how many
custodians must come together to use it.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

from mfa_kit.core.errors import UsageFault

# Matches a custodian's name. The characters are those of IAM user names, except `=`, which separates the name from the
# key in NAME=KEY.
NAME = re.compile(r"[A-Za-z0-9_+,.@-]{1,64}")
# The maximum number of sets. One file is written for each set.
MOST_SETS = 252
# The maximum length of the custodians' names in the name of a file, because file systems limit a file name to 255
# octets.
LONGEST_NAMES = 200


@dataclass(frozen=True, slots=True)
class Custodian:
    """A person who keeps one of the private keys. `key` is the public key: age1… or an SSH key without a comment."""

    name: str
    key: str

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of an SSH key as `ssh-keygen -l` prints it. For an age key, the key itself, which is short."""
        kind, _, encoded = self.key.partition(" ")
        if not kind.startswith("ssh-"):
            return self.key
        digest = hashlib.sha256(base64.b64decode(encoded)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


@dataclass(frozen=True, slots=True)
class CustodianSet:
    """A set of custodians who can open the identity together, and the name of its file.

    The identity is encrypted to the last of `names`, then the result to the custodian before the last, and so on. So
    the first of `names` decrypts first.
    """

    file: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The custodians of an identity, and how many of them are needed to open it (the threshold).

    Raise UsageFault for an invalid threshold or name, for more than MOST_SETS sets, and for a repeated name or key.
    """

    threshold: int
    custodians: tuple[Custodian, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= len(self.custodians):
            raise UsageFault(
                f"{self.threshold} of {len(self.custodians)} custodians cannot be required",
                "give a threshold from 1 to the number of custodians",
            )
        if (number := comb(len(self.custodians), self.threshold)) > MOST_SETS:
            raise UsageFault(
                f"{len(self.custodians)} custodians have {number} sets of {self.threshold}; the maximum is {MOST_SETS}",
                "name fewer custodians; 5 of 10 is possible",
            )
        _check_names(self.names)
        _check_keys(self.custodians)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the custodians, in the order in which they decrypt."""
        return tuple(each.name for each in self.custodians)

    def key_of(self, name: str) -> str:
        """Return the public key of a custodian."""
        return next(each.key for each in self.custodians if each.name == name)

    def sets(self) -> list[CustodianSet]:
        """Return all sets with as many custodians as the threshold. A file's name shows the order: `set-01-a-b.age`."""
        chosen = list(combinations(self.names, self.threshold))
        width = max(2, len(str(len(chosen))))
        return [
            CustodianSet(f"set-{number:0{width}}-{'-'.join(names)[:LONGEST_NAMES]}.age", names)
            for number, names in enumerate(chosen, 1)
        ]


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise UsageFault(f"{name!r} cannot be the name of a custodian", "use 1 to 64 letters, digits and _+,.@-")
    [(name, count)] = Counter(name.lower() for name in names).most_common(1)
    if count > 1:
        raise UsageFault(f"the custodian {name} is given twice", "name each custodian once")


def _check_keys(custodians: Sequence[Custodian]) -> None:
    owners: dict[str, str] = {}
    for each in custodians:
        if (other := owners.setdefault(each.key, each.name)) != each.name:
            raise UsageFault(
                f"{other} and {each.name} have the same key, so one person could act as two custodians",
                "give each custodian a key of their own",
            )


def set_of_file(name: str, sets: Sequence[CustodianSet]) -> CustodianSet | None:
    """Return the set whose number is in a file name, such as `set-01` in `for-bob-set-01.age`, or None."""
    found = re.search(r"set-(\d+)", name, re.ASCII)
    return next((each for each in sets if found and each.file.startswith(f"set-{found[1]}-")), None)
