"""The hand-over: a folder for each user, with the file that only they can decrypt and a letter without a secret."""

import base64
import csv
import json
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.cli.letters import WIDTH, letter_page, letter_text
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.letter import Letter, LetterSection, LetterStep, parse_template
from mfa_kit.core.models import VIRTUAL, Copies, DeviceSpec, JournalEntry, JournalState, Method
from mfa_kit.core.otp import Png, Seed
from mfa_kit.core.text import is_control
from mfa_kit.qr_codes import key_uri, symbol
from mfa_kit.rollout.handing_over import find_handovers
from mfa_kit.rollout.handover_letter import NAMES, letter_values
from mfa_kit.rollout.proofs import read_proofs
from mfa_kit.wiring.files import packaged_text
from mfa_kit.wiring.methods.oath import OATH
from mfa_kit.wiring.rollout import write_handover
from tests.conftest import ACCOUNT, MfaKit, Result
from tests.letters.judges import size_of, text_of
from tests.rollout.conftest import Rollout

People = Callable[[int], list[str]]


def hand_over(rollout: Rollout, *more: str | Path, what: str | Path | None = None, out: str = "out") -> Result:
    return rollout.desk.run("rollout", "handover", what or rollout.file, "-o", rollout.folder / out, *more)


def table(rollout: Rollout, out: str = "out") -> list[dict[str, str]]:
    with (rollout.folder / out / "handover.csv").open() as file:
        return list(csv.DictReader(file))


def keys(rollout: Rollout, users: list[str]) -> dict[str, Path]:
    """Write an identity for each user, and return its path by user."""
    found = {}
    for user in users:
        found[user] = rollout.folder / f"{user}.txt"
        found[user].write_text(f"{pyrage.x25519.Identity.generate()}\n")
    return found


def public(identity: Path) -> str:
    return str(pyrage.x25519.Identity.from_str(identity.read_text().strip()).to_public())


def prepare(rollout: Rollout, users: list[str], *more: str) -> dict[str, Path]:
    """Plan and apply for users who have their own keys, and return their identities."""
    identities = keys(rollout, users)
    rows = [f"{user},{public(identities[user])},{user}@example.com" for user in users]
    rollout.plan(*rows, columns="user,recipient,email")
    assert rollout.apply(*more).code == 0
    return identities


def test_each_user_gets_the_file_that_they_can_open_and_a_letter(rollout: Rollout, people: People) -> None:
    """The command for Linux in the letter opens the file with Debian's age. The letter contains no secret."""
    users = people(3)
    identities = prepare(rollout, users)
    done = hand_over(rollout, "--deadline", "2999-12-01")
    assert (done.code, done.out.split()[-4:]) == (0, ["3", "without", "file", "0"]), done.err
    rows = {row["user"]: row for row in table(rollout)}
    assert [*rows] == users
    for user, row in rows.items():
        serial = f"arn:aws:iam::{ACCOUNT}:mfa/{user}"
        assert (row["email"], row["device"], row["state"]) == (f"{user}@example.com", serial, "enrolled")
        folder = Path(row["file"]).parent
        assert sorted(each.name for each in folder.iterdir()) == sorted(
            [Path(row["file"]).name, "letter.html", "letter.txt"]
        )
        text, html = (folder / "letter.txt").read_text(), Path(row["letter"]).read_text()
        [command] = [line for line in text.splitlines() if "$folder/qr.png" in line and "age -d" in line]
        opened = command.replace("$folder/", "").replace("identity.txt", str(identities[user]))
        subprocess.run(["sh", "-c", opened], cwd=folder, check=True)
        seed = key_uri.seed_of(symbol.read(Png((folder / "qr.png").read_bytes())))
        assert seed == Seed(rollout.lab.seed(serial))
        secret = base64.b32encode(rollout.lab.seed(serial)).decode()
        for letter in (text, html):
            assert secret not in letter
            assert "1 Dec 2999" in letter
            assert {user, ACCOUNT} <= {*letter.replace("<", " ").replace(">", " ").split()}
        for other in set(users) - {user}:
            failed = command.replace("$folder/qr.png", "no.png").replace("identity.txt", str(identities[other]))
            assert subprocess.run(["sh", "-c", failed], cwd=folder, check=False, capture_output=True).returncode == 1


