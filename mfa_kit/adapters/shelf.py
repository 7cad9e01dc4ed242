"""The inventory of display tokens, in tables of the ledger. No seed is kept but a keyed fingerprint."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mfa_kit.errors import UsageFault
from mfa_kit.seeds import Factor, Sighting, Stocked, Token, Verdict

FIELDS = "serial, factor, digest, digits, period, counter, maker, model, octets, capacity"
STATE = "fingerprint, verdict, reason"
# Who has a token is what the journal said last of a device of that serial, or of one that lives on it.
HOLDER = """
    select case when reached in ('confirmed', 'revoking') then intent ->> '$.user' end from journal
    where reached not in ('intent', 'undone') and tokens.serial in (journal.serial, intent ->> '$.hardware')
    order by journal.at desc, run desc limit 1
"""
# What was proved of a seed holds for that seed only.
STOCK = f"""
    insert into tokens ({FIELDS}, {STATE}, at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'untested', '', ?)
    on conflict (serial) do update set
        factor = excluded.factor, digest = excluded.digest, digits = excluded.digits, period = excluded.period,
        counter = excluded.counter, maker = excluded.maker, model = excluded.model, octets = excluded.octets,
        capacity = max(capacity, excluded.capacity), at = excluded.at,
        verdict = case when fingerprint = excluded.fingerprint then verdict else 'untested' end,
        reason = case when fingerprint = excluded.fingerprint then reason else '' end,
        fingerprint = excluded.fingerprint
"""  # noqa: S608 - names of our own columns
SIGHT = """
    insert into sightings (at, serial, fingerprint, verdict, offset, seconds, reason)
    select ?, serial, fingerprint, ?, ?, ?, ? from tokens where serial = ?
"""


class Tables(Protocol):
    """The ledger, as far as it is needed here."""

    def select(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]: ...

    def write(self, *changes: tuple[str, Iterable[Sequence[object]]]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """How many tokens of an import were new, were known, and are known by another seed than before."""

    new: int
    known: int
    reseeded: int


class Shelf:
    """Tokens by serial, and the readings of each."""

    def __init__(self, tables: Tables, *, now: float) -> None:
        self._tables, self._now = tables, now

    def stock(self, tokens: Sequence[tuple[Token, str]]) -> Came:
        """Take tokens in, each with its fingerprint; one that comes with another seed than before is untested again."""
        before = dict(self._tables.select("select serial, fingerprint from tokens"))
        self._tables.write(
            (
                STOCK,
                [
                    (
                        token.serial,
                        token.factor,
                        token.digest,
                        token.digits,
                        token.period,
                        token.counter,
                        token.maker,
                        token.model,
                        token.octets,
                        token.capacity,
                        fingerprint,
                        self._now,
                    )
                    for token, fingerprint in tokens
                ],
            )
        )
        new = sum(token.serial not in before for token, _ in tokens)
        known = sum(before.get(token.serial) == fingerprint for token, fingerprint in tokens)
        return Came(new=new, known=known, reseeded=len(tokens) - new - known)

    def tokens(self) -> list[Stocked]:
        """Return the whole inventory by serial."""
        return self._stocked("true")

    def token(self, serial: str) -> Stocked | None:
        return next(iter(self._stocked("serial = ?", serial)), None)

    def _stocked(self, where: str, *values: str) -> list[Stocked]:
        rows = self._tables.select(
            f"select {STATE}, ({HOLDER}), {FIELDS} from tokens where {where} order by serial",  # noqa: S608
            values,
        )
        names = FIELDS.split(", ")
        return [
            Stocked(
                token=replace(made := Token(**dict(zip(names, fields, strict=True))), factor=Factor(made.factor)),
                fingerprint=fingerprint,
                verdict=Verdict(verdict),
                reason=reason,
                user=user,
            )
            for fingerprint, verdict, reason, user, *fields in rows
        ]

    def sight(self, *seen: Sighting) -> None:
        """Keep readings, and mark each token with its last; a serial that is not in the inventory is passed over."""
        self._tables.write(
            (SIGHT, [(s.at, s.verdict, s.offset, s.seconds, s.reason, s.serial) for s in seen]),
            (
                "update tokens set verdict = ?, reason = ? where serial = ?",
                [(s.verdict, s.reason, s.serial) for s in seen],
            ),
        )

    def sightings(self, serial: str) -> list[Sighting]:
        """Return the readings of a token with the seed that it has now, oldest first."""
        return self._seen("serial = ?", serial)

    def last(self) -> dict[str, Sighting]:
        """Return the last reading of each token that has one with the seed that it has now."""
        return {one.serial: one for one in self._seen("true")}

    def _seen(self, where: str, *values: str) -> list[Sighting]:
        rows = self._tables.select(
            "select serial, s.at, s.verdict, s.offset, s.seconds, s.reason from sightings s"  # noqa: S608
            f" join tokens t using (serial, fingerprint) where {where} order by s.at, s.id",
            values,
        )
        return [
            Sighting(serial=serial, at=at, verdict=Verdict(verdict), offset=offset, seconds=seconds, reason=reason)
            for serial, at, verdict, offset, seconds, reason in rows
        ]

    def check(self, serial: str, user: str) -> None:
        """Raise UsageFault for a token that failed, or that somebody else has; one that is not known here is free."""
        known = self.token(serial)
        if known and known.verdict is Verdict.REJECTED:
            raise UsageFault(
                f"token {serial} was rejected: {known.reason}",
                f"take another, or accept it first: mfa-kit verify token {serial}",
            )
        if known and known.user not in {None, user}:
            raise UsageFault(
                f"token {serial} is {known.user}'s", f"take another, or revoke it first: mfa-kit revoke {known.user}"
            )
