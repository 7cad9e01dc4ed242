"""Lists of key URIs (`otpauth://`), one a line; the account in the label is the token's serial, seeds are base32."""

from collections.abc import Iterator, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from mfa_kit.adapters.seedfiles.encoding import Row, readings
from mfa_kit.adapters.seedfiles.tables import digest_named, lines, number
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import DroppedRow, Encoding, Factor, SeedFile, Token

SCHEME = "otpauth://"


def read(text: str) -> SeedFile:
    found = list(_found(lines(text)))
    rows = [each for each in found if isinstance(each, Row)]
    dropped = [each for each in found if isinstance(each, DroppedRow)]
    return SeedFile(layout="list of key URIs", readings=readings(rows, dropped, Encoding.BASE32))


def _found(given: Sequence[str]) -> Iterator[Row | DroppedRow]:
    for ordinal, line in enumerate(given, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield _row(f"line {ordinal}", line.strip())
            except ValueError as error:
                yield DroppedRow(f"line {ordinal}", str(error) if type(error) is _Odd else "it is no key URI")


class _Odd(ValueError):
    """What a URI says that no key URI may; the sentence quotes nothing of it."""


def _row(where: str, line: str) -> Row:
    if not line.lower().startswith(SCHEME):
        raise _Odd("it is no key URI")
    uri = urlsplit(line)
    given = parse_qsl(uri.query, keep_blank_values=True, strict_parsing=True, max_num_fields=16)
    fields = dict(given)
    if len(fields) != len(given):
        raise _Odd("a parameter stands twice")
    if uri.netloc.lower() not in {"totp", "hotp"}:
        raise _Odd("it is neither of type totp nor hotp")
    if not fields.get("secret"):
        raise _Odd("there is no secret in it")
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
    return Row(where, token, Secret(fields["secret"]))
