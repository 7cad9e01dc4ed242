"""What an OATH enrollment costs at the key: `python -m tests.bench.oath` (root, Linux; a pcscd of its own).

The lab answers without latency and the key takes no touch, so what is measured is ours and PC/SC's.
"""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from mfa_kit.lab.oathcard import Card
from mfa_kit.lab.reader import Readers
from mfa_kit.lab.server import Lab
from tests.bench.table import Row, show
from tests.conftest import bare

RUNS = 5
INS = {
    0x01: "PUT", 0x1D: "READ CONFIG", 0xA1: "LIST", 0xA2: "CALCULATE", 0xA4: "SELECT, CALCULATE ALL",
}  # fmt: skip
IMPORTS = "import click, yubikit.oath, yubikit.management, yubikit.support, smartcard.System"


def seconds(command: list[str], env: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> int:
    users = [f"user{number}" for number in range(RUNS)]
    with Lab(users=users) as lab, Readers() as readers, tempfile.TemporaryDirectory() as folder:
        env = {**bare(), **lab.env, **readers.env, "MFA_KIT_HOME": str(Path(folder) / "desk")}
        card = Card()
        readers.insert(card)
        mfa_kit = [sys.executable, "-m", "mfa_kit"]
        imports = min(seconds([sys.executable, "-c", IMPORTS], env) for _ in range(RUNS))
        lists = min(seconds([*mfa_kit, "key", "list"], env) for _ in range(RUNS))
        card.log.clear()
        enrolls = []
        apdus: Counter[int] = Counter()
        for user in users:
            enrolls.append(seconds([*mfa_kit, "enroll", user, "--with", "oath", "--no-touch"], env))
            apdus, card.log = Counter(card.log), []
    rows = [
        Row("from a key that is present to confirmed, the start of Python counted", min(enrolls), "s", 1.5),
        Row("APDUs of an enrollment", sum(apdus.values()), "APDUs", 16),
        *(Row(f"  {INS[ins]}", number, "APDUs") for ins, number in sorted(apdus.items())),
        Row("key list, beyond the imports", lists - imports, "s", 0.5),
        Row("the imports", imports, "s"),
    ]
    return show("oath", rows)


if __name__ == "__main__":
    sys.exit(main())
