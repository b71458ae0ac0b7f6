"""Queries for what a PostgreSQL database declares: one line of text for each thing.

Source: postgresql.org/docs/current/catalogs.
"""

_OURS = """
    n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.deptype = 'e' AND (d.classid, d.objid) = ('{catalog}'::regclass, {oid})
    )
"""


def _ours(catalog: str, oid: str) -> str:
    # what belongs to an extension comes back with the extension
    return _OURS.format(catalog=catalog, oid=oid)


_KIND = "(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::\"char\""


def _rights(given: str, kind: str, owner: str) -> str:
    # rights that were given and taken back again stand there in full, and no dump says so: compare what they amount to
    whole = f"unnest(coalesce({given}, acldefault({kind}, {owner}))) a"
    return f"(SELECT string_agg(a::text, ',' ORDER BY a::text) FROM {whole})"  # noqa: S608


# No expression is compared as text: what a dump writes of one may read a little differently when the
# server shows it again. Names, columns, kinds and rights do not; expressions come with the dump itself.
SCHEMA = f"""
SELECT 'extension', extname, '', '' FROM pg_extension
UNION ALL
SELECT 'schema', n.nspname, pg_get_userbyid(nspowner), {_rights("nspacl", "'n'", "nspowner")}
FROM pg_namespace n WHERE {_ours("pg_namespace", "n.oid")}
UNION ALL
SELECT 'relation', n.nspname || '.' || relname,
       relkind::text || relpersistence::text || relrowsecurity || relispartition,
       concat_ws(' ', pg_get_userbyid(relowner),
                 {_rights("relacl", _KIND, "relowner")})
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r','p','v','m','S','f') AND {_ours("pg_class", "c.oid")}
UNION ALL
SELECT 'column', n.nspname || '.' || relname || '.' || attname, format_type(atttypid, atttypmod),
       concat_ws(' ', attnotnull, atthasdef, attidentity, attgenerated,
                 (SELECT collname FROM pg_collation WHERE oid = attcollation AND attcollation <> 100),
                 {_rights("attacl", "'c'", "relowner")})
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r','p','v','m','f') AND {_ours("pg_class", "c.oid")}
UNION ALL
SELECT 'constraint', n.nspname || '.' || conrelid::regclass::text || '.' || conname, contype::text || convalidated,
       concat_ws(' ', confrelid::regclass::text, confdeltype, confupdtype, array_length(conkey, 1))
FROM pg_constraint k JOIN pg_namespace n ON n.oid = connamespace
WHERE contype <> 'n' AND {_ours("pg_class", "k.conrelid")}
UNION ALL
SELECT 'index', n.nspname || '.' || c.relname, indrelid::regclass::text || ' ' || amname,
       concat_ws(' ', indisunique, indisprimary, indisvalid, indpred IS NOT NULL, indexprs IS NOT NULL, indnkeyatts,
                 (SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = indexrelid))
FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
JOIN pg_namespace n ON n.oid = relnamespace WHERE {_ours("pg_class", "indrelid")}
UNION ALL
SELECT 'function', n.nspname || '.' || proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
       md5(prosrc), concat_ws(' ', prokind, prosecdef, provolatile, pg_get_userbyid(proowner),
                              {_rights("proacl", "'f'", "proowner")})
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE {_ours("pg_proc", "p.oid")}
UNION ALL
SELECT 'trigger', tgrelid::regclass::text || '.' || tgname, tgfoid::regproc::text, tgenabled::text || tgtype
FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE NOT tgisinternal AND {_ours("pg_class", "c.oid")}
UNION ALL
SELECT 'type', n.nspname || '.' || typname, typtype::text,
       concat_ws(' ', (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid),
                 {_rights("typacl", "'T'", "typowner")})
FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
WHERE typtype IN ('e','d','r') AND {_ours("pg_type", "t.oid")}
UNION ALL
SELECT 'policy', n.nspname || '.' || relname || '.' || polname, polcmd::text, polpermissive::text
FROM pg_policy JOIN pg_class c ON c.oid = polrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE {_ours("pg_class", "c.oid")}
UNION ALL
SELECT 'default rights', concat_ws(' ', pg_get_userbyid(defaclrole), nspname), defaclobjtype::text,
       (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(defaclacl) a)
FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace
UNION ALL
SELECT 'large object', oid::text, pg_get_userbyid(lomowner), {_rights("lomacl", "'L'", "lomowner")}
FROM pg_largeobject_metadata
UNION ALL
SELECT 'comment', classoid::regclass::text, coalesce(objsubid, 0)::text, md5(description)
FROM pg_description WHERE objoid >= 16384 AND classoid <> 'pg_extension'::regclass
UNION ALL
SELECT 'sequence', schemaname || '.' || sequencename, '',
       concat_ws(' ', data_type, start_value, min_value, max_value, increment_by, cycle)
FROM pg_sequences
"""  # noqa: S608 - made of the constants above
TABLES = f"""
SELECT n.nspname::text, relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND {_ours("pg_class", "c.oid")} ORDER BY 1, 2
"""  # noqa: S608
# in steps, so that one which counts down counts alike; of one that begins again nothing can be said
COUNTERS = """
SELECT schemaname || '.' || sequencename,
       CASE WHEN last_value IS NULL OR cycle THEN 0 ELSE (last_value::numeric - start_value) / increment_by + 1 END
FROM pg_sequences
"""
# without indexes, which nobody counts
SIZE = f"""
SELECT coalesce(sum(pg_table_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND {_ours("pg_class", "c.oid")}
"""  # noqa: S608
# what stands outside a database, and is named in it: what is used, and what a server knows
USES = {
    "user": (
        """
        SELECT pg_get_userbyid(r)::text FROM (
            SELECT refobjid FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
            WHERE refclassid = 'pg_authid'::regclass AND datname = current_database()
            UNION SELECT datdba FROM pg_database WHERE datname = current_database()
            UNION SELECT relowner FROM pg_class WHERE oid >= 16384
            UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384
            UNION SELECT proowner FROM pg_proc WHERE oid >= 16384
        ) x(r)
        """,
        "SELECT rolname::text FROM pg_roles",
    ),
    "extension": ("SELECT extname::text FROM pg_extension", "SELECT name::text FROM pg_available_extensions"),
    "collation": (
        """
        SELECT collname::text FROM pg_attribute JOIN pg_collation c ON c.oid = attcollation
        WHERE attrelid >= 16384 AND collnamespace = 'pg_catalog'::regnamespace
        """,
        "SELECT collname::text FROM pg_collation",
    ),
}
