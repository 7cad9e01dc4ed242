"""The catalog of controls: all frameworks, and the controls that each rule checks.

Rules do not contain the numbers of controls. To add a framework, add a file with its data, and add it to FRAMEWORKS.
"""

from collections.abc import Mapping

from mfa_kit.audit.controls.cis import CIS
from mfa_kit.audit.controls.control import Framework
from mfa_kit.audit.controls.fedramp import FEDRAMP
from mfa_kit.audit.controls.nist import NIST
from mfa_kit.audit.controls.pci_dss import PCI_DSS
from mfa_kit.audit.controls.security_hub import BEST_PRACTICES, SECURITY_HUB

FRAMEWORKS: Mapping[str, Framework] = {
    framework.id: framework for framework in (*CIS, SECURITY_HUB, BEST_PRACTICES, PCI_DSS, *NIST, FEDRAMP)
}


def standards(rule: str) -> tuple[str, ...]:
    """Return the short names of the frameworks with a control that a rule checks completely or in part."""
    return tuple(
        framework.short
        for framework in FRAMEWORKS.values()
        if any(rule in control.rules for control in framework.controls)
    )


def references(rule: str) -> tuple[str, ...]:
    """Return the controls that a rule checks completely or in part, such as `CIS 5.0 1.4`, ordered by framework.

    A control of Security Hub that is in FSBP too is listed only once, as `Security Hub IAM.5 (FSBP)`.
    """
    control_names = []
    for framework in FRAMEWORKS.values():
        for control in framework.controls:
            if rule in control.rules and framework is not BEST_PRACTICES:
                best = framework is SECURITY_HUB and control in BEST_PRACTICES.controls
                control_names.append(f"{framework.short} {control.id}{' (FSBP)' if best else ''}")
    return tuple(control_names)
