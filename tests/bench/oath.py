"""Bench of an OATH enrollment at the key: `python -m tests.bench.oath` (root, Linux; it starts a private pcscd).

The lab answers without latency and the key requires no touch, so the time is that of mfa-kit and PC/SC.
"""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.reader import Readers
from tests.bench.table import Row, cpu, show
from tests.conftest import bare

RUNS = 10
INS = {
    0x01: "PUT", 0x1D: "READ CONFIG", 0xA1: "LIST", 0xA2: "CALCULATE", 0xA4: "SELECT, CALCULATE ALL",
}  # fmt: skip
IMPORTS = "import mfa_kit.cli.main, mfa_kit.cli.key.list, mfa_kit.adapters.oath.applet, mfa_kit.adapters.fido.key"


@dataclass(frozen=True, slots=True)
class Took:
    """The elapsed seconds of a command, and its CPU seconds."""

    wall: float
    cpu: float


def took(command: list[str], env: dict[str, str]) -> Took:
    began = time.perf_counter()
    used = cpu(command, env, talk=subprocess.DEVNULL)
    return Took(time.perf_counter() - began, used)


def least(runs: list[Took]) -> Took:
    return Took(min(run.wall for run in runs), min(run.cpu for run in runs))


def main() -> int:
    users = [f"user{number}" for number in range(RUNS)]
    imports, lists, enrolls = list[Took](), list[Took](), list[Took]()
    apdus: Counter[int] = Counter()
    with Lab(users=users) as lab, Readers() as readers, tempfile.TemporaryDirectory() as folder:
        env = {**bare(), **lab.env, **readers.env, "MFA_KIT_HOME": str(Path(folder) / "desk")}
        card = YkoathCard()
        readers.insert(card)
        mfa_kit = [sys.executable, "-m", "mfa_kit"]
        # The candidates alternate, so that other work on the machine affects both equally.
        for user in users:
            imports.append(took([sys.executable, "-c", IMPORTS], env))
            lists.append(took([*mfa_kit, "key", "list"], env))
            card.log.clear()
            card.credentials.clear()
            enrolls.append(took([*mfa_kit, "enroll", user, "--with", "oath", "--no-touch", "--yes"], env))
            apdus = Counter(card.log)
    enroll, listing, importing = least(enrolls), least(lists), least(imports)
    rows = [
        Row("from a key that is present to confirmed, the start of Python counted", enroll.wall, "s", 1.5),
        Row("  CPU of it", enroll.cpu, "s"),
        Row("APDUs of an enrollment", sum(apdus.values()), "APDUs", 16),
        *(Row(f"  {INS[ins]}", number, "APDUs") for ins, number in sorted(apdus.items())),
        Row("key list, beyond the imports", listing.wall - importing.wall, "s", 0.5),
        Row("  CPU of it", listing.cpu - importing.cpu, "s"),
        Row("the imports", importing.wall, "s"),
    ]
    return show("oath", rows)


if __name__ == "__main__":
    sys.exit(main())
