"""docs/backups.md at a terminal: all its commands in order, including those at which a person types."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pyotp
import pytest

from mfa_kit.lab.aws.server import Lab
from tests.conftest import ACCOUNT
from tests.page.conftest import LIMIT
from tests.terminal.conftest import environment
from tests.terminal.window import Window
from tests.test_docs import blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT)]

TYPED = "bash no: somebody types, and tests/backups/test_page.py does"
# The passphrase of the example on the page, and the new one.
BEFORE, AFTER = "correct horse battery staple", "another battery"
# The user whose code is asked for.
WHOSE = re.compile(r"shows for (\w+)")
ASKED = {"age: ": BEFORE, "1 to 2: ": "1", "passphrase: ": AFTER, "type it again: ": AFTER}
CODES = ("code: ", "to skip: ")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(users=("alice", "bob", "carol", "dave")) as lab:
        yield lab


def test_all_commands_of_the_page_run_at_a_terminal(lab: Lab, tmp_path: Path) -> None:
    """All commands succeed: backup restore, add, passphrase and drill ask for codes or passphrases at the terminal."""
    meant = [block for block in blocks("docs/backups.md") if block.run or block.info == TYPED]
    typed = [block.script for block in meant if block.info == TYPED]
    assert [script.split()[2] for script in typed] == ["restore", "add", "passphrase", "drill"]
    script = "\n".join(["set -euo pipefail", *(block.script for block in meant), "echo all of it"])
    (tmp_path / "page.sh").write_text(script, "utf-8")
    window = Window(["bash", "page.sh"], env=environment(lab, tmp_path), cwd=tmp_path, size=(120, 60), apart=False)
    window.child.timeout = 300  # there are a dozen commands between two prompts
    prompts: list[Any] = [*ASKED, *CODES, pexpect.EOF]
    said = ""
    while (at := window.child.expect_exact(prompts)) < len(prompts) - 1:
        said += str(window.child.before)
        if prompts[at] in CODES:
            seed = lab.seed(f"arn:aws:iam::{ACCOUNT}:mfa/{WHOSE.findall(said)[-1]}")
            window.type(pyotp.TOTP(base64.b32encode(seed).decode()).at(lab.account.now()))
        else:
            window.type(ASKED[prompts[at]])
    said += str(window.child.before)
    assert window.end() == 0, said
    assert said.rstrip().endswith("all of it"), said
    assert not (tmp_path / "screenshot.png").exists()
