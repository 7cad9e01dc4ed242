"""The manifest of a folder of break-glass files: who the custodians are, and which file belongs to which set.

It contains no secret. docs/formats.md describes it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from mfa_kit.break_glass.custodians import Custodian, Group
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.json_text import list_of, object_of, read_json
from mfa_kit.core.timestamps import checked_time, iso_time

FILE = "manifest.json"
SCHEMA, VERSION = "mfa-kit/break-glass", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the folder of a break-glass identity contains.

    `recipient` is the identity's public key. `made` is when the folder was written, in Unix seconds. `former` has the
    custodians who were removed. If `break-glass rotate` made the identity, `replaces` is the public key of the identity
    before the rotation.
    """

    recipient: str
    made: float
    group: Group
    former: tuple[Custodian, ...] = ()
    replaces: str | None = None

    def text(self) -> str:
        """Return the manifest as JSON."""
        whole = {
            "schema": SCHEMA,
            "version": VERSION,
            "recipient": self.recipient,
            "made": iso_time(self.made),
            "threshold": self.group.threshold,
            "custodians": [_written(each) for each in self.group.custodians],
            "former": [_written(each) for each in self.former],
            "replaces": self.replaces,
            "files": [{"file": each.file, "custodians": each.names} for each in self.group.sets()],
        }
        return json.dumps(whole, indent=2) + "\n"


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
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("the value is not an integer")
    return value
