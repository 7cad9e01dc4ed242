"""Status codes of CTAP 2.1 (6.3) and of U2F raw messages, and how the lab's key says no."""

from enum import IntEnum


class CtapStatus(IntEnum):
    """What the lab's key answers; the standard's names."""

    OK = 0x00
    INVALID_COMMAND = 0x01
    INVALID_PARAMETER = 0x02
    INVALID_LENGTH = 0x03
    CHANNEL_BUSY = 0x06
    INVALID_CBOR = 0x12
    MISSING_PARAMETER = 0x14
    CREDENTIAL_EXCLUDED = 0x19
    UNSUPPORTED_ALGORITHM = 0x26
    OPERATION_DENIED = 0x27
    KEY_STORE_FULL = 0x28
    UNSUPPORTED_OPTION = 0x2B
    INVALID_OPTION = 0x2C
    KEEPALIVE_CANCEL = 0x2D
    NO_CREDENTIALS = 0x2E
    USER_ACTION_TIMEOUT = 0x2F
    NOT_ALLOWED = 0x30
    PIN_INVALID = 0x31
    PIN_BLOCKED = 0x32
    PIN_AUTH_INVALID = 0x33
    PIN_AUTH_BLOCKED = 0x34
    PIN_NOT_SET = 0x35
    PUAT_REQUIRED = 0x36
    PIN_POLICY_VIOLATION = 0x37
    INVALID_SUBCOMMAND = 0x3E


class CtapRefusal(Exception):
    """The key answers with a status and nothing else."""

    def __init__(self, status: CtapStatus) -> None:
        super().__init__(status.name)
        self.status = status


class StatusWord(IntEnum):
    """Status words of U2F raw messages and of ISO 7816-4."""

    OK = 0x9000
    UPDATE = 0x9100
    CONDITIONS_NOT_SATISFIED = 0x6985
    WRONG_LENGTH = 0x6700
    WRONG_DATA = 0x6A80
    NOT_FOUND = 0x6A82
    CLA_NOT_SUPPORTED = 0x6E00
    INS_NOT_SUPPORTED = 0x6D00
