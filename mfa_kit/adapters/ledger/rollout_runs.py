"""The runs of each rollout plan, which the ledger stores so that all devices of a plan can be removed."""

from mfa_kit.adapters.ledger.tables import Tables

BEGUN = "insert into rollout_runs (plan, run, at) values ($1, $2, $3)"


class RolloutRuns:
    """Stores the IDs of the runs of one rollout plan. `plan` is the digest of the plan's file."""

    def __init__(self, tables: Tables, *, plan: str) -> None:
        self._tables, self._plan = tables, plan

    def record(self, run: str, *, at: float) -> None:
        """Record a run that is about to begin. `at` is a Unix time."""
        self._tables.write((BEGUN, [(self._plan, run, at)]))

    def all(self, *, since: float = 0.0) -> set[str]:
        """Return the IDs of the plan's runs. With `since` (Unix time), leave out runs that began earlier."""
        rows = self._tables.select(
            "select run from rollout_runs where plan = $1 and at >= $2", (self._plan, since), types="text"
        )
        return {run for (run,) in rows}
