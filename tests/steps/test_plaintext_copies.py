"""`plaintext.copies`: copies of what is to be encrypted are found in every place that a Django site keeps them."""

import base64
import gzip
import os
import pickle
import re
import zipfile
from itertools import count

import pytest
from checking import context
from copies_site import PEOPLE, build
from pydantic import ValidationError
from servers import Store, sqlite_store

from deployguard.errors import Refused
from deployguard.keys.keyring import Keyring
from deployguard.rows import copies
from deployguard.secret import Secret
from deployguard.steps.plaintext_copies import PlaintextCopies

COLUMNS = {"columns": ["shop.Person.email", "shop.Person.nickname", "shop.Person.address"]}
PERSON = {"columns": ["shop.Person.email"]}
EMAIL = "person.{0}@mail{0}.example.org"
_NUMBERS = count(1)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def busy_site(request, tmp_path_factory):
    """With copies everywhere, on every product; looking changes nothing, so all tests share it."""
    folder = tmp_path_factory.mktemp("busy")
    if request.param == "sqlite":
        store = sqlite_store(folder)
    else:
        server = request.getfixturevalue("postgres_server" if request.param == "postgresql" else "mariadb_server")
        name = f"busy{next(_NUMBERS)}"
        server.run(f"CREATE DATABASE {name}")
        store = Store(request.param, server.url(name), lambda: server.connect(name))
    app = build(folder, store)
    add_search(store)
    yield folder, app, store
    store.close()


def add_search(store):
    if store.product == "sqlite":
        store.run(
            "CREATE VIRTUAL TABLE person_search USING fts5(email, nickname, content='shop_person', content_rowid='id')"
        )
        store.run("INSERT INTO person_search (person_search) VALUES ('rebuild')")
        store.run("CREATE VIRTUAL TABLE bare_search USING fts5(words, content='', tokenize='porter')")
        store.run("INSERT INTO bare_search (rowid, words) SELECT id, nickname || ' ' || email FROM shop_person")
    elif store.product == "postgresql":
        store.run("CREATE TABLE person_search (id int PRIMARY KEY, words tsvector)")
        store.run(
            "INSERT INTO person_search SELECT id, to_tsvector('english', nickname || ' ' || email) FROM shop_person"
        )
    else:
        store.run("CREATE FULLTEXT INDEX by_words ON shop_person (email)")


@pytest.fixture(scope="module")
def found(busy_site):
    folder, app, store = busy_site
    return store.product, PlaintextCopies(**COLUMNS).execute(context(folder, app=app, url=store.url))


