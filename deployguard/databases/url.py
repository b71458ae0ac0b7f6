"""Database URLs, and how they are shown: never with a password."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from deployguard.errors import Refused
from deployguard.secret import Secret

_PRODUCTS = {
    "sqlite": "sqlite", "sqlite3": "sqlite", "postgres": "postgresql", "postgresql": "postgresql", "psql": "postgresql",
    "mysql": "mysql", "mariadb": "mysql",
}  # fmt: skip


@dataclass(frozen=True)
class DatabaseUrl:
    """The parts of a database URL."""

    product: str
    database: str
    host: str = ""
    port: int | None = None
    user: str = ""
    password: Secret | None = None
    options: dict[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The URL without its password."""
        if self.product == "sqlite":
            return f"sqlite:///{self.database}"
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{self.product}://{user}{self.host}{port}/{self.database}"


def parse_url(url: str | Secret) -> DatabaseUrl:
    """Take a URL apart.

    Raises:
        Refused: it is not a URL of a database; the message does not repeat it.
    """
    text = url.reveal() if isinstance(url, Secret) else url
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _no("cannot be read") from None
    if not parts.scheme or not text.startswith(f"{parts.scheme}:"):
        raise _no("has no product in front")
    product = _PRODUCTS.get(parts.scheme.split("+")[0], parts.scheme)
    path = unquote(parts.path.removeprefix("/"))
    if product == "sqlite":
        if parts.netloc or not path or path == ":memory:":
            raise _no("names no file")
        return DatabaseUrl(product, path, options=dict(parse_qsl(parts.query)))
    password = Secret(unquote(parts.password), name="database password") if parts.password else None
    return DatabaseUrl(
        product, path, parts.hostname or "", port, unquote(parts.username or ""), password, dict(parse_qsl(parts.query))
    )


def with_database(url: str | Secret, database: str) -> Secret:
    """The URL of another database of the same server; of another file, where there is none."""
    text = url.reveal() if isinstance(url, Secret) else url
    parts = urlsplit(text)
    query = f"?{parts.query}" if parts.query else ""
    # written out: urlunsplit would lose a slash of a file's URL, which has no server in front
    return Secret(f"{parts.scheme}://{parts.netloc}/{quote(database)}{query}", name="database URL")


def _no(what: str) -> Refused:
    return Refused(
        f"the database URL {what}",
        hint="Write sqlite:///path (or sqlite:////absolute/path), postgresql://user@host/name or mysql://user@host/name.",
    )
