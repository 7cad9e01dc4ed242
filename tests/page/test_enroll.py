"""`enroll --page` end to end: the command, its page in Chromium, and the lab as AWS."""

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.chromium import Browser
from tests.page.conftest import Command, open_admin, open_colleague, seed, shown_codes

pytestmark = pytest.mark.slow


def test_a_user_enrolls_on_the_page(at_page: Command, browser: Browser, lab: Lab, user: str) -> None:
    """The colleague scans the code and types two codes, pasted with spaces, and both views say that it is done."""
    admin = open_admin(browser, at_page)
    colleague = open_colleague(admin)
    colleague.see("document.querySelector('#qr svg')")
    colleague.see(f"document.querySelector('#title').textContent === {user!r}")
    assert not admin.ask("document.querySelector('svg')")
    first, second = shown_codes(lab, user)
    colleague.see("document.activeElement.id === 'code0'")
    colleague.paste(f"{first[:3]} {first[3:]}")
    colleague.see("document.activeElement.id === 'code1'")
    colleague.type(second)
    colleague.see("document.querySelector('#end').textContent.startsWith('Done.')")
    admin.see("document.querySelector('#end').textContent.includes('is enrolled')")
    code, out = at_page.end()
    assert code == 0, at_page.err
    assert f"mfa/{user}" in out
    assert seed(lab, user)
