"""`python -m tests.mutants [MODULE...]`: run the tests against the mutants of the modules, and print the counts.

A mutant that survives is named in docs/not-verified.md with the reason why no test can kill it. Otherwise the exit code
is 1, as for a row of that page whose mutant does not survive or exist, and for tests whose process ended too early. It
is 2 for a word that is in the name of no module.
"""

import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tests.mutants.judging import Fork, Subject, Verdict, finished, judge
from tests.mutants.subjects import SUBJECTS

PAGE = Path(__file__).parents[2] / "docs/not-verified.md"
# A row of the page: the function, the expression, the one in its place, and the reason.
ROW = re.compile(r"\| `([\w.]+):([\w.]+)` \| `(.+)` \| `(.+)` \| .+ \|")
ENDS = ("killed", "hung", "survived", "broken")

Row = tuple[str, ...]


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def named(page: str) -> set[Row]:
    """Return the mutants that a page names: module, function, expression, and the one in its place."""
    rows = (ROW.fullmatch(line) for line in page.splitlines())
    return {tuple(cell.replace(r"\|", "|") for cell in row.groups()) for row in rows if row}


def row_of(verdict: Verdict) -> Row:
    """Return what the page names a mutant by."""
    return verdict.module, verdict.name, *(" ".join(text.split()) for text in (verdict.before, verdict.after))


def judged(subject: Subject) -> tuple[list[Verdict], str]:
    """Judge a subject in a process of its own, and print the counts."""
    began = time.monotonic()
    rows, fault = finished(Fork(lambda: judge(subject))) or ([], "pytest ended too early")
    verdicts = [Verdict(*row) for row in rows]
    counts = Counter(verdict.end for verdict in verdicts)
    numbers = ", ".join(f"{counts[end]} {end}" for end in ENDS)
    say(f"{subject.module}: {len(verdicts)} mutants, {numbers}, {time.monotonic() - began:.0f} s")
    return verdicts, str(fault)


def main(words: Sequence[str], subjects: Sequence[Subject] = SUBJECTS, page: Path = PAGE) -> int:
    """Judge the subjects whose module contains one of the words, by default all. Return the exit code."""
    chosen = [subject for subject in subjects if not words or any(word in subject.module for word in words)]
    if unknown := [word for word in words if not any(word in subject.module for subject in subjects)]:
        say(f"no module has a name with {unknown[0]}")
        return 2
    rows, faults = named(page.read_text("utf-8")), []
    verdicts: list[Verdict] = []
    for subject in chosen:
        of_subject, fault = judged(subject)
        verdicts += of_subject
        faults += [f"{subject.module}: {fault}"] if fault else []
    faults += [
        f"{mutant.module}:{mutant.line} {mutant.name}: the tests ended with status {mutant.status} "
        f"for `{mutant.before}` as `{mutant.after}`"
        for mutant in verdicts
        if mutant.end == "broken"
    ]
    survivors = {row_of(verdict): verdict for verdict in verdicts if verdict.end == "survived"}
    for row, mutant in survivors.items():
        if row not in rows:
            faults.append(
                f"{mutant.module}:{mutant.line} {mutant.name}: `{mutant.before}` survives as `{mutant.after}`"
            )
    modules = {subject.module for subject in chosen}
    for row in sorted(rows - survivors.keys()):
        if row[0] in modules or not words:
            faults.append(f"{page.name} names a mutant that does not survive: {' '.join(row)}")
    say(f"{len(verdicts)} mutants, {len(rows & survivors.keys())} named as equivalent")
    for fault in faults:
        say(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    import_module("mfa_kit.lab.aws.server")  # with the libraries that the forks need
    sys.exit(main(sys.argv[1:]))