def test_a_letter_as_pdf_says_the_same(rollout: Rollout, people: People) -> None:
    """Each word of the text is in the PDF, on the chosen paper. Without --pdf, there is none."""
    (user,) = people(1)
    prepare(rollout, [user])
    done = hand_over(rollout, "--pdf", "--paper", "letter", "--deadline", "2999-12-01")
    assert done.code == 0, done.err
    [row] = table(rollout)
    folder = Path(row["file"]).parent
    pdf = folder / "letter.pdf"
    assert (size_of(pdf)[1], stat.S_IMODE(pdf.stat().st_mode)) == (612, 0o600)
    assert "Type only the line for your computer" in " ".join(text_of(pdf).split())  # not one after the other
    windows = text_of(pdf).split("$env:TEMP\\qr.png")[1]
    assert windows.split("\n")[0] in {" `", f" {row['file'].rsplit('/')[-1]}"}  # PowerShell's continuation of a line
    words = {word for word in (folder / "letter.txt").read_text().split() if len(word) < 40 and word.isalnum()}
    assert len(words) > 100
    assert words <= set(re.split(r"[^\w.]+|\.\s", text_of(pdf))) | set(text_of(pdf).split())


def test_a_file_whose_name_begins_with_a_dash_can_be_opened(rollout: Rollout, people: People) -> None:
    """IAM accepts such a name of a device. The command in the letter is run as it is, with the identity's path."""
    (user,) = people(1)
    identity = keys(rollout, [user])[user]
    rollout.plan(f"{user},{public(identity)},-rf", columns="user,recipient,device_name")
    assert rollout.apply().code == 0
    assert hand_over(rollout).code == 0
    [row] = table(rollout)
    folder = Path(row["file"]).parent
    [command] = [
        line for line in (folder / "letter.txt").read_text().splitlines() if "age -d -i identity.txt -o $TMPDIR" in line
    ]
    opened = command.replace("$TMPDIR/qr.png", "qr.png").replace("identity.txt", str(identity))
    subprocess.run(["sh", "-c", opened], cwd=folder, check=True)
    assert (folder / "qr.png").read_bytes().startswith(b"\x89PNG")


