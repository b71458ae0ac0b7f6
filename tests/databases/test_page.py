"""Rows and changes are held a column at a time, and are rows all the same."""

import pytest

from deployguard.databases.base import Changes, Page, Row, RowTable

NONE, FIRST = frozenset(), frozenset({0})
TABLE = RowTable("thing", ("n", "letter"), ("a", "b"))
PAGE = Page.of(TABLE, [[1, 2, 3], ["a", "b", "c"], [b"x", None, b"z"], [b"1", b"2", b"3"]])
CHANGES = Changes((0, 2), [(1,), (2,), (3,)], [[b"a", b"b", b"c"], [b"d", b"e", b"f"]], [[b"A", b"B", b"C"]] * 2)


def test_a_page_is_its_rows():
    assert [*PAGE] == [
        Row((1, "a"), (b"x", b"1")),
        Row((2, "b"), (None, b"2")),
        Row((3, "c"), (b"z", b"3")),
    ]
    assert [PAGE[n] for n in range(len(PAGE))] == [*PAGE]
    assert PAGE[-1] == Row((3, "c"), (b"z", b"3"))


def test_a_part_of_a_page_is_a_page():
    assert [*PAGE[1:]] == [*PAGE][1:]
    assert not PAGE[:0]


def test_a_page_knows_which_values_are_stored_as_something_else():
    page = Page(PAGE.keys, PAGE.columns, [NONE, FIRST, NONE])

    assert [row.foreign for row in page] == [page[n].foreign for n in range(3)] == [NONE, FIRST, NONE]
    assert [row.foreign for row in page[1:]] == [FIRST, NONE]


def test_a_page_of_no_columns_has_its_keys_all_the_same():
    assert [*Page.of(RowTable("thing", ("n",), ()), [[1, 2]])] == [Row((1,), ()), Row((2,), ())]


def test_a_page_of_no_rows_has_its_columns_all_the_same():
    assert not Page.of(TABLE, [])
    assert (
        [[*column] for column in Page.of(TABLE, []).columns] == [[*column] for column in PAGE[:0].columns] == [[], []]
    )


def test_changes_are_told_row_by_row():
    assert [*CHANGES][1] == ((2,), (b"b", b"e"), (b"B", b"B"))
    assert len(CHANGES) == 3


def test_some_of_the_changes_are_of_the_same_columns():
    first, second, third = CHANGES

    assert [*CHANGES.at([0, 2])] == [first, third]
    assert [*CHANGES[1:]] == [second, third]
    assert CHANGES.at([0, 2]).columns == CHANGES[:1].columns == (0, 2)


def test_columns_of_other_lengths_are_no_page():
    with pytest.raises(ValueError, match="shorter"):
        [*Page([(1,), (2,)], [[b"x"]])]
