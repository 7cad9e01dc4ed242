"""The inventory of display tokens in the ledger. It stores a keyed fingerprint of each seed, not the seed itself."""

from collections.abc import Sequence
from dataclasses import replace

from mfa_kit.adapters.ledger.tables import Tables
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.models import folded
from mfa_kit.core.otp import COUNTERS
from mfa_kit.tokens.seeds import Factor, Sighting, StockCounts, StockedToken, Token, TokenVerdict

FIELDS = "serial, factor, digest, digits, period, counter, maker, model, octets, capacity"
FIELD_TYPES = "text factor text digits integer integer text text integer integer"
STATE = "fingerprint, verdict, reason"
# Selects the devices of the journal that are tokens or whose secret is on a token, oldest first: the device's serial,
# the token's serial, and the user. The user is null if the device is not made completely yet or was revoked.
HELD = """
    select serial, coalesce(intent ->> 'hardware', serial),
        case when reached in ('staged', 'enabled', 'confirmed', 'revoking') then intent ->> 'user' end
    from journal
    where reached not in ('intent', 'undone')
        and intent ->> 'kind' in ('programmable', 'hardware-totp')
    order by at, run
"""
# A sighting (the result of one test of a token) counts only for the seed that the token had at that time. Of the
# sightings with the same seed, the latest one counts, even if it was not recorded last.
PROVED = """
    from sightings s where s.serial = tokens.serial and s.fingerprint = {fingerprint}
    order by s.at desc, s.id desc limit 1
"""
STOCK = f"""
    insert into tokens ({FIELDS}, {STATE}, at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'untested', '', $12)
    on conflict (serial) do update set
        factor = excluded.factor, digest = excluded.digest, digits = excluded.digits, period = excluded.period,
        counter = excluded.counter, maker = excluded.maker, model = excluded.model, octets = excluded.octets,
        capacity = case when tokens.capacity > excluded.capacity then tokens.capacity else excluded.capacity end,
        at = excluded.at,
        verdict = case when tokens.fingerprint = excluded.fingerprint then tokens.verdict
            else coalesce((select s.verdict {PROVED.format(fingerprint="excluded.fingerprint")}), 'untested') end,
        reason = case when tokens.fingerprint = excluded.fingerprint then tokens.reason
            else coalesce((select s.reason {PROVED.format(fingerprint="excluded.fingerprint")}), '') end,
        fingerprint = excluded.fingerprint
"""  # noqa: S608 - names of our own columns
SIGHT = """
    insert into sightings (at, serial, fingerprint, verdict, "offset", seconds, reason)
    select cast($1 as double precision), serial, fingerprint, $2, cast($3 as bigint), cast($4 as bigint), $5
    from tokens where serial = $6
"""
JUDGE = f"""
    update tokens set (verdict, reason) = (select s.verdict, s.reason {PROVED.format(fingerprint="tokens.fingerprint")})
    where serial = $1
"""  # noqa: S608 - names of our own columns
# Only a shared ledger has this table. It has one row per team; the database itself writes the team.
KEY = "insert into fingerprint_keys (digest) values ($1) on conflict do nothing"
RESPELL = ("update tokens set serial = $1 where serial = $2", "update sightings set serial = $1 where serial = $2")


def _signed(counter: int) -> int:
    """Convert an unsigned counter of eight octets to a signed integer, because SQLite's integers are signed."""
    return counter if counter < COUNTERS // 2 else counter - COUNTERS


