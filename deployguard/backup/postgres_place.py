"""PostgreSQL: a database made like another, and one put in another's place.

Sources: postgresql.org/docs/current: sql-createdatabase, sql-alterdatabase, catalog-pg-db-role-setting; pg_dumpall's
treatment of list settings (src/bin/pg_dump/dumputils.c, variable_is_guc_list_quote).
"""

import threading
from typing import Any

import psycopg
from psycopg import sql

from deployguard.backup.postgres_facts import Connection
from deployguard.databases.base import PREFIX
from deployguard.errors import Refused

_LISTS = {
    "local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
    "temp_tablespaces", "unix_socket_directories",
}  # fmt: skip
"""Settings whose value is a list that stands quoted in the catalog already."""
_FENCE = f"{PREFIX}fence"
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}


def create_like(connection: Connection, model: dict[str, Any], name: str, comment: str) -> None:
    """Make an empty database with another's owner, encoding and locale: a dump of one database carries none of these.

    Args:
        connection: to the server that it is made on.
        model: what `shape_of` says of the other, which may be on another server.
        name: of the new one.
        comment: what it says of itself.

    Raises:
        Refused: the user may not make databases, or this server does not know the locale.
    """
    identifier = sql.Identifier(name)
    try:
        connection.execute(sql.SQL("CREATE DATABASE {} {}").format(identifier, _options(model)))
    except (psycopg.errors.WrongObjectType, psycopg.errors.InvalidParameterValue):
        locale = model.get("datlocale") or model.get("daticulocale") or model["datcollate"]
        raise Refused(
            f"{connection.info.host} cannot make a database with the locale {locale} and encoding {model['encoding']}",
            hint="Install that locale on the server's machine and restart the server, or choose another server.",
        ) from None
    except psycopg.errors.InsufficientPrivilege:
        raise Refused(
            f"the user {connection.info.user} may not make a database to restore into",
            hint=f"Let an administrator run 'ALTER ROLE \"{connection.info.user}\" CREATEDB'.",
        ) from None
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(identifier, comment))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(identifier))


def shape_of(connection: Connection, name: str) -> dict[str, Any]:
    """Owner, encoding, locale and the like of a database of the connection's server.

    Raises:
        Refused: there is no such database.
    """
    row = connection.execute("SELECT to_jsonb(d) FROM pg_database d WHERE datname = %s", (name,)).fetchone()
    owner = connection.execute(
        "SELECT pg_get_userbyid(datdba)::text, pg_encoding_to_char(encoding)::text, spcname::text"
        " FROM pg_database JOIN pg_tablespace s ON s.oid = dattablespace WHERE datname = %s",
        (name,),
    ).fetchone()
    if row is None or owner is None:
        raise Refused(f"there is no database {name!r}", hint="Was it renamed a moment ago? Check the database: URL.")
    return {**row[0], "owner": owner[0], "encoding": owner[1], "tablespace": owner[2]}


def _options(facts: dict[str, Any]) -> sql.Composable:
    given = {
        "OWNER": sql.Identifier(facts["owner"]), "TEMPLATE": sql.SQL("template0"),
        "ENCODING": sql.Literal(facts["encoding"]), "TABLESPACE": sql.Identifier(facts["tablespace"]),
        "LC_COLLATE": sql.Literal(facts["datcollate"]), "LC_CTYPE": sql.Literal(facts["datctype"]),
        "CONNECTION LIMIT": sql.Literal(facts["datconnlimit"]),
    }  # fmt: skip
    provider = _PROVIDERS.get(facts.get("datlocprovider", "c"), "libc")
    locale = facts.get("datlocale") or facts.get("daticulocale")
    if provider != "libc":
        given |= {"LOCALE_PROVIDER": sql.SQL(provider), f"{provider.upper()}_LOCALE": sql.Literal(locale)}
    return sql.SQL(" ").join(sql.SQL("{} = {}").format(sql.SQL(word), value) for word, value in given.items())


def dress(connection: Connection, model: str, name: str) -> None:
    """Give a database another's settings and rights: what no dump of one database carries."""
    settings = connection.execute(
        "SELECT CASE WHEN setrole = 0 THEN NULL ELSE pg_get_userbyid(setrole)::text END, unnest(setconfig)"
        " FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE datname = %s",
        (model,),
    ).fetchall()
    for role, setting in settings:
        connection.execute(_set(name, role, *setting.split("=", 1)))
    rights = connection.execute(
        "SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee)::text END,"
        " privilege_type, is_grantable"
        " FROM pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) a WHERE datname = %s",
        (model,),
    ).fetchall()
    for grantee, right, grantable in rights:
        to = sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC")
        option = sql.SQL(" WITH GRANT OPTION" if grantable else "")
        grant = sql.SQL("GRANT {} ON DATABASE {} TO {}{}")
        connection.execute(grant.format(sql.SQL(right), sql.Identifier(name), to, option))
    comment = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", (model,)
    ).fetchone()
    text = sql.Literal(comment[0] if comment else None)
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), text))


def _set(database: str, role: str | None, setting: str, value: str) -> sql.Composed:
    shown = sql.SQL(value) if setting.lower() in _LISTS else sql.Literal(value)
    whose = sql.SQL("ROLE {} IN DATABASE").format(sql.Identifier(role)) if role else sql.SQL("DATABASE")
    return sql.SQL("ALTER {} {} SET {} = {}").format(
        whose, sql.Identifier(database), sql.SQL(".").join(map(sql.Identifier, setting.split("."))), shown
    )


def carry_fence(live: Connection, copy: Connection) -> None:
    """Keep the highest fencing token: a restored one would let a stale holder write again."""
    where = live.execute(
        "SELECT nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = %s", (_FENCE,)
    ).fetchone()
    if where is None:
        return
    table = sql.Identifier(where[0], _FENCE)
    token = live.execute(sql.SQL("SELECT fence FROM {}").format(table)).fetchone()
    make = sql.SQL("CREATE TABLE IF NOT EXISTS {} (id int PRIMARY KEY CHECK (id = 1), fence bigint NOT NULL)")
    copy.execute(make.format(table))
    if token is not None:
        put = "INSERT INTO {} VALUES (1, {}) ON CONFLICT (id) DO UPDATE SET fence = excluded.fence"
        copy.execute(sql.SQL(put).format(table, sql.Literal(token[0])))


def swap(first: Connection, second: Connection, *, live: str, copy: str, former: str) -> None:
    """Rename `live` to `former` and `copy` to `live`, both or neither.

    The rename locks the name before it waits for the sessions to end, so none can come
    while the other connection ends those that are there.

    Raises:
        Refused: sessions could not be ended.
    """
    done = threading.Event()
    ending = threading.Thread(target=_end_sessions, args=(second, [live, copy], done), daemon=True)
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    try:
        with first.transaction():
            dress(first, live, copy)
            ending.start()
            first.execute(rename.format(sql.Identifier(live), sql.Identifier(former)))
            first.execute(rename.format(sql.Identifier(copy), sql.Identifier(live)))
    except psycopg.errors.ObjectInUse:
        raise Refused(
            f"the database {live!r} is in use, and its sessions could not all be ended; nothing was changed",
            hint="Stop the application, end prepared transactions, and connect as the owner or with pg_signal_backend.",
        ) from None
    finally:
        done.set()
        if ending.is_alive():
            ending.join()


def _end_sessions(connection: Connection, databases: list[str], done: threading.Event) -> None:
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = ANY (%s) AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    while not done.is_set():
        try:
            connection.execute(end, (databases,))
        except psycopg.Error:  # somebody's session is not ours to end: the rename will say so
            return
        done.wait(0.05)
