#!/usr/bin/env python3
"""Make the folder of a desk that an older version of mfa-kit left, and write down what that version reads in it.

    make.py FOLDER            with the older version's mfa-kit, age-keygen and ssh-keygen on the PATH
    make.py FOLDER expect     16 minutes later, when no run is young any more

FOLDER holds what `mfa-kit lab run --state` keeps (account.json of the lab, home/ with the ledger and the backups), the
identities that open the backups, and expected.json.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# What was done, in this order, each in the lab of the folder. The last one cannot be undone: IAM refuses it.
DONE = """
set -eux
age=$(age-keygen -y identity.txt)
here="--codes generated --yes"
mfa-kit enroll alice --with virtual $here -r "$age"
mfa-kit enroll bob --with virtual $here -r "$age" -r "$(cut -d' ' -f1,2 ssh.pub)"
mfa-kit enroll carol --with virtual $here -r "$age"
mfa-kit revoke carol --leave-without-mfa --yes
mfa-kit token import tokens.csv
printf 'user,recipient\\nerin,%s\\nfrank,\\nnobody,\\n' "$age" >roster.csv
mfa-kit rollout plan roster.csv -o plan.json
mfa-kit rollout apply plan.json --stage -r "$age" || test $? = 1
mfa-kit backup verify -i identity.txt --all
"""
HALF_MADE = """
set -ux
mfa-kit enroll dave --with virtual --codes generated --yes -r "$(age-keygen -y identity.txt)"
test $? != 0
"""
RULES = [
    {"operation": each, "fault": "denied", "at": "every"} for each in ("EnableMFADevice", "DeleteVirtualMFADevice")
]
TOKENS = """upn,serial number,secret key,time interval,manufacturer,model
a@example.com,1001,GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ,30,Acme,Display 1
b@example.com,1002,GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJR,60,Acme,Display 1
"""
# What is read: each prints one object. {state} is the folder.
READS = {
    "ledger": "mfa-kit ledger show --output json",
    "backups": "mfa-kit backup list --output json",
    "verified": "mfa-kit backup verify --all -i {state}/identity.txt --output json",
    "verified by ssh": "mfa-kit backup verify {bob} -i {state}/ssh --output json",
    "recipients": "mfa-kit backup recipients --output json",
    "status": "mfa-kit status --drilled-within 36500d --output json",
    "tokens": "mfa-kit token list --output json",
    "orphans": "mfa-kit orphans list --older-than 0s --output json",
    "rollout": "mfa-kit rollout status {state}/plan.json --output json",
}


# By name: the exit code, and the object that was printed.
Answers = dict[str, dict[str, Any]]


def in_lab(state: Path, command: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a lab that keeps its account and its desk in a folder."""
    return subprocess.run(
        ["mfa-kit", "lab", "run", "--state", state, *options, "--", *command],
        cwd=state,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def run(folder: Path, commands: dict[str, str]) -> Answers:
    """Run commands on a copy of the folder, by the mfa-kit on the PATH; return what each printed and its exit code."""
    with tempfile.TemporaryDirectory(prefix="mfa-kit-data-") as copy:
        state = Path(copy) / "state"
        shutil.copytree(folder, state, ignore=shutil.ignore_patterns("expected.json"))
        (state / "ssh").chmod(0o600)
        [bob] = (state / "home" / "backups").rglob("bob-*.age")
        script = "".join(
            f"{line.format(state=state, bob=bob)} >{number}.out 2>{number}.err; echo $? >{number}.code\n"
            for number, line in enumerate(commands.values())
        )
        in_lab(state, ["bash", "-c", script])
        return {
            name: {
                "code": int((state / f"{number}.code").read_text()),
                "out": json.loads(plain((state / f"{number}.out").read_text(), state) or "null"),
            }
            for number, name in enumerate(commands)
        }


def plain(text: str, state: Path) -> str:
    """Replace the path of the folder in a text, both its present path and its path at creation."""
    return re.sub(r"/[\w./-]*?/mfa-kit-data-\w+/state", "{state}", text.replace(str(state), "{state}"))


def make(folder: Path) -> None:
    """Create the folder at a fixed path, because the ledger has absolute paths of backups. Then move the folder."""
    with tempfile.TemporaryDirectory(prefix="mfa-kit-data-") as place:
        state = Path(place) / "state"
        state.mkdir()
        subprocess.run(["age-keygen", "-o", state / "identity.txt"], check=True, capture_output=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", state / "ssh"], check=True)
        (state / "tokens.csv").write_text(TOKENS)
        (state / "rules.json").write_text(json.dumps(RULES))
        in_lab(state, ["bash", "-c", DONE], "--users", "6")
        in_lab(state, ["bash", "-c", HALF_MADE], "--faults", "rules.json")
        left_out = ("lock", "tokens.csv", "rules.json", "roster.csv", "plan-results", "runs")
        shutil.copytree(state, folder, ignore=shutil.ignore_patterns(*left_out))


def main() -> None:
    """Execute the command line."""
    folder = Path(sys.argv[1]).absolute()
    if sys.argv[2:] == ["expect"]:
        (folder / "expected.json").write_text(json.dumps(run(folder, READS), indent=1) + "\n")
    else:
        make(folder)


if __name__ == "__main__":
    main()
