"""Write the pictures in docs/pictures from real runs in a lab: `python -m tests.pictures`.

Each picture contains the text of its run, so a test can compare it with a new one. The secret in the QR code is that of
a lab that no longer exists. The letters of keys by post are made without a key, so that no card reader is needed.
"""

import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

import pyrage
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mfa_kit.cli.letters import letter_page
from mfa_kit.core.device_records import DeviceState
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState, Method
from mfa_kit.core.otp import Secret
from mfa_kit.lab.aws.server import Lab
from mfa_kit.letters.sheet import Paper, PrintedSecret, secret_letter
from mfa_kit.rollout.handover_letter import parcel_letter
from mfa_kit.rollout.plan import Action, Plan, PlanStep
from mfa_kit.rollout.posting import Parcel
from mfa_kit.rollout.roster import RosterAction, RosterRow
from mfa_kit.wiring.files import LetterFile, packaged_text
from tests.chromium import chromium
from tests.conftest import ROOT, MfaKit
from tests.letters.judges import pictures_of
from tests.letters.judges import text_of as pdf_text
from tests.page.conftest import open_admin, open_colleague, started
from tests.page.test_station import call, press, type_codes
from tests.terminal.conftest import environment
from tests.terminal.window import BLOCKS, DARK, Screen, Window

FOLDER = ROOT / "docs" / "pictures"
SESSION, ROLLOUT, AUDIT = FOLDER / "qr-session.svg", FOLDER / "rollout.svg", FOLDER / "audit.png"
PARCEL, SECOND = FOLDER / "parcel-letter.png", FOLDER / "second-letter.png"
ADMIN, COLLEAGUE = FOLDER / "page-admin.png", FOLDER / "page-colleague.png"
# A character's cell in the pictures of a terminal, in pixels.
WIDE, HIGH = 9, 18
RUN = "20261130T120000Z-0123abcd"
TOOL = (sys.executable, "-m", "mfa_kit")


def session(folder: Path) -> str:
    """Return the screen as SVG during an enrollment with a phone, at the question for the first code."""
    with Lab(users=("alice",)) as lab:
        window = Window(
            [*TOOL, "enroll", "alice", "--with", "virtual"], env=environment(lab, folder), cwd=folder, size=(80, 24)
        )
        window.see("first code: ")
        drawn = "\n".join(_svg(window.look())) + "\n"
        window.child.sendintr()
        window.end()
    return drawn


def rollout(folder: Path) -> str:
    """Return the screen as SVG during a rollout of 40 users."""
    names = [f"user{number:02}" for number in range(1, 41)]
    key = pyrage.x25519.Identity.generate().to_public()
    (folder / "roster.csv").write_text("user,kind,recipient\n" + "".join(f"{one},virtual,{key}\n" for one in names))
    with Lab(users=names) as lab:
        env = environment(lab, folder)
        plan = [*TOOL, "rollout", "plan", "roster.csv", "-o", "plan.json"]
        subprocess.run(plan, env=env, cwd=folder, capture_output=True, check=True)
        apply = [*TOOL, "rollout", "apply", "plan.json", "--workers", "2"]
        window = Window(apply, env=env, cwd=folder, size=(80, 5), apart=False)
        window.child.expect(r"\d+ of 40, [^\r\n]* calls/s")
        drawn = "\n".join(_svg(window.look())) + "\n"
        window.end()
    return drawn


def audit(folder: Path) -> str:
    """Return the page of an audit of a new lab."""
    with Lab(users=("alice", "bob", "carol")) as lab:
        command = [*TOOL, "audit", "--output", "html"]
        done = subprocess.run(command, env=environment(lab, folder), capture_output=True, text=True, check=False)
    return done.stdout


def station(folder: Path) -> dict[Path, tuple[str, bytes]]:
    """Return the views of a station with a page while a phone is enrolled: the HTML and a screenshot, by file."""
    names, key = ("alice", "bob", "carol"), pyrage.x25519.Identity.generate().to_public()
    roster, plan = folder / "roster.csv", folder / "plan.json"
    roster.write_text("user,kind,recipient\n" + "".join(f"{one},virtual,{key}\n" for one in names))
    words = ("rollout", "station", plan, "--with", "virtual", "--page", "--no-browser", "-r", str(key))
    with Lab(users=names) as lab, chromium(folder / "chromium") as browser:
        desk = MfaKit(folder / "desk", dict(lab.env))
        made = desk.process("rollout", "plan", roster, "-o", plan)
        assert made.code == 0, made.err
        with started(desk, *words) as command:
            admin = open_admin(browser, command)
            colleague = open_colleague(admin)
            call(admin, names[0])
            press(admin, "Start")
            type_codes(colleague, lab, names[0])
            call(admin, names[1])
            press(admin, "Start")
            colleague.see("document.querySelector('#qr svg') && document.querySelector('#code0[data-code]')")
            shown = {}
            for file, view, width in ((ADMIN, admin, 900), (COLLEAGUE, colleague, 1000)):
                view.see("document.querySelector('[data-next]').textContent")
                view.size(width=width)
                shown[file] = view.ask("document.querySelector('main').innerHTML"), view.picture()
            command.interrupt()
    return shown


