"""Columns become rows and rows columns, whatever their number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployguard.woven import cut, woven


@given(st.lists(st.tuples(st.binary(min_size=3, max_size=3), st.binary(min_size=2, max_size=2)), min_size=1))
def test_what_was_woven_is_cut_into_the_same_columns(rows):
    first, second = map(list, zip(*rows, strict=True))
    stream = b"".join(woven([first, second]))

    assert cut(stream, "3s2x") == first
    assert cut(stream, "3x2s") == second


@pytest.mark.parametrize("many", [0, 1, 49, 199, 200, 201, 250, 1001])
def test_any_number_of_pieces_is_cut(many):
    pieces = [n.to_bytes(2) for n in range(many)]

    assert cut(b"".join(pieces), "2s") == pieces
