"""Bench of `mfa-kit session`: `python -m tests.bench.session` (root, Linux; it starts a private pcscd).

Compared with a script that types a code into `aws sts get-session-token`, and with one that takes the code from `ykman
oath accounts code`. The lab answers without latency, and the key needs no touch, so the time is that of the programs.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.reader import YUBIKEY, Readers
from tests.bench.programs import aws
from tests.bench.table import Row, cpu, show, side_by_side
from tests.sessions.desk import Desk, new_lab

RUNS, MAKING = 25, 10
# A cached session, in times of --version; and the CPU seconds of a new one besides the start of Python and the imports.
# The work with the key and the call to STS are among these, and the waits for their answers are not.
CACHED, BEYOND = 1.3, 0.1
IMPORTS = """
import gc
gc.set_threshold(200_000)  # as a command does
import mfa_kit.cli.main, mfa_kit.cli.session, mfa_kit.cli.settings, mfa_kit.wiring.new_sessions
import mfa_kit.adapters.aws.session_tokens, mfa_kit.adapters.oath.applet, mfa_kit.adapters.aws.profile_files
"""
NAMES = {
    "new": "mfa-kit session, new, with a key",
    "typed": "aws sts get-session-token, with a typed code",
    "ykman": "aws sts get-session-token, with ykman oath accounts code",
}


class Took(NamedTuple):
    """The elapsed seconds of a command, and its CPU seconds."""

    wall: float
    cpu: float


def took(command: Sequence[str], desk: Desk) -> Took:
    """Run a command that makes a session, as if there were none."""
    for file in desk.kept:
        file.unlink()
    desk.forget_step()
    began = time.perf_counter()
    used = cpu(command, desk.env)
    return Took(time.perf_counter() - began, used)


def main() -> int:
    folder_of = Path(sys.executable).parent
    program, ykman = str(folder_of / "mfa-kit"), str(folder_of / "ykman")
    session = [program, "session", "--profile", "base"]
    with new_lab() as lab, Readers() as readers, tempfile.TemporaryDirectory() as folder:
        desk = Desk(lab, Path(folder), more=readers.env)
        card = YkoathCard()
        card.credentials[desk.label] = desk.credential()
        readers.insert(card)
        label = desk.label.decode()
        cli = [aws(), "sts", "get-session-token", "--profile", "base", "--serial-number", desk.serial]
        from_key = f'exec "$@" --token-code "$({ykman} --reader "{YUBIKEY} 00 00" oath accounts code --single {label})"'
        makers: dict[str, Callable[[], Sequence[str]]] = {
            "typed": lambda: [*cli, "--token-code", desk.code()],
            "ykman": lambda: ["/bin/sh", "-c", from_key, "sh", *cli],
            "new": lambda: session,
            "imports": lambda: [sys.executable, "-c", IMPORTS],
        }
        runs: dict[str, list[Took]] = {name: [] for name in makers}
        for _ in range(MAKING):
            for name, maker in makers.items():
                runs[name].append(took(maker(), desk))
        took(session, desk)
        cached = side_by_side({"version": [program, "--version"], "cached": session}, runs=RUNS, env=desk.env)
    least = {name: Took(*map(min, zip(*each, strict=True))) for name, each in runs.items()}
    rows = [
        Row("mfa-kit --version, CPU", cached["version"], "ms"),
        Row("mfa-kit session, cached, CPU", cached["cached"], "ms"),
        Row("cached, of --version", cached["cached"] / cached["version"], "x", CACHED),
        Row("the start of Python and the imports of a new session, CPU", least["imports"].cpu, "s"),
        Row("mfa-kit session, new, besides, CPU", least["new"].cpu - least["imports"].cpu, "s", BEYOND),
        *(
            Row(f"{name}, {what}", getattr(least[key], measure), "s")
            for key, name in NAMES.items()
            for what, measure in (("elapsed", "wall"), ("CPU", "cpu"))
        ),
    ]
    return show("session", rows)


if __name__ == "__main__":
    sys.exit(main())
