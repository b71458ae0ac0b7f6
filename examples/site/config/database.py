"""DATABASE_URL, as Django wants it."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

ENGINES = {
    "postgres": "django.db.backends.postgresql",
    "postgresql": "django.db.backends.postgresql",
    "mysql": "django.db.backends.mysql",
    "mariadb": "django.db.backends.mysql",
}


def database(url: str, base: Path) -> dict[str, Any]:
    """`sqlite:///relative`, `sqlite:////absolute`, or `postgres://` and `mysql://user:password@host:port/name`.

    `?host=` names a folder of sockets; other parameters go to the driver.
    """
    parts = urlsplit(url)
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme == "sqlite" and name:
        # a web request waits for a bulk change's short transactions instead of failing
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": base / name,
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    if parts.scheme not in ENGINES or not name:
        raise ImproperlyConfigured("DATABASE_URL must be sqlite:///PATH, postgres://… or mysql://…, with a name")
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": ENGINES[parts.scheme],
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": options,
    }
