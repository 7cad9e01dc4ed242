"""Reads SafeNet's XML for eToken PASS, with seeds in hex.

The elements are `<Tokens><Token serial><Applications><Application><Seed><MovingFactor>`.
"""

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from mfa_kit.adapters.seedfiles.cells import Contents, number
from mfa_kit.adapters.seedfiles.encoding import SeedRow, decode_rows
from mfa_kit.adapters.seedfiles.xml import local_name, text_of
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import DroppedRow, Encoding, Factor, SeedFile, Token

READ = ("Seed", "MovingFactor", "ProductName")


def is_safenet(contents: Contents) -> bool:
    """Return whether a file is XML with SafeNet's root element."""
    return contents.root is not None and local_name(contents.root) == "Tokens"


def read_safenet(contents: Contents) -> SeedFile:
    """Return the tokens in the file. All are HOTP tokens, because the format has no field for the type."""
    parsed_rows = list(_rows(contents.root if contents.root is not None else ()))
    rows = [row for row in parsed_rows if isinstance(row, SeedRow)]
    dropped = [row for row in parsed_rows if isinstance(row, DroppedRow)]
    return SeedFile(layout="SafeNet XML", readings=decode_rows(rows, dropped, None, fixed=Encoding.HEX))


def _rows(root: Iterable[Element]) -> Iterator[SeedRow | DroppedRow]:
    for ordinal, token in enumerate((child for child in root if local_name(child) == "Token"), 1):
        where = f"token {ordinal}"
        read = [part for part in token.iter() if local_name(part) in READ]
        parts = {local_name(part): part for part in read}
        if len(read) > len(parts):
            yield DroppedRow(where, f"it has more than one {' or '.join(READ)}")
        elif any(len(part) for part in read):
            yield DroppedRow(where, "one of its values contains an element")
        elif not (seed := text_of(parts.get("Seed"))):
            yield DroppedRow(where, "the seed is missing")
        else:
            parsed_token = Token(
                serial=token.get("serial", "").strip(),
                factor=Factor.HOTP,
                counter=number(text_of(parts.get("MovingFactor")), otherwise=0),
                maker="SafeNet",
                model=text_of(parts.get("ProductName")),
            )
            yield SeedRow(where, parsed_token, Secret(seed))
