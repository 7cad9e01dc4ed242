"""Commands about keys by post that are killed: `python -m tests.rollout.posting_worker` reads one JSON job per line.

A job has the words of a command, and what the person does at the station. Each call of a port or an applet is a step,
and so is each file and each row about a state that is written.
"""

import contextlib
import importlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

from mfa_kit.adapters.files.rollout_files import RecordFiles
from mfa_kit.adapters.ledger.records import DeviceStates
from mfa_kit.adapters.oath.applet import Applet
from mfa_kit.cli import terminal
from mfa_kit.cli.main import run
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.wiring.files import LetterFile
from mfa_kit.wiring.ports import enrollment_ports
from tests.faults.worker import PORTS, Cut, Shared, Told, main
from tests.rollout.person import AtStation

LOADED = (
    "mfa_kit.cli.rollout.post",
    "mfa_kit.cli.rollout.session",
    "mfa_kit.cli.rollout.activate",
    "boto3",
    "zxingcpp",
)
# Methods that write, and the names of their steps.
WRITES = {
    (RecordFiles, "add"): "record",
    (DeviceStates, "record"): "state",
    (Applet, "put"): "put",
    (Applet, "set_key"): "set_key",
    (Applet, "delete"): "delete",
    (LetterFile, "store"): "letter",
}
FUNCTIONS = {"mfa_kit.wiring.oath_keys.seal_text": "seal", "mfa_kit.wiring.rollout.create_whole_tree": "letters"}


@contextmanager
def cut_into(cut: Cut) -> Iterator[None]:
    """Make a step of each call of a port, and of each write."""

    def assemble(*args: Any, **kwargs: Any) -> EnrollmentPorts:
        ports = enrollment_ports(*args, **kwargs)
        return replace(ports, **{name: cut.wrap(getattr(ports, name), name) for name in PORTS})

    def in_step(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: cut.step(name, partial(real, *args, **kwargs))

    with ExitStack() as patched:
        patched.enter_context(mock.patch("mfa_kit.wiring.rollout.enrollment_ports", assemble))
        for (owner, method), name in WRITES.items():
            patched.enter_context(mock.patch.object(owner, method, in_step(name, getattr(owner, method))))
        for place, name in FUNCTIONS.items():
            module, _, function = place.rpartition(".")
            real = getattr(importlib.import_module(module), function)
            patched.enter_context(mock.patch(place, in_step(name, real)))
        yield


def _work(job: dict[str, Any], _: Shared, cut: Cut) -> None:
    os.environ["MFA_KIT_HOME"] = job["home"]
    said = io.StringIO()
    person = AtStation(*job["acts"], codes=job.get("passwords", ()))
    here = mock.patch.object(terminal, "find_person", return_value=person)
    with cut_into(cut), here, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(job["words"])
    if isinstance(cut, Told):
        cut.tell(f"exit {code}: {said.getvalue()!r}")
    os._exit(code)


if __name__ == "__main__":
    for name in LOADED:
        importlib.import_module(name)
    main(_work)
