"""Reads lists of key URIs (`otpauth://`), one per line.

The account in the label is the token's serial. Seeds are in base32.
"""

from collections.abc import Iterator, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from mfa_kit.adapters.seedfiles.encoding import Contents, SeedRow, decode_rows, digest_named, number, split_lines
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import DroppedRow, Encoding, Factor, SeedFile, Token

SCHEME = "otpauth://"


def is_uri_list(contents: Contents) -> bool:
    """Return whether the first line is a key URI."""
    return contents.root is None and contents.first_line.lower().lstrip().startswith(SCHEME)


def read_uri_list(contents: Contents) -> SeedFile:
    """Return the tokens in a list of key URIs. A line that is not a usable key URI is dropped with the reason."""
    rows = _rows(split_lines(contents.text))
    return SeedFile(layout="list of key URIs", readings=decode_rows(rows, contents.wanted, fixed=Encoding.BASE32))


def _rows(lines: Sequence[str]) -> Iterator[SeedRow | DroppedRow]:
    for ordinal, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield _row(f"line {ordinal}", line.strip())
            except ValueError as error:
                yield DroppedRow(f"line {ordinal}", str(error) if type(error) is _Odd else "it is not a key URI")


class _Odd(ValueError):
    """Raised for a URI with a value that mfa-kit does not accept. The message does not quote the URI."""


def _row(where: str, line: str) -> SeedRow:
    if not line.lower().startswith(SCHEME):
        raise _Odd("it is not a key URI")
    uri = urlsplit(line)
    parameters = parse_qsl(uri.query, keep_blank_values=True, max_num_fields=16)
    fields = {name.lower(): value for name, value in parameters}
    if len(fields) != len(parameters):
        raise _Odd("a parameter occurs twice")
    if fields.get("encoder", "").lower() == "steam":
        raise _Odd("its codes are not plain digits")
    if uri.netloc.lower() not in {"totp", "hotp"}:
        raise _Odd("its type is neither totp nor hotp")
    if not fields.get("secret"):
        raise _Odd("it has no secret")
    issuer, _, account = unquote(uri.path.removeprefix("/"), errors="strict").rpartition(":")
    token = Token(
        serial=account.strip(),
        factor=Factor(uri.netloc.lower()),
        digest=digest_named(fields.get("algorithm") or "sha1"),
        digits=number(fields.get("digits", ""), otherwise=6),
        period=number(fields.get("period", ""), otherwise=30),
        counter=number(fields.get("counter", ""), otherwise=0),
        maker=fields.get("issuer") or issuer.strip(),
    )
    return SeedRow(where, token, Secret(fields["secret"]))
