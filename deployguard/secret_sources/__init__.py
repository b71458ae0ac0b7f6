"""Places that keep secrets: one file each, one line here."""

from deployguard.secret_sources.base import SecretSource
from deployguard.secret_sources.command import Command
from deployguard.secret_sources.dotenv import Dotenv
from deployguard.secret_sources.environment import Environment
from deployguard.secret_sources.file import File

SOURCES: dict[str, type[SecretSource]] = {
    source.source: source
    for source in (
        Environment,
        File,
        Dotenv,
        Command,
    )
}

__all__ = ["SOURCES", "SecretSource"]
