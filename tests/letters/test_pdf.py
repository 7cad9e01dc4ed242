"""Letters as PDF: what poppler and zbarimg find in them, on both sizes of paper."""

import os
import re
import subprocess
import unicodedata
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from PIL import Image

from mfa_kit.adapters.printing import pdf
from mfa_kit.adapters.printing.pdf import break_lines, draw_pdf, load_fonts
from mfa_kit.break_glass import drilling
from mfa_kit.break_glass.creating import NewCustodian, custodian_letter
from mfa_kit.break_glass.custodians import Custodian, Group, Manifest
from mfa_kit.break_glass.drilling import DrillResult, drill_protocol
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.letter import Letter, LetterSection, LetterStep, fill_template
from mfa_kit.core.otp import Secret
from mfa_kit.letters.sheet import Paper, PrintedSecret, Sheet, grouped_lines, pin_letter
from mfa_kit.rollout.handover_letter import NAMES
from mfa_kit.wiring.files import letter_printer, packaged_text
from tests.conftest import judge
from tests.letters.judges import codes_in, pictures_of, size_of, text_of, words_of

CUSTODIANS = tuple(Custodian(name, f"age1{name}") for name in ("alice", "bob", "carol", "dave", "erin"))
RECOVERY_KEY = Manifest(recipient=f"age1{'q' * 58}", made=0, group=Group(3, CUSTODIANS))
CUSTODIAN, DRILL = packaged_text("break_glass/custodian_letter.md"), packaged_text("break_glass/drill_protocol.md")
PIN = packaged_text("letters/pin.md")
MARGIN = 19 / 216  # a little less than 20 mm on the wider paper


def new_custodian(name: str = "carol") -> NewCustodian:
    identity = pyrage.x25519.Identity.generate()
    return NewCustodian(name=name, key=str(identity.to_public()), identity=Secret(str(identity)))


def drawn(sheet: Sheet, folder: Path, paper: Paper = Paper.A4) -> Path:
    file = folder / "letter.pdf"
    file.write_bytes(draw_pdf(sheet, paper).reveal())
    return file


def plain(title: str, *paragraphs: str, facts: tuple[tuple[str, str], ...] = ()) -> Sheet:
    return Sheet(letter=Letter(title=title, paragraphs=paragraphs, facts=facts))


@pytest.mark.parametrize("paper", Paper)
def test_a_custodians_identity_is_scanned_and_read(paper: Paper, tmp_path: Path) -> None:
    """The QR code, read at 150 dpi, and the groups of the text are both the identity, on either paper."""
    custodian = new_custodian()
    file = drawn(custodian_letter(custodian, RECOVERY_KEY, text=CUSTODIAN, date="2026-11-27"), tmp_path, paper)
    pages, *size = size_of(file)
    assert (pages, size) == (2, [595.276, 841.89] if paper is Paper.A4 else [612, 792])
    first, second = pictures_of(file)
    assert codes_in(first) == [custodian.identity.reveal()]
    assert codes_in(second) == []
    text = text_of(file)
    groups = re.findall(r"^ *([A-Z0-9-]{2,4}(?: [A-Z0-9-]{1,4}){0,3}) +[0-9a-f]{4}$", text, re.MULTILINE)
    assert "".join(groups).replace(" ", "") == custodian.identity.reveal()
    for said in (custodian.key, RECOVERY_KEY.recipient, "3 of 5: alice, bob, carol, dave, erin", "2026-11-27"):
        assert said in text


