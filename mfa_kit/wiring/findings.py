"""Converts audit findings to OCSF, an output format that needs the extra `ocsf`."""

from collections.abc import Sequence

from mfa_kit.audit.records import FindingRecord
from mfa_kit.core.errors import UsageFault
from mfa_kit.wiring.settings import command_for_extra


def ocsf_document(records: Sequence[FindingRecord]) -> str:
    """Return the findings as lines of JSON in the Open Cybersecurity Schema Framework (OCSF).

    Raise UsageFault if the extra `ocsf` is not installed.
    """
    try:
        from mfa_kit.wiring.ocsf import ocsf_line
    except ImportError:
        raise UsageFault(
            "--output ocsf needs the 'ocsf' extra, which is not installed", command_for_extra("ocsf")
        ) from None
    return "".join(f"{ocsf_line(record)}\n" for record in records)
