"""The examples in docs/schedulers: what judges of each scheduler say, and that mfa-kit accepts the command in each."""

import configparser
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import pytest
import yaml

from mfa_kit.core import errors
from tests.conftest import ROOT, MfaKit, Result, bare, judge, without

EXAMPLES = ROOT / "docs/schedulers"
SHA256 = "0" * 64
# Errors that pass, so that a worker is started again: AWS, the ledger, throttling.
PASS = {errors.AwsFault.exit_code, errors.IntegrityFault.exit_code, errors.Throttled.exit_code}
CODES = {each.exit_code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "exit_code")}
# 1: some users failed. 130 is the end after SIGTERM, which each scheduler treats in its own way.
STAY = ({1} | CODES) - PASS - {130}


def read(name: str) -> str:
    return (EXAMPLES / name).read_text("utf-8")


def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(read("mfa-kit-worker@.service").replace("\\\n", ""))
    return parsed


def container_commands() -> dict[str, list[str]]:
    """Return the words of the command in each example, without the program."""
    [container] = kubernetes()["spec"]["template"]["spec"]["containers"]
    scripts = {name: re.sub(r"\\\n", "", read(name)) for name in ("slurm.sbatch", "parallel.sh")}
    return {
        "systemd": shlex.split(unit()["Service"]["ExecStart"])[1:],
        "kubernetes": [*container["command"], *container["args"]][1:],
        "batch": batch()["containerProperties"]["command"][1:],
        **{
            name: ["rollout", "work", *shlex.split(text.partition("sh worker.sh")[2].partition(" ::: ")[0])]
            for name, text in scripts.items()
        },
    }


def kubernetes() -> Any:
    return yaml.safe_load(read("kubernetes.yaml"))


def batch() -> Any:
    return json.loads(read("batch-job-definition.json"))


@pytest.mark.parametrize("name", ["systemd", "kubernetes", "batch", "slurm.sbatch", "parallel.sh"])
def test_the_command_of_each_example_is_complete(name: str, mfa_kit: MfaKit, tmp_path: Path) -> None:
    """mfa-kit accepts its options, and then finds that the plan is not there."""
    words = container_commands()[name]
    words = [word.replace("/etc/mfa-kit", str(tmp_path)) for word in words]
    (tmp_path / "plan").mkdir()
    for folder in (tmp_path, tmp_path / "plan"):
        (folder / "recipients.txt").write_text("age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z\n")
    recipients = words.index("--recipients-file") + 1 if "--recipients-file" in words else 0
    if recipients and words[recipients] == "recipients.txt":
        words[recipients] = str(tmp_path / "recipients.txt")
    done = mfa_kit.run(*words)
    assert done.code == errors.UsageFault.exit_code
    assert "index.json" in done.err
    for option in ("--expect-sha256", "--no-input", "--results", "--backup-dir"):
        assert any(word.split("=")[0] == option for word in words), option


def test_no_example_contains_a_secret() -> None:
    """Passwords are in files that the scheduler provides. libpq's variable for a password is not used."""
    for file in EXAMPLES.iterdir():
        text = file.read_text("utf-8")
        assert "PGPASSWORD" not in text
        assert not re.search(r"AKIA|aws_secret|AGE-SECRET-KEY|://[^@\s]*:[^@\s]*@", text), file
        assert all("..." in line for line in text.splitlines() if "password=" in line)


def test_each_scheduler_restarts_a_worker_after_errors_that_pass() -> None:
    """A new exit code has to be classified here."""
    service = unit()["Service"]
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == STAY
    assert (service["Restart"], service["SuccessExitStatus"]) == ("on-failure", "130")
    [_, rule] = kubernetes()["spec"]["podFailurePolicy"]["rules"]
    assert (rule["action"], set(rule["onExitCodes"]["values"])) == ("FailIndex", STAY)
    *again, last = batch()["retryStrategy"]["evaluateOnExit"]
    assert {int(each["onExitCode"]) for each in again if "onExitCode" in each} == {*PASS, 128 + signal.SIGKILL}
    assert last["action"] == "EXIT"


