"""The example for Slurm, with a real cluster of one node on loopback. It runs only in a full check."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest

from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.conftest import ROOT, MfaKit, bare, judge
from tests.postgresql import Server
from tests.sizes import FULL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not FULL, reason="only in a full check, which installs Slurm"),
]
EXAMPLES = ROOT / "docs/schedulers"
ACCOUNTS, USERS = 3, 4
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def running(*words: str | Path, env: dict[str, str]) -> Iterator[None]:
    """Run a daemon in the foreground until the context ends."""
    daemon = subprocess.Popen(
        words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def until(reached: Callable[[], object], what: Callable[[], str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            pytest.fail(what())
        time.sleep(0.1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make the folder of the cluster. slurmstepd makes Unix sockets in it, whose path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start munge, the controller and one node. Yield the environment of Slurm's commands.

    At the end, print the logs, which pytest shows if the test failed.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    conf, host = folder / "slurm.conf", socket.gethostname().split(".")[0]
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    conf.write_text(CONF.format(host=host, ports=free_ports(2), user=user, folder=folder))
    (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    env = {**bare(), "SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    munge = [
        *(f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")),
        *(f"--socket={folder}/munge.socket", "--foreground", "--force"),
    ]

    def logs() -> str:
        return "\n".join(each.read_text() for each in folder.glob("slurm*.log"))

    with ExitStack() as stack:
        stack.enter_context(running(judge("munged"), *munge, env=env))
        until((folder / "munge.socket").exists, (folder / "munge.log").read_text)
        stack.enter_context(running(judge("slurmctld"), "-D", env=env))
        stack.enter_context(running(judge("slurmd"), "-D", "-N", host, env=env))

        def idle() -> bool:
            done = subprocess.run(["sinfo", "-h", "-o", "%T"], env=env, capture_output=True, text=True, check=False)
            return done.stdout.strip() == "idle"

        until(idle, logs)
        yield env
        sys.stdout.write(logs())


def test_an_array_job_enrolls_each_user_once(cluster: dict[str, str], postgresql: Server, tmp_path: Path) -> None:
    """Four jobs share the accounts, and each ends with 0. The backups and the users' copies are in a bucket."""
    folder = tmp_path / "shared"
    folder.mkdir()
    for name in ("slurm.sbatch", "worker.sh"):
        shutil.copy(EXAMPLES / name, folder)
    keys = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout
    recipient = next(line.rpartition(" ")[2] for line in keys.splitlines() if "public key" in line)
    (folder / "recipients.txt").write_text(f"{recipient}\n")
    address = postgresql.address(postgresql.new_database())
    settings = LabSettings(propagation=0)
    with Lab(accounts=ACCOUNTS, users_per_account=USERS, settings=settings) as lab:
        ids = [*lab.organization]
        users = [user.name for user in lab.organization[ids[0]].backend.users.values()]
        (folder / "roster.csv").write_text(
            "account,user,recipient\n" + "".join(f"{number},{user},{recipient}\n" for number in ids for user in users)
        )
        (folder / "plan").mkdir()
        env = {**cluster, **lab.env, "MFA_KIT_LEDGER": address}
        planned = MfaKit(tmp_path / "desk", env).process(
            *("rollout", "plan", folder / "roster.csv", "-o", folder / "plan/index.json"),
            *("--org", "--role-name", "mfa-kit-enroll", "--output", "json"),
        )
        assert planned.code == 0, planned.err
        client = boto3.session.Session(
            aws_access_key_id=lab.env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=lab.env["AWS_SECRET_ACCESS_KEY"]
        ).client("s3", endpoint_url=lab.env["AWS_ENDPOINT_URL"], region_name="us-east-1")
        client.create_bucket(Bucket="example-mfa-backups")
        env |= {"PLAN_SHA256": json.loads(planned.out)["sha256"], "HOME": str(tmp_path)}
        submit = ["sbatch", "--parsable", "--wait", "slurm.sbatch"]
        done = subprocess.run(submit, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600)
        said = "\n".join(each.read_text() for each in sorted(folder.glob("mfa-kit-*.log")))
        assert done.returncode == 0, done.stderr + said
        shown = subprocess.run(
            ["scontrol", "show", "job", done.stdout.strip()], env=env, capture_output=True, text=True, check=True
        ).stdout
        assert shown.count("ExitCode=0:0") == 4, shown
        enabled = Counter(call.account for call in lab.calls if call.operation == "EnableMFADevice" and not call.error)
        assert enabled == dict.fromkeys(ids, USERS)
        listed = client.list_objects_v2(Bucket="example-mfa-backups", Prefix="mfa/")["Contents"]
        copies = [each["Key"].startswith("mfa/users/") for each in listed]
        assert Counter(copies) == {False: ACCOUNTS * USERS, True: ACCOUNTS * USERS}