def test_the_commands_of_a_letter_work_with_age_alone(tmp_path: Path) -> None:
    """age-keygen prints the public key, and the command for the check words prints those of the letter."""
    custodian = new_custodian()
    sheet = custodian_letter(custodian, RECOVERY_KEY, text=CUSTODIAN, date="2026-11-27")
    typed = tmp_path / "carol.txt"
    typed.write_text(f"{custodian.identity.reveal()}\n")
    enter = sheet.letter.sections[0].steps
    commands = [each.replace("/dev/shm/carol.txt", str(typed)) for step in enter for each in step.commands]
    environment = {**os.environ, "PATH": f"{Path(judge('age-keygen')).parent}:{os.environ['PATH']}"}

    def printed(command: str) -> list[str]:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env=environment)
        return done.stdout.split()

    assert printed(commands[3]) == [custodian.key]
    assert printed(commands[4]) == [check for _, check in grouped_lines(custodian.identity).reveal()]
    typed.write_text(custodian.identity.reveal())  # a reader of QR codes ends no line
    assert printed(commands[4]) == [check for _, check in grouped_lines(custodian.identity).reveal()]
    assert "Ctrl-D" in enter[0].text
    wrong = typed.read_text().replace(typed.read_text()[20], "b", 1)
    typed.write_text(wrong)
    checks = [check for _, check in grouped_lines(custodian.identity).reveal()]
    assert [a != b for a, b in zip(printed(commands[4]), checks, strict=True)].count(True) == 1


def test_the_layers_in_a_letter_are_those_of_a_set() -> None:
    """The example names the custodian and as many others as are needed, in the order in which they decrypt."""
    [_, _, without, _] = custodian_letter(new_custodian("erin"), RECOVERY_KEY, text=CUSTODIAN, date="").letter.sections
    pipe = (
        "age -d -i /dev/shm/alice.txt set-NN-alice-bob-erin.age"
        " | age -d -i /dev/shm/bob.txt | age -d -i /dev/shm/erin.txt"
    )
    assert without.steps[0].commands == ("umask 077", f"{pipe} > /dev/shm/identity.txt")
    alone = replace(RECOVERY_KEY, group=Group(1, CUSTODIANS))
    letter = custodian_letter(new_custodian("erin"), alone, text=CUSTODIAN, date="").letter
    assert letter.sections[2].steps[0].commands[1].startswith("age -d -i /dev/shm/erin.txt set-NN-erin.age >")
    assert "This key alone is enough" in letter.paragraphs[1]


def test_a_pin_is_in_groups_of_four(tmp_path: Path) -> None:
    """There is no QR code, because a PIN is typed. The address of the page for users is on the letter."""
    page = "https://intranet.example.com/mfa"
    letter = pin_letter("Key of 5 m, KEY-7", Secret("12345678"), text=PIN, date="2026-11-27", help_page=page)
    file = drawn(letter, tmp_path)
    assert page in text_of(file)
    assert "1234 5678" in text_of(file)
    assert "Key of 5 m, KEY-7" in text_of(file)
    assert [code for page in pictures_of(file) for code in codes_in(page)] == []


def test_a_protocol_has_a_line_to_sign_for_each_custodian(tmp_path: Path) -> None:
    """A failed drill names the faults. A drill in which no backup was opened failed too."""
    names, opened = ("alice", "bob", "carol"), [drilling.Tested(Path("/b/x.png.age"))] * 3
    result = DrillResult(tested=opened, compared=(), faults=())
    file = drawn(drill_protocol(result, names, RECOVERY_KEY, text=DRILL, date="2026-11-27"), tmp_path)
    text = text_of(file)
    assert "passed" in text
    assert text.count("date") == 3
    signed = [line.split()[0] for line in text.splitlines() if line.endswith("date")]
    assert signed == ["alice", "bob", "carol"]
    fault = "/b/x.png.age is damaged"
    failed = DrillResult(tested=[*opened[:2], replace(opened[2], fault=fault)], compared=("root",), faults=[fault])
    text = text_of(drawn(drill_protocol(failed, names, RECOVERY_KEY, text=DRILL, date="2026-11-27"), tmp_path))
    for said in ("failed", "2 of 3 opened", "1.", "/b/x.png.age is damaged", "root"):
        assert said in text
    nothing = DrillResult(tested=[], compared=(), faults=())
    letter = drill_protocol(nothing, names, RECOVERY_KEY, text=DRILL, date="2026-11-27").letter
    assert dict(letter.facts)["Result"] == "failed"


LONG = "Anne-Marie" * 12


