"""The manifest of a folder of break-glass files: who the custodians are, and which file belongs to which set.

It contains no secret. docs/formats.md describes it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mfa_kit.break_glass.custodians import Custodian, Group
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.json_text import list_of, object_of, read_json
from mfa_kit.core.timestamps import checked_time, iso_time

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
            "custodians": [_written(each) for each in self.group.custodians],
            "former": [_written(each) for each in self.former],
            "replaces": self.replaces,
            **confirmation,
            "files": [{"file": each.file, "custodians": each.names} for each in self.group.sets()],
        }


@dataclass(frozen=True, slots=True)
class Glass:
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
        whole = object_of(read_json(text))
        found = Manifest(
            recipient=_text(whole["recipient"]),
            made=checked_time(datetime.fromisoformat(_text(whole["made"])).timestamp()),
            group=Group(_number(whole["threshold"]), _custodians(whole["custodians"])),
            former=_custodians(whole["former"]),
            replaces=None if whole["replaces"] is None else _text(whole["replaces"]),
            hmac=None if whole["version"] == 1 else _hmac(whole["hmac"]),
        )
        if object_of(read_json(found.text())) == whole:
            return found
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
