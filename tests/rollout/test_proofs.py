"""Remote proofs: codes that users send, whose search, time and clock decide whether a device is enabled."""

import json
import signal
import subprocess
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.cli import terminal
from mfa_kit.core.errors import Lockout, UsageFault
from mfa_kit.core.otp import Seed
from mfa_kit.lab.aws.mfa_devices import DeviceCodes, LabSettings, StsCodes
from mfa_kit.rollout import proofs
from mfa_kit.rollout.proofs import (
    AppProof,
    ProofLine,
    ReadTime,
    find_code,
    find_pairs,
    judge,
    prove,
    read_proofs,
)
from tests.conftest import ACCOUNT, Result
from tests.rollout.conftest import Rollout
from tests.tokens.person import Person

People = Callable[[int], list[str]]
SEED = Seed(bytes(range(40)))
SECRET = "AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYPSAIJCEMSCKJRH"
NOW = 1_800_000_000.0 + 7


def code(at: float, *, ahead: float = 0) -> str:
    """Return the code that a phone shows at a time, if its clock is `ahead` seconds ahead. pyotp computes it."""
    return pyotp.TOTP(SECRET).at(int(at + ahead))


def pair(at: float, *, ahead: float = 0) -> tuple[str, str]:
    return code(at - 30, ahead=ahead), code(at, ahead=ahead)


def line(codes: tuple[str, ...], at: float | None = None, *, within: float = 0, number: int = 1) -> ProofLine:
    read = None if at is None else ReadTime(at, within)
    return ProofLine(number=number, user="alice", codes=codes, read=read)


def refused(one: ProofLine, *, now: float = NOW, accept_unknown: bool = False) -> str:
    with pytest.raises(Lockout) as error:
        judge(one, SEED, now=now, accept_unknown=accept_unknown)
    assert error.value.hint
    return str(error.value)


# The search


@given(st.integers(0, 5000), st.integers(2, 60), st.data())
def test_each_pair_in_the_range_is_found(start: int, length: int, data: st.DataObject) -> None:
    """Only every other code is computed, but each pair is found, in both orders. pyotp makes the codes."""
    steps = range(start, start + length)
    last = data.draw(st.integers(start + 1, start + length - 1))
    first, second = (pyotp.HOTP(SECRET).at(at) for at in (last - 1, last))
    assert last in find_pairs(SEED, first, second, steps)
    assert last in find_pairs(SEED, second, first, steps)
    assert [*find_pairs(SEED, first, second, range(start, last))] == []
    assert [*find_pairs(SEED, first, second, range(last, start + length))] == []


def test_other_pairs_are_not_found() -> None:
    """Codes with one code between them are not consecutive, and one code twice is not a pair."""
    codes = [pyotp.HOTP(SECRET).at(at) for at in range(100)]
    for at in (40, 41):
        assert [*find_pairs(SEED, codes[at], codes[at + 2], range(100))] == []
        assert [*find_pairs(SEED, codes[at], codes[at], range(100))] == []
    assert [*find_pairs(SEED, codes[1], codes[2], range(3))] == [2]
    assert [*find_code(SEED, codes[40], range(100))] == [40]


# The decision