def test_the_unit_does_what_the_text_about_exit_codes_says() -> None:
    """Both tables of the text have the same codes, and the unit stays stopped after exactly those of the third row."""
    text = (ROOT / "docs/formats.md").read_text("utf-8").partition("\n## Exit codes\n")[2]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    after = {does: {int(code) for code in re.findall(r"\d+", codes)} for codes, does in rows if re.match(r"\d", codes)}
    [stay] = [codes for does, codes in after.items() if does.startswith("does not start it again")]
    [again] = [codes for does, codes in after.items() if does.startswith("starts the worker again")]
    assert {int(code) for code in unit()["Service"]["RestartPreventExitStatus"].split()} == stay
    assert again == PASS
    assert {0, 130}.union(stay, again) == {0, 1, *CODES, 130}


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """The judge reports a misspelled setting, and a program that is not there."""
    program = judge("systemd-analyze")

    def verify(text: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "mfa-kit-worker@.service"
        file.write_text(text, "utf-8")
        return subprocess.run(
            [program, "verify", "--man=no", "--recursive-errors=no", file], capture_output=True, text=True, check=False
        )

    text = read("mfa-kit-worker@.service")
    text = text.replace("/opt/mfa-kit/bin/mfa-kit", str(Path(sys.executable).with_name("mfa-kit")))
    done = verify(text)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Unknown key" in verify(text.replace("RestartSteps", "RestartStep")).stderr
    assert verify(read("mfa-kit-worker@.service").replace("/opt/mfa-kit", "/nowhere")).returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_accepts_the_job(version: str, tmp_path: Path) -> None:
    """So do the oldest version with a limit for each index and a recent one. A misspelled field is an error."""
    program = Path(sys.executable).with_name("kubernetes-validate")
    if not program.exists():
        without("kubernetes-validate is not installed")

    def validate(text: str) -> Result:
        file = tmp_path / "job.yaml"
        file.write_text(text, "utf-8")
        words: list[str | Path] = [program, "--kubernetes-version", version, "--strict", file]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=bare())
        return Result(done.returncode, done.stdout, done.stderr)

    text = read("kubernetes.yaml")
    done = validate(text)
    assert done.code == 0, done.out + done.err
    assert validate(text.replace("backoffLimitPerIndex", "backoffLimitPerIndexes")).code != 0


def test_aws_batch_accepts_the_job_and_its_definition() -> None:
    """The judge is botocore's model of the service. It finds a misspelled field."""
    model = botocore.session.Session().get_service_model("batch")

    def fault(operation: str, parameters: Any) -> str:
        shape = model.operation_model(operation).input_shape
        assert shape is not None
        return str(botocore.validate.ParamValidator().validate(parameters, shape).generate_report())

    definition, job = batch(), json.loads(read("batch-job.json"))
    assert fault("RegisterJobDefinition", definition) == ""
    assert fault("SubmitJob", job) == ""
    assert job["jobDefinition"] == definition["jobDefinitionName"]
    assert job["parameters"].keys() == definition["parameters"].keys()
    assert "Unknown parameter" in fault("SubmitJob", {**job, "arrayProperty": {}})


@pytest.mark.slow
def test_cloudformation_accepts_the_template(tmp_path: Path) -> None:
    """cfn-lint does find a property that does not exist."""
    program = Path(sys.executable).with_name("cfn-lint")
    if not program.exists():
        without("cfn-lint is not installed")

    def lint(text: str) -> Result:
        file = tmp_path / "batch.yaml"
        file.write_text(text, "utf-8")
        done = subprocess.run(
            [program, "--regions", "eu-central-1", "--", file], capture_output=True, text=True, check=False, env=bare()
        )
        return Result(done.returncode, done.stdout, done.stderr)

    done = lint(read("batch.yaml"))
    assert done.code == 0, done.out
    assert lint(read("batch.yaml").replace("AttemptDurationSeconds", "AttemptSeconds")).code != 0


