"""Which security keys were examined, so that none is taken for two."""

from dataclasses import dataclass


@dataclass(slots=True)
class SeenKeys:
    """The keys that were examined, by the credential that each made for one relying party.

    Nothing else tells two keys apart. None: no key was examined yet, so there is no relying party.
    """

    relying_party: str | None = None
    credentials: tuple[bytes, ...] = ()

    def copy(self) -> "SeenKeys":
        """Return the same keys in an object of its own."""
        return SeenKeys(self.relying_party, self.credentials)

    def become(self, other: "SeenKeys") -> None:
        """Take over the keys of another object."""
        self.relying_party, self.credentials = other.relying_party, other.credentials