def test_the_files_are_private_and_the_folder_is_new(rollout: Rollout, people: People) -> None:
    """An existing folder is refused, because it may have letters of another plan. A dry run writes nothing."""
    prepare(rollout, people(1))
    dry = hand_over(rollout, "--dry-run", "--output", "json")
    assert (dry.code, json.loads(dry.out)["users"], (rollout.folder / "out").exists()) == (0, 1, False)
    assert hand_over(rollout).code == 0
    for path in (rollout.folder / "out", *(rollout.folder / "out").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    again = hand_over(rollout)
    assert (again.code, "already exists" in again.err) == (2, True)
    assert [each.name for each in rollout.folder.iterdir() if each.name.startswith(".")] == []


def test_a_staged_device_asks_for_proof(rollout: Rollout, people: People) -> None:
    """The letter says that AWS does not ask yet, what to send, and to whom: company and contact are configured."""
    (user,) = people(1)
    prepare(rollout, [user], "--stage")
    configure(rollout, 'company = "Café & Søn"\ncontact = "it@example.com"\n')
    assert hand_over(rollout).code == 0
    [row] = table(rollout)
    assert row["state"] == "staged"
    text = (Path(row["file"]).parent / "letter.txt").read_text()
    assert "AWS does not ask you for a code of this device yet." in text
    assert "Sign in to the AWS console" not in text
    assert "It comes from Café & Søn." in text
    assert "Send this line to it@example.com" in text
    assert f"      {user},123456,234567,2026-11-26T09:32:10+01:00\n" in text
    assert "Café &amp; Søn" in Path(row["letter"]).read_text()


def test_the_line_to_send_back_has_the_whole_name() -> None:
    """A name may have a comma. The line of the letter is read as a proof of this user."""
    for user in ("a,b", "=a", "@a,b", "carol"):
        spec = DeviceSpec(account=ACCOUNT, partition="aws", user=user, name="device", method=VIRTUAL)
        values = letter_values(spec, file="file", staged=True, email="", sender=SENDER)
        letter = parse_template(TEMPLATE, names=NAMES, source="built in").fill(values)
        line = letter.sections[-2].steps[-1].commands[0]
        [proof] = read_proofs(line)
        assert (proof.user, proof.codes, proof.fault) == (user, ("123456", "234567"), "")


def test_other_users_of_the_computer_cannot_read_the_picture(rollout: Rollout, people: People) -> None:
    """All commands for Linux are typed in a shell with the usual umask. The one for macOS uses a private folder."""
    (user,) = people(1)
    identity = prepare(rollout, [user])[user]
    assert hand_over(rollout).code == 0
    folder = Path(table(rollout)[0]["file"]).parent
    lines = [line.strip() for line in (folder / "letter.txt").read_text().splitlines()]
    first = lines.index("sudo apt install age") + 1
    typed = "\n".join(["umask 022", *lines[first : lines.index("xdg-open $folder/qr.png")]])
    typed = (
        typed.replace("identity.txt", str(identity)) + "\nstat -c %a $folder && test -s $folder/qr.png && rm -r $folder"
    )
    done = subprocess.run(["sh", "-ec", typed], cwd=folder, check=True, capture_output=True, text=True)
    assert done.stdout == "700\n"
    assert not [line for line in lines if " /tmp/" in line]


def test_a_run_is_handed_over_by_its_id(rollout: Rollout, people: People) -> None:
    """Without a plan there is no email address. `--only` restricts the users."""
    users = people(2)
    prepare(rollout, users)
    run = json.loads((rollout.results / "results.json").read_text())["run"]
    done = hand_over(rollout, "--only", users[1].upper(), "--output", "csv", what=run)
    assert done.code == 0, done.err
    [row] = csv.DictReader(done.out.splitlines())
    assert (row["user"], row["email"]) == (users[1], "")
    some = hand_over(rollout, "--only", f"{users[0]},nobody", what=run, out="some")
    assert (some.code, f"no user of {run} is named nobody\n" in some.err) == (0, True)
    unknown = hand_over(rollout, what="20200101T000000Z-00000000", out="other")
    assert (unknown.code, "has a device of run" in unknown.err) == (1, True)


def test_users_without_a_file_are_named_with_the_reason(rollout: Rollout, people: People) -> None:
    """No key in the roster, a device that is gone, and a file that is gone."""
    none, own, gone, lost, good = people(5)
    rows = [none, f"{own},,self", *(f"{user},{rollout.recipient}" for user in (gone, lost, good))]
    rollout.plan(*rows, columns="user,recipient,kind")
    assert rollout.apply("--accept-lockout").code == 0
    remove(rollout, gone)
    next((rollout.desk.home / "backups" / "users").rglob(f"{lost}-*")).unlink()
    done = hand_over(rollout, "--output", "json")
    assert done.code == 1
    found = json.loads(done.out)
    assert [row["user"] for row in found["rows"]] == [good, own]
    reasons = {row["user"]: row["reason"] for row in found["left_out"]}
    assert "without a public key of theirs" in reasons[none]
    assert own not in reasons
    assert reasons[gone] == f"IAM does not list arn:aws:iam::{ACCOUNT}:mfa/{gone}"
    assert "cannot be read" in reasons[lost]
    assert f"{lost}: the backup " in done.err
    assert [row["user"] for row in table(rollout)] == [good, own]


def test_a_replacement_is_named_with_its_run(rollout: Rollout, people: People) -> None:
    """The device of the plan is gone, and the new one has another name."""
    [user] = users = people(1)
    prepare(rollout, users)
    words = ("--with", "virtual", "--codes", "generated", "--name", f"{user}-new", "-r", rollout.recipient)
    replaced = rollout.desk.run("replace", user, *words, "--yes", "--output", "json")
    assert replaced.code == 0, replaced.err
    run = json.loads(replaced.out)["run"]
    [row] = json.loads(hand_over(rollout, "--output", "json").out)["left_out"]
    reason = f"they lack a device of this plan, but have a later one of run {run}; for its file"
    assert row["reason"] == f"{reason}: mfa-kit rollout handover {run} -o DIR"
    assert [
        omitted["user"] for omitted in json.loads(hand_over(rollout, "--output", "json", what=run).out)["left_out"]
    ] == users


def test_another_device_of_the_plan_is_no_replacement(rollout: Rollout, people: People) -> None:
    """The user has the first device of the plan, and lacks the second."""
    [user] = people(1)
    rows = [f"{user},{rollout.recipient},{user}-{number},add" for number in (1, 2)]
    rollout.plan(*rows, columns="user,recipient,device_name,action")
    assert rollout.apply().code == 0
    gone = rollout.desk.run("revoke", user, "--mfa-device", f"{user}-2", "--yes")
    assert gone.code == 0, gone.err
    done = json.loads(hand_over(rollout, "--output", "json").out)
    assert [row["device"].rpartition("/")[2] for row in done["rows"]] == [f"{user}-1"]
    assert [row["reason"].partition(":")[0] for row in done["left_out"]] == [
        "mfa-kit has no device of this plan for them"
    ]


def test_users_who_register_themselves_get_a_letter_and_are_followed(rollout: Rollout, people: People) -> None:
    """It says where to sign in, where the page is, until when, whom to ask, and what to do if it fails.

    Without a company and a contact in the configuration, there is a warning first. Who has registered a device since
    gets no letter any more, and `remind` and `status` agree.
    """
    own, done = people(2)
    rollout.plan(*(f"{user},self,{user}@example.com" for user in (own, done)), columns="user,kind,email")
    dry = hand_over(rollout, "--dry-run")
    assert "warning: the letters will name no company and no contact, because the configuration has none" in dry.err
    page = 'help-page = "https://intranet.example.com/mfa"\n'
    configure(rollout, f'company = "Example Ltd"\ncontact = "it@example.com"\n{page}')
    waiting = json.loads(rollout.desk.run("rollout", "remind", rollout.file, "--output", "json").out)["rows"]
    assert [(row["user"], row["waiting_for"]) for row in waiting] == [(own, "self"), (done, "self")]
    enrolled = rollout.desk.run("enroll", done, "--with", "virtual", "--codes", "generated", "-r", rollout.recipient)
    assert enrolled.code == 0
    made = hand_over(rollout, "--deadline", "2999-12-01", "--output", "json")
    assert (made.code, "warning" in made.err) == (0, False), made.err
    found = json.loads(made.out)
    assert [(row["user"], row["reason"].partition(":")[0]) for row in found["left_out"]] == [
        (done, "they enrolled themselves")
    ]
    [row] = table(rollout)
    assert (row["user"], row["email"], row["file"], row["device"]) == (own, f"{own}@example.com", "", "")
    assert row["state"] == "self"
    folder = Path(row["letter"]).parent
    assert sorted(file.name for file in folder.iterdir()) == ["letter.html", "letter.txt"]
    text = " ".join((folder / "letter.txt").read_text().split())
    for said in (
        f"https://{ACCOUNT}.signin.aws.amazon.com/console",
        "https://console.aws.amazon.com/iam/home#/security_credentials",
        "Please do this by 1 Dec 2999.",
        '"Your MFA device", https://intranet.example.com/mfa',
        "send the message that you see, without codes and passwords, to it@example.com",
        "AWS rejects the codes: check that the phone sets its time automatically",
        f"--serial-number arn:aws:iam::{ACCOUNT}:mfa/{own} --token-code 123456",
    ):
        assert said in text
    waiting = json.loads(rollout.desk.run("rollout", "remind", rollout.file, "--output", "json").out)["rows"]
    assert [row["user"] for row in waiting] == [own]
    status = json.loads(rollout.desk.run("rollout", "status", rollout.file, "--output", "json").out)["rows"]
    assert [(row["user"], row["outcome"]) for row in status] == [(own, "waiting"), (done, "enrolled")]


def remove(rollout: Rollout, user: str) -> None:
    """Remove a user's device from another computer."""
    other = MfaKit(rollout.folder / "other", rollout.desk.env)
    assert other.process("revoke", user, "--yes", "--leave-without-mfa").code == 0


def configure(rollout: Rollout, text: str) -> None:
    (rollout.desk.home / "config.toml").write_text(text)


def test_only_virtual_devices_in_a_known_state_are_handed_over() -> None:
    """A key or token is given to its user. A device of another user, or one that is half-made, has no letter."""

    def entry(user: str, reached: JournalState = JournalState.CONFIRMED, method: Method = VIRTUAL) -> JournalEntry:
        spec = DeviceSpec(account=ACCOUNT, partition="aws", user=user, name=user, method=method, recipient="age1x")
        return JournalEntry(run="20261125T011906Z-ddc94635", spec=spec, reached=reached, backup="/b/1/2/3.png.age")

    entries = [
        entry("alice"),
        entry("bob", JournalState.STAGED),
        entry("carol", method=OATH),
        entry("dave", JournalState.CREATED),
        entry("erin"),
        entry("fay", JournalState.STAGED),
    ]
    holders = dict.fromkeys((each.spec.serial for each in entries), None) | {
        entries[0].spec.serial: "alice",
        entries[4].spec.serial: "mallory",
        entries[5].spec.serial: "fay",
    }

    def copies_of(known: JournalEntry) -> Copies:
        return Copies(user=f"/b/users/{ACCOUNT}/{known.spec.user}/{known.spec.name}-{known.run}.png.age")

    found, left_out = find_handovers(entries, holders=holders, emails={}, copies_of=copies_of)
    assert [(each.user, each.state.value) for each in found] == [("alice", "enrolled"), ("bob", "staged")]
    reasons = {each.user: each.reason for each in left_out}
    assert reasons["carol"] == "their device is a key or a token, so there is no file to send"
    for user in ("dave", "erin", "fay"):
        assert "is neither staged nor enabled for them" in reasons[user]


def test_a_folder_that_cannot_be_written_is_an_error(rollout: Rollout, people: People) -> None:
    """The folder above it is a file. Nothing remains."""
    prepare(rollout, people(1))
    done = hand_over(rollout, out="plan.json/out")
    assert (done.code, "cannot be written" in done.err) == (5, True), done.err


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    """Another process created it after the check."""
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageFault, match="already exists"):
        write_handover(tmp_path / "out", [])
    assert [*(tmp_path / "out").iterdir()] == []


