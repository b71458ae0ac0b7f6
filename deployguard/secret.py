"""A value that must not be seen: it has no text form, no representation and no JSON."""

import hmac
from typing import NoReturn, final


@final
class Secret:
    """Holds a secret and hands it out only to who asks by `reveal()`.

    Python cannot wipe memory reliably (strings are immutable and libraries copy
    them), so nothing is promised about swap or core files beyond what the process
    limits do; what is promised is that no accident of formatting shows the value.
    """

    __slots__ = ("_value", "name")

    def __init__(self, value: str, *, name: str) -> None:
        self._value = value
        self.name = name

    def reveal(self) -> str:
        """The value itself. Every caller of this is a place to review."""
        return self._value

    def __repr__(self) -> str:
        return f"<secret {self.name}>"

    def __str__(self) -> NoReturn:
        raise TypeError(f"the secret {self.name} has no text form; call reveal() where it is really needed")

    def __format__(self, format_spec: str) -> NoReturn:
        self.__str__()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"the secret {self.name} cannot be pickled or copied out of the process")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a secret in a set or as a key would outlive its use
