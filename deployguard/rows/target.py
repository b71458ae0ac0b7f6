"""What the row engine works on: the encrypted columns, however they were found."""

from dataclasses import dataclass, field
from typing import Literal

EmptyBecomes = Literal["token", "null", "empty"]


@dataclass(frozen=True)
class EncryptedColumn:
    """One column whose values are, or are to be, tokens.

    Attributes:
        key: the primary key's columns, in order.
        width: the most characters the column may hold; None where there is no limit.
        empty_becomes: what the application stores for an empty string. A token: we store
            one too. Null or empty: an empty string stays as it is, since writing NULL
            would lose the difference and could not be undone.
        reads_plaintext: whether the application reads a value that is not encrypted yet;
            if it does not, the change needs a maintenance window.
        rotates: whether the application reads tokens of an older key of its list.
        field: "app.Model.field" where Django's registry named it, else "".
        field_class: dotted class of the field, for the report; "" outside Django.
        searched: names of unique constraints and indexes that cover the column.
    """

    table: str
    column: str
    key: tuple[str, ...]
    width: int | None = None
    empty_becomes: EmptyBecomes = "empty"
    reads_plaintext: bool = True
    rotates: bool = True
    field: str = ""
    field_class: str = ""
    searched: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class ColumnCount:
    """How many values of a column are in each class. Every row is in exactly one."""

    table: str
    column: str
    rows: int = 0
    null: int = 0
    empty: int = 0
    plaintext: int = 0
    primary: int = 0
    older: int = 0
    unknown: int = 0
    nested: int = 0
    bytes: int = 0
    """Bytes stored in the column now."""
    bytes_after: int = 0
    """Bytes stored once every plaintext is a token."""
    too_wide: int = 0
    """Values whose token would not fit the column."""