def letters(folder: Path) -> tuple[str, Path]:
    """Return the letters to a user who gets a pair by post: the HTML of the first, and the PDF of the second."""
    row = RosterRow(user="alice", name="alice-key", action=RosterAction.ADD, by_post=True, pair=True)
    spec = DeviceSpec(account="123456789012", partition="aws", user="alice", name="alice-key", method=Method("oath"))
    parcel = Parcel(
        step=PlanStep(row=row, action=Action.STATION),
        entry=JournalEntry(run=RUN, spec=spec.on(hardware="12345678", card="card"), reached=JournalState.STAGED),
        state=DeviceState.PREPARED,
        registered=PlanStep(row=replace(row, name="alice-key-2"), action=Action.SELF),
    )
    sender = {"company": "Example Ltd", "contact": "the help desk, +1 555 0100", "help_page": ""}
    plan = Plan(account=spec.account, partition=spec.partition, by="", planned_at=0, steps=[])
    text = packaged_text("rollout/parcel_letter.md")
    page = letter_page(parcel_letter(parcel, plan, text=text, sender={**sender, "deadline": "15 Dec 2026"}))
    password = PrintedSecret(label="OATH password", text=Secret("ABCDEFGHJKLMNPQR"))
    values = {"user": "alice", "key": parcel.key, "date": "1 Dec 2026", **sender}
    pdf = LetterFile(path=folder / "second.pdf", paper=Paper.A4)
    pdf.write(secret_letter(password, packaged_text("letters/secret.md"), values))
    return page, pdf.path


def words(text: str) -> str:
    """Return the words that must not change, without dates, symbols, numbers and spaces."""
    shown = re.sub(r"(?s)<style>.*?</style>|<[^>]*>|\d{8}T\d{6}Z-[0-9a-f]{8}|\d+ [A-Z][a-z]{2} \d{4}", " ", text)
    return " ".join(re.findall(r"[A-Za-z]{2,}", shown))


def text_of(file: Path) -> str:
    """Return the text from which a picture was made."""
    if file.suffix == ".png":
        with Image.open(file) as picture:
            return str(picture.info["text"])
    return file.read_text("utf-8")


def _svg(screen: Screen) -> Iterator[str]:
    wide, high = screen.columns * WIDE, screen.lines * HIGH
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}">'
    yield f'<rect width="100%" height="100%" fill="#{DARK.ground}"/>'
    yield f'<g fill="#{DARK.ink}" font-family="monospace" font-size="14" shape-rendering="crispEdges">'
    for y, line in enumerate(screen.display):
        for x in range(screen.columns):
            char = screen.buffer[y][x]
            if char.bg != "default":
                yield f'<rect x="{x * WIDE}" y="{y * HIGH}" width="{WIDE}" height="{HIGH}" fill="#{char.bg}"/>'
            ink = f' fill="#{char.fg}"' if char.fg != "default" else ""
            for half, full in enumerate(BLOCKS.get(char.data, ())):
                if full:
                    top = y * HIGH + half * HIGH // 2
                    yield f'<rect x="{x * WIDE}" y="{top}" width="{WIDE}" height="{HIGH // 2}"{ink}/>'
        for found in re.finditer(r"[^\s▀▄█]+", line):
            at, size = found.start() * WIDE, len(found[0]) * WIDE
            yield f'<text x="{at}" y="{y * HIGH + 14}" textLength="{size}">{escape(found[0])}</text>'
    yield "</g></svg>"


def main() -> None:
    """Write all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SESSION.write_text(session(folder), "utf-8")
        ROLLOUT.write_text(rollout(folder), "utf-8")
        page = audit(folder)
        with chromium(folder / "chromium") as browser:
            browser.show(page, width=900)
            _write_png(AUDIT, page, browser.picture(), height=1000)
            page, pdf = letters(folder)
            browser.show(page, width=760)
            _write_png(PARCEL, page, browser.picture(), height=1600)
        [sheet] = pictures_of(pdf)
        _write_png(SECOND, pdf_text(pdf), sheet.read_bytes(), height=850)
    with tempfile.TemporaryDirectory() as name:
        for file, (page, picture) in station(Path(name)).items():
            _write_png(file, page, picture, height=1000)


def _write_png(file: Path, page: str, octets: bytes, *, height: int) -> None:
    """Write the top of a screenshot of a page, with the words of the page."""
    info = PngInfo()
    info.add_itxt("text", words(page))
    with Image.open(io.BytesIO(octets)) as picture:
        shown = picture.crop((0, 0, picture.width, min(height, picture.height)))
        shown.quantize(64).save(file, optimize=True, pnginfo=info)


if __name__ == "__main__":
    main()
