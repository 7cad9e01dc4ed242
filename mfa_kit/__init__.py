"""Enroll and verify MFA devices for AWS IAM users."""

__version__ = "0.1.0"