PLACES = [
    ("shop_newsletter.address", "column", ["email"], PEOPLE // 4),
    ("shop_historicalperson.email", "history", ["email"], PEOPLE),
    ("shop_historicalperson.address", "history", ["address"], PEOPLE),
    ("auditlog_logentry.changes", "audit log", ["email", "nickname", "address"], PEOPLE),
    ("auditlog_logentry.object_repr", "audit log", ["email"], PEOPLE),
    ("reversion_version.serialized_data", "versions", ["email", "nickname", "address"], PEOPLE),
    ("django_admin_log.object_repr", "admin log", ["email"], PEOPLE),
    ("django_session.session_data", "session", ["email"], PEOPLE // 4),
    ("site_cache.value", "cache", ["email"], PEOPLE // 4),
]
SEARCH = {
    "sqlite": ["person_search.email", "bare_search.words"],
    "postgresql": ["person_search.words"],
    "mariadb": ["shop_person.email (full-text index)"],
}


@pytest.mark.parametrize(("place", "kind", "of", "rows"), PLACES, ids=lambda value: str(value).split(".")[0])
def test_a_copy_is_named_with_what_it_holds_and_how_often(found, place, kind, of, rows):
    _, outcome = found

    [copy] = [copy for copy in outcome.evidence["copies"] if copy["place"] == place]
    assert copy["sure"]
    assert copy["kind"] == kind
    assert list(copy["of"]) == [f"shop_person.{column}" for column in of]
    assert (copy["rows"], copy["looked"], copy["total"]) == (rows, rows, rows)


def test_full_text_indexes_are_copies_too(found):
    product, outcome = found

    kinds = {copy["place"]: copy for copy in outcome.evidence["copies"]}
    for place in SEARCH[product]:
        assert kinds[place]["sure"]
        assert "shop_person.email" in kinds[place]["of"]


def test_nothing_else_is_taken_for_a_copy_and_all_was_looked_at(found):
    product, outcome = found

    named = sorted(copy["place"] for copy in outcome.evidence["copies"])
    assert named == sorted([place for place, *_ in PLACES] + SEARCH[product] + ["reversion_version.object_repr"])
    assert outcome.evidence["unlooked"] == []


def test_it_fails_with_counts_and_tells_no_value(found):
    _, outcome = found

    assert outcome.status == "fail"
    assert "auditlog_logentry.changes (audit log) holds 81 different values of shop_person.email" in outcome.summary
    assert f"in {PEOPLE} of {PEOPLE} rows" in outcome.summary
    assert "example.org" not in str(outcome).lower()
    assert "gasse" not in str(outcome).lower()


def test_the_application_says_what_is_its_own_to_decode(busy_site):
    folder, _, store = busy_site

    outcome = PlaintextCopies(**PERSON).execute(context(folder, url=store.url))

    assert "sessions, caches, media (the runbook names no application to ask for them)" in outcome.summary
    assert "django_session.session_data" not in str(outcome.evidence["copies"])


# -- a database with nothing but two tables


@pytest.fixture
def pair(store):
    """People, and a table that has nothing to do with them."""
    engine = " ENGINE=InnoDB" if store.product == "mariadb" else ""
    store.run(f"CREATE TABLE shop_person (id int PRIMARY KEY, email varchar(300), nickname varchar(200)){engine}")
    store.run(f"CREATE TABLE other (id int PRIMARY KEY, word varchar(300), more text){engine}")
    nicknames = ["", "a", "Grace", "administrator", "2001-02-03", "127.0.0.1"]
    store.run_many(
        "INSERT INTO shop_person VALUES (?, ?, ?)",
        [(n, EMAIL.format(n), nicknames[n % 6] if n else "Quetzalcoatl") for n in range(60)],
    )
    return store


def others(store, *rows):
    store.run_many("INSERT INTO other VALUES (?, ?, ?)", [(n, *row) for n, row in enumerate(rows)])


def look(store, folder, *, keys=(), secrets=None, **settings):
    given = {"columns": ["shop.Person.email", "shop.Person.nickname"], **settings}
    return PlaintextCopies(**given).execute(context(folder, url=store.url, keys=keys, secrets=secrets))


def places(outcome):
    return [copy["place"] for copy in outcome.evidence["copies"]]


def test_what_everybody_writes_is_no_copy(pair, tmp_path):
    others(
        pair,
        *[
            (word, f"the {word} of Quetzalcoatl")
            for word in ("", "a", "Grace", "administrator", "2001-02-03", "Quetzalcoatl")
        ],
    )

    outcome = look(pair, tmp_path)

    assert places(outcome) == []
    assert "no copy of 2 columns was found" in outcome.summary


def test_one_or_two_values_are_perhaps_a_copy_and_three_are_one(pair, tmp_path):
    others(pair, (EMAIL.format(1), ""), ("x", f"from {EMAIL.format(2)}"))
    few = look(pair, tmp_path)
    pair.run("INSERT INTO other VALUES (3, ?, 'x')", EMAIL.format(3))
    pair.run("INSERT INTO other VALUES (4, ?, 'x')", EMAIL.format(4))

    many = look(pair, tmp_path)

    assert few.status == "warn"
    assert "other.word holds perhaps 1 value of shop_person.email in 1 of 2 rows" in few.summary
    assert many.status == "fail"
    assert "other.word holds 3 different values of shop_person.email in 3 of 4 rows" in many.summary
    assert look(pair, tmp_path, on_find="warn").status == "warn"


def test_single_words_make_a_copy_only_where_they_are_most_of_a_column(pair, tmp_path):
    names = ["Lovelace", "Hopper", "Hamilton", "Johnson"]
    pair.run_many("UPDATE shop_person SET nickname = ? WHERE id = ?", [(name, n) for n, name in enumerate(names)])
    others(pair, *[(name, "") for name in names[:2]])
    two = look(pair, tmp_path)
    others_more = [(10 + n, name, "") for n, name in enumerate(names[2:])]
    pair.run_many("INSERT INTO other VALUES (?, ?, ?)", others_more)
    most = look(pair, tmp_path)
    pair.run_many("INSERT INTO other VALUES (?, ?, ?)", [(20 + n, "tree", "") for n in range(20)])
    few = look(pair, tmp_path)

    assert (two.evidence["copies"], most.status, few.status) == ([], "fail", "warn")


def test_after_the_encryption_the_copy_that_was_forgotten_is_found_by_what_the_tokens_hold(pair, tmp_path, new_key):
    key = new_key()
    others(pair, *[(EMAIL.format(n), "") for n in range(10)])
    sealed = [(Keyring(key).seal(EMAIL.format(n).encode()).decode(), n) for n in range(60)]
    pair.run_many("UPDATE shop_person SET email = ? WHERE id = ?", sealed)

    with_key = look(pair, tmp_path, keys=["key"], secrets={"key": key.reveal()})
    with_another = look(pair, tmp_path, keys=["key"], secrets={"key": new_key().reveal()})

    assert places(with_key) == ["other.word"]
    assert places(with_another) == []
    assert "no value tells of a copy of shop_person.email" in with_another.summary


def test_another_column_of_the_same_table_is_a_copy(pair, tmp_path):
    pair.run("UPDATE shop_person SET nickname = email")

    assert places(look(pair, tmp_path, columns=["shop.Person.email"])) == ["shop_person.nickname"]


def test_large_tables_are_looked_at_from_all_over_and_how_far_is_said(pair, tmp_path):
    # the copies are at the end of many rows
    pair.run_many("INSERT INTO other VALUES (?, ?, ?)", [(n, "nothing", "") for n in range(30_000)])
    pair.run_many("INSERT INTO other VALUES (?, ?, ?)", [(n + 30_000, EMAIL.format(n), "") for n in range(60)])

    outcome = look(pair, tmp_path)

    [copy] = outcome.evidence["copies"]
    assert (copy["place"], copy["rows"]) == ("other.word", 60)


def test_how_far_the_search_came_in_a_large_table_is_said(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "_OTHER", 1_500)
    pair.run_many("INSERT INTO other VALUES (?, ?, ?)", [(n, "nothing", "") for n in range(4_000)])

    outcome = look(pair, tmp_path)

    assert outcome.status == "pass"
    # a server's own estimate may be an old one
    assert re.search(r"other\.\* \(1,500 of about \d,\d\d\d rows were looked at\)", outcome.summary)


def test_when_the_time_is_over_it_is_said_what_was_not_looked_at(pair, tmp_path):
    outcome = look(pair, tmp_path, budget=1e-6)

    assert outcome.status == "warn"
    assert "not looked at, or not to the end: other.* (there was no time left)" in outcome.summary


def test_a_table_without_a_key_is_looked_at_or_named(pair, tmp_path):
    pair.run("CREATE TABLE keyless (word varchar(300))")
    pair.run_many("INSERT INTO keyless VALUES (?)", [(EMAIL.format(n),) for n in range(5)])

    outcome = look(pair, tmp_path)

    if pair.product == "sqlite":
        assert places(outcome) == ["keyless.word"]
    else:
        assert outcome.status == "warn"
        assert "keyless.* (it has no primary key to page by)" in outcome.summary
        allow = [{"place": "keyless.*", "reason": "is emptied every night"}]
        assert look(pair, tmp_path, allow=allow).status == "pass"


def test_materialized_views_are_counted_since_they_cannot_be_paged_through(postgres, tmp_path):
    postgres.run("CREATE TABLE shop_person (id int PRIMARY KEY, email varchar(300))")
    postgres.run("CREATE MATERIALIZED VIEW emails AS SELECT email FROM shop_person")

    outcome = look(postgres, tmp_path, columns=["shop.Person.email"])

    assert outcome.status == "warn"
    assert "materialized views (there are 1, and they have no key to page by)" in outcome.summary


def test_an_allowed_place_keeps_its_reason_and_one_that_is_not_there_is_on_record(pair, tmp_path):
    others(pair, *[(EMAIL.format(n), EMAIL.format(n)) for n in range(5)])
    allow = [{"place": "other.w*", "reason": "is emptied at night"}, {"place": "old.*", "reason": "was once there"}]

    outcome = look(pair, tmp_path, allow=allow)

    assert outcome.status == "fail"
    assert "other.word" not in outcome.summary
    assert {copy["place"]: copy["allowed"] for copy in outcome.evidence["copies"]} == {
        "other.word": "is emptied at night",
        "other.more": "",
    }
    assert outcome.evidence["allowed_in_vain"] == ["old.*"]


def test_a_column_that_is_not_there_is_said(pair, tmp_path):
    outcome = look(pair, tmp_path, columns=["shop.Person.email", "shop.Person.phone", "shop.Order.note"])

    assert outcome.status == "warn"
    assert "shop_person.phone (the column is not in the database)" in outcome.summary
    assert "shop_order.* (there is no table shop_order in" in outcome.summary


def test_a_column_whose_values_anybody_could_have_written_is_named(pair, tmp_path):
    pair.run("UPDATE shop_person SET nickname = 'Grace'")

    outcome = look(pair, tmp_path, columns=["shop.Person.nickname"])

    assert "no value tells of a copy of shop_person.nickname: all are short, frequent or dates" in outcome.summary


def test_bytes_of_postgresql_are_read_as_text(postgres, tmp_path):
    postgres.run("CREATE TABLE shop_person (id int PRIMARY KEY, email varchar(300))")
    postgres.run("CREATE TABLE blobs (id int PRIMARY KEY, content bytea)")
    for n in range(5):
        postgres.run("INSERT INTO shop_person VALUES (?, ?)", n, EMAIL.format(n))
        postgres.run("INSERT INTO blobs VALUES (?, ?)", n, b"\x00\x01" + EMAIL.format(n).encode())

    assert places(look(postgres, tmp_path, columns=["shop.Person.email"])) == ["blobs.content"]


# -- files


@pytest.fixture
def people(sqlite, tmp_path):
    """A site with a media folder."""
    sqlite.run("CREATE TABLE shop_person (id int PRIMARY KEY, email varchar(300), nickname varchar(200))")
    sqlite.run_many("INSERT INTO shop_person VALUES (?, ?, '')", [(n, EMAIL.format(n)) for n in range(60)])
    (tmp_path / "media").mkdir()
    return sqlite


def table(*numbers):
    return "id;email\n" + "".join(f"{n};{EMAIL.format(n)}\n" for n in numbers)


def in_files(store, folder, **settings):
    return look(store, folder, columns=["shop.Person.email"], folders=["media"], **settings)


def packed(path, text):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", "".join(f"<si><t>{line}</t></si>" for line in text.splitlines()))


WRITTEN = {
    "people.csv": lambda path, text: path.write_text(text, "utf-8"),
    "people.txt": lambda path, text: path.write_text(text, "utf-16"),
    "people.csv.gz": lambda path, text: path.write_bytes(gzip.compress(text.encode())),
    "people.xlsx": packed,
    "people": lambda path, text: path.write_bytes(b"\x00\x01\xff" + text.encode() + b"\x00"),
    "dump.sql": lambda path, text: path.write_text("x" * 500_000 + f"('{text}')", "utf-8"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_export_in_the_media_folder_is_named(people, tmp_path, name):
    WRITTEN[name](tmp_path / "media" / name, table(1, 2, 3, 4))

    outcome = in_files(people, tmp_path)

    assert outcome.status == "fail"
    assert f"media/{name} (file) holds 4 different values of shop_person.email" in outcome.summary
    assert "example.org" not in str(outcome)


def test_a_value_across_the_border_of_two_portions_is_found(people, tmp_path):
    half = 128 * 1024 - 8
    (tmp_path / "media/one-line.json").write_text("x" * half + " " + " ".join(EMAIL.format(n) for n in range(3)))

    assert in_files(people, tmp_path).evidence["copies"][0]["values"] == 3


def test_a_file_whose_name_is_a_value_is_told_of_without_it(people, tmp_path):
    path = tmp_path / "media" / f"{EMAIL.format(7)}.csv"
    path.write_text(table(1, 2, 3))

    outcome = in_files(people, tmp_path)

    assert f"media/… (its name holds a value; inode {path.stat().st_ino})" in outcome.summary
    assert "example.org" not in str(outcome)


def test_links_are_not_followed_and_what_cannot_be_read_is_said(people, tmp_path):
    (tmp_path / "elsewhere.csv").write_text(table(1, 2, 3))
    (tmp_path / "media/link.csv").symlink_to(tmp_path / "elsewhere.csv")
    (tmp_path / "media/broken.zip").write_bytes(b"PK\x03\x04 no zip at all")
    (tmp_path / "media/face.png").write_bytes(b"picture")
    os.mkfifo(tmp_path / "media/pipe")

    outcome = in_files(people, tmp_path)

    assert outcome.status == "warn"
    assert places(outcome) == []
    assert "link.csv" not in str(outcome)
    assert "pipe" not in str(outcome)
    assert "media/broken.zip (it could not be read (BadZipFile))" in outcome.summary
    assert "media/ (1 files hold no plain text (pictures, PDF and the like))" in outcome.summary


def test_files_for_which_there_is_no_time_are_counted(people, tmp_path):
    (tmp_path / "media/a.csv").write_text("nothing")

    assert "media/ (0 of 1 files were looked at)" in in_files(people, tmp_path, budget=1e-6).summary


def test_a_folder_that_is_not_there_is_refused(people, tmp_path):
    with pytest.raises(Refused, match="exports is no folder"):
        look(people, tmp_path, columns=["shop.Person.email"], folders=["exports"])


# -- what only the application knows


@pytest.fixture(scope="module")
def lonely_site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lonely")
    store = sqlite_store(folder)
    yield folder, build(folder, store), store
    store.close()


class Trap:
    def __reduce__(self):
        return (os.system, ("touch trapped",))


def test_a_cached_pickle_is_read_and_never_loaded(lonely_site):
    folder, app, store = lonely_site
    trap = base64.b64encode(pickle.dumps([Trap(), "Person.3@mail3.example.org"])).decode()
    store.run("INSERT INTO site_cache VALUES ('trap', ?, '2030-01-01')", trap)

    outcome = PlaintextCopies(**PERSON).execute(context(folder, app=app, url=store.url))

    [copy] = [copy for copy in outcome.evidence["copies"] if copy["place"] == "site_cache.value"]
    assert copy["values"] == PEOPLE // 4 + 1
    assert not (folder / "trapped").exists()


def test_sessions_that_the_application_does_not_decode_are_counted(lonely_site):
    folder, app, store = lonely_site
    store.run("INSERT INTO django_session VALUES ('forged', 'bm90aGluZw:1:forged', '2030-01-01')")

    outcome = PlaintextCopies(**PERSON).execute(context(folder, app=app, url=store.url))

    assert "django_session.session_data (1 of 11 sessions are empty or the application" in outcome.summary


def test_exports_in_the_applications_media_folder_are_found_and_caches_elsewhere_named(lonely_site):
    folder, app, store = lonely_site
    (folder / "media").mkdir()
    (folder / "media/export.csv").write_text(table(1, 2, 3))
    settings = folder / "site_settings.py"
    settings.write_text(
        settings.read_text()
        + '\nCACHES["pages"] = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache"}\n'
    )

    outcome = PlaintextCopies(**PERSON).execute(context(folder, app=app, url=store.url))

    assert "media/export.csv" in places(outcome)
    unlooked = {each["place"]: each["why"] for each in outcome.evidence["unlooked"]}
    assert (
        unlooked["the cache pages (django.core.cache.backends.filebased.FileBasedCache)"]
        == "it is not in this database"
    )


def test_without_columns_there_is_nothing_to_look_for_and_that_is_said(lonely_site):
    folder, app, store = lonely_site

    outcome = PlaintextCopies().execute(context(folder, app=app, url=store.url))

    assert outcome.status == "warn"
    assert "columns: [app.Model.field]" in outcome.hint


@pytest.mark.parametrize(
    "settings",
    [
        {"columns": ["email"]},
        {"columns": "shop.Person.email"},
        {"on_find": "ignore"},
        {"budget": 0},
        {"allow": [{"place": "shop_person.email"}]},
        {"allow": [{"place": "shop_person.email", "reason": "  ok  "}]},
        {"allow": [{"reason": "it is being removed"}]},
        {"folders": "media"},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        PlaintextCopies(**settings)


def test_a_key_that_is_none_is_refused_before_anything_is_read(people, tmp_path):
    with pytest.raises(Refused, match="key has 3 characters"):
        look(people, tmp_path, keys=["key"], secrets={"key": Secret("abc", name="key").reveal()})
