"""The security keys that were examined, so that no key is counted twice."""

from dataclasses import dataclass


@dataclass(slots=True)
class SeenKeys:
    """The keys that were examined, identified by the credential that each made for one relying party.

    The credential is used because nothing else that keys reveal reliably distinguishes two keys of one model.
    `relying_party` is None until a key was examined.
    """

    relying_party: str | None = None
    credentials: tuple[bytes, ...] = ()

    def copy(self) -> "SeenKeys":
        """Return a copy of this object."""
        return SeenKeys(self.relying_party, self.credentials)

    def become(self, other: "SeenKeys") -> None:
        """Replace the keys of this object with the keys of another object."""
        self.relying_party, self.credentials = other.relying_party, other.credentials