@given(
    ahead=st.integers(-400, 400),
    delay=st.integers(0, 6 * 24 * 3600),
    read=st.integers(1_800_000_000, 1_800_000_600),
    whole=st.booleans(),
    later=st.integers(0, 600),
)
def test_an_accepted_user_can_sign_in(ahead: int, delay: int, read: int, whole: bool, later: int) -> None:
    """If the time is right, the lab's STS accepts the phone's codes at any time. A good clock is never refused."""
    noted, within = (read - read % 60, 59) if whole else (read, 0)
    one = line(pair(read, ahead=ahead), noted, within=within)
    try:
        proof = judge(one, SEED, now=read + delay, accept_unknown=False)
    except Lockout:
        assert abs(ahead) > 30
        return
    assert proof.offset is not None
    assert abs(proof.offset - ahead) <= 45
    sts = StsCodes()
    sts.bind("serial", "alice", DeviceCodes(SECRET, skew=proof.skew), now=0)
    at = read + delay + later
    assert sts.refusal("serial", code(at, ahead=ahead), user="alice", now=at, settings=LabSettings()) == ""


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (-300, "AWS would refuse the codes: the phone's clock is about 5 minutes behind, or the time was noted later"),
        (-3 * 24 * 3600, "the phone's clock is about 3 days behind"),
        (90, "AWS would refuse the codes: the phone's clock is about 100 s ahead"),
        (60, "AWS would refuse the codes: the phone's clock is about 70 s ahead"),
    ],
)
def test_a_wrong_clock_is_refused_with_its_offset(ahead: int, said: str) -> None:
    """The message was underway for an hour, which does not matter."""
    read = NOW - 3600
    assert said in refused(line(pair(read, ahead=ahead), read))
    assert refused(line(pair(read, ahead=ahead), read)).endswith("ahead" if ahead > 0 else "later than the codes")
    with pytest.raises(Lockout) as error:
        judge(line(pair(read, ahead=ahead), read), SEED, now=NOW, accept_unknown=True)
    assert "let the phone set its time automatically" in error.value.hint


def test_codes_that_are_not_due_yet_are_refused_in_any_case() -> None:
    """The user took the time from the phone, or gave none: the clock is ahead nevertheless."""
    for at in (None, NOW + 20, NOW + 300):
        said = refused(line(pair(NOW, ahead=300), at), accept_unknown=True)
        late = "AWS expects these codes later, so the phone's clock is at least 5 minutes ahead"
        assert said.startswith((late, "the time is in the future"))


WEEK = 604_800


def test_the_search_is_from_seven_days_ago_to_an_hour_ahead() -> None:
    """Codes outside are not found. In an hour ahead they are found, and refused."""
    old = NOW - WEEK + 60  # numbers, not the limits of the program, which could be wrong
    assert judge(line(pair(old), old), SEED, now=NOW, accept_unknown=False).skew == 0
    assert "never shows these two codes" in refused(line(pair(NOW - WEEK - 90), NOW - WEEK + 30))
    assert "more than 7 days ago" in refused(line(pair(NOW - WEEK - 90), NOW - WEEK - 90))
    assert "never shows these two codes" in refused(line(pair(NOW - WEEK), NOW - WEEK))
    assert "never shows these two codes" in refused(line(pair(NOW - WEEK - 90), NOW - WEEK - 30, within=59))
    assert "60 minutes ahead" in refused(line(pair(NOW + 3600), NOW))
    assert "never shows these two codes" in refused(line(pair(NOW + 3630), NOW))


def test_a_time_up_to_thirty_seconds_ahead_of_aws_counts() -> None:
    """The clock of the person who notes the time may be ahead too."""
    assert judge(line(pair(NOW), NOW + 30), SEED, now=NOW, accept_unknown=False).skew == -1
    assert refused(line(pair(NOW), NOW + 31)) == "the time is in the future"
    assert judge(line(pair(NOW, ahead=30), NOW), SEED, now=NOW, accept_unknown=False).skew == 1


def test_the_steps_nearest_to_the_time_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """If codes match at several times, those that are not next to the time of the line match by chance."""
    step = int(NOW) // 30
    monkeypatch.setattr(proofs, "find_pairs", lambda *_: iter([step - 100, step - 1, step - 41]))
    read = NOW - 41 * 30
    assert judge(line(pair(NOW), read), SEED, now=NOW, accept_unknown=False).skew == 0


# At the beginning of a step and of a minute. A time without seconds may mean any second of its minute.
MINUTE = 1_799_996_400.0


@pytest.mark.parametrize(("ahead", "skew"), [(-60, None), (-30, -1), (0, 0), (30, 0), (60, 1), (90, None)])
def test_a_time_without_seconds_allows_three_steps(ahead: int, skew: int | None) -> None:
    """The smallest offset that is possible may be one step, and the largest two."""
    codes = line(pair(MINUTE + ahead), MINUTE, within=59)
    if skew is None:
        assert refused(codes).startswith("AWS would refuse the codes")
    else:
        assert judge(codes, SEED, now=NOW, accept_unknown=False) == AppProof(ahead - 14.5, skew)