@pytest.mark.parametrize("paper", Paper)
def test_long_names_stay_between_the_margins(paper: Paper, tmp_path: Path) -> None:
    """They are broken anywhere if they have no spaces, in titles, facts, paragraphs, steps and signatures."""
    step = LetterStep(text=LONG, commands=(f"mfa-kit status --user {LONG}",))
    sheet = Sheet(
        letter=Letter(
            title=LONG,
            paragraphs=(LONG * 2,),
            facts=(("User", LONG), (LONG, LONG)),
            sections=(LetterSection(title=LONG, paragraphs=(LONG,), steps=(step,)),),
        ),
        secret=PrintedSecret(label=LONG, text=Secret("1" * 8)),
        signers=(LONG,),
    )
    file = drawn(sheet, tmp_path, paper)
    words = words_of(file)
    assert min(left for left, _, _ in words) >= MARGIN
    assert max(right for _, right, _ in words) <= 1 - MARGIN
    assert "".join(word for _, _, word in words).count("Anne") >= 10
    for page in pictures_of(file):
        with Image.open(page) as picture:
            ink = picture.point(lambda value: 255 if value < 128 else 0).getbbox()
            assert ink is not None
            assert ink[0] >= MARGIN * picture.width * 0.98
            assert ink[2] <= (1 - MARGIN) * picture.width * 1.02


@pytest.mark.parametrize("paper", Paper)
def test_no_name_in_a_command_is_broken(paper: Paper, tmp_path: Path) -> None:
    """A shell would take the parts for two arguments. A long command is printed smaller, and broken at spaces only."""
    file, template = f"./{'alexandra.' * 20}png.age", packaged_text("rollout/handover_letter.md")
    values = {**dict.fromkeys(NAMES, "yes"), "file": file, "key": "", "passphrase": "abandon-ability"}
    letter = fill_template(template, values)
    path = tmp_path / "letter.pdf"
    path.write_bytes(letter_printer(paper)(letter))
    printed = [word for _, _, word in words_of(path)]
    assert printed.count(file) == sum(file in command for step in letter.sections[0].steps for command in step.commands)
    text = " ".join(text_of(path).replace("\\\n", " ").split())
    assert f"age -d -o $folder/qr.png {file} xdg-open" in text
    assert max(right for _, right, _ in words_of(path)) <= 1 - MARGIN * pdf.SMALLEST


@pytest.mark.parametrize("given", ["staged", "enrolled"])
def test_a_letter_is_destroyed_after_all_else(given: str) -> None:
    """The section about the codes needs the letter, and so does the one about the command line."""
    values = {**dict.fromkeys(NAMES, "yes"), "key": "", "staged": "", "enrolled": "", given: "yes"}
    letter = fill_template(packaged_text("rollout/handover_letter.md"), values)
    texts = [text for part in letter.sections for text in (part.title, *(step.text for step in part.steps))]
    assert [number for number, text in enumerate(texts, 1) if "destroy" in text.lower()] == [len(texts)]


def test_the_check_words_of_a_custodians_letter_are_not_typed() -> None:
    """They are in the frame too, at the right of the groups."""
    letter = custodian_letter(new_custodian(), RECOVERY_KEY, text=CUSTODIAN, date="").letter
    [enter] = [step.text for step in letter.sections[0].steps if "type the" in step.text]
    assert "leave out the check words at the right" in enter


ARABIC, HEBREW = "محمد عبد الله العربي", "דוד בן גוריון"


@pytest.mark.parametrize("name", [ARABIC, HEBREW])
def test_names_from_right_to_left_are_read_in_their_order(name: str, tmp_path: Path) -> None:
    """Poppler reorders what it finds from left to right, so it returns the name as it was given.

    In a line with both directions, it may return the name before the rest.
    """
    file = drawn(plain(f"Letter for {name}", f"The user is {name} (alice).", facts=(("Name", name),)), tmp_path)
    text = unicodedata.normalize("NFKC", text_of(file))
    shown = "".join(char for char in text if char == "\n" or not unicodedata.category(char).startswith("C"))
    title, user, fact, *_ = [" ".join(line.split()) for line in shown.split("\n")]
    assert fact == f"Name {name}"
    assert sorted(title.split()) == sorted(f"Letter for {name}".split())
    assert all(name in line for line in (title, user))
    assert "alice" in user


