"""Which values tell of a copy, and in what texts they are recognised."""

import json

import pytest

from deployguard.rows.telling import Parts, Telling, cells_of, parts_of, words_of


def learned(*columns):
    telling = Telling(len(columns))
    for number, values in enumerate(columns):
        for value in values:
            telling.add(number, value)
    return telling.digests()


def is_found(value, text):
    return bool(learned([value]).found_in(parts_of(text)))


@pytest.mark.parametrize(
    "value", ["", "a", "Köln", "12345", "1234567", "127.0.0.1", "2001-02-03", "1990 05 04", "- - -", "!!!!!!!!"]
)
def test_what_anybody_may_have_written_tells_nothing(value):
    assert not is_found(value, value)


@pytest.mark.parametrize(
    "value",
    ["ann@example.org", "user_7071", "Lovelace", "203.0.113.77", "Große Gasse 1001", "12345678", "美咲のいえへ7"],
)
def test_what_nobody_else_would_write_does(value):
    assert is_found(value, value)


def test_what_stands_in_many_rows_tells_nothing_in_whatever_column():
    digests = learned(["Lovelace"] * 4 + ["user_7071"] * 3, ["lovelace"])

    assert digests.telling == (1, 0)
    assert not digests.found_in(parts_of("Lovelace"))
    assert digests.found_in(parts_of("user_7071"))


def test_each_column_is_named_whose_value_it_is():
    digests = learned(["ann@example.org"], ["bob@example.org"], ["Ann@Example.org"])

    assert digests.columns_of(digests.found_in(parts_of("ann@example.org"))) == {0, 2}


@pytest.mark.parametrize(
    "text",
    [
        "ANN@EXAMPLE.ORG",
        "Ann <ann@example.org>, by mail",
        '{"changes": {"email": ["None", "ann@example.org"]}}',
        json.dumps([{"fields": json.dumps({"email": "ann@example.org"})}]),
        '{"ann@example.org": 1}',
        "'ann@example.org':2 'person':1",
        "{bob@example.org,ann@example.org}",
        "https://example.com/?mail=ann%40example.org&x=ann@example.org",
    ],
)
def test_a_value_is_recognised_whatever_stands_around_it(text):
    assert is_found("ann@example.org", text)


@pytest.mark.parametrize("text", ["joann@example.org", "ann@example.org2", "ann example", "ann@example.com"])
def test_a_part_of_it_or_more_than_it_is_not_it(text):
    assert not is_found("ann@example.org", text)


def test_what_json_hides_behind_escapes_is_found():
    assert is_found("Zoë Müller 7", json.dumps({"to": "an Zoë Müller 7 in Köln"}))
    assert is_found("line one\nline two", json.dumps({"to": "line one\nline two"}))
    assert is_found("Zoë Müller 7", json.dumps([{"fields": json.dumps({"to": "an Zoë Müller 7 in Köln"})}]))


def test_a_single_word_counts_only_where_it_stands_alone():
    assert is_found("Quetzalcoatl", " quetzalcoatl ")
    assert is_found("Quetzalcoatl", '["quetzalcoatl"]')
    assert not is_found("Quetzalcoatl", "the god Quetzalcoatl of the Aztecs")
    assert learned(["Quetzalcoatl"]).found_in(cells_of("1;2001;Quetzalcoatl;x\n"))


def test_a_value_that_is_json_is_known_by_the_texts_in_it():
    address = json.dumps({"lines": ["Große Gasse 1001", None], "city": "Köln"})

    assert is_found(address, address)
    assert is_found(address, "to be sent to GROSSE GASSE 1001, Köln")
    assert not is_found(address, "the lines of the city")


def test_a_long_text_is_found_as_a_whole():
    note = "what she said to him about it then " * 20

    assert is_found(note, note)
    assert is_found(note, json.dumps({"note": note}))


def test_nothing_that_was_learned_can_be_read_from_the_digests():
    digests = learned(["ann@example.org"])

    assert "ann" not in repr(digests)
    assert learned(["ann@example.org"]).columns.keys() != digests.columns.keys()


def test_words_are_letters_and_digits_in_small_ones():
    assert words_of("Ann_Lee's  É-mail: 7\u2075") == ("ann", "lee", "s", "é", "mail", "75")


def test_json_that_is_nested_too_deep_is_a_text():
    deep = "[" * 100_000

    assert parts_of(deep) == Parts([deep], [deep])
