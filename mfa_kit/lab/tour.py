"""The guided tour: runs commands of mfa-kit in a lab, explains each, and says what the same command does on AWS.

Each step is an item of STEPS. docs/lab.md has the sources for what the steps say about AWS.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pyrage
from botocore.exceptions import ClientError

from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.child import held_signals
from mfa_kit.posix import processes

TOOL = (sys.executable, "-m", "mfa_kit")
PATIENCE = 20.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TourStep:
    """A step of the tour: the command, its expected status, what happened, and what the same command does on AWS.

    `before` runs before the command. `kill_after` names an operation of IAM; the command is killed when this operation
    has succeeded.
    """

    title: str
    run: tuple[str, ...] = ()
    status: int = 0
    happened: str
    on_aws: str
    before: Callable[[Lab, Say], None] | None = None
    kill_after: str = ""


def _mistype(lab: Lab, say: Say) -> None:
    """Call ResyncMFADevice for alice's device with two wrong codes, as if alice mistyped them. Print IAM's error."""
    iam: Any = botocore.session.get_session().create_client(
        "iam",
        endpoint_url=lab.url,
        region_name=lab.account.region,
        aws_access_key_id=lab.admin.access_key_id,
        aws_secret_access_key=lab.admin.secret_access_key,
    )
    (device,) = iam.list_mfa_devices(UserName="alice")["MFADevices"]
    try:
        iam.resync_mfa_device(
            UserName="alice",
            SerialNumber=device["SerialNumber"],
            AuthenticationCode1="000000",
            AuthenticationCode2="000000",
        )
    except ClientError as error:
        say(f"$ aws iam resync-mfa-device --user-name alice ... 000000 000000\n{error}")


def _hold_enable(lab: Lab, _say: Say) -> None:
    """Delay the next EnableMFADevice request, and drop it before IAM acts."""
    lab.faults.add("EnableMFADevice", "latency", seconds=PATIENCE)
    lab.faults.add("EnableMFADevice", "lost-before")


def _clear(lab: Lab, _say: Say) -> None:
    lab.faults.clear()


STEPS: Sequence[TourStep] = (
    TourStep(
        title="Give alice a virtual MFA device",
        run=("enroll", "alice", "--with", "virtual", "--codes", "generated", "-r", "{recipient}"),
        happened=(
            "IAM created the device and its secret. mfa-kit encrypted the secret for you and kept no other copy. The "
            "codes of the previous and the current half minute enabled the device, so there was no wait."
        ),
        on_aws="The same calls in the same order. From now on alice must type a code when she signs in.",
    ),
    TourStep(
        title="Run the same command again",
        run=("enroll", "alice", "--with", "virtual", "--codes", "generated", "-r", "{recipient}"),
        happened="Nothing, because alice has a device. So it is safe to enroll a list of users twice.",
        on_aws="The same. --add gives her one more device, up to eight.",
    ),
    TourStep(
        title="See who has MFA",
        run=("status",),
        happened="mfa-kit listed the users and devices in IAM. The ledger shows which devices mfa-kit made.",
        on_aws="The same calls. Users with a password but no device could be locked out when MFA is enforced.",
    ),
    TourStep(
        title="Mistype a code",
        before=_mistype,
        happened="IAM reports only that the code is not valid. No code is used up: the next correct pair is accepted.",
        on_aws="The same message for every mistake: wrong, repeated, reversed or used codes.",
    ),
    TourStep(
        title="Look at what was done",
        run=("ledger", "show", "--user", "alice"),
        happened="The ledger lists each write to AWS with its request ID. It contains no secrets.",
        on_aws="CloudTrail is the official record, and has the same request IDs. The ledger is this computer's record.",
    ),
    TourStep(
        title="The power fails while bob gets a device",
        before=_hold_enable,
        run=("enroll", "bob", "--with", "virtual", "--codes", "generated", "-r", "{recipient}"),
        kill_after="CreateVirtualMFADevice",
        status=-processes.KILL,
        happened="mfa-kit was killed after Create and before Enable. An unassigned device now blocks the name bob.",
        on_aws="This can happen with any tool. Without its secret, such a device is useless.",
    ),
    TourStep(
        title="See what was left behind",
        before=_clear,
        run=("orphans", "list"),
        happened="The journal lists that run, and mfa-kit sees that the process of the run has ended.",
        on_aws="The device has a tag with the run ID, so other computers can tell which run created it.",
    ),
    TourStep(
        title="Clean it up",
        run=("orphans", "clean"),
        happened="mfa-kit deleted the device in IAM first, and then its backup.",
        on_aws="The same. If a delayed Enable had still assigned the device to bob, IAM would refuse to delete it.",
    ),
    TourStep(
        title="Give bob a device after all",
        run=("enroll", "bob", "--with", "virtual", "--codes", "generated", "-r", "{recipient}"),
        happened="The name was available again.",
        on_aws="The same. Without orphans clean, enroll would first have deleted the unassigned device.",
    ),
    TourStep(
        title="alice leaves: remove her device",
        run=("revoke", "alice", "--leave-without-mfa", "--yes"),
        happened="mfa-kit deactivated and then deleted the device, because IAM keeps deactivated devices.",
        on_aws="Sessions that she opened with the device remain valid for up to 36 hours.",
    ),
)


def walk(
    lab: Lab, env: Mapping[str, str], home: Path, say: Say, *, pause: Callable[[], None] = lambda: None
) -> list[str]:
    """Run the steps of the tour, and explain each. Return the titles of the steps that ended with an unexpected status.

    `env` is the environment of the commands. A new age identity, to which backups are encrypted, is written to the
    folder `home`. `say` prints a text, and `pause` is called between two steps.
    """
    key = pyrage.x25519.Identity.generate()
    with os.fdopen(os.open(home / "tour-identity.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(f"{key}\n")
    wrong = []
    for number, step in enumerate(STEPS, 1):
        if number > 1:
            pause()
        say(f"\n{number}/{len(STEPS)}  {step.title}")
        if step.before:
            step.before(lab, say)
        if step.run:
            arguments = [part.format(recipient=key.to_public()) for part in step.run]
            say(f"$ mfa-kit {' '.join(arguments)}")
            if _run(arguments, env, lab, kill_after=step.kill_after) != step.status:
                wrong.append(step.title)
        say(f"   What happened: {step.happened}\n   On AWS: {step.on_aws}")
    return wrong


def _run(arguments: Sequence[str], env: Mapping[str, str], lab: Lab, *, kill_after: str) -> int:
    """Run mfa-kit and return its exit status, or -n if signal n ended it.

    Kill mfa-kit after its first successful call of the operation `kill_after`, unless `kill_after` is "".
    """
    call_count = len(lab.calls)
    with held_signals() as release, subprocess.Popen([*TOOL, *arguments], env=dict(env)) as child:  # noqa: S603 - above
        until = time.monotonic() + PATIENCE
        try:
            release()
            while kill_after and time.monotonic() < until and child.poll() is None:
                if any(call.operation == kill_after and not call.error for call in lab.calls[call_count:]):
                    # This is long enough to encrypt the secret and to send EnableMFADevice, which the lab delays.
                    time.sleep(0.5)
                    child.kill()
                time.sleep(0.02)
            return child.wait()
        finally:
            child.terminate()  # has no effect if the child has ended
