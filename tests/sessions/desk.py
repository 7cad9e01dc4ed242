"""A user with access keys and an MFA device in a lab, and the AWS configuration of the user's computer."""

import base64
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyotp

from mfa_kit.core.otp import PERIOD
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import Credential
from tests.conftest import ACCOUNT, ROOT, bare
from tests.lab.client import Aws, document
from tests.terminal.spawn import MFA_KIT, start
from tests.terminal.window import Window

ALLOW = document({"Action": "*", "Resource": "*"})
TRUST = document(
    {
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
    }
)
# Calls of the lab's STS that make a session.
NEW = {"GetSessionToken", "AssumeRole"}


def new_lab() -> Lab:
    """Return a lab in which STS knows a new device at once."""
    return Lab(users=["alice"], settings=LabSettings(propagation=0))


@dataclass
class Desk:
    """Alice's computer. `base` is her profile with long-term access keys and `mfa_serial`."""

    lab: Lab
    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        admin = Aws(self.lab, (self.lab.admin.access_key_id, self.lab.admin.secret_access_key, None))
        self.serial = admin.enrolled("alice")
        self.seed = admin.seeds[self.serial]
        admin.iam.put_user_policy(UserName="alice", PolicyName="all", PolicyDocument=ALLOW)
        self.role: str = admin.iam.create_role(RoleName="admin", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
        admin.iam.put_role_policy(RoleName="admin", PolicyName="all", PolicyDocument=ALLOW)
        self.key = self.lab.account.backend.create_access_key("alice")
        self.config = self.folder / "config"
        self.configure(
            f"[profile base]\naws_access_key_id = {self.key.access_key_id}\n"
            f"aws_secret_access_key = {self.key.secret_access_key}\nmfa_serial = {self.serial}\n"
        )
        self.lab.calls.clear()

    def configure(self, text: str) -> None:
        """Add sections to the AWS configuration."""
        with self.config.open("a") as file:
            file.write(text)

    def calling(self, name: str = "mfa", *words: str) -> None:
        """Add a profile whose credential_process is mfa-kit."""
        command = " ".join([*MFA_KIT, "session", "--profile", "base", *words])
        self.configure(f"[profile {name}]\ncredential_process = {command}\nregion = us-east-1\n")

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def cache(self) -> Path:
        return self.home / "sessions"

    @property
    def env(self) -> dict[str, str]:
        lab = {
            name: value for name, value in self.lab.env.items() if not name.endswith(("ACCESS_KEY_ID", "ACCESS_KEY"))
        }
        own = {"AWS_CONFIG_FILE": str(self.config), "MFA_KIT_HOME": str(self.home), "HOME": str(self.folder)}
        return {**bare(), "PYTHONPATH": str(ROOT), "TERM": "xterm", **lab, **own, **self.more}

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start `mfa-kit session` without a terminal."""
        return start([*MFA_KIT, "session", "--profile", "base", *words], env=self.env)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `mfa-kit session` without a terminal."""
        process = self.start(*words)
        out, err = process.communicate(timeout=100)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def window(self, *words: str) -> Window:
        """Run `mfa-kit session` at a terminal, with stdout and stderr in files."""
        return Window([*MFA_KIT, "session", "--profile", "base", *words], env=self.env, cwd=self.folder)

    def code(self, *, ahead: int = 0) -> str:
        """Return the current code of the device, or a later one."""
        return pyotp.TOTP(self.seed.decode()).at(int(self.lab.account.now()) + ahead * PERIOD)

    def credential(self, *, touch: bool = False) -> Credential:
        """Return the credential of the device, as a key stores it."""
        return Credential(0x21, 6, base64.b32decode(self.seed), touch=touch)

    @property
    def label(self) -> bytes:
        return f"AWS:alice@{ACCOUNT}".encode()

    @property
    def made(self) -> list[str]:
        """The calls so far that made a session."""
        return [call.operation for call in self.lab.calls if call.operation in NEW]

    @property
    def kept(self) -> list[Path]:
        """The files of sessions in the cache."""
        return sorted(self.cache.glob("*.json"))

    def age(self, seconds: float) -> None:
        """Make the kept sessions look as if this much time had passed."""
        for file in self.kept:
            entry = json.loads(file.read_text())
            file.write_text(json.dumps({**entry, "expires": entry["expires"] - seconds}))

    def forget_step(self) -> None:
        """Let a test send a code again at once, which mfa-kit itself never does."""
        for file in self.cache.glob("*.state"):
            file.unlink()
        self.lab.account.sts_codes.used.clear()
        self.lab.account.sts_codes.tries.clear()


def early(desk: Desk) -> None:
    """Wait until a code that is typed now is still valid a few seconds later."""
    while desk.lab.account.now() % PERIOD > PERIOD / 2:
        time.sleep(0.1)


def parsed(text: str) -> dict[str, Any]:
    """Return the answer of credential_process, checked as botocore checks it."""
    answer: dict[str, Any] = json.loads(text)
    assert answer["Version"] == 1
    assert {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration", "AccountId"} <= answer.keys()
    return answer


def sentence(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    """Check that a command failed with an exit code, and return the message, which is the only output."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith("mfa-kit: ")
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())