def test_the_template_and_the_definition_are_the_same_job() -> None:
    """Only the parameters of the template differ."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!Ref", lambda _, node: f"!{node.value}")
    found = yaml.load(read("batch.yaml"), Loader)["Resources"]["Workers"]["Properties"]

    def lower(value: Any) -> Any:
        match value:
            case dict():
                return {name[:1].lower() + name[1:]: lower(each) for name, each in value.items()}
            case list():
                return [lower(each) for each in value]
            case _:
                return value

    def alike(one: Any, other: Any) -> bool:
        match one, other:
            case dict(), dict():
                return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
            case list(), list():
                return len(one) == len(other) and all(map(alike, one, other))
            case _:
                return one == other or str(one).startswith("!")

    assert alike(lower(found), batch())


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts worker.sh with a program in place of mfa-kit."""
    (tmp_path / "bin").mkdir()

    def start(program: str, *words: str) -> subprocess.Popen[str]:
        (tmp_path / "bin/mfa-kit").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "bin/mfa-kit").chmod(0o755)
        return subprocess.Popen(
            ["sh", EXAMPLES / "worker.sh", *words],
            cwd=tmp_path,
            env={**bare(), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PAUSES": "0 0 0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.mark.parametrize("code", [0, *sorted(CODES | {1}), 130])
def test_worker_sh_starts_a_worker_again_after_errors_that_pass(
    code: int, shell: Callable[..., subprocess.Popen[str]]
) -> None:
    """It ends with the worker's exit code."""
    worker = shell(f'echo "$*"; exit {code}', "plan.json", "--org")
    out, _ = worker.communicate(timeout=120)
    assert worker.returncode == code
    assert out.splitlines() == ["rollout work plan.json --org"] * (3 if code in PASS else 1)


@pytest.mark.parametrize(
    ("words", "record"),
    [
        (("plan.json", "--results", "done here", "--org"), "done here/000000000001/record-a-b-1.jsonl"),
        (("plan.json", "--results=done"), "done/record-a-b-1.jsonl"),
        (("plan.json",), "plan-results/record-a-b-1.jsonl"),
    ],
)
def test_worker_sh_counts_from_the_last_progress(
    words: tuple[str, ...], record: str, shell: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """The worker records a user each time until the fifth, and then fails three times in a row."""
    (tmp_path / record).parent.mkdir(parents=True)
    progress = f'[ "$(wc -l <starts)" -gt 5 ] || echo {{}} >>"{record}"'
    worker = shell(f"echo >>starts; {progress}; exit 5", *words)
    _, err = worker.communicate(timeout=120)
    assert worker.returncode == errors.IntegrityFault.exit_code
    assert len((tmp_path / "starts").read_text()) == 5 + 2
    assert "again without progress" in err.splitlines()[-1]


def test_worker_sh_starts_a_killed_worker_again(shell: Callable[..., subprocess.Popen[str]]) -> None:
    worker = shell("if [ -e killed ]; then exit 0; fi; touch killed; kill -9 $$")
    _, err = worker.communicate(timeout=120)
    assert worker.returncode == 0
    assert "the worker ended with 137" in err


def test_worker_sh_lets_the_worker_finish_after_a_signal(
    shell: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """The worker gets the signal, and is not started again."""
    worker = shell("trap 'sleep 0.2; echo finished; exit 130' TERM; touch ready; while :; do sleep 0.05; done")
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    worker.terminate()
    out, _ = worker.communicate(timeout=120)
    assert (worker.returncode, out) == (130, "finished\n")


def test_gnu_parallel_starts_the_workers_on_each_computer(tmp_path: Path) -> None:
    """A program in place of ssh runs the commands here, with the variable SHELL of sshd. The log has the exit codes."""
    judge("parallel")
    (tmp_path / "bin").mkdir()
    for name, text in {
        "ssh": 'while [ "${1#-}" != "$1" ]; do shift; done; echo "$1" >>hosts; shift; [ "$1" != -- ] || shift; '
        'export SHELL=/bin/sh; exec sh -c "$*"',
        "mfa-kit": 'echo "$*" >>started; exit 0',
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "worker.sh").write_text(read("worker.sh"))
    (tmp_path / "computers").write_text("desk-a\ndesk-b\n")
    env = {**bare(), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path), "PLAN_SHA256": SHA256}
    done = subprocess.run(
        ["sh", EXAMPLES / "parallel.sh", "1", "2", "3", "4"],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    started = (tmp_path / "started").read_text().splitlines()
    assert len(started) == 4
    assert all(f"--expect-sha256 {SHA256}" in line for line in started)
    assert {line.partition("--results ")[2].split()[0] for line in started} == {f"results-{n}" for n in range(1, 5)}
    log = [line.split("\t") for line in (tmp_path / "parallel.log").read_text().splitlines()[1:]]
    assert [columns[6] for columns in log] == ["0"] * 4
    assert {*(tmp_path / "hosts").read_text().split()} >= {"desk-a", "desk-b"}
