"""Objects in free text: what is found, what is not, and that no text takes long or does anything."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym.text.finding import MOST_CHARACTERS, MOST_OBJECTS, find

A, B = {"a": 1, "b": "x"}, {"a": 2, "b": "y"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('I take {"a": 1, "b": "x"}, don\'t I?', [A]),
        ('[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]', [A, B]),
        ('{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}', [A, B]),
        ('old {"a": 9}\n```json\n[{"a": 1, "b": "x"}]\n```\nor {"a": 8}', [A]),
        ('```\nno design\n```\n{"a": 1, "b": "x"}', [A]),
        ('```json\n{"a": 1, "b": "x"}', [A]),
        ("{'a': 1, 'b': 'x',}", [A]),
        ("{a: 1, b: x}", [A]),
        ("{a = 1, b = 'x'}", [A]),
        ('{"a": 1 // rows\n "b": "x" # isa\n}', [A]),
        ('{"designs": [{"a": 1, "b": "x"}], "why": "because {x}"}', [A]),
        ('{"design 1": {"a": 1, "b": "x"}, "design 2": {"a": 2, "b": "y"}}', [A, B]),
        ('<think>{"a": 7}</think>{"a": 1, "b": "x"}', [A]),
        ('{ let me see: {"a": 1, "b": "x"}', [A]),
        ('{"a": "never ends\n{"a": 1, "b": "x"}', [A]),
        ('{"a": 1, "b": "x"}}}{{"a": 2, "b": "y"', [A]),
        ("{'a': 'it\\'s', 'b': \"say \\\"x\\\"\"}", [{"a": "it's", "b": 'say "x"'}]),
        (
            '{"a": True, "b": null, "c": 1_000, "d": -2.5e3}',
            [{"a": True, "b": None, "c": 1000, "d": -2500.0}],
        ),
        ('{"a": (1, 2), "b": [3]}', [{"a": [1, 2], "b": [3]}]),
        ('{"a": [[1]]}', []),
        ("{}", []),
        ("no design at all", []),
        ("", []),
    ],
)
def test_objects_are_found_as_models_write_them(text, found):
    assert find(text) == found


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)


@given(
    st.lists(st.dictionaries(st.text(max_size=10), SCALARS, min_size=1), min_size=1, max_size=4), st.data()
)
def test_what_json_writes_is_found_in_any_prose(objects, data):
    prose = st.text(st.characters(exclude_characters="{}`~/#"), max_size=20).filter(
        lambda t: "</think>" not in t
    )
    texts = [json.dumps(each, indent=data.draw(st.sampled_from([None, 2]))) for each in objects]
    assert find(data.draw(prose) + data.draw(prose).join(texts) + data.draw(prose)) == objects


@given(st.text() | st.text("{}[]()\"'\\:,=ab1 \n/*#`-.", max_size=200))
def test_no_text_raises(text):
    for found in find(text):
        assert all(isinstance(name, str) for name in found)


HOSTILE = {
    "braces": "{" * 10**6,
    "nested objects": '{"a":' * 200_000,
    "nested lists": '{"a":[' * 170_000,
    "open quotes": "{'" * 500_000,
    "escapes": '{"' + '\\"' * 500_000,
    "spaces": ("{" + " " * 999) * 1000,
    "words": "{a:b " * 200_000,
    "comments": "{/*" * 333_333,
    "fences": "```\n" * 250_000,
    "keys": "{" + "a:1," * 250_000,
    "long text": '{"a": "' + "b" * 10**6,
    "long number": '{"a": ' + "9" * 10**6 + "}",
    "broken objects": '{"a":1 {' * 120_000,
    "zeros": "\0" * 10**6,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_hostile_text_takes_a_number_of_steps_that_grows_with_its_length(name):
    def steps(text):
        counted = 0

        def count(frame, event, argument):
            nonlocal counted
            counted += 1

        sys.setprofile(count)
        try:
            assert find(text) == []
        finally:
            sys.setprofile(None)
        return counted

    text = HOSTILE[name]
    whole = name in ("nested objects", "braces", "fences", "long text", "long number")
    assert find(text if whole else text[:100_000]) == []  # and it ends
    assert steps(text[:20_000]) < 2.5 * steps(text[:10_000]) + 200


def test_the_last_characters_of_a_huge_answer_are_read_and_a_limited_number_of_objects():
    assert find("x" * MOST_CHARACTERS + '{"a": 1}') == [{"a": 1}]
    assert find('{"a": 1}' + "x" * MOST_CHARACTERS) == []
    assert len(find('{"a": 1}' * (MOST_OBJECTS + 5))) == MOST_OBJECTS


def test_numbers_that_are_no_design_values_stay_harmless():
    big = "9" * 399
    found = find(f'{{"a": NaN, "b": -Infinity, "c": {big}, "d": 1e999}}')[0]
    assert found["a"] != found["a"] and found["b"] == -float("inf") and found["c"] == int(big)
    assert found["d"] == float("inf")


def test_code_is_text(tmp_path):
    target = tmp_path / "touched"
    code = f"open({str(target)!r}, 'w')"
    texts = [
        f'{{"a": "{code}"}}',
        f"{{a: __import__('os').system('touch {target}')}}",
        f'{{"a": {code}, "b": 1}}',
        "!!python/object/apply:os.system ['true'] {a: 1}",
        '{"__class__": "os:system", "__reduce__": [1]}',
    ]
    assert [find(text) for text in texts][3:] == [[{"a": 1}], [{"__class__": "os:system", "__reduce__": [1]}]]
    assert not target.exists()