def test_an_offset_of_three_steps_is_refused_although_a_smaller_one_is_possible() -> None:
    """AWS accepts two steps at sign-in."""
    assert refused(line(pair(MINUTE + 90), MINUTE + 20, within=59)).startswith("AWS would refuse the codes")


def test_without_the_time_the_clock_is_unknown() -> None:
    """It has to be accepted. A delay and a slow clock look the same."""
    one = line(pair(NOW - 3600))
    assert refused(one).startswith("clock unknown")
    assert judge(one, SEED, now=NOW, accept_unknown=True) == AppProof(None)
    assert str(AppProof(None)) == "clock unknown"


def test_a_single_code_counts_only_with_its_time() -> None:
    """Within 10 minutes, and if AWS tolerates the clock."""
    read = NOW - 3600
    assert judge(line((code(read),), read), SEED, now=NOW, accept_unknown=False).skew == 0
    assert "only together with its time" in refused(line((code(read),)), accept_unknown=True)
    assert "about 9 minutes behind" in refused(line((code(read - 540),), read))
    assert "about 10 minutes behind" in refused(line((code(read - 600),), read))
    assert "within 10 minutes" in refused(line((code(read - 630),), read))
    assert "about 10 minutes ahead" in refused(line((code(read + 600),), read))
    assert "within 10 minutes" in refused(line((code(read + 630),), read))
    assert "about 11 minutes ahead" in refused(line((code(read + 659),), read, within=59))
    assert "within 10 minutes" in refused(line((code(read + 689),), read, within=59))


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (("12345", "123456"), "a spreadsheet may have removed zeros"),
        (("abcdef", "123456"), "that is not 6 digits"),
        (("123456", "123456"), "both codes are the same"),
        (("123456", "654321"), "never shows these two codes"),
        (("cccccccccccccccccccccccccccccccccccc", "1"), "typed by a YubiKey"),
    ],
)
def test_wrong_codes_are_explained(codes: tuple[str, ...], said: str) -> None:
    """The message does not repeat the codes."""
    message = refused(line(codes, NOW))
    assert said in message
    assert not any(len(each) > 5 and each in message for each in codes)


def test_one_good_line_of_a_user_is_enough() -> None:
    """All lines are named if none is good."""
    bad, good = line(("111111", "222222"), NOW, number=3), line(pair(NOW), NOW, number=4)
    assert prove([bad, good], SEED, now=NOW, accept_unknown=False).skew == 0
    with pytest.raises(Lockout, match=r"line 3: .*; line 5: the line has no code"):
        prove(
            [bad, ProofLine(number=5, user="alice", fault="the line has no code")], SEED, now=NOW, accept_unknown=False
        )


# The file


def test_lines_are_read_with_and_without_a_header() -> None:
    """In any order of columns, with codes in groups, and the time with or without seconds."""
    at = datetime(2026, 11, 26, 8, 32, 10, tzinfo=UTC).timestamp()
    expected = [
        ProofLine(number=2, user="alice", codes=("123 456", "000001"), read=ReadTime(at, 0)),
        ProofLine(number=3, user="bob", codes=("123456",), read=ReadTime(at - 10, 59)),
        ProofLine(number=4, user="carol", codes=("123456", "234567")),
    ]
    headed = (
        "Time;User;remark;code2;code1\n2026-11-26T09:32:10+01:00;alice;x;000001;123 456\n"
        '2026-11-26 08:32 Z;bob;;;="123456"\n;carol;;234567;123456\n'
    )
    assert read_proofs(headed) == expected
    plain = "alice,123 456,000001,2026-11-26 09:32:10 +01:00\nbob,123456,2026-11-26T08:32Z\ncarol,123456,234567\n"
    assert read_proofs(plain) == [
        ProofLine(number=one.number - 1, user=one.user, codes=one.codes, read=one.read) for one in expected
    ]


def test_only_the_first_line_can_be_a_header() -> None:
    """A user may be called `user`. A byte order mark comes before a header that a spreadsheet wrote."""
    user = ProofLine(number=2, user="user", codes=("123456",))
    assert read_proofs("alice,234567\nuser,123456\n")[1] == user
    assert read_proofs("user,code1\nuser,123456\n") == [user]
    assert read_proofs("\ufeffuser,code1\nuser,123456\n") == [user]