KILLED = """
import os, signal, sys
from pathlib import Path
from mfa_kit.wiring.rollout import write_handover

def folders():
    yield "alice", {"letter.txt": b"Dear Alice"}
    os.kill(os.getpid(), signal.SIGKILL)

write_handover(Path(sys.argv[1]), folders())
"""


def test_a_killed_hand_over_leaves_no_folder(tmp_path: Path) -> None:
    """The next one beside it removes what was written. A failure in between leaves nothing either."""
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, out], check=False)
    assert (done.returncode, out.exists(), len([*tmp_path.iterdir()])) == (-9, False, 1)

    def failing() -> Iterator[tuple[str, dict[str, bytes]]]:
        yield "alice", {"letter.txt": b"Dear Alice"}
        raise IntegrityFault("the disk failed", "use another disk")

    with pytest.raises(IntegrityFault):
        write_handover(out, failing())
    assert [*tmp_path.iterdir()] == []
    write_handover(out, [("alice", {"letter.txt": b"Dear Alice"}), ("", {"handover.csv": b"user"})])
    assert sorted(str(each.relative_to(out)) for each in out.rglob("*")) == [
        "alice",
        "alice/letter.txt",
        "handover.csv",
    ]
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_nothing_to_hand_over_is_a_no(rollout: Rollout, people: People) -> None:
    """No folder is written."""
    rollout.plan(*people(1))
    done = hand_over(rollout)
    assert (done.code, (rollout.folder / "out").exists()) == (1, False)


