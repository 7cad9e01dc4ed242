"""Tests of a user's image file: it is read within bounds, and shredded as far as its file system allows."""

import io
import os
from pathlib import Path

import pytest

from mfa_kit.adapters.files import picture
from mfa_kit.core.errors import IntegrityFault, UsageFault


def test_a_file_larger_than_any_photograph_is_not_read() -> None:
    """An endless pipe is not read to its end either."""
    with pytest.raises(UsageFault, match="larger than 20 MB"):
        picture.read_image(io.BytesIO(bytes(picture.LARGEST + 1)))


def test_a_picture_is_overwritten_and_removed(tmp_path: Path) -> None:
    """The length stays the same. Hard links to the file show the overwritten content, and their number is returned."""
    file, other = tmp_path / "a.png", tmp_path / "b.png"
    before = bytes(picture.CHUNK + 5)
    file.write_bytes(before)
    os.link(file, other)
    assert picture.shred_image(picture.load_image(file)) == 1
    assert not file.exists()
    assert len(other.read_bytes()) == len(before)
    assert other.read_bytes()[:20] != before[:20] != other.read_bytes()[-20:]


def test_a_file_that_was_replaced_is_not_overwritten(tmp_path: Path) -> None:
    """After the picture was read, another file was put in its place."""
    file = tmp_path / "a.png"
    file.write_bytes(b"seed")
    plain = picture.load_image(file)
    (tmp_path / "c.png").write_bytes(b"holidays")
    (tmp_path / "c.png").replace(file)
    with pytest.raises(IntegrityFault, match="was replaced after mfa-kit read it"):
        picture.shred_image(plain)
    assert file.read_bytes() == b"holidays"


@pytest.mark.parametrize("instead", ["nothing", "link"])
def test_a_file_that_cannot_be_overwritten_is_an_error(instead: str, tmp_path: Path) -> None:
    """The error gives the reason. A symlink is not followed."""
    file, other = tmp_path / "a.png", tmp_path / "b.png"
    file.write_bytes(b"seed")
    other.write_bytes(b"holidays")
    plain = picture.load_image(file)
    file.unlink()
    if instead == "link":
        file.symlink_to(other)
    with pytest.raises(IntegrityFault, match="cannot be overwritten and removed") as caught:
        picture.shred_image(plain)
    assert "delete it yourself" in caught.value.hint
    assert other.read_bytes() == b"holidays"
