"""Serial numbers of display tokens."""

import re

# A serial that IAM accepts (IAM API reference, EnableMFADevice). "GAHT12345678" is the IAM user guide's example.
SERIAL = re.compile(r"[\w+=/:,.@-]{9,256}", re.ASCII)
# The serial of a token that AWS sold: four letters and eight digits, such as GAHT12345678 (IAM user guide).
SOLD_BY_AWS = re.compile(r"[a-z]{4}\d{8}", re.ASCII)


def folded(serial: str) -> str:
    """Return a serial without white space and with its case folded, for comparisons."""
    return "".join(serial.split()).casefold()


def sold_by_aws(serial: str) -> bool:
    """Return whether a serial looks like that of a token that AWS sold. Only AWS has the seed of such a token."""
    return SOLD_BY_AWS.fullmatch(folded(serial)) is not None
