"""JSON from strangers, taken strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import strictjson

texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(':\\"'), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


@given(values, st.booleans(), st.sampled_from([(",", ":"), (" ,\n", " : ")]))
def test_what_is_sound_is_taken_as_it_is(value: Any, ascii: bool, separators: tuple[str, str]) -> None:
    assert strictjson.parse(json.dumps(value, ensure_ascii=ascii, separators=separators)) == value


class Twice(dict[str, Any]):
    """Writes one of its names again."""

    def items(self) -> Any:
        pairs = list(super().items())
        return [*pairs, pairs[0]]


@given(st.dictionaries(texts, values, min_size=1, max_size=4), st.lists(st.sampled_from(["list", "name"]), max_size=4))
def test_a_name_twice_is_refused_however_deep_and_whatever_else_is_said(
    inner: dict[str, Any], around: list[str]
) -> None:
    document: Any = Twice(inner)
    for way in around:
        document = [document, ":"] if way == "list" else {"a:b": document, "c": ":"}
    with pytest.raises(ValueError, match="twice in one object"):
        strictjson.parse(json.dumps(document, ensure_ascii=False))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a":1,"\\u0061":2}', "a name twice in one object"),
        ('{"a":"\\u003a","a":1}', "a name twice in one object"),
        ('{"a" :1,"a":2}', "a name twice in one object"),
        ("[1e400]", "a number that is not finite"),
        ("[18446744073709551616]", "a number beyond 64 bits"),
        ("[-9223372036854775809]", "a number beyond 64 bits"),
        ("[" * 34 + "]" * 34, "nested deeper than 32"),
        ("[" * 3000, "recursion limit"),
        ("[" + "0," * 10_000 + "0]", "more than 10000 values"),
        ('["\ud800"]', "text that is no Unicode"),
        ('["\\ud800"]', "hex escape|surrogate"),
        ("[NaN]", "expected value"),
        ("[Infinity]", "expected value"),
        ("[-Infinity]", "invalid number"),
        ('["\0"]', "control character"),
        ("[1] 2", "trailing"),
        ("[01]", "invalid number"),
        ("\ufeff{}", "expected value"),
        ("", "EOF"),
    ],
)
def test_what_is_not_sound_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        strictjson.parse(text)


def test_the_limits_themselves_are_allowed() -> None:
    assert strictjson.parse("[" * 33 + "]" * 33) is not None
    assert strictjson.parse(f"[{2**64 - 1},{-(2**63)}]") == [2**64 - 1, -(2**63)]
    assert len(strictjson.parse("[" + "0," * 9_998 + "0]")) == 9_999


def test_a_refusal_quotes_nothing_of_the_document() -> None:
    secret = "\x1b[31mhunter2"
    for text in (f'{{"{secret}":1', f'["{secret}" x]', secret):
        with pytest.raises(ValueError) as refused:
            strictjson.parse(text)
        assert "hunter2" not in str(refused.value)
