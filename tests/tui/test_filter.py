"""The filter language: what a text means, what is said of one that means nothing, and what is close enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from backends.domain import clean
from tui.widgets.filter import STATE_WORDS, Filter, FilterError, Subject, Verdicts, parse, shortened
from tui.widgets.filter.completion import complete, explained, hint
from tui.widgets.filter.fields import (
    BYTES,
    CELSIUS,
    MEGAHERTZ,
    OPERATORS_OF,
    PERCENT,
    SECONDS,
    WATTS,
    Field,
    FieldTable,
    Unit,
)
from tui.widgets.filter.fuzzy import is_close
from tui.widgets.filter.parser import MOST_CHARACTERS

ROW = Subject("dgx07 gpu3 nvidia h100 80gb hbm3 alice", frozenset({"lost", "hot"}))
GIB = 1024**3


def value(name: str) -> Any:
    return lambda item: item.get(name)


FIELDS = FieldTable(
    (
        Field("temp", "number", value("temp"), "temperature", "temp>85", ("temperature",), CELSIUS),
        Field("mem", "number", value("mem"), "memory", "mem>40g", unit=BYTES),
        Field("power", "number", value("power"), "power", "power>300w", unit=WATTS),
        Field("util", "number", value("util"), "load", "util>=50%", unit=PERCENT),
        Field("clock", "number", value("clock"), "clock", "clock<1ghz", unit=MEGAHERTZ),
        Field("age", "number", value("age"), "age", "age<10m", unit=SECONDS, of_the_moment=True),
        Field("xid", "number", value("xid"), "XIDs", "xid=79"),
        Field("node", "text", value("node"), "name", "node~dgx"),
        Field("user", "text", value("user"), "users", "user=alice"),
        Field("driver", "version", value("driver"), "driver", "driver<580"),
        Field("pending", "flag", value("pending"), "pending", "pending=yes"),
        Field("kind", "text", value("kind"), "kind", "kind=xid", choices=("xid", "down")),
    )
)


def matches(text: str, item: Mapping[str, Any] | None = None, words: str = "") -> bool:
    return parse(text, FIELDS).matches(Subject(words, frozenset(), item or {}))


def error_of(text: str, fields: FieldTable = FIELDS, saved: Mapping[str, str] | None = None) -> FilterError:
    with pytest.raises(FilterError) as raised:
        parse(text, fields, saved or {})
    return raised.value


# Words


def test_words_are_all_wanted_in_any_case() -> None:
    assert parse("H100 alice").matches(ROW)
    assert not parse("h100 bob").matches(ROW)


def test_a_bang_refuses() -> None:
    assert parse("dgx !bob").matches(ROW)
    assert not parse("dgx !ALICE").matches(ROW)


def test_state_words_ask_for_the_state() -> None:
    assert parse("lost hot").matches(ROW)
    assert not parse("stale").matches(ROW)
    assert not parse("!lost").matches(ROW)
    assert not parse("hot").matches(Subject("hotel01"))
    assert parse('"hot"').matches(Subject("hotel01")), "in quotes it is a text"
    assert parse("hotel").matches(Subject("hotel01"))


def test_a_star_stands_for_anything() -> None:
    assert matches("dgx*gpu3", words=ROW.text)
    assert not matches("gpu3*dgx", words=ROW.text)
    assert not matches('"dgx*gpu3"', words=ROW.text), "but in quotes for itself"


def test_quotes_keep_blanks_and_signs() -> None:
    assert matches('"h100 80gb"', words=ROW.text)
    assert not matches('"h100  80gb"', words=ROW.text)
    assert matches(r'"a\"b\\c & d"', words='a"b\\c & d')


def test_a_bang_inside_a_word_belongs_to_it() -> None:
    assert matches("a!b", words="xa!b")
    assert not matches("a!b", words="a")


@pytest.mark.parametrize(
    ("word", "name", "close"),
    [
        ("dgx7", "dgx-07", True),
        ("dgx7", "dgx-007.rack2", True),
        ("dgx7", "dgx-17", False),
        ("dgx7", "dgx-70", True),
        ("dgx9", "dgx-07", False),
        ("r2n7", "rack02-node07", True),
        ("lmtrain", "llama-train", True),
        ("zebra", "dgx-zone-east-b", False),
        ("h100", "nvidia-h200", False),
        ("trn", "train", False),
        ("dead", "gpu-8d3ea1fd", False),
        ("ab", "a-b", False),
    ],
)
def test_a_word_may_be_close_to_a_name_but_noise_is_not(word: str, name: str, close: bool) -> None:
    assert is_close(word, name) is close
    assert matches(word, words=f"first {name} last") is close


def test_a_uuid_is_found_by_a_part_of_it_only() -> None:
    uuid = "gpu-8f3a0000-1111-2222-3333-444455556666"
    assert matches("8f3a", words=uuid)
    assert not matches("gpu8123", words=uuid)


@given(st.text(min_size=1), st.text(), st.text())
def test_a_part_of_the_text_always_counts(word: str, before: str, after: str) -> None:
    quoted = word.replace("\\", "\\\\").replace('"', '\\"')
    text = before.lower() + word.lower() + after.lower()
    if len(quoted) < MOST_CHARACTERS - 2:
        assert matches(f'"{quoted}"', words=text)


# Comparisons


@pytest.mark.parametrize(
    ("text", "item", "expected"),
    [
        ("temp>85", {"temp": 86}, True),
        ("temp>85", {"temp": 85}, False),
        ("temp>=85c", {"temp": 85}, True),
        ("temp > 85°C", {"temp": 86}, True),
        ("TEMPERATURE<85", {"temp": 84.5}, True),
        ("temp<=85", {"temp": 86}, False),
        ("temp=85", {"temp": 85}, True),
        ("temp==85", {"temp": 84}, False),
        ("temp!=85", {"temp": 84}, True),
        ("temp>-3.5", {"temp": -3}, True),
        ("mem>40g", {"mem": 41 * GIB}, True),
        ("mem>40", {"mem": 39 * GIB}, False),
        ("mem>=512MiB", {"mem": GIB // 2}, True),
        ("mem<1t", {"mem": 80 * GIB}, True),
        ("power>0.3kw", {"power": 301.0}, True),
        ("power>300w", {"power": 300.0}, False),
        ("util>=50%", {"util": 50}, True),
        ("clock<1.5ghz", {"clock": 1400}, True),
        ("age<10m", {"age": 599.0}, True),
        ("age<1h", {"age": 3600}, False),
        ("temp>60 C", {"temp": 67}, True),
        ("temp > 60 °C", {"temp": 60}, False),
        ("mem>40 GiB", {"mem": 58 * GIB}, True),
        ("mem>40 GiB", {"mem": 39 * GIB}, False),
        ("mem>900 MiB", {"mem": GIB}, True),
        ("power>300 W", {"power": 301.0}, True),
        ("power>0.3 kW", {"power": 300.0}, False),
        ("util<50 %", {"util": 49}, True),
        ("clock<1 GHz temp>60 C", {"clock": 900, "temp": 61}, True),
        ("(temp>60 C)", {"temp": 67}, True),
        ("age<10 min", {"age": 599.0}, True),
        ("age<10 m", {"age": 601.0}, False),
        ("age<1 h 04 m", {"age": 3839.0}, True),
        ("age<1 h 04 m", {"age": 3840.0}, False),
        ("age<1h 04m", {"age": 3839.0}, True),
        ("age>=3 d 04 h", {"age": 3 * 86400.0 + 4 * 3600}, True),
        ("age<2 y", {"age": 400 * 86400.0}, True),
        ("xid=79", {"xid": (48, 79)}, True),
        ("xid=79", {"xid": (48,)}, False),
        ("xid!=79", {"xid": (48, 79)}, False),
        ("xid!=79", {"xid": ()}, True),
        ("xid>=48", {"xid": ()}, False),
        ("node=dgx07", {"node": "DGX07"}, True),
        ("node=dgx", {"node": "dgx07"}, False),
        ("node~GX0", {"node": "dgx07"}, True),
        ("node~=GX0", {"node": "dgx07"}, True),
        ("node!~gx0", {"node": "dgx07"}, False),
        ("node!=dgx07", {"node": "dgx08"}, True),
        ("node=dgx*7", {"node": "dgx-007"}, True),
        ("node=dgx*7", {"node": "dgx-007b"}, False),
        ("node=*", {"node": ""}, True),
        ("node=d*d", {"node": "d"}, False),
        ("node~d*7", {"node": "adgx07b"}, True),
        ("node~7*d", {"node": "adgx07b"}, False),
        ('node="dgx*7"', {"node": "dgx-007"}, False),
        ('node="rack 2"', {"node": "Rack 2"}, True),
        ("user=alice", {"user": frozenset({"bob", "alice"})}, True),
        ("user!=alice", {"user": frozenset({"bob", "alice"})}, False),
        ("user!=alice", {"user": frozenset[str]()}, True),
        ("user~ali", {"user": frozenset({"bob"})}, False),
        ("user=@x", {"user": frozenset({"@x"})}, True),
        ("driver<580", {"driver": "575.57.08"}, True),
        ("driver<580", {"driver": "580.65.06"}, False),
        ("driver=580", {"driver": "580.65.06"}, True),
        ("driver>580", {"driver": "580.65.06"}, False),
        ("driver>=580.95.05", {"driver": "580.105.08"}, True),
        ("driver!=580.65", {"driver": "580.65.06"}, False),
        ("driver~65.06", {"driver": "580.65.06"}, True),
        ("driver=580.*.06", {"driver": "580.65.06"}, True),
        ("driver<580", {"driver": "unknown"}, False),
        ("driver>=6.8.0", {"driver": "6.8.0-49-generic"}, True),
        ("pending=yes", {"pending": True}, True),
        ("pending=off", {"pending": False}, True),
        ("pending!=no", {"pending": False}, False),
    ],
)
def test_a_comparison_holds_or_not(text: str, item: dict[str, Any], expected: bool) -> None:
    assert matches(text, item) is expected


@pytest.mark.parametrize("field", FIELDS.fields, ids=lambda field: field.name)
def test_what_was_not_measured_fulfils_no_comparison_and_can_be_asked_for(field: Field) -> None:
    operand = {"number": "1", "text": "a", "version": "1", "flag": "no"}[field.kind]
    for operator in OPERATORS_OF[field.kind]:
        assert not matches(f"{field.name}{operator}{operand}", {field.name: None})
    for missing in ("na", "NA", "n/a"):
        assert matches(f"{field.name}={missing}", {field.name: None})
        assert not matches(f"{field.name}!={missing}", {field.name: None})
    present = {"number": 0, "text": "", "version": "", "flag": False}[field.kind]
    assert not matches(f"{field.name}=na", {field.name: present}), "0 and no are measured"
    assert matches(f"{field.name}!=na", {field.name: present})


def test_na_in_quotes_is_a_name() -> None:
    assert matches('user="na"', {"user": frozenset({"na"})})
    assert not matches('user="na"', {"user": None})


def test_a_row_of_text_alone_has_no_field_measured() -> None:
    assert not parse("temp>0", FIELDS).matches(Subject("x"))
    assert parse("temp=na", FIELDS).matches(Subject("x"))


# How terms are put together


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("a b", "a & b"),
        ("a & b | c d", "a & b | c & d"),
        ("a && (b || c)", "a & (b | c)"),
        ("!(a b)", "!(a & b)"),
        ("!a b", "!a & b"),
        ("!temp>85", "!temp>85"),
        ("! ! a", "!!a"),
        ("(((a)))", "a"),
        ("(a b) (c & d)", "a & b & c & d"),
        ("temperature >= 085.500C", "temp>=85.5c"),
        ('node="plain"', "node=plain"),
        ('node="a b"', 'node="a b"'),
        ("pending=TRUE", "pending=yes"),
        ("temp!=n/a", "temp!=na"),
        ("LOST Foo", "lost & foo"),
        ("temp>60 C x", "temp>60c & x"),
        ("temp>60 & c", "temp>60 & c"),
        ('temp>60 "c"', 'temp>60 & "c"'),
        ("temp>60 cx", "temp>60 & cx"),
        ("xid=79 x1", "xid=79 & x1"),
        ("age>1 h 04", "age>1h & 04"),
        ("age>1 h 04 d", "age>1h & 04 & d"),
        ("age>1h temp>3", "age>1h & temp>3"),
        ('lost "and" found', 'lost & "and" & found'),
        ("android or1 x-not", "android & or1 & x-not"),
        ("user=and", "user=and"),
        ("", ""),
    ],
)
def test_a_text_means_what_it_is_printed_as(text: str, means: str) -> None:
    assert str(parse(text, FIELDS)) == means
    assert parse(text, FIELDS) == parse(means, FIELDS)


def test_and_binds_closer_than_or() -> None:
    assert matches("temp>85 node~a | node~b", {"temp": 0, "node": "b"})
    assert not matches("temp>85 (node~a | node~b)", {"temp": 0, "node": "b"})


@given(st.text(alphabet=" \t\n"), st.text())
def test_blank_matches_all(text: str, row: str) -> None:
    for fields in (None, FIELDS):
        assert not parse(text, fields)
        assert parse(text, fields).matches(Subject(row))


# What is wrong, and where


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("tmp>85", 0, 'no field "tmp": did you mean temp?'),
        ("lost & tempp>85", 7, "did you mean temp?"),
        ("zzzzzz=1", 0, "tab completes: temp, mem, power, util ..."),
        ("temp>hot", 5, "hot is no number in C: as in temp>85"),
        ("temp>85w", 5, "85w is no number in C"),
        ("temp>1.2.3", 5, "1.2.3 is no number"),
        ("xid=-", 4, "- is no number: as in xid=79"),
        ("xid=" + "9" * 30, 4, "is no number"),
        ("temp~8", 4, "temp is a number: it has = != < <= > >="),
        ("node<3", 4, "node is text: it has = != ~ !~"),
        ("driver<new", 7, "new is no version"),
        ("pending=maybe", 8, "pending is yes or no: not maybe"),
        ("temp<na", 5, "what was not measured has no order: write temp=na"),
        ("a )", 2, "no ( stands before this )"),
        ("a ()", 3, "nothing stands between ( and )"),
        ("| a", 0, "nothing stands before |"),
        ("a || | b", 5, "nothing stands before |"),
        ("> 3", 0, "a field must stand before >"),
        ('"temp">3', 0, "the name of a field has no quotes"),
        ("temp>(3)", 5, "temp> needs a number: as in temp>85"),
        ("node=!x", 5, "node= needs a text"),
        ("temp>60 W lost", 8, "60 W is no number in C: as in temp>85"),
        ("xid=79 m x", 7, "79 m is no number: as in xid=79"),
        ("mem>40 and user=root", 7, '"and" means nothing here: write & | !'),
        ("lost OR hot", 5, '"or" means nothing here: write & | !'),
        ("not lost", 0, '"not" means nothing here: write & | !'),
        ("(user=or) (or x)", 11, '"or" means nothing here'),
        ("x" * (MOST_CHARACTERS + 1), MOST_CHARACTERS, "at most 1000 characters"),
        ("(" * 60 + "a" + ")" * 60, 40, "more than 40 levels"),
        ("!" * 100 + "a", 40, "more than 40 levels"),
        ("a " * 300, 400, "more than 200 conditions"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, at: int, said: str) -> None:
    error = error_of(text)
    assert said in error.sentence
    assert (error.position, error.incomplete) == (at, False)


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("temp>", 5, "temp> needs a number: as in temp>85"),
        ("temp>  ", 5, "temp> needs a number"),
        ("a &", 2, "something must follow &"),
        ("a | ", 2, "something must follow |"),
        ("a !", 2, "something must follow !"),
        ("a (", 2, "this ( is not closed"),
        ("(a", 0, "this ( is not closed"),
        ('a "b', 2, "this quote is not closed"),
        ("@", 0, "the name of a saved filter follows @"),
        ("temp>60 d", 8, "60 d is no number in C"),
        ("lost or ", 5, '"or" means nothing here'),
    ],
)
def test_what_may_only_be_unfinished_says_so(text: str, at: int, said: str) -> None:
    error = error_of(text)
    assert said in error.sentence
    assert (error.position, error.incomplete) == (at, True)


def test_in_a_list_of_texts_every_text_is_a_filter() -> None:
    assert parse("!").matches(ROW)
    assert not parse("temp>85 dgx07").matches(ROW)
    assert parse("gpu3) dgx07").matches(Subject("gpu3) dgx07"))
    assert parse("(dgx07 | dgx08) !bob").matches(ROW), "but what is an expression is one"
    assert parse("not found").matches(Subject("file not found")), "a text may hold these words"
    error = error_of("temp>85", FieldTable())
    assert error.sentence == "this list has words only, no fields: quote it to look for it"


# Saved filters


def test_a_saved_filter_stands_for_its_text() -> None:
    saved = {"hot": "temp>85", "mine": "user=alice & (@hot | lost)"}
    match = parse("@mine !node~b", FIELDS, saved)
    assert str(match) == "@mine & !node~b"
    assert match.fields == {"user", "temp", "node"}
    assert match.matches(Subject("", frozenset(), {"user": "alice", "temp": 90, "node": "a"}))
    assert not match.matches(Subject("", frozenset(), {"user": "alice", "temp": 90, "node": "b"}))
    assert match != parse("@mine !node~b", FIELDS, {**saved, "hot": "temp>80"}), "it means something else"


@pytest.mark.parametrize(
    ("text", "saved", "at", "said"),
    [
        ("a @hott", {"hot": "a"}, 2, "no filter is saved as hott: did you mean @hot?"),
        ("a @b", {"b": "x @b"}, 2, "in @b: @b is part of itself"),
        ("@a", {"a": "@b", "b": "!@a"}, 0, "in @a: in @b: @a is part of itself"),
        ("a @b", {"b": "tmp>3"}, 2, 'in @b: no field "tmp": did you mean temp?'),
        ("@b", {"b": "  "}, 0, "@b is empty"),
    ],
)
def test_what_is_wrong_with_a_saved_filter_is_said_where_it_is_used(
    text: str, saved: dict[str, str], at: int, said: str
) -> None:
    error = error_of(text, saved=saved)
    assert error.sentence == said
    assert error.position == at


def test_saved_filters_that_multiply_are_refused_at_once() -> None:
    saved = {f"f{n}": f"@f{n + 1} @f{n + 1} @f{n + 1}" for n in range(30)} | {"f30": "a"}
    assert "more than" in error_of("@f0", saved=saved).sentence
    chain = {f"f{n}": f"@f{n + 1}" for n in range(500)} | {"f500": "a"}
    assert "more than 40 levels" in error_of("@f0", saved=chain).sentence


# Properties

WORDS = st.text(alphabet="abz07-*!.@é", min_size=1, max_size=6)
TERMS = st.one_of(
    WORDS,
    st.sampled_from(
        [
            *STATE_WORDS,
            "temp>85",
            "temp=na",
            "mem<=0.5g",
            "node!~x*7",
            'node="a b"',
            "pending=on",
            "@saved",
            "mem<=1 GiB",
            "temp>6 c",
        ]
    ),
    st.text(max_size=5).map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'),
)
EXPRESSIONS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" & ", " | ", " "]), inner).map("".join),
        inner.map(lambda text: f"!({text})"),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=8,
)
SAVED = {"saved": "temp>50 | lost"}
ITEMS = st.fixed_dictionaries(
    {
        "temp": st.none() | st.integers(0, 120),
        "mem": st.none() | st.integers(0, 2 * GIB),
        "node": st.none() | st.sampled_from(["a b", "ax07", "z"]),
        "pending": st.none() | st.booleans(),
    }
)
SUBJECTS = st.builds(
    Subject,
    st.text(alphabet="abz07- é!.", max_size=12),
    st.frozensets(st.sampled_from(STATE_WORDS)),
    ITEMS,
)


def read(text: str) -> tuple[Filter, FilterError | None]:
    try:
        return parse(text, FIELDS, SAVED), None
    except FilterError as error:
        return Filter(), error


def parsed(text: str) -> Filter | None:
    match, error = read(text)
    return match if error is None else None


@given(st.text() | EXPRESSIONS, SUBJECTS)
def test_no_text_breaks_it_and_an_error_is_inside_the_text(text: str, subject: Subject) -> None:
    match, error = read(text)
    if error is not None:
        assert 0 <= error.position <= len(text)
        assert clean(error.sentence, 1000) == error.sentence
    assert match.matches(subject) in (True, False)
    assert parse(text).matches(subject) in (True, False)
    for end in complete(text, FIELDS, SAVED):
        assert isinstance(end, str)
    assert hint(text, FIELDS)


@given(st.text() | EXPRESSIONS)
def test_what_is_printed_is_read_as_the_same_filter(text: str) -> None:
    match = parsed(text)
    if match is not None and len(str(match)) <= MOST_CHARACTERS:
        again = parse(str(match), FIELDS, SAVED)
        assert again == match
        assert str(again) == str(match)


@given(EXPRESSIONS, SUBJECTS)
def test_a_refusal_is_the_complement(text: str, subject: Subject) -> None:
    match, refused = parsed(text), parsed(f"!({text})")
    assert (match is None) == (refused is None)
    if match is not None and refused is not None:
        assert match.matches(subject) != refused.matches(subject)


@given(EXPRESSIONS, EXPRESSIONS, SUBJECTS)
def test_both_and_either_are_what_they_say(left: str, right: str, subject: Subject) -> None:
    one, other = parsed(left), parsed(right)
    both, either = parsed(f"({left}) & ({right})"), parsed(f"({left}) | ({right})")
    if one is not None and other is not None and both is not None and either is not None:
        held = one.matches(subject), other.matches(subject)
        assert both.matches(subject) is all(held)
        assert either.matches(subject) is any(held)


def test_long_patterns_stay_linear() -> None:
    text = "a*" * 400 + "b"
    assert not matches(f"node~{text}", {"node": "a" * 5000})
    assert not matches("a*" * 400 + "b", words="a" * 5000)


# What is asked again


def test_a_row_is_asked_again_only_when_it_or_the_filter_is_another() -> None:
    asked: list[Any] = []

    def temp(item: Any) -> Any:
        asked.append(item)
        return item

    fields = FieldTable((Field("temp", "number", temp, "t", "temp>85"),))
    verdicts, match = Verdicts(), parse("temp>85", fields)
    rows = {f"gpu{number}": Subject("", frozenset(), number) for number in range(100)}

    def shown() -> int:
        return sum(verdicts.holds(match, key, row) for key, row in rows.items())

    assert (shown(), len(asked)) == (14, 100)
    assert (shown(), len(asked)) == (14, 100)
    rows["gpu3"] = Subject("", frozenset(), 99)
    assert (shown(), len(asked)) == (15, 101)
    match = parse("temp>98", fields)
    assert (shown(), len(asked)) == (2, 201)


def test_what_depends_on_the_moment_is_always_asked_again() -> None:
    verdicts, match = Verdicts(), parse("age<10m", FIELDS)
    item = {"age": 10.0}
    row = Subject("", frozenset(), item)
    assert match.of_the_moment
    assert verdicts.holds(match, "row", row)
    item["age"] = 1000.0
    assert not verdicts.holds(match, "row", row)


# Completion


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("te", ["temp", "temperature"]),
        ("lost & !po", ["lost & !power"]),
        ("(no", ["(node"]),
        ("id", ["idle"]),
        ("kind=", ["kind=xid", "kind=down", "kind=na"]),
        ("kind = d", ["kind = down"]),
        ("temp>", []),
        ("temp>=n", []),
        ("temp!=", ["temp!=na"]),
        ("unknown=x", []),
        ("node~d", ["node~dgx01", "node~dgx02"]),
        ("node=ra", ['node="rack 3"']),
        ("@s", ["@second", "@spare"]),
        ("a @se", ["a @second"]),
        ("", []),
        ("temp ", []),
        ('"te', []),
        ("zzz", []),
        (">", []),
    ],
)
def test_the_end_is_completed(text: str, becomes: list[str]) -> None:
    values = {"node": ["dgx01", "dgx02", "rack 3"]}
    assert complete(text, FIELDS, ["second", "spare", "x"], lambda field: values.get(field, ())) == becomes


def test_a_value_that_needs_quotes_is_offered_once_it_is_begun_without() -> None:
    for text in complete("node=r", FIELDS, (), lambda _field: ["rack 3"]):
        assert parse(text, FIELDS).matches(Subject("", frozenset(), {"node": "rack 3"}))


def test_the_hint_follows_what_is_typed() -> None:
    assert hint("", FIELDS).endswith("tab: " + " ".join(field.name for field in FIELDS.fields))
    assert hint("te", FIELDS) == "temp (C): temperature"
    assert hint("temp>8", FIELDS) == "temp (C): temperature"
    assert "either" in hint("dgx", FIELDS)
    assert "either" in hint("x", FieldTable())
    assert explained(FIELDS.fields[0]) == "temp (C): temperature"


# Tables


def test_two_fields_of_one_name_are_refused() -> None:
    field = Field("a", "text", value("a"), "a", "a=1", ("b",))
    for name in ("a", "b", "na", "Upper"):
        with pytest.raises(ValueError, match="apart"):
            FieldTable((field, Field(name, "text", value("a"), "a", "a=1")))


def test_a_unit_has_a_factor_for_a_bare_number() -> None:
    for unit in (BYTES, CELSIUS, MEGAHERTZ, PERCENT, SECONDS, WATTS, Unit()):
        assert "" in unit.suffixes
        assert all(suffix == suffix.lower() for suffix in unit.suffixes)


@given(st.text(), st.integers(4, 40))
def test_shortened_fits(text: str, width: int) -> None:
    assert cell_len(shortened(text, width)) <= width
    assert shortened(text, width).isprintable()
