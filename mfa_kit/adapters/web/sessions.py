"""The one-time addresses of a page, and the browser sessions that they open. Each view of the page has one session."""

import secrets
from dataclasses import dataclass, field

from mfa_kit.core.otp import Secret

# The number of random octets in each secret of this module, enough that no one can guess the secret.
OCTETS = 32


def _random() -> Secret[str]:
    return Secret(secrets.token_urlsafe(OCTETS))


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSession:
    """A browser window that may show the view `role`.

    The window proves itself with `cookie` and with `key`. Programs that listen on other ports of this computer get the
    cookie too, because browsers send cookies to all ports of a host. They do not get the key, because only pages of the
    same port can read the storage in which the page keeps the key. The server proves itself with `proof`, because
    another program could listen on the port later.
    """

    role: str
    cookie: Secret[str] = field(default_factory=_random)
    key: Secret[str] = field(default_factory=_random)
    proof: Secret[str] = field(default_factory=_random)


@dataclass(slots=True)
class Sessions:
    """The sessions of one server, and its one-time addresses.

    The keys of `unopened` and `current` are the roles of views. `unopened` has the addresses that no one has opened
    yet, `opened` has those that were opened, and `current` has the sessions.
    """

    unopened: dict[str, Secret[str]] = field(default_factory=dict)
    opened: list[Secret[str]] = field(default_factory=list)
    current: dict[str, ViewSession] = field(default_factory=dict)

    def new_address(self, role: str) -> Secret[str]:
        """Return the secret part of a new one-time address of a view. An earlier unopened address becomes invalid."""
        self.unopened[role] = _random()
        return self.unopened[role]

    def open(self, address: Secret[str]) -> ViewSession | None:
        """Return a new session for an unopened address, or else None. The view's earlier session ends."""
        role = next((role for role, each in self.unopened.items() if each == address), None)
        if role is None:
            return None
        self.opened.append(self.unopened.pop(role))
        self.current[role] = ViewSession(role=role)
        return self.current[role]

    def was_opened(self, address: Secret[str]) -> bool:
        """Return whether this address was opened before."""
        return any(each == address for each in self.opened)

    def find(self, role: str, *, cookie: Secret[str], key: Secret[str] | None) -> ViewSession | None:
        """Return the session of a view, or None if the cookie or the key is wrong.

        If `key` is None, only the cookie is checked.
        """
        session = self.current.get(role)
        if session is None or session.cookie != cookie or (key is not None and session.key != key):
            return None
        return session
