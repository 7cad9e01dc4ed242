"""Adds to the wheel what a system has below share/: manual pages, shell completions and the udev rule.

`mfa-kit help` shows the pages of docs/, so the wheel has them too. `.ci/build` also gives it the SBOM.

mfa-kit writes the pages and the completions itself, so they always match its commands. Hatchling calls this file.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Where each shell looks below the prefix of an installation, by the shell's name.
COMPLETIONS = {
    "bash": "share/bash-completion/completions/mfa-kit",
    "zsh": "share/zsh/site-functions/_mfa-kit",
    "fish": "share/fish/vendor_completions.d/mfa-kit.fish",
}
# The udev rule in the sources, and its two places in the wheel: for `mfa-kit udev install`, and for administrators. Not
# below lib/udev/rules.d: installing a package must not change who may open the keys of this computer.
RULE = "udev/70-mfa-kit.rules"
PACKAGED_RULE = "mfa_kit/adapters/udev/70-mfa-kit.rules"
SHARED_RULE = "share/mfa-kit/udev/70-mfa-kit.rules"
PROGRAM = "from mfa_kit.cli.main import main; main()"


class SharedFiles(BuildHookInterface):  # type: ignore[type-arg,misc,unused-ignore]
    """The hook of the wheel. An editable installation has none of these files, because it would not update them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the files to a temporary folder, and name them in `build_data`."""
        if version == "editable":
            return
        self._made = tempfile.TemporaryDirectory()
        made = Path(self._made.name)
        shared = build_data["shared_data"]
        self._print("man", "--dir", str(made / "man1"))
        for page in sorted((made / "man1").iterdir()):
            shared[str(page)] = f"share/man/man1/{page.name}"
        for shell, place in COMPLETIONS.items():
            script = made / shell
            script.write_bytes(self._print("completion", shell))
            shared[str(script)] = place
        rule = str(Path(self.root) / RULE)
        shared[rule] = SHARED_RULE
        build_data["force_include"][rule] = PACKAGED_RULE
        for page in sorted((Path(self.root) / "docs").glob("*.md")):
            build_data["force_include"][str(page)] = f"mfa_kit/pages/{page.name}"
        if sbom := os.environ.get("MFA_KIT_SBOM"):  # PEP 770
            build_data["sbom_files"].append(sbom)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        if version != "editable":
            self._made.cleanup()

    def _print(self, *arguments: str) -> bytes:
        """Run mfa-kit from the sources and return what it printed. No setting of the caller takes part."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MFA_KIT", "AWS"))}
        return subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-c", PROGRAM, *arguments],
            env=environment
            | {"PYTHONPATH": os.pathsep.join([self.root, *filter(None, sys.path)]), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
