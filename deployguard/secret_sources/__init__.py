"""Places that keep secrets: one file each, one line here."""

from deployguard.secret_sources.aws import Aws
from deployguard.secret_sources.azure import Azure
from deployguard.secret_sources.base import SecretSource
from deployguard.secret_sources.command import Command
from deployguard.secret_sources.dotenv import Dotenv
from deployguard.secret_sources.environment import Environment
from deployguard.secret_sources.file import File
from deployguard.secret_sources.gcp import Gcp
from deployguard.secret_sources.keyring import Keyring
from deployguard.secret_sources.kubernetes import Kubernetes
from deployguard.secret_sources.vault import Vault

SOURCES: dict[str, type[SecretSource]] = {
    source.source: source
    for source in (
        Environment,
        File,
        Dotenv,
        Command,
        Keyring,
        Vault,
        Aws,
        Azure,
        Gcp,
        Kubernetes,
    )
}

__all__ = ["SOURCES", "SecretSource"]
