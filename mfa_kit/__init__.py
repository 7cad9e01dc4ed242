"""Enroll and verify MFA devices for AWS IAM users."""

__version__ = "1.0.0"
