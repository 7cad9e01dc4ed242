"""Decodes seeds. All rows together decide between hex and base32; nothing is guessed."""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens.seeds import OCTETS, DroppedRow, Encoding, Reading, SeededToken, Token, folded

INEXACT = "its seed is not exactly base32, and may be damaged; --seed-encoding base32 reads it as oathtool does"


@dataclass(frozen=True, slots=True)
class SeedRow:
    """A token and its seed as written in the file, not decoded yet."""

    where: str
    token: Token
    text: Secret[str]


def decode_hex(text: Secret[str]) -> Seed | None:
    """Decode hex, or return None when the text is not hex.

    Groups of equal length may be separated by blanks or hyphens.
    """
    try:
        return Seed(binascii.unhexlify(_joined(text).reveal()))
    except ValueError:
        return None


def decode_base32(text: Secret[str]) -> Seed | None:
    """Decode base32 (RFC 4648), or return None when the text is not base32. Case, padding and grouping are free."""
    try:
        bare = Secret(_joined(text).reveal().rstrip("="))
        seed = Seed(base64.b32decode(bare.reveal() + "=" * (-len(bare.reveal()) % 8), casefold=True))
    except ValueError:
        return None
    # b32decode ignores trailing bits that are zero in a well-formed text. If they are not zero, a letter is wrong.
    return seed if _written(seed) == Secret(bare.reveal().upper()) else None


def decode_base32_leniently(text: Secret[str]) -> Seed | None:
    """Decode everything that `decode_base32` or oathtool decodes, or return None.

    oathtool ignores blanks and the trailing bits of a group of eight letters, and lets padded groups follow each other.
    """
    if strict := decode_base32(text):
        return strict
    bare = Secret(text.reveal().replace(" ", ""))
    groups = (Secret(bare.reveal()[at : at + 8].ljust(8, "=")) for at in range(0, len(bare.reveal()), 8))
    try:
        return Seed(b"".join(base64.b32decode(group.reveal(), casefold=True) for group in groups))
    except ValueError:
        return None


def _joined(text: Secret[str]) -> Secret[str]:
    """Join the groups of a seed. Raise ValueError unless there are three or more, of equal length except the last.

    A blank typed in place of a letter would make two groups, and a shorter seed.
    """
    groups = Secret(re.split("[ -]", text.reveal()))
    sizes = [len(group) for group in groups.reveal()]
    if len(sizes) == 1:
        return text
    if len(sizes) == 2 or len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]:  # noqa: PLR2004 - the docstring explains it
        raise ValueError("these are no groups")
    return Secret("".join(groups.reveal()))


def _written(seed: Seed) -> Secret[str]:
    return Secret(base64.b32encode(seed.reveal()).decode().rstrip("="))


def seeded_token(where: str, token: Token, seed: Seed, other: Seed | None = None) -> SeededToken | DroppedRow:
    """Combine a token and its seed, unless one of them is outside the standards."""
    octets = len(seed.reveal())
    if wrong := token.wrong():
        return DroppedRow(where, wrong)
    if octets not in OCTETS:
        return DroppedRow(where, f"its seed has {octets} bytes; {OCTETS[0]} to {OCTETS[-1]} are supported")
    return SeededToken(token=replace(token, octets=octets), seed=seed, where=where, other=other)


def gather_reading(encoding: Encoding, found: Iterable[SeededToken | DroppedRow]) -> Reading:
    """Collect the tokens. A serial that appears twice is taken once, or dropped when its seeds differ.

    Spellings of a serial are treated as equal, because people and scanners type them differently.
    """
    keys: dict[str, SeededToken] = {}
    dropped: list[DroppedRow] = []
    torn: set[str] = set()
    for each in found:
        if isinstance(each, DroppedRow):
            dropped.append(each)
            continue
        name = folded(each.token.serial)
        first = keys.setdefault(name, each)
        if first is each:
            continue
        same = first.seed == each.seed and replace(first.token, serial=each.token.serial) == each.token
        if not same:
            torn.add(name)
        reason = f"{each.token.serial} is a duplicate of {first.where}"
        dropped.append(
            DroppedRow(each.where, reason if same else f"{reason}, with a different seed or different parameters")
        )
    for name in torn:
        first = keys.pop(name)
        dropped.append(
            DroppedRow(first.where, f"{first.token.serial} occurs again, with a different seed or different parameters")
        )
    return Reading(encoding=encoding, keys=tuple(keys.values()), dropped=tuple(dropped))


@dataclass(frozen=True, slots=True)
class _DecodedRow:
    """A row with its seed in both encodings. `exact` is false for base32 with blanks or bits to ignore."""

    row: SeedRow
    hex: Seed | None
    base32: Seed | None
    exact: bool

    @property
    def only(self) -> Encoding | None:
        """The only encoding that the seed can have, or None if it may have either."""
        if self.hex:
            return None if self.base32 else Encoding.HEX
        return Encoding.BASE32 if self.exact else None


def decode_rows(
    rows: Sequence[SeedRow],
    dropped: Sequence[DroppedRow],
    wanted: Encoding | None,
    *,
    fixed: Encoding | None = None,
) -> tuple[Reading, ...]:
    """Decode all rows in the encoding of the format, else in the user's, else in the only possible one, else in both.

    Base32 that is not exact is accepted if the user says that it is base32, or if a code will decide about it.
    Raise IntegrityFault when some rows can only be hex and others only base32.
    """
    decoded = [
        _DecodedRow(row, decode_hex(row.text), decode_base32_leniently(row.text), decode_base32(row.text) is not None)
        for row in rows
    ]
    said = fixed or wanted
    fitting = (said,) if said else _fitting(decoded)
    exactly = fitting == (Encoding.BASE32,) and wanted is not Encoding.BASE32
    return tuple(
        gather_reading(encoding, [*dropped, *(_token(each, encoding, exactly=exactly) for each in decoded)])
        for encoding in fitting
    )


def _fitting(decoded: Sequence[_DecodedRow]) -> tuple[Encoding, ...]:
    """Return the encodings that fit all rows."""
    proofs = {each.only: each.row for each in reversed(decoded)}
    hexed, lettered = proofs.get(Encoding.HEX), proofs.get(Encoding.BASE32)
    if hexed and lettered:
        raise IntegrityFault(
            f"the seed at {hexed.where} can only be hex and the one at {lettered.where} only base32",
            "ask the vendor which is right, and set --seed-encoding; rows that do not fit are then skipped",
        )
    if hexed or lettered:
        return (Encoding.HEX if hexed else Encoding.BASE32,)
    return (Encoding.HEX, Encoding.BASE32) if _may_be_hex(decoded) else (Encoding.BASE32,)


def _may_be_hex(decoded: Sequence[_DecodedRow]) -> bool:
    return any(each.hex for each in decoded) or not any(each.base32 for each in decoded)


def _token(decoded: _DecodedRow, encoding: Encoding, *, exactly: bool) -> SeededToken | DroppedRow:
    """Return a token whose seed is read in one encoding. With `exactly`, nothing of base32 is ignored."""
    row = decoded.row
    seed, other = (decoded.hex, decoded.base32) if encoding is Encoding.HEX else (decoded.base32, decoded.hex)
    if seed is None:
        return DroppedRow(row.where, f"its seed is not {encoding}")
    if exactly and not decoded.exact:
        return DroppedRow(row.where, INEXACT)
    return seeded_token(row.where, row.token, seed, other)
