"""A worker like tests.faults.worker, with the key in a reader as the carrier. Its applet can be interrupted too."""

from pathlib import Path
from typing import Any

from pyrage.x25519 import Identity

from tests.faults import worker
from tests.faults.worker import Cut, Shared
from tests.oath.seat import do


def verbs(job: dict[str, Any], shared: Shared, cut: Cut) -> None:
    identity = Identity.from_str(job["identity"])
    for verb in job["verbs"]:
        do(verb, job["user"], Path(job["home"]), shared, identity=identity, cut=cut)


if __name__ == "__main__":
    worker.main(verbs)