def test_the_backup_folder_may_have_moved(rollout: Rollout, people: People) -> None:
    """`--backup-dir` names the new folder."""
    prepare(rollout, people(1))
    shutil.move(rollout.desk.home / "backups", rollout.folder / "moved")
    assert hand_over(rollout).code == 1
    shutil.rmtree(rollout.folder / "out")
    assert hand_over(rollout, "--backup-dir", rollout.folder / "moved").code == 0


def test_a_file_that_is_not_encrypted_is_not_handed_over(rollout: Rollout, people: People) -> None:
    """Someone put another file in the place of the encrypted one."""
    prepare(rollout, people(1))
    [file] = (each for each in (rollout.desk.home / "backups" / "users").rglob("*") if each.is_file())
    file.write_bytes(b"otpauth://")
    done = hand_over(rollout)
    assert (done.code, "is not an age file" in done.err) == (1, True)


# Templates


def test_errors_in_a_template_are_named_by_their_line(rollout: Rollout, people: People) -> None:
    """All at once, before anything is written."""
    prepare(rollout, people(1))
    template = rollout.folder / "letter.txt"
    template.write_text("# For $user\n\n$nmae\n[stged] later\n    age\ncosts $ 5\n## Steps\n1. a\n\ntext\n* a: b\n")
    done = hand_over(rollout, "--template", template)
    assert done.code == 2
    assert "letter.txt has 6 errors" in done.err
    for fault in (
        "line 3: $nmae is not a placeholder",
        "line 4: [stged] is not a condition",
        "line 5: an indented line is a command, and there is no step above it",
        "line 6: a $ without the name of a placeholder; write $$ for a $",
        "line 10: a paragraph has to be above the steps of its section",
        "line 11: a line that begins with '* ' has to be above the first section",
    ):
        assert fault in done.err
    assert not (rollout.folder / "out").exists()
    template.write_text("Dear $user\n")
    assert "line 1: a template has exactly one title" in hand_over(rollout, "--template", template).err
    template.write_bytes(b"# \xff\n")
    assert "is not UTF-8" in hand_over(rollout, "--template", template).err
    template.write_text("# For $user\n" + "\N{EURO SIGN}" * 350_000)
    assert "is larger than 1 MiB" in hand_over(rollout, "--template", template).err
    assert "cannot be read" in hand_over(rollout, "--template", rollout.folder / "none").err


