"""What is SQLite's alone."""

import sqlite3

import pytest

from deployguard.databases import connect
from deployguard.databases import sqlite as module
from deployguard.databases.base import RowTable
from deployguard.errors import ConnectionLost, Refused

THING = RowTable("thing", ("k",), ("v",))


def test_a_value_stored_as_something_else_than_text_is_marked(sqlite, opened):
    sqlite.run("CREATE TABLE thing (k INTEGER PRIMARY KEY, v)")
    sqlite.run_many("INSERT INTO thing VALUES (?, ?)", [(1, "text"), (2, b"blob"), (3, 7), (4, 1.5), (5, None)])

    assert [bool(row.foreign) for row in opened(sqlite).page(THING, None, 9)] == [False, True, True, True, False]


@pytest.mark.parametrize("value", [b"\xff\xfe", b"a\x00b", b"\x00", b"\xed\xa0\x80"])
def test_text_that_is_not_utf8_or_holds_nul_is_exact(sqlite, opened, value):
    sqlite.run("CREATE TABLE thing (k INTEGER PRIMARY KEY, v TEXT)")
    sqlite.run("INSERT INTO thing VALUES (1, CAST(? AS TEXT))", value)

    assert opened(sqlite).page(THING, None, 1)[0].values == (value,)


def test_a_row_without_a_key_is_refused(sqlite, opened):
    sqlite.run("CREATE TABLE thing (k TEXT PRIMARY KEY, v TEXT)")
    sqlite.run("INSERT INTO thing VALUES (NULL, 'a')")

    with pytest.raises(Refused, match="thing has NULL"):
        opened(sqlite).page(THING, None, 1)


def test_a_database_in_utf16_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "wide.db") as connection:
        connection.executescript("PRAGMA encoding='UTF-16'; CREATE TABLE thing (k INTEGER PRIMARY KEY)")
    connection.close()

    with pytest.raises(Refused, match="UTF-16"):
        connect("sqlite:///wide.db", base=tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"not a database" * 100])
def test_what_is_no_database_is_refused_and_not_created(tmp_path, content):
    if content is not None:
        (tmp_path / "x.db").write_bytes(content)

    with pytest.raises(Refused, match=r"x\.db"):
        connect("sqlite:///x.db", base=tmp_path)

    assert (tmp_path / "x.db").exists() == (content is not None)


def test_a_reader_leaves_no_file_beside_a_database_at_rest(sqlite, opened, tmp_path):
    sqlite.run("CREATE TABLE thing (k INTEGER PRIMARY KEY, v TEXT)")
    sqlite.close()
    before = sorted(tmp_path.iterdir())

    opened(sqlite, read_only=True).count("thing")

    assert sorted(tmp_path.iterdir()) == before


def test_a_writer_that_does_not_end_is_not_waited_for_without_end(sqlite, opened, monkeypatch):
    monkeypatch.setattr(module, "_BUSY", 0.1)
    sqlite.run("CREATE TABLE thing (k INTEGER PRIMARY KEY, v TEXT)")
    database = opened(sqlite)
    sqlite.connection.execute("BEGIN IMMEDIATE")

    with pytest.raises(ConnectionLost, match="locked"):
        database.claim(1)
