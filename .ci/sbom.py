#!/usr/bin/env python3
"""Write the SBOM (CycloneDX 1.6) and the licenses of mfa-kit with all its extras into a folder: `.ci/sbom.py FOLDER`.

Both are of the environment that runs this, in the versions with which the check ran, without the check's own tools.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution, version
from pathlib import Path
from textwrap import shorten
from typing import Any

import click
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ALL = Requirement("mfa-kit[all]")
# Their wheels name no license. Their sources do: pyrage's LICENSE is MIT.
UNNAMED = {"pyrage"}


def needed(*wanted: Requirement) -> set[str]:
    """Return the names of the distributions that these requirements need here, directly and indirectly."""
    seen: set[tuple[str, str]] = set()
    left = [(canonicalize_name(each.name), extra) for each in wanted for extra in ("", *each.extras)]
    while left:
        name, extra = left.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in distribution(name).requires or []:
            asked = Requirement(text)
            if not asked.marker or asked.marker.evaluate({"extra": extra}):
                left += [(canonicalize_name(asked.name), each) for each in ("", *asked.extras)]
    return {name for name, _ in seen}


def sbom(names: set[str]) -> dict[str, Any]:
    """Return the SBOM of the environment, reduced to these distributions. Its subject is mfa-kit."""
    command = ["cyclonedx-py", "environment", "--output-reproducible", "--pyproject", str(ROOT / "pyproject.toml")]
    made = subprocess.run([*command, sys.executable], stdout=subprocess.PIPE, check=True)  # noqa: S603 - fixed words
    bom: dict[str, Any] = json.loads(made.stdout)
    subject = bom["metadata"]["component"]
    subject["version"] = version("mfa-kit")  # pyproject.toml leaves it to hatchling
    kept = [each for each in bom["components"] if canonicalize_name(each["name"]) in names - {"mfa-kit"}]
    references = {subject["bom-ref"], *(each["bom-ref"] for each in kept)}
    bom["components"] = kept
    bom["dependencies"] = [
        {**each, "dependsOn": [ref for ref in each.get("dependsOn", []) if ref in references]}
        for each in bom["dependencies"]
        if each["ref"] in references
    ]
    return bom


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the licenses as a table in Markdown."""
    head = ["| package | version | license | home |", "|---|---|---|---|"]
    lines = (f"| {row['Name']} | {row['Version']} | {shorten(row['License'], 90)} | {row['URL']} |" for row in rows)
    return "\n".join([*head, *lines]) + "\n"


def main(folder: Path) -> int:
    """Write both files. Return 1 if the SBOM is invalid or lacks a distribution, or a license is unknown."""
    names = needed(ALL)
    bom = sbom(names)
    text = json.dumps(bom, indent=1, sort_keys=True) + "\n"
    invalid = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    lacking = names - {"mfa-kit"} - {canonicalize_name(each["name"]) for each in bom["components"]}
    if invalid or lacking:
        click.echo(f"the SBOM is invalid: {invalid}, or lacks {sorted(lacking)}", err=True)
        return 1
    base = folder / f"mfa_kit-{version('mfa-kit')}"
    base.with_name(f"{base.name}.cdx.json").write_text(text, "utf-8")
    licenses = base.with_name(f"{base.name}.licenses.md")
    words = ["pip-licenses", "--from=mixed", "--format=json", "--with-urls", "--packages", *sorted(names)]
    listed = subprocess.run(words, check=True, stdout=subprocess.PIPE)  # noqa: S603 - names of distributions
    rows = json.loads(listed.stdout)
    unknown = {row["Name"] for row in rows if row["License"] == "UNKNOWN"} - UNNAMED
    licenses.write_text(table(rows), "utf-8")
    click.echo(f"the SBOM has {len(bom['components'])} components; their licenses are in {licenses.name}")
    if unknown:
        click.echo(f"no license is known of {sorted(unknown)}", err=True)
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
