"""Reads which computer recorded which row of a shared ledger. Only a shared ledger has this information."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mfa_kit.adapters.ledger.tables import SqlRow, Tables
from mfa_kit.core.models import Recorders

# In the ledger, the names of the users' own copies of backups begin with this text.
OWN = "users/"
# Selects the computer that made each device: the computer that recorded the device's first row. Later rows can be from
# a computer that settled (completed or undid) the run.
MAKERS = "select distinct on (run, serial) run, serial, computer from transitions order by run, serial, id"
DEVICES = f"select run, serial, computer from ({MAKERS}) as made where $1::text[] is null or run = any($1)"  # noqa: S608
# Selects the team whose rows the session's role sees. Selects nothing if the role sees the rows of all teams.
TEAM = """
    select my_team() where not is_auditor()
        and not (select rolsuper or rolbypassrls from pg_roles where rolname = session_user)
"""
TOKENS = "select serial, computer from tokens"
BACKUPS = "select distinct on (backup) backup, computer from seals order by backup, since, recorded"
DRILLS = "select distinct on (backup) backup, computer from drills where result = 'proved' order by backup, at desc"
FAILURES = """select "user", computer from failures where plan = $1 and cause <> ''"""
# Selects the devices in the journal, oldest first, with the names of the key or token that stores the secret. The user
# is null if the device is not enabled yet, or was revoked.
HARDWARE = f"""
    select intent ->> 'hardware', intent ->> 'card', serial, made.computer,
        case when reached in ('enabled', 'confirmed', 'revoking') then intent ->> 'user' end
    from journal join ({MAKERS}) as made using (run, serial)
    where reached not in ('intent', 'undone') order by at, run
"""  # noqa: S608 - our own statement


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldKey:
    """A device of a user, as `computer` recorded it, with the names of the key or token that stores its secret.

    `names` are the serial or label of the key or token, the identity of its OATH applet, and the serial of the device
    in IAM.
    """

    names: tuple[str, ...]
    user: str
    computer: str


@dataclass(frozen=True, slots=True)
class Computers:
    """Reads which computer recorded which row. If the ledger is not shared, every result is empty or None."""

    tables: Tables

    @property
    def shared(self) -> bool:
        """Whether several computers share the ledger."""
        return self.tables.shared

    def team(self) -> str | None:
        """Return the team whose rows this role sees, or "" if the role is in no team.

        Return None if the role sees the rows of all teams, or if the ledger is not shared.
        """
        return next((team for (team,) in self._select(TEAM, types="text")), None)

    def recorders(self) -> Recorders | None:
        """Return the computers that made devices and tested backups. Return None if the ledger is not shared."""
        computer = next((name for (name,) in self._select("select my_computer()", types="text")), None)
        return (
            None if computer is None else Recorders(here=computer, devices=self.of_devices(), drills=self.of_drills())
        )

    def of_devices(self, runs: Collection[str] | None = None) -> dict[tuple[str, str], str]:
        """Return the computer that made each device, by run and serial. If `runs` is None, include all runs."""
        rows = self._select(DEVICES, (None if runs is None else [*runs],), types="text text text")
        return {(run, serial): computer for run, serial, computer in rows}

    def of_tokens(self) -> dict[str, str]:
        """Return the computer that last imported or tested each token, by serial."""
        return dict(self._select(TOKENS, types="text text"))

    def of_backups(self) -> dict[str, str]:
        """Return the computer that first recorded the recipients of each backup, by the backup's name."""
        return {name.removeprefix(OWN): computer for name, computer in self._select(BACKUPS, types="text text")}

    def of_drills(self) -> dict[str, str]:
        """Return the computer on which each backup last passed a test, by the backup's name."""
        return dict(self._select(DRILLS, types="text text"))

    def of_failures(self, plan: str) -> dict[str, str]:
        """Return the computer on which each user's enrollment last failed. `plan` is the digest of the plan's file."""
        return dict(self._select(FAILURES, (plan,), types="text text"))

    def held_keys(self) -> list[HeldKey]:
        """Return the devices that users have, with the names of their keys and tokens, oldest device first."""
        rows = self.tables.select(HARDWARE, types="text? text? text text text?") if self.shared else []
        last = {
            serial: (tuple(filter(None, (hardware, card, serial))), user, computer)
            for hardware, card, serial, computer, user in rows
        }
        return [HeldKey(names=names, user=user, computer=computer) for names, user, computer in last.values() if user]

    def _select(self, sql: str, values: Sequence[object] = (), *, types: str) -> list[SqlRow]:
        return self.tables.select(sql, values, types=types) if self.tables.shared else []
