"""Enroll and verify MFA devices for AWS IAM users.

The public module is `mfa_kit.api`. Everything else in this package is private, and can change in any release.
"""

__version__ = "1.1.0"
