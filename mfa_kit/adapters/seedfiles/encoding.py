"""From a seed's text to its octets. All rows together decide hex or base32; nothing is guessed."""

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
    """A token and its seed as the file has it, not decoded yet."""

    where: str
    token: Token
    text: Secret[str]


def decode_hex(text: Secret[str]) -> Seed | None:
    """Return the octets, or None when this is no hex; equal groups with blanks or hyphens between them are allowed."""
    try:
        return Seed(binascii.unhexlify(_joined(text).reveal()))
    except ValueError:
        return None


def decode_base32(text: Secret[str]) -> Seed | None:
    """Return the octets, or None when this is no base32 of RFC 4648; case, padding and groups are free."""
    try:
        bare = Secret(_joined(text).reveal().rstrip("=").upper())
        seed = Seed(base64.b32decode(bare.reveal() + "=" * (-len(bare.reveal()) % 8)))
    except ValueError:
        return None
    # b32decode passes over bits that a well-formed text leaves at zero; then a letter is wrong.
    return seed if _written(seed) == bare else None


def _joined(text: Secret[str]) -> Secret[str]:
    """Join the groups of a seed. Raise ValueError where they are not three or more, equal but for the last.

    A blank in place of a letter would make two groups, and a shorter seed.
    """
    groups = Secret(re.split("[ -]", text.reveal()))
    sizes = [len(group) for group in groups.reveal()]
    if len(sizes) == 1:
        return text
    if len(sizes) == 2 or len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]:  # noqa: PLR2004 - see above
        raise ValueError("these are no groups")
    return Secret("".join(groups.reveal()))


DECODE = {Encoding.HEX: decode_hex, Encoding.BASE32: decode_base32}


def _written(seed: Seed) -> Secret[str]:
    return Secret(base64.b32encode(seed.reveal()).decode().rstrip("="))


def seeded_token(where: str, token: Token, seed: Seed, other: Seed | None = None) -> SeededToken | DroppedRow:
    """Join a token and its seed, unless one of them is outside the standards."""
    octets = len(seed.reveal())
    if wrong := token.wrong():
        return DroppedRow(where, wrong)
    if octets not in OCTETS:
        return DroppedRow(where, f"its seed has {octets} octets; {OCTETS[0]} to {OCTETS[-1]} are taken")
    return SeededToken(token=replace(token, octets=octets), seed=seed, where=where, other=other)


def gather_reading(encoding: Encoding, found: Iterable[SeededToken | DroppedRow]) -> Reading:
    """Gather what was found. A serial that stands twice is taken once, and not at all when its seeds differ.

    Serials are one however they are spelled, for people and scanners type them.
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
        reason = f"{each.token.serial} is there already, {first.where}"
        dropped.append(DroppedRow(each.where, reason if same else f"{reason}, with another seed or other parameters"))
    for name in torn:
        first = keys.pop(name)
        dropped.append(
            DroppedRow(first.where, f"{first.token.serial} is there again, with another seed or other parameters")
        )
    return Reading(encoding=encoding, keys=tuple(keys.values()), dropped=tuple(dropped))


def decode_rows(rows: Sequence[SeedRow], dropped: Sequence[DroppedRow], wanted: Encoding | None) -> tuple[Reading, ...]:
    """Read all rows in the encoding that fits them: the one that is wanted, or the only one there can be, or both.

    Raise IntegrityFault when some rows can only be the one and some only the other.
    """
    seeds = {encoding: [decode(row.text) for row in rows] for encoding, decode in DECODE.items()}
    return tuple(
        gather_reading(encoding, [*dropped, *_tokens(rows, seeds, encoding)])
        for encoding in ((wanted,) if wanted else _fitting(rows, seeds))
    )


def _fitting(rows: Sequence[SeedRow], seeds: Mapping[Encoding, list[Seed | None]]) -> tuple[Encoding, ...]:
    """Return the encodings that all rows may be in."""
    hexed = _only(rows, seeds[Encoding.HEX], seeds[Encoding.BASE32])
    lettered = _only(rows, seeds[Encoding.BASE32], seeds[Encoding.HEX])
    if hexed and lettered:
        raise IntegrityFault(
            f"the seed at {hexed.where} can only be hex and the one at {lettered.where} only base32",
            "ask the vendor which it is, and say so with --seed-encoding: rows that do not fit are left out then",
        )
    if hexed or lettered:
        return (Encoding.HEX if hexed else Encoding.BASE32,)
    return (Encoding.HEX, Encoding.BASE32)


def _only(rows: Sequence[SeedRow], mine: list[Seed | None], theirs: list[Seed | None]) -> SeedRow | None:
    """Return the first row that one encoding fits and the other does not."""
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