def test_cells_can_be_missing_at_the_end_of_a_line() -> None:
    """They count as empty. A time in two cells is one time."""
    assert read_proofs("user,code1,code2,time\nalice,123456\n") == [
        ProofLine(number=2, user="alice", codes=("123456",))
    ]
    (lacking,) = read_proofs("user,code1\nalice\n")
    assert (lacking.user, lacking.fault) == ("alice", "the line has no code")
    (lacking,) = read_proofs("code1,user\n123456\n")
    assert (lacking.user, lacking.fault) == ("", "the line has no user")
    at = datetime(2026, 11, 26, 8, 32, tzinfo=UTC).timestamp()
    (split,) = read_proofs("alice,123456,2026-11-26,08:32Z\n")
    assert split.read == ReadTime(at, 59)


@pytest.mark.parametrize(
    ("text", "user", "fault"),
    [
        ("alice", "alice", "the line has no code"),
        (",123456,234567", "", "the line has no user"),
        ("alice,1,2,3", "alice", "the line has more than two codes"),
        ("alice,123456,234567,yesterday", "alice", "the time cannot be read"),
        ("alice,123456,234567,2026-11-26", "alice", "the date has no time"),
        ("alice,123456,234567,2026-11-26T09:32", "alice", "has no time zone"),
        ('alice,"123456', "", "the CSV is broken"),
    ],
)
def test_a_wrong_line_says_why(text: str, user: str, fault: str) -> None:
    """The line before it is read."""
    first, second = read_proofs(f"bob,123456,234567\n{text}\n")
    assert (first.fault, second.number, second.user) == ("", 2, user)
    assert fault in second.fault
    assert "234567" not in second.fault


def test_a_file_without_lines_or_codes_is_refused() -> None:
    """The hint has the columns."""
    for text in ("", "user,code1,code2,time\n", "user,first,second\nalice,1,2\n"):
        with pytest.raises(UsageFault) as error:
            read_proofs(text)
        assert "user,code1,code2,time" in error.value.hint


@given(st.text() | st.lists(st.lists(st.text())).map(lambda rows: "user,code1,time\n" + "\n".join(map(",".join, rows))))
def test_any_file_gives_lines_or_an_error(text: str) -> None:
    """Fuzzed: users and faults are printable, and each line is a proof or is refused."""
    try:
        lines = read_proofs(text)
    except UsageFault:
        lines = []
    for one in lines:
        assert not [char for char in one.user + one.fault if unicodedata.category(char).startswith("C")]
        with pytest.raises(Lockout):
            judge(one, SEED, now=NOW, accept_unknown=False)


# The command


def activate(rollout: Rollout, identity: Path, *more: str | Path) -> Result:
    return rollout.desk.run("rollout", "activate", "-i", identity, *more)


def send(rollout: Rollout, *lines: str) -> Path:
    file = rollout.folder / "proofs.csv"
    file.write_text("\n".join(["user,code1,code2,time", *lines]) + "\n")
    return file


def codes_of(rollout: Rollout, user: str, at: float) -> str:
    """Return the codes that Debian's oathtool shows for a user's device at a time, and before it."""
    secret = rollout.lab.seed(f"arn:aws:iam::{ACCOUNT}:mfa/{user}").hex()
    return ",".join(
        subprocess.run(
            ["oathtool", "--totp", "-N", f"@{int(when)}", secret], check=True, capture_output=True, text=True
        ).stdout.strip()
        for when in (at - 30, at)
    )


def written(at: float) -> str:
    return datetime.fromtimestamp(at, timezone(timedelta(hours=1))).isoformat(timespec="seconds")


def stage(rollout: Rollout, users: list[str]) -> None:
    rollout.enroll(users, "--stage")


def holders(rollout: Rollout, users: list[str]) -> list[str]:
    """Return those of the users whose device is enabled."""
    return [user for user in users if rollout.lab.assigned(f"arn:aws:iam::{ACCOUNT}:mfa/{user}") == user]