def test_a_template_of_the_configuration_is_used(rollout: Rollout, people: People) -> None:
    """`--template` has precedence."""
    (user,) = people(1)
    prepare(rollout, [user])
    first, second = rollout.folder / "first.txt", rollout.folder / "second.txt"
    first.write_text("# First for $user\n")
    second.write_text("# Second for $user\n")
    configure(rollout, f'letter-template = "{first}"\n')
    assert hand_over(rollout, out="a").code == hand_over(rollout, "--template", second, out="b").code == 0
    assert (rollout.folder / "a" / user / "letter.txt").read_text().startswith(f"First for {user}\n=====")
    assert (rollout.folder / "b" / user / "letter.txt").read_text().startswith(f"Second for {user}\n=====")


TEMPLATE = packaged_text("rollout/handover_letter.md")
VALUES = dict.fromkeys(NAMES, "")
SENDER = dict.fromkeys(("company", "contact", "help_page", "deadline"), "")


def filled(text: str, **values: str) -> Letter:
    return parse_template(text, names=NAMES, source="t").fill({**VALUES, **values})


def test_a_template_becomes_a_letter() -> None:
    """Title, paragraphs of several lines, facts, sections, steps with commands, conditions, and $$."""
    text = (
        "# For $user\nOne\nparagraph\n\nanother\n* File: $file\n[deadline] * Until: $deadline\n"
        "[staged] ## Prove\n1. never\n    never\n"
        "## Open\nBefore\n1. First\ncontinued\n    age $$HOME\n    second\n2) Second\n"
        "[no contact] 3. Ask someone\n[contact] 3. Ask $contact\n"
    )
    assert filled(text, user="alice", file="f") == Letter(
        title="For alice",
        paragraphs=("One paragraph", "another"),
        facts=(("File", "f"),),
        sections=(
            LetterSection(
                title="Open",
                paragraphs=("Before",),
                steps=(
                    LetterStep(text="First continued", commands=("age $HOME", "second")),
                    LetterStep(text="Second"),
                    LetterStep(text="Ask someone"),
                ),
            ),
        ),
    )
    last = filled(text, contact="it").sections[-1].steps[-1]
    assert last == LetterStep(text="Ask it")


