"""Expressions are filled in once, strictly, and never become more than a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployguard.runbook.expressions import ExpressionError, names_in, render, render_environment, split_words
from deployguard.secret import Secret

NAMES = {"vars": {"a": 1, "b": "two", "list": [1, 2]}, "env": {"HOME": "/root"}}


def test_a_whole_expression_keeps_its_type():
    assert render("${{ vars.a }}", NAMES) == 1
    assert render("x${{ vars.a }}", NAMES) == "x1"
    assert render({"k": ["${{ vars.list }}"]}, NAMES) == {"k": [[1, 2]]}


@pytest.mark.parametrize(
    "text", ["${{ vars.c }}", "x ${{ vars.c }}", "${{ nothing }}", "${{ vars.a.b.c }}", "${{ env.NO }}"]
)
def test_a_name_without_a_value_is_an_error(text):
    with pytest.raises(ExpressionError):
        render(text, NAMES)


def test_a_default_stands_in_for_a_missing_value():
    assert render("${{ env.NO | default('x') }}", NAMES) == "x"


@pytest.mark.parametrize(
    "text",
    [
        "${{ ''.__class__.__mro__ }}",
        "${{ vars.b.format.__globals__ }}",
        "${{ 'a' * 10000000 }}",
        "${{ range(10) }}",
        "${{ vars.update({'a': 2}) }}",
        "${{ ''|attr('__class__') }}",
        "${{ '%c'|format(1, 2, 3) }}",
    ],
)
def test_the_sandbox_lets_nothing_out(text):
    with pytest.raises(ExpressionError):
        render(text, NAMES)


@given(st.text())
def test_data_is_never_a_template(data):
    assert render("${{ vars.x }}", {"vars": {"x": data}}) == data
    assert render("<${{ vars.x }}>", {"vars": {"x": data}}) == f"<{data}>"


@given(
    st.lists(
        st.text(
            alphabet=st.characters(exclude_characters="${}\ue000\ue001\x00", exclude_categories=["Cs"]), min_size=1
        ),
        max_size=5,
    )
)
def test_words_are_split_as_a_shell_would(words):
    import shlex

    assert split_words(shlex.join(words)) == words


def test_names_are_found_as_they_are_written():
    assert names_in("${{ steps.a.outputs['b'] }} ${{ vars.x | default(env.Y) }}") == {
        ("steps", "a", "outputs", "b"),
        ("vars", "x"),
        ("env", "Y"),
    }


def test_a_value_made_with_a_secret_is_a_secret():
    key = Secret("hunter2hunter2", name="key")

    value = render_environment("a-${{ secrets.key }}", NAMES, {"key": key})

    assert isinstance(value, Secret)
    assert value.reveal() == "a-hunter2hunter2"
    assert "hunter2" not in repr(value)


@pytest.mark.parametrize("text", ["${{ secrets['k' ~ 'ey'] }}", "${{ secrets[vars.name] }}"])
def test_a_value_made_with_a_computed_secret_is_a_secret_too(text):
    key = Secret("hunter2hunter2", name="key")

    assert names_in(text) >= {("secrets", "*")}
    assert isinstance(render_environment(text, {"vars": {"name": "key"}}, {"key": key}), Secret)


def test_a_var_may_have_the_name_of_a_method():
    assert render("${{ vars.items }}", {"vars": {"items": 3}}) == 3
    with pytest.raises(ExpressionError):
        render("${{ vars.keys }}", {"vars": {"items": 3}})