def test_only_users_whose_app_works_get_their_device(rollout: Rollout, people: People, identity_file: Path) -> None:
    """Each wrong line costs only its user, and says why. A second run with more lines continues."""
    good, single, slow, fast, other, unclear, silent = users = people(7)
    stage(rollout, users)
    now = datetime.now(UTC).timestamp()
    read = now - 2 * 24 * 3600
    one_code = codes_of(rollout, single, read).split(",")[1]
    file = send(
        rollout,
        f"{good.upper()},{codes_of(rollout, good, read)},{written(read)}",
        f"{single},{one_code},,{written(read)}",
        f"{slow},{codes_of(rollout, slow, read - 600)},{written(read)}",
        f"{fast},{codes_of(rollout, fast, now + 600)},{written(now + 600)}",
        f"{other},{codes_of(rollout, good, read)},{written(read)}",
        f"{unclear},{codes_of(rollout, unclear, read)},",
        f"nobody,{codes_of(rollout, good, read)},{written(read)}",
        ",123456,234567,",
    )
    dry = activate(rollout, identity_file, "--proofs", file, "--dry-run")
    assert (dry.code, holders(rollout, users)) == (6, [])
    done = activate(rollout, identity_file, "--proofs", file, "--output", "json")
    assert done.code == 6
    found = json.loads(done.out)
    assert found["counts"] == {"enrolled": 2, "failed": 2, "refused": 4}
    rows: dict[str, dict[str, Any]] = {row["user"]: row for row in found["rows"]}
    assert holders(rollout, users) == [good, single]
    assert silent not in rows
    assert abs(rows[good]["clock_offset"]) <= 30
    assert rows[good]["reason"] == "the phone's clock is right to within 30 s"
    assert "line 4: AWS would refuse the codes: the phone's clock is about 10 minutes behind" in rows[slow]["reason"]
    assert "line 5: the time is in the future" in rows[fast]["reason"]
    assert "line 6: in the last 7 days and the next hour" in rows[other]["reason"]
    assert "line 7: clock unknown" in rows[unclear]["reason"]
    assert "line 8: no device is staged for this user" in rows["nobody"]["reason"]
    assert rows["line 9"]["reason"] == "line 9: the line has no user"
    assert "123456" not in done.out + done.err
    again = activate(rollout, identity_file, "--proofs", file, "--accept-unknown-clock", "--output", "json")
    rows = {row["user"]: row for row in json.loads(again.out)["rows"]}
    assert (rows[unclear]["outcome"], rows[unclear]["clock_offset"]) == ("enrolled", None)
    assert (rows[unclear]["reason"], rows[good]["outcome"]) == ("clock unknown", "enrolled")
    assert rows[good]["reason"].startswith("by run ")
    assert holders(rollout, users) == [good, single, unclear]
    table = rollout.desk.run("rollout", "remind", rollout.file, "--output", "json").out
    assert [row["user"] for row in json.loads(table)["rows"]] == [slow, fast, other, silent]


@pytest.mark.slow
def test_a_user_with_very_many_lines_holds_up_no_one(rollout: Rollout, people: People, identity_file: Path) -> None:
    """The user is refused without a search. SIGTERM ends the command after the users in progress."""
    spammer, *others = users = people(4)
    for some in ([spammer], others):  # activated in the order in which they were staged
        stage(rollout, some)
    at = written(datetime.now(UTC).timestamp())
    file = send(
        rollout, *[f"{spammer},123456,234567,{at}"] * 100_000, *[f"{user},123456,234567,{at}" for user in others] * 40
    )
    words = ("rollout", "activate", "--proofs", file, "-i", identity_file, "--output", "jsonl", "--workers", "1")
    process = rollout.desk.fork(*words)
    assert process.stdout
    first = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (first["user"], process.returncode) == (spammer, 130), err
    assert first["reason"].startswith("the file has more than 50 lines for this user")
    assert holders(rollout, users) == []


def test_fifty_lines_of_a_user_are_enough() -> None:
    """With one more, none of them is read, not even one that is a proof."""
    wrong, right = line((code(NOW), code(NOW)), NOW), line(pair(NOW), NOW)
    assert prove([*[wrong] * 49, right], SEED, now=NOW, accept_unknown=False).skew == 0
    with pytest.raises(Lockout, match="more than 50 lines"):
        prove([*[wrong] * 50, right], SEED, now=NOW, accept_unknown=False)


