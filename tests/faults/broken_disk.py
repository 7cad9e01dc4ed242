"""Compiles the library of broken_disk.c, which makes writes fail."""

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("broken_disk.c")


def library(folder: Path) -> Path:
    """Compile the library for LD_PRELOAD, and return its path."""
    built = folder / "broken_disk.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", "-o", built, SOURCE, "-ldl"], check=True)
    return built
