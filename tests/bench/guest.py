"""Bench of the guest, boot included: a udev rule, a key used by four programs, a PIN, and a whole enrollment."""

import resource
import sys
import tempfile
from pathlib import Path

from tests.bench.table import Row, show
from tests.guest import rig
from tests.guest.conftest import JOB


def main() -> int:
    """Boot the guest once and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "guest"
        out.mkdir()
        ran = rig.boot(out, JOB)
    sys.stderr.write(ran.log)
    if ran.status:
        return ran.status
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = [
        Row("the guest from boot to its end, CPU of its one processor", spent.ru_utime + spent.ru_stime, "s", 150),
        Row("the same by the clock, beside whatever else runs here", ran.seconds, "s"),
    ]
    return show("guest", rows)


if __name__ == "__main__":
    sys.exit(main())
