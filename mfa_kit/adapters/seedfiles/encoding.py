"""Decodes seeds. All rows together decide between hex and base32; nothing is guessed."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens.seeds import OCTETS, DroppedRow, Encoding, Reading, SeededToken, Token, folded


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
        bare = Secret(_joined(text).reveal().rstrip("=").upper())
        seed = Seed(base64.b32decode(bare.reveal() + "=" * (-len(bare.reveal()) % 8)))
    except ValueError:
        return None
    # b32decode ignores trailing bits that are zero in a well-formed text. If they are not zero, a letter is wrong.
    return seed if _written(seed) == bare else None


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


DECODE = {Encoding.HEX: decode_hex, Encoding.BASE32: decode_base32}


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


def decode_rows(rows: Sequence[SeedRow], dropped: Sequence[DroppedRow], wanted: Encoding | None) -> tuple[Reading, ...]:
    """Decode all rows in the encoding that fits them: the wanted one, the only possible one, or both.

    Raise IntegrityFault when some rows can only be hex and others only base32.
    """
    seeds = {encoding: [decode(row.text) for row in rows] for encoding, decode in DECODE.items()}
    return tuple(
        gather_reading(encoding, [*dropped, *_tokens(rows, seeds, encoding)])
        for encoding in ((wanted,) if wanted else _fitting(rows, seeds))
    )


def _fitting(rows: Sequence[SeedRow], seeds: Mapping[Encoding, list[Seed | None]]) -> tuple[Encoding, ...]:
    """Return the encodings that fit all rows."""
    hexed = _only(rows, seeds[Encoding.HEX], seeds[Encoding.BASE32])
    lettered = _only(rows, seeds[Encoding.BASE32], seeds[Encoding.HEX])
    if hexed and lettered:
        raise IntegrityFault(
            f"the seed at {hexed.where} can only be hex and the one at {lettered.where} only base32",
            "ask the vendor which is right, and set --seed-encoding; rows that do not fit are then skipped",
        )
    if hexed or lettered:
        return (Encoding.HEX if hexed else Encoding.BASE32,)
    return (Encoding.HEX, Encoding.BASE32)


def _only(rows: Sequence[SeedRow], mine: list[Seed | None], theirs: list[Seed | None]) -> SeedRow | None:
    """Return the first row that fits the first encoding and not the second."""
    return next((row for row, a, b in zip(rows, mine, theirs, strict=True) if a and not b), None)


def _tokens(
    rows: Sequence[SeedRow], seeds: Mapping[Encoding, list[Seed | None]], encoding: Encoding
) -> Iterable[SeededToken | DroppedRow]:
    theirs = seeds[Encoding.HEX if encoding is Encoding.BASE32 else Encoding.BASE32]
    for row, seed, other in zip(rows, seeds[encoding], theirs, strict=True):
        if seed is None:
            yield DroppedRow(row.where, f"its seed is not {encoding}")
        else:
            yield seeded_token(row.where, row.token, seed, other)
