"""What the row engine works on: the encrypted columns, however they were found."""

from dataclasses import dataclass
from typing import Literal

EmptyBecomes = Literal["token", "null", "empty"]
Derivation = Literal["raw", "hkdf", "pbkdf2", "other"]
SealedBy = Literal["keys", "derived", "application"]


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
        database: Django's alias of the database that the application writes this table to.
        package: distribution that the field comes from, "" where the application wrote it.
        derivation: how the key of the tokens comes from the one in the settings: as it stands,
            by HKDF or PBKDF2 with the package's parameters, or in a way we do not know.
        derived_from: names of the settings that the key is derived from, where it is and that can be told.
        form: whether a value is one whole Fernet token; any other only the application itself can write.
        stored_as: the type the application reads and writes; it may not read the other one.
        keys: how many keys the application tries; 0 where it cannot be seen.
        managed: whether Django's migrations own the table.
        hides_rows: whether the model's default manager filters, so that counts through it miss rows.
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
    searched: tuple[str, ...] = ()
    database: str = "default"
    package: str = ""
    package_version: str = ""
    derivation: Derivation = "raw"
    form: Literal["fernet", "other"] = "fernet"
    stored_as: Literal["text", "binary"] = "text"
    keys: int = 1
    nullable: bool = True
    managed: bool = True
    hides_rows: bool = False
    derived_from: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Table and column, for people and as a name."""
        return f"{self.table}.{self.column}"

    @property
    def sealed_by(self) -> SealedBy:
        """Whose keys seal it: those of the runbook, those that the application derives, or the application itself."""
        if self.form != "fernet" or (self.derivation != "raw" and not self.keys):
            return "application"
        return "keys" if self.derivation == "raw" else "derived"


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
