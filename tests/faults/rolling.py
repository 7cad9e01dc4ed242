"""Workers of a rollout that are killed: `python -m tests.faults.rolling` reads one JSON job per line.

Each job is `rollout work` with one plan and one thread, or the command in `words`, in a process that is forked from
this one. Each call of a port is a step, and so is each thing that a worker records in the ledger about its turn.
"""

import contextlib
import importlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from mfa_kit.cli.main import run
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.records import PlanRecords
from mfa_kit.wiring.ports import enrollment_ports
from mfa_kit.wiring.rollout import plan_records
from tests.faults.worker import ADDRESS, PORTS, Cut, Shared, Told, main

# What `rollout work` loads when it uses it, so that a process need not load it after the fork.
LOADED = ("mfa_kit.cli.rollout.apply", "mfa_kit.wiring.rollout", "mfa_kit.adapters.aws.account", "boto3", "zxingcpp")


@contextmanager
def cut_into(cut: Cut) -> Iterator[None]:
    """Wrap the ports of a rollout, and what a worker records about its turn."""

    def assemble(*args: Any, **kwargs: Any) -> EnrollmentPorts:
        desk = enrollment_ports(*args, **kwargs)
        return replace(desk, **{name: cut.wrap(getattr(desk, name), name) for name in PORTS})

    def records(*args: Any) -> PlanRecords:
        real = plan_records(*args)
        return replace(
            real,
            begin=lambda *words, **named: cut.step("record_run", lambda: real.begin(*words, **named)),
            end=lambda *words, **named: cut.step("record_end", lambda: real.end(*words, **named)),
        )

    def claim(plan_records: PlanRecords, plan: Plan) -> contextlib.AbstractContextManager[bool]:
        return _cut_turn(real_claim(plan_records, plan), cut)

    real_claim = PlanRecords.claim
    with contextlib.ExitStack() as patched:
        patched.enter_context(mock.patch("mfa_kit.wiring.rollout.enrollment_ports", assemble))
        patched.enter_context(mock.patch("mfa_kit.wiring.rollout.plan_records", records))
        patched.enter_context(mock.patch.object(PlanRecords, "claim", claim))
        yield


@contextmanager
def _cut_turn(turn: contextlib.AbstractContextManager[bool], cut: Cut) -> Iterator[bool]:
    with contextlib.ExitStack() as stack:
        yield cut.step("turn begins", lambda: stack.enter_context(turn))
        cut.step("turn ends", stack.close)


def _work(job: dict[str, Any], _: Shared, cut: Cut) -> None:
    home = Path(job["home"])
    os.environ["MFA_KIT_HOME"] = str(home)
    ledger = ["--ledger", (home / ADDRESS).read_text("utf-8"), "--local-backups"] if (home / ADDRESS).exists() else []
    words = job.get("words") or [
        *("rollout", "work", job["user"], "-r", job["recipient"], "--accept-lockout", "--workers", "1", *ledger)
    ]
    said = io.StringIO()
    with cut_into(cut), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(words)
    if isinstance(cut, Told):
        cut.tell(f"exit {code}: {said.getvalue()!r}")
    os._exit(code)


if __name__ == "__main__":
    for name in LOADED:
        importlib.import_module(name)
    main(_work)
