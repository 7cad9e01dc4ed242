"""The custodians of a break-glass identity, their sets, and the manifest that names both.

A break-glass identity is an age identity that is encrypted to the custodians' keys. Its threshold says how many
custodians must come together to use it. The manifest contains no secret. docs/formats.md describes it.
"""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from math import comb
from pathlib import Path

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.file_formats import list_of, object_of, read_json
from mfa_kit.core.text import checked_time, iso_time

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
        return tuple(custodian.name for custodian in self.custodians)

    @property
    def needed(self) -> str:
        """How many custodians are needed, and the names of all."""
        return f"{self.threshold} of {len(self.custodians)}: {', '.join(self.names)}"

    def key_of(self, name: str) -> str:
        """Return the public key of a custodian."""
        return next(custodian.key for custodian in self.custodians if custodian.name == name)

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
    for custodian in custodians:
        if (other := owners.setdefault(custodian.key, custodian.name)) != custodian.name:
            raise UsageFault(
                f"{other} and {custodian.name} have the same key, so one person could act as two custodians",
                "give each custodian a key of their own",
            )


def set_of_file(name: str, sets: Sequence[CustodianSet]) -> CustodianSet | None:
    """Return the set whose number is in a file name, such as `set-01` in `for-bob-set-01.age`, or None."""
    match = re.search(r"set-(\d+)", name, re.ASCII)
    return next(
        (custodian_set for custodian_set in sets if match and custodian_set.file.startswith(f"set-{match[1]}-")), None
    )


FILE = "manifest.json"
SCHEMA = "mfa-kit/break-glass"
# The values that the HMAC of a manifest covers.
COVERED = ("recipient", "replaces", "threshold", "custodians", "former")
HMAC = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the folder of a break-glass identity contains.

    `recipient` is the identity's public key. `made` is when the folder was written, in Unix seconds. `former` has the
    custodians who were removed. If `break-glass rotate` made the identity, `replaces` is the public key of the identity
    before the rotation, and `hmac` is the HMAC of `canonical` with a key that was derived from that identity, in hex.
    Version 1 of the manifest has no HMAC.
    """

    recipient: str
    made: float
    group: Group
    former: tuple[Custodian, ...] = ()
    replaces: str | None = None
    hmac: str | None = None

    def text(self) -> str:
        """Return the manifest as JSON. It is version 2 if it has an HMAC, else version 1."""
        return json.dumps(self._values(), indent=2) + "\n"

    def canonical(self) -> bytes:
        """Return the values that the HMAC covers as canonical JSON: keys sorted, no spaces, UTF-8."""
        values = self._values()
        covered = {name: values[name] for name in COVERED}
        return json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def _values(self) -> Mapping[str, object]:
        confirmation = {"hmac": self.hmac} if self.replaces and self.hmac else {}
        return {
            "schema": SCHEMA,
            "version": 2 if confirmation else 1,
            "recipient": self.recipient,
            "made": iso_time(self.made),
            "threshold": self.group.threshold,
            "custodians": [_written(custodian) for custodian in self.group.custodians],
            "former": [_written(custodian) for custodian in self.former],
            "replaces": self.replaces,
            **confirmation,
            "files": [
                {"file": custodian_set.file, "custodians": custodian_set.names} for custodian_set in self.group.sets()
            ],
        }


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """A folder of break-glass files, and its manifest."""

    folder: Path
    manifest: Manifest


def _written(custodian: Custodian) -> Mapping[str, str]:
    return {"name": custodian.name, "key": custodian.key, "fingerprint": custodian.fingerprint}


def parse_manifest(text: bytes, *, where: str) -> Manifest:
    """Parse the text of a manifest. `where` names the file in errors. Raise IntegrityFault for an invalid manifest.

    The fingerprints and the list of files must match the other values, from which they can be computed.
    """
    try:
        document = object_of(read_json(text))
        manifest = Manifest(
            recipient=_text(document["recipient"]),
            made=checked_time(datetime.fromisoformat(_text(document["made"])).timestamp()),
            group=Group(_number(document["threshold"]), _custodians(document["custodians"])),
            former=_custodians(document["former"]),
            replaces=None if document["replaces"] is None else _text(document["replaces"]),
            hmac=None if document["version"] == 1 else _hmac(document["hmac"]),
        )
        if object_of(read_json(manifest.text())) == document:
            return manifest
    except (KeyError, TypeError, ValueError, OverflowError, UsageFault):
        pass
    raise IntegrityFault(f"{where} is damaged, or another version of mfa-kit made it", "use another copy of the folder")


def _custodians(value: object) -> tuple[Custodian, ...]:
    rows = map(object_of, list_of(value))
    return tuple(Custodian(_text(row["name"]), _text(row["key"])) for row in rows)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("the value is not a string")
    value.encode()  # raises ValueError for half of a surrogate pair, which UTF-8 cannot have
    return value


def _hmac(value: object) -> str:
    if not HMAC.fullmatch(text := _text(value)):
        raise ValueError("the value is not 64 hexadecimal digits")
    return text


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("the value is not an integer")
    return value
