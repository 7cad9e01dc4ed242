"""As tests.faults.worker, with the one key in a reader as carrier: one JSON job a line, each in a forked process."""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfa_kit.errors import MfaKitError
from tests.faults.worker import Cut, Shared, shared_iam
from tests.oath.seat import do


@dataclass
class Told(Cut):
    """Writes each step as it happens, for a killed process tells nothing later."""

    file: Path = Path(os.devnull)

    def step(self, name: str, call: Callable[[], Any]) -> Any:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(name + "\n")
        return super().step(name, call)


def job(wish: dict[str, Any], shared: Shared) -> int:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    steps = Path(wish["steps"])
    cut = Told(at=wish.get("at", 0), after=wish.get("after", False), act=kill, file=steps)
    try:
        for verb in wish["verbs"]:
            do(verb, wish["user"], Path(wish["home"]), shared, recipient=wish["recipient"], cut=cut)
    except MfaKitError as error:
        with steps.open("a", encoding="utf-8") as file:
            file.write(f"error {type(error).__name__}: {error}; {error.hint} {getattr(error, '__notes__', '')}\n")
        return error.exit_code
    return 0


def main() -> None:
    shared = shared_iam()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = job(json.loads(line), shared)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