def test_text_from_right_to_left_begins_at_the_right_margin(tmp_path: Path) -> None:
    """A paragraph in Hebrew ends its lines at the left, and a word in Latin letters stays as it is."""
    file = drawn(plain("Letter", f"{HEBREW} alice-phone {HEBREW} " * 6), tmp_path)
    words = [each for each in words_of(file) if unicodedata.bidirectional(each[2][0]) == "R"]
    assert max(right for _, right, _ in words) == pytest.approx(1 - 20 / 210, abs=0.002)
    assert "alice-phone" in text_of(file)


def test_the_letters_of_arabic_words_are_joined() -> None:
    """Their forms are in Unicode's block of presentation forms. ZWNJ separates two letters, and is not printed."""
    [line] = break_lines("محمد", width=1000, measure=len)
    assert line.backward
    assert all("\ufe70" <= char <= "\ufeff" for char in line.text)
    [joined] = break_lines(f"{ARABIC[:2]}{ARABIC[:2]}", width=1000, measure=len)
    [separate] = break_lines(f"{ARABIC[:2]}\u200c{ARABIC[:2]}", width=1000, measure=len)
    assert (len(joined.text), joined.text == separate.text, "\u200c" in separate.text) == (4, False, False)


@pytest.mark.parametrize(
    ("text", "end", "lines"),
    [
        ("", "", [""]),
        ("a bb ccc", "", ["a bb ccc"]),
        ("aaaa bbbb cccc", "", ["aaaa bbbb", "cccc"]),
        ("aaaaaaaaaaaaaaaaaaaaaaaaa b", "", ["aaaaaaaaaa", "aaaaaaaaaa", "aaaaa b"]),
        ("aaaa bbbb cccc", " \\", ["aaaa \\", "bbbb \\", "cccc"]),
        ("a\u202eb\nc", "", ["a\\u202eb\\n", "c"]),
    ],
)
def test_lines_are_broken_at_spaces_and_in_long_words(text: str, end: str, lines: list[str]) -> None:
    """Control characters, such as those that change the direction, are printed as escapes."""
    assert [line.text for line in break_lines(text, width=10, measure=len, end=end)] == lines


def test_a_line_that_is_too_narrow_for_any_letter_ends() -> None:
    """Each character then has its own line."""
    assert [line.text for line in break_lines("abc", width=0, measure=len)] == ["a", "b", "c"]


def test_many_facts_and_steps_need_more_pages(tmp_path: Path) -> None:
    """Nothing is lost between two pages, and each page has its number."""
    steps = tuple(LetterStep(text=f"step{number}", commands=(f"command{number}",)) for number in range(60))
    facts = tuple((f"label{number}", f"value{number}") for number in range(60))
    letter = Letter(title="Long", facts=facts, sections=(LetterSection(title="Steps", steps=steps),))
    file = drawn(Sheet(letter=letter, signers=("alice", "bob")), tmp_path)
    text, (pages, *_) = text_of(file), size_of(file)
    assert pages > 3
    words = set(text.split())
    assert {f"{kind}{number}" for kind in ("label", "value", "step", "command") for number in range(60)} <= words
    assert [f"page {number} of {pages}" in text for number in range(1, pages + 1)] == [True] * pages


def test_the_file_names_no_secret_outside_its_pages() -> None:
    """The title and the other metadata are not secret, and pages are compressed, so a search of the disk finds none."""
    custodian = new_custodian()
    octets = draw_pdf(custodian_letter(custodian, RECOVERY_KEY, text=CUSTODIAN, date=""), Paper.A4)
    assert custodian.identity.reveal().encode() not in octets.reveal()
    assert b"AGE-SECRET" not in octets.reveal()
    assert "AGE" not in repr(octets)


def test_missing_fonts_are_an_error(tmp_path: Path) -> None:
    """The hint names the package."""
    with pytest.raises(UsageFault, match="DejaVuSans, which is not installed") as caught:
        load_fonts((str(tmp_path),))
    assert "fonts-dejavu-core" in caught.value.hint
    load_fonts((str(tmp_path), *pdf.FOLDERS))