def test_a_step_is_left_out_with_its_commands() -> None:
    """The commands and the text of a step that is left out do not become those of the step before it."""
    text = "# Title\n## Do\n1. First\n    one\n[staged] 2. Second\ncontinued\n    two\n3. Third\n    three\n"
    first, third = LetterStep(text="First", commands=("one",)), LetterStep(text="Third", commands=("three",))
    assert filled(text).sections[0].steps == (first, third)
    second = LetterStep(text="Second continued", commands=("two",))
    assert filled(text, staged="yes").sections[0].steps == (first, second, third)


def test_each_command_is_a_line_of_the_page() -> None:
    """The commands of a step are copied together. A line break in a value is shown as text."""
    page = letter_page(filled("# Title\n## Do\n1. First\n    age $file && $$x\n    second\n", file="a\nb"))
    assert "<pre>age a\\nb &amp;&amp; $x\nsecond</pre>" in page


@given(st.dictionaries(st.sampled_from(NAMES), st.text(min_size=1, max_size=90)))
def test_names_cannot_change_a_letter(values: dict[str, str]) -> None:
    """Fuzzed: the page has only its own elements, and the text only its own lines."""
    letter, plain = filled(TEMPLATE, **values), filled(TEMPLATE, **dict.fromkeys(values, "x"))
    page = letter_page(letter)
    for mark in ("<h1", "<h2", "<p", "<li", "<pre", "<td", "<script", "<style"):
        assert page.count(mark) == letter_page(plain).count(mark)
    for line in letter_text(letter).splitlines():
        assert not any(map(is_control, line))  # a no-break space is not printable for Python, but does no harm
        assert (
            len(line) <= WIDTH
            or " " not in line[4 : WIDTH + 1]
            or line.startswith(("      ", *(label for label, _ in letter.facts)))
        )


@given(
    st.text()
    | st.lists(st.sampled_from(["# a", "## b", "1. c", "    d", "* e: f", "g", "", "[staged] h", "$user"])).map(
        "\n".join
    )
)
def test_any_template_is_parsed_or_refused_by_line(text: str) -> None:
    """Fuzzed: there is a letter, or an error whose notes name lines."""
    try:
        letter = filled(text, user="alice")
    except UsageFault as error:
        said = error.__notes__
    else:
        said = []
        assert letter_page(letter)
        assert letter_text(letter).endswith("\n")
    assert all(note.startswith("line ") for note in said)
