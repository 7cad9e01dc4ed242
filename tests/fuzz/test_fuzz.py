"""No damaged file makes a parser hang, fill the memory, or raise an error that is not mfa-kit's own."""

import json
import os
import subprocess
import sys

import pytest

from tests.cheap_scrypt import cheap_scrypt
from tests.fuzz.parsers import PARSERS
from tests.sizes import FULL, size

EXAMPLES = size(20, 10_000, "MFA_KIT_FUZZ")


@pytest.mark.slow
@pytest.mark.timeout(3600 if FULL else 180)
@pytest.mark.parametrize("names", [[name] for name in PARSERS] if FULL else [list(PARSERS)])
def test_a_damaged_sample_is_read_or_refused(names: list[str]) -> None:
    """Each example has two seconds, and each process 300 MB. `tests/fuzz/__main__.py` sets these limits."""
    command = [sys.executable, "-m", "tests.fuzz", str(EXAMPLES), *names]
    # Most of the time went into the samples that are encrypted with a passphrase.
    env = {**os.environ, **cheap_scrypt()}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-8000:]}"
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["parser"] for each in said] == names
    assert all(each["examples"] >= EXAMPLES for each in said)
    assert all(each["read"] for each in said)
    sys.stdout.write(done.stdout)
