"""Places that keep secrets: one file each, one line here."""

from deployguard.secret_sources.base import SecretSource
from deployguard.secret_sources.environment import Environment
from deployguard.secret_sources.file import File

SOURCES: dict[str, type[SecretSource]] = {source.source: source for source in (Environment, File)}

__all__ = ["SOURCES", "SecretSource"]
