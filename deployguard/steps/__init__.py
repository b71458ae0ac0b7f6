"""The step kinds: our own in one list on one screen, other people's through the entry point."""

from functools import cache

from deployguard.steps.backup_create import BackupCreate
from deployguard.steps.backup_destroy import BackupDestroy
from deployguard.steps.backup_restore import BackupRestore
from deployguard.steps.base import Step
from deployguard.steps.clock_skew import ClockSkew
from deployguard.steps.database_quiet import DatabaseQuiet
from deployguard.steps.database_reachable import DatabaseReachable
from deployguard.steps.dependencies_importable import DependenciesImportable
from deployguard.steps.disk_space import DiskSpace
from deployguard.steps.django_check import DjangoCheck
from deployguard.steps.django_deploy_check import DjangoDeployCheck
from deployguard.steps.django_migrate import DjangoMigrate
from deployguard.steps.django_pending_migrations import DjangoPendingMigrations
from deployguard.steps.encryption_decrypt import EncryptionDecrypt
from deployguard.steps.encryption_encrypt import EncryptionEncrypt
from deployguard.steps.encryption_plan import EncryptionPlan
from deployguard.steps.encryption_readiness import EncryptionReadiness
from deployguard.steps.encryption_rotate import EncryptionRotate
from deployguard.steps.encryption_usage import EncryptionUsage
from deployguard.steps.encryption_verify import EncryptionVerify
from deployguard.steps.folder_private import FolderPrivate
from deployguard.steps.gate_approval import GateApproval
from deployguard.steps.gate_command import GateCommand
from deployguard.steps.gate_http import GateHttp
from deployguard.steps.gate_metric import GateMetric
from deployguard.steps.gate_sql import GateSql
from deployguard.steps.gate_window import GateWindow
from deployguard.steps.git_clean import GitClean
from deployguard.steps.git_update import GitUpdate
from deployguard.steps.http import Http
from deployguard.steps.http_baseline import HttpBaseline
from deployguard.steps.key_check import KeyCheck
from deployguard.steps.log import Log
from deployguard.steps.monitor import Monitor
from deployguard.steps.python_install import PythonInstall
from deployguard.steps.rehearse import Rehearse
from deployguard.steps.run import Run
from deployguard.steps.sql import Sql
from deployguard.steps.tls_expiry import TlsExpiry
from deployguard.steps.tools_present import ToolsPresent

ENTRY_POINTS = "deployguard.steps"

KINDS: dict[str, type[Step]] = {
    kind.uses: kind
    for kind in (
        KeyCheck,
        GitClean,
        GitUpdate,
        PythonInstall,
        DatabaseReachable,
        DatabaseQuiet,
        ClockSkew,
        DiskSpace,
        FolderPrivate,
        ToolsPresent,
        DependenciesImportable,
        DjangoCheck,
        DjangoDeployCheck,
        DjangoPendingMigrations,
        DjangoMigrate,
        BackupCreate,
        BackupRestore,
        BackupDestroy,
        Rehearse,
        EncryptionReadiness,
        EncryptionUsage,
        EncryptionPlan,
        EncryptionEncrypt,
        EncryptionDecrypt,
        EncryptionRotate,
        EncryptionVerify,
        GateApproval,
        GateWindow,
        GateCommand,
        GateHttp,
        GateSql,
        GateMetric,
        TlsExpiry,
        Http,
        HttpBaseline,
        Sql,
        Log,
        Monitor,
        Run,
    )
}


@cache
def all_kinds() -> dict[str, type[Step]]:
    """Our own kinds, and those of installed packages; none of theirs takes the name of one of ours."""
    from importlib.metadata import entry_points

    theirs = {point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}
    return {**theirs, **KINDS}