def test_all_proofs_are_good(rollout: Rollout, people: People, identity_file: Path) -> None:
    """The exit code is 0, and `--only` restricts the users. A clock that is a step ahead is stored by IAM."""
    users = people(3)
    stage(rollout, users)
    read = datetime.now(UTC).timestamp() - 3600
    read += 15 - read % 30
    lines = [f"{user},{codes_of(rollout, user, read + 30)},{written(read)}" for user in users]
    file = send(rollout, *lines)
    assert activate(rollout, identity_file, "--proofs", file, "--only", users[0]).code == 0
    assert holders(rollout, users) == users[:1]
    assert activate(rollout, identity_file, "--proofs", file).code == 0
    rollout.works(users)
    serials = [f"arn:aws:iam::{ACCOUNT}:mfa/{user}" for user in users]
    skews = {rollout.lab.account_of(serial).backend.codes(serial).skew for serial in serials}
    assert skews <= {0, 1}  # a step may end between the computation and the request
    assert 1 in skews


def test_a_user_reads_codes_on_the_phone(rollout: Rollout, people: People, identity_file: Path) -> None:
    """`--prompt` asks the admin for two codes until they are right, and then enables the device."""
    user, other = people(2)
    stage(rollout, [user, other])

    class OnThePhone(Person):
        """Hears a wrong code first, and then the codes of now and of the next step."""

        def ask_code(self, prompt: str, *, instead: str, seconds_left: Callable[[], float] | None = None) -> str:
            self.asked.append(prompt)
            before, now = codes_of(rollout, user, datetime.now(UTC).timestamp()).split(",")
            return ["000000", before, now][len(self.asked) - 1]

    person = OnThePhone()
    with mock.patch.object(terminal, "find_person", return_value=person):
        done = activate(rollout, identity_file, "--prompt", user.upper(), "--output", "json")
    assert done.code == 0, done.err
    assert person.asked == ["first code", "first code", "second code"]
    assert person.told[0].startswith(f"ask {user} for two consecutive codes")
    [row] = json.loads(done.out)["rows"]
    assert (row["outcome"], row["clock_offset"]) == ("enrolled", 0)
    assert holders(rollout, [user, other]) == [user]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--prompt", "nobody"), 2, "the ledger has no staged devices for nobody"),
        (("--prompt", "nobody", "--only", "a"), 2, "--prompt names the only user"),
        (("--accept-unknown-clock",), 2, "works only with --proofs"),
        (("--proofs", "missing.csv"), 2, "missing.csv cannot be read"),
    ],
)
def test_wrong_options_are_explained(
    rollout: Rollout, identity_file: Path, more: tuple[str, ...], code: int, said: str
) -> None:
    """Nothing is asked and nothing is enabled."""
    done = activate(rollout, identity_file, *more)
    assert (done.code, said in done.err) == (code, True), done.err


def test_without_a_terminal_no_codes_are_asked(rollout: Rollout, people: People, identity_file: Path) -> None:
    """The device stays staged."""
    users = people(1)
    stage(rollout, users)
    done = activate(rollout, identity_file, "--prompt", users[0], "--no-input")
    assert (done.code, "--proofs FILE" in done.err, holders(rollout, users)) == (8, True, [])


def test_users_without_a_file_of_their_own_are_named(rollout: Rollout, people: People, identity_file: Path) -> None:
    """Nothing shows that they have the secret, unless two codes are required."""
    plain, own = users = people(2)
    rollout.plan(plain, *rollout.own([own]), columns="user,recipient")
    assert rollout.apply("--stage", "--accept-lockout").code == 0
    words = ("rollout", "activate", "-i", identity_file, "--dry-run")
    said = rollout.desk.run(*words).err
    assert f"warning: 1 user without a public key ({plain}) cannot sign in if they have neither the secret" in said
    proofs = send(rollout, *(f"{user},123456,234567,{written(datetime.now(UTC).timestamp())}" for user in users))
    assert "without a public key" not in rollout.desk.run(*words, "--proofs", proofs).err
