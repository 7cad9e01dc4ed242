"""As tests.faults.worker, with the one key in a reader as carrier."""

from pathlib import Path
from typing import Any

from tests.faults import worker
from tests.faults.worker import Cut, Shared
from tests.oath.seat import do


def verbs(job: dict[str, Any], shared: Shared, cut: Cut) -> None:
    for verb in job["verbs"]:
        do(verb, job["user"], Path(job["home"]), shared, recipient=job["recipient"], cut=cut)


if __name__ == "__main__":
    worker.main(verbs)
