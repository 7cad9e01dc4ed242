"""Bench of the wait after the last digit on the page: from the sixth digit of the second code until "Done." is shown.

The round trips depend on AWS. The bench measures the remaining time, which is that of the program and of Chromium.
"""

import base64
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pyotp

from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.bench.table import Row, show
from tests.chromium import Browser, chromium
from tests.page.conftest import Command, open_admin, open_colleague
from tests.terminal.conftest import environment

RUNS = 11
# Seconds by which the lab delays each answer, to stand for a round trip.
LATENCY = 0.1
BOUND = 150.0
# Resolves with the milliseconds from the last digit until the view says that it is done.
WAIT = """new Promise((done) => {
  const field = document.querySelector('#code1'), end = document.querySelector('#end');
  field.addEventListener('input', () => {
    if (field.value.length < 6) return;
    const began = performance.now();
    new MutationObserver(() => {
      if (end.textContent.startsWith('Done.')) requestAnimationFrame(() => done(performance.now() - began));
    }).observe(end, { childList: true, subtree: true });
  }, { capture: true });
  field.focus();
  window.waits = true;
}).then((taken) => { window.taken = taken; })"""


def once(lab: Lab, user: str, first: Browser) -> tuple[float, float]:
    """Enroll a user. Return the seconds from the last digit to "Done.", and the seconds that the requests took."""
    lab.add_user(user)
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "mfa_kit", "enroll", user, "--with", "virtual", "--page", "--no-browser"],
            env=environment(lab, Path(folder)),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        command = Command(process)
        admin = open_admin(first.new_tab(), command)
        colleague = open_colleague(admin)
        colleague.see("document.activeElement.id === 'code0'")
        phone = pyotp.TOTP(base64.b32encode(lab.seed(f"arn:aws:iam::000000000000:mfa/{user}")).decode())
        now = int(lab.account.now())
        colleague.paste(phone.at(now - 30))
        colleague.see("document.querySelector('#code1[data-code]')")
        colleague.ask(f"void {WAIT}")
        before = len(lab.calls)
        colleague.type(phone.at(now))
        taken = float(colleague.see("window.taken")) / 1000
        if command.end()[0] != 0:
            raise RuntimeError(command.err)
        admin.close()
        colleague.close()
        return taken, sum(call.seconds for call in lab.calls[before:])


def main() -> int:
    """Run the bench and return the exit code."""
    with (
        tempfile.TemporaryDirectory() as profile,
        chromium(Path(profile)) as browser,
        Lab(settings=LabSettings()) as lab,
    ):
        lab.faults.add("*", "latency", at="every", seconds=LATENCY)
        once(lab, "warm", browser)
        runs = [once(lab, f"user{number}", browser) for number in range(RUNS)]
    own = [(taken - requests) * 1000 for taken, requests in runs]
    return show(
        "page",
        [
            Row("from the last digit to Done", statistics.median(taken for taken, _ in runs) * 1000, "ms"),
            Row("of that the requests, at 100 ms each", statistics.median(trips for _, trips in runs) * 1000, "ms"),
            Row("of that the program's and Chromium's own, in half of the runs", statistics.median(own), "ms", BOUND),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