class TokenInventory:
    """Stores display tokens by serial, and the sightings of each token.

    A serial is spelled as in the last imported file. `now` is the Unix time at which tokens are added.
    """

    def __init__(self, tables: Tables, *, now: float) -> None:
        self._tables, self._now = tables, now

    def check_key(self, digest: str | None) -> None:
        """Check that this computer makes fingerprints with the same key as the other computers of its team.

        `digest` is the digest of this computer's key, or None if this computer has no key yet. The first digest of a
        team is recorded. Raise UsageFault if `digest` differs from the recorded digest. Without a shared ledger, do
        nothing.
        """
        if not self._tables.shared:
            return
        if digest:
            self._tables.write((KEY, [(digest,)]))
        rows = self._tables.select("select digest, computer from fingerprint_keys", types="text text")
        if others := [computer for known, computer in rows if known != digest]:
            raise UsageFault(
                f"the computer {others[0]} computes fingerprints of token seeds with another key than this computer",
                "from the folder of mfa-kit's files there, copy fingerprint.key to the same folder here",
            )

    def stock(self, tokens: Sequence[tuple[Token, str]]) -> StockCounts:
        """Add tokens, each with the fingerprint of its seed. Return how many are new, known, or have a new seed.

        A token with a new seed becomes untested, unless an earlier test was made with that seed.
        """
        rows = self._tables.select("select serial, fingerprint from tokens", types="text text")
        before, serials = {folded(row[0]): row for row in rows}, {row[0] for row in rows}
        spelled = [
            (token.serial, known[0])
            for token, _ in tokens
            if token.serial not in serials and (known := before.get(folded(token.serial)))
        ]
        self._tables.write(
            *((change, spelled) for change in RESPELL),
            (
                STOCK,
                [
                    (
                        token.serial,
                        token.factor,
                        token.digest,
                        token.digits,
                        token.period,
                        _signed(token.counter),
                        token.maker,
                        token.model,
                        token.octets,
                        token.capacity,
                        fingerprint,
                        self._now,
                    )
                    for token, fingerprint in tokens
                ],
            ),
        )
        prints = [(before.get(folded(token.serial), ("", None))[1], fingerprint) for token, fingerprint in tokens]
        new = sum(old is None for old, _ in prints)
        known = sum(old == fingerprint for old, fingerprint in prints)
        return StockCounts(new=new, known=known, reseeded=len(tokens) - new - known)

    def token(self, serial: str) -> StockedToken | None:
        """Return the token with this serial, or None. Case and spaces in the serial do not matter."""
        serials = (row[0] for row in self._tables.select("select serial from tokens", types="text"))
        spelled = [spelling for spelling in serials if folded(spelling) == folded(serial)]
        return next(iter(self._stocked("serial = $1", *spelled[:1])), None) if spelled else None

    def tokens(self) -> list[StockedToken]:
        """Return all tokens in the inventory, sorted by serial."""
        return self._stocked("true")

    def _stocked(self, where: str, *values: str) -> list[StockedToken]:
        sql = f"select {STATE}, {FIELDS} from tokens where {where} order by serial"  # noqa: S608 - our own columns
        rows = self._tables.select(sql, values, types=f"text verdict text {FIELD_TYPES}")
        names, holders = FIELDS.split(", "), self._holders()
        return [
            StockedToken(
                token=replace(
                    token := Token(**dict(zip(names, fields, strict=True))),
                    factor=Factor(token.factor),
                    counter=token.counter % COUNTERS,
                ),
                fingerprint=fingerprint,
                verdict=TokenVerdict(verdict),
                reason=reason,
                user=holders.get(folded(token.serial)),
            )
            for fingerprint, verdict, reason, *fields in rows
        ]

    def _holders(self) -> dict[str, str]:
        """Return the user of each assigned token, by the token's `folded` serial. Revoked tokens are left out."""
        devices = {
            device: (folded(serial), user)
            for device, serial, user in self._tables.select(HELD, types="text text text?")
        }
        return {serial: user for serial, user in devices.values() if user}

    def record(self, *sightings: Sighting) -> None:
        """Record sightings, and give each token the verdict of its latest sighting.

        Sightings of tokens that are not in the inventory are skipped.
        """
        self._tables.write(
            (SIGHT, [(s.at, s.verdict, s.offset, s.seconds, s.reason, s.serial) for s in sightings]),
            (JUDGE, [(s.serial,) for s in sightings]),
        )

    def keep(self, token: Token, fingerprint: str, sighting: Sighting) -> bool:
        """Add a token if it is new, record a sighting of it, and return True.

        If the token is known with the fingerprint of another seed, record nothing and return False.
        """
        known = self.token(token.serial)
        if known is None:
            self.stock([(token, fingerprint)])
        elif known.fingerprint != fingerprint:
            return False
        self.record(replace(sighting, serial=known.token.serial if known else token.serial))
        return True

    def sightings(self, serial: str) -> list[Sighting]:
        """Return the sightings of a token with its present seed, oldest first."""
        return self._seen("serial = $1", serial)

    def last_sightings(self) -> dict[str, Sighting]:
        """Return the latest sighting of each token, by serial.

        Tests of an earlier seed of the token do not count.
        """
        return {sighting.serial: sighting for sighting in self._seen("true")}

    def _seen(self, where: str, *values: str) -> list[Sighting]:
        rows = self._tables.select(
            'select serial, s.at, s.verdict, s."offset", s.seconds, s.reason from sightings s'  # noqa: S608
            f" join tokens t using (serial, fingerprint) where {where} order by s.at, s.id",
            values,
            types="text time verdict integer? integer? text",
        )
        return [
            Sighting(serial, tested_at, TokenVerdict(verdict), *others) for serial, tested_at, verdict, *others in rows
        ]

    def check_free(self, serial: str, user: str) -> None:
        """Raise UsageFault if a token was rejected or is assigned to another user.

        A token can be assigned without being in the inventory.
        """
        known = self.token(serial)
        if known and known.verdict is TokenVerdict.REJECTED:
            judge = "--seeds FILE" if known.token.octets else "--probe-user USER"
            verify = f"verify token {{}} {judge}"
            raise UsageFault(
                f"token {serial} was rejected: {known.reason}",
                suggest("use another token, or verify this one", verify, serial),
            )
        holder = self._holders().get(folded(serial), user)
        if holder != user:
            raise UsageFault(
                f"token {serial} belongs to {holder}",
                suggest("use another token, or revoke this one first", "revoke {}", holder),
            )
