"""Recognize addresses of this computer's loopback interface, on which no other machine can listen."""

from ipaddress import ip_address


def is_loopback(host: str | None) -> bool:
    """Whether a host is `localhost` or a loopback address: 127.0.0.0/8 or ::1, without brackets."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
