"""Filters: what they mean, how they fail, and that a printed one is read back as it was."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from herdbook_server.errors import FilterInvalid, OrderByInvalid
from herdbook_server.ports.queries import (
    All,
    AnyOf,
    Comparison,
    Condition,
    Field,
    Not,
    Presence,
    SortKey,
)
from herdbook_server.registry.filter_syntax import FILTER_MAX_BYTES, FILTER_MAX_DEPTH
from herdbook_server.registry.filters import (
    EVENT_FIELDS,
    MODEL_FIELDS,
    VERSION_FIELDS,
    parse_filter,
    parse_order_by,
)


def parsed(text: str) -> Condition | None:
    return parse_filter(text, VERSION_FIELDS)


def equals(name: str, value: str | int) -> Comparison:
    return Comparison(Field(name), "=", value)


def test_a_filter_of_the_three_usual_fields_is_their_conjunction() -> None:
    text = 'metrics.rmse < 7 AND tags.team = "fraud" AND stage = "staging"'
    assert parsed(text) == All(
        (
            Comparison(Field("metrics", "rmse"), "<", 7.0),
            Comparison(Field("tags", "team"), "=", "fraud"),
            equals("stage", "staging"),
        )
    )


def test_and_binds_tighter_than_or_and_not_tightest() -> None:
    one, two, three = (equals("number", n) for n in (1, 2, 3))
    text = "number = 1 OR NOT number = 2 AND number = 3"
    assert parsed(text) == AnyOf((one, All((Not(two), three))))
    assert parsed("(number=1 or number=2) and number=3") == All((AnyOf((one, two)), three))


@pytest.mark.parametrize("blank", ["", " ", "\n\t "])
def test_a_blank_filter_is_none(blank: str) -> None:
    assert parsed(blank) is None


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("metrics.val.rmse > -1e-3", Comparison(Field("metrics", "val.rmse"), ">", -0.001)),
        ('metrics."val.rmse" >= .5', Comparison(Field("metrics", "val.rmse"), ">=", 0.5)),
        ("tags.a-b/c.d=x", Comparison(Field("tags", "a-b/c.d"), "=", "x")),
        ('tags.team = "fr*"', Comparison(Field("tags", "team"), "prefix", "fr")),
        ("tags.team = fr*", Comparison(Field("tags", "team"), "prefix", "fr")),
        (r'tags.team = "fr\*"', Comparison(Field("tags", "team"), "=", "fr*")),
        (r'tags.team = "fr\**"', Comparison(Field("tags", "team"), "prefix", "fr*")),
        (r"""author = 'it\'s "\\"'""", equals("author", 'it\'s "\\"')),
        ("author = *", Presence(Field("author"))),
        ("label:*", Presence(Field("label"))),
        ("tags.team:*", Presence(Field("tags", "team"))),
        ("tags:team", Presence(Field("tags", "team"))),
        ("aliases:champion", Comparison(Field("aliases"), "has", "champion")),
        ("aliases:*", Presence(Field("aliases"))),
        ("stage != PRODUCTION", Comparison(Field("stage"), "!=", "production")),
        ("stage = STAGE_NONE", equals("stage", "none")),
        ("number = 1e3", equals("number", 1000)),
        ("size_bytes<9223372036854775807", Comparison(Field("size_bytes"), "<", 2**63 - 1)),
        ("params.depth = 5", Comparison(Field("params", "depth"), "=", "5")),
        ("lineage.code.commit = 3f1c*", Comparison(Field("lineage.code.commit"), "prefix", "3f1c")),
        ("model = fraud/tc", equals("model", "fraud/tc")),
        ("NOTE = 1 OR number = 1", None),
    ],
)
def test_each_form_means_what_the_contract_says(text: str, condition: Condition | None) -> None:
    if condition is None:
        with pytest.raises(FilterInvalid, match="no field 'NOTE'"):
            parsed(text)
    else:
        assert parsed(text) == condition


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01Z", 1_000_000),
        ('"1970-01-01T01:00:00.5+01:00"', 500_000),
        ("1970-01-01t00:00:00.123456789z", 123_456),
        ("1969-12-31T23:59:59.25Z", -750_000),
    ],
)
def test_times_are_rfc_3339_or_dates_in_utc(text: str, time_us: int) -> None:
    assert parsed(f"created_at = {text}") == equals("created_at", time_us)


def test_kinds_of_events_are_named_in_any_case_with_or_without_their_prefix() -> None:
    expected = Comparison(Field("kind"), "=", "alias_set")
    for name in ("alias_set", "ALIAS_SET", "EVENT_KIND_ALIAS_SET"):
        assert parse_filter(f"kind = {name}", EVENT_FIELDS) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stage", "ends where there should be one of = != < <= > >= :"),
        ("stage =", "ends where there should be a value"),
        ("stage = production AND", "ends where there should be a comparison"),
        ("(stage = production", "closing parenthesis"),
        ("stage = production)", "Position 19: This parenthesis closes none"),
        ("stage = production number = 1", "Position 20: Expected AND, OR or the end, but"),
        ("stage == production", "Position 8: Expected a value"),
        ('author = "ada', "Position 10: This quoted value has no closing quote"),
        ("numbr = 1", "Position 1: There is no field 'numbr'. Did you mean number?"),
        ("metric.rmse = 1", "Did you mean metrics.KEY?"),
        ("rmse < 7", "There is no field 'rmse'. Did you mean metrics.rmse or "),
        ("tags = x", "tags needs a key"),
        ('tags."a b" = x', "no key that tags can have"),
        ("stage.x = 1", "stage has no keys"),
        ("lineage.x = 1", "There is no field 'lineage.x'. Did you mean lineage.run_id?"),
        ("metrics.rmse < low", "Position 16: 'low' is no number"),
        ("metrics.rmse < nan", "is no number"),
        ("metrics.rmse < 1e999", "too large"),
        ("number = 1.5", "no whole number"),
        ("number = 9223372036854775808", "too large"),
        ("stage = live", "'live' is not one of none, staging, production, archived"),
        ("stage > none", "compared by = and != only"),
        ("params.depth > 5", "text, which is compared by = and != only"),
        ("author:ada", "use =, or author:*"),
        ("aliases = champion", "ask aliases:champion"),
        ("aliases:ch*", "no prefix"),
        ("number = 1*", "no prefix"),
        ("number:*", "always has a value"),
        ('author != "a*"', 'Write NOT author = "a*"'),
        ('author = "a*b"', "asterisk stands at the end only"),
        ("created_at > 2026-02-30", "no time that exists"),
        ("created_at > 2026-01-01T00:00:00", "no time such as"),
        ("created_at > yesterday", "no time such as"),
        ('author = "\0"', "NUL"),
    ],
)
def test_a_wrong_filter_is_refused_with_a_sentence_that_helps(text: str, sentence: str) -> None:
    with pytest.raises(FilterInvalid) as refusal:
        parsed(text)
    assert sentence in refusal.value.message
    assert refusal.value.fields[0].field == "filter"


@pytest.mark.parametrize("before", ["(", "NOT ", "not(", "(NOT "])
def test_depth_is_limited_and_never_a_recursion_error(before: str) -> None:
    steps = 2 if "(" in before and len(before) > 1 else 1

    def nested(depth: int) -> str:
        count = depth // steps
        return before * count + "number = 1" + ")" * (before.count("(") * count)

    assert parsed(nested(FILTER_MAX_DEPTH - 2)) is not None
    with pytest.raises(FilterInvalid, match="50 deep at most"):
        parsed(nested(FILTER_MAX_DEPTH + 2))
    with pytest.raises(FilterInvalid, match="50 deep at most"):
        parsed(nested(900))
    with pytest.raises(FilterInvalid, match="4096 bytes"):
        parsed(nested(10_000))


def test_length_is_limited_in_bytes() -> None:
    text = 'author = "{}"'
    room = FILTER_MAX_BYTES - len(text.format(""))
    assert parsed(text.format("x" * room)) is not None
    for filling in ("x" * (room + 1), "é" * (room // 2 + 1), "x" * 10_000_000):
        with pytest.raises(FilterInvalid, match="4096 bytes"):
            parsed(text.format(filling))


@given(st.text())
@example("\ud800 = \udfff")
@example("stage = \x85")
@example("\xa0")
def test_any_text_is_a_filter_or_refused_as_one(text: str) -> None:
    for schema in (MODEL_FIELDS, VERSION_FIELDS, EVENT_FIELDS):
        with suppress(FilterInvalid):
            parse_filter(text, schema)


WORDS = st.sampled_from(
    [
        "AND",
        "or",
        "NOT",
        "(",
        ")",
        "=",
        "!=",
        "<",
        ":",
        "*",
        "stage",
        "metrics.rmse",
        "aliases",
        "tags.a",
        'tags."a.b"',
        '"x*"',
        "'",
        '"',
        "\\",
        "7",
        "2026-01-01",
        ",",
        "-",
        ".",
        "a.b",
    ]
)


@given(st.lists(WORDS, max_size=30), st.sampled_from(["", " "]))
def test_any_mixture_of_the_grammars_words_is_a_filter_or_refused(
    words: list[str], between: str
) -> None:
    with suppress(FilterInvalid):
        parsed(between.join(words))


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_./-]{0,10}", fullmatch=True)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXT_FIELDS = st.one_of(
    st.sampled_from(["model", "author", "label"]).map(Field),
    st.builds(Field, st.sampled_from(["tags", "params"]), KEYS),
)
COMPARISONS = st.one_of(
    st.builds(Comparison, TEXT_FIELDS, st.sampled_from(["=", "!="]), TEXTS),
    st.builds(Comparison, TEXT_FIELDS, st.just("prefix"), TEXTS.filter(bool)),
    st.builds(Presence, TEXT_FIELDS),
    st.builds(
        Comparison,
        st.builds(Field, st.just("metrics"), KEYS),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        NUMBERS,
    ),
    st.builds(Comparison, st.just(Field("aliases")), st.just("has"), TEXTS),
    st.builds(
        Comparison, st.just(Field("stage")), st.just("="), st.sampled_from(["none", "archived"])
    ),
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


def printed(condition: Condition) -> str:
    match condition:
        case Presence(field):
            return f"{named(field)}:*"
        case Comparison(field, "prefix", value):
            return f"{named(field)} = {quoted(str(value), after='*')}"
        case Comparison(field, operator, value):
            shown = quoted(value) if isinstance(value, str) else repr(value)
            return f"{named(field)}{':' if operator == 'has' else operator}{shown}"
        case Not(inner):
            return f"NOT ({printed(inner)})"
        case All(inners):
            return " AND ".join(f"({printed(inner)})" for inner in inners)
        case AnyOf(inners):
            return " or ".join(f"({printed(inner)})" for inner in inners)


def named(field: Field) -> str:
    return field.name if field.key is None else f'{field.name}."{field.key}"'


def quoted(text: str, *, after: str = "") -> str:
    escaped = "".join(f"\\{char}" if char in '"\\*' else char for char in text)
    return f'"{escaped}{after}"'


@given(CONDITIONS)
def test_a_condition_printed_as_a_filter_is_read_back_as_it_was(condition: Condition) -> None:
    text = printed(condition)
    if len(text.encode()) <= FILTER_MAX_BYTES:
        assert parsed(text) == condition


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", ()),
        ("name", (SortKey(Field("name")),)),
        ("updated_at DESC, name asc", (SortKey(Field("updated_at"), True), SortKey(Field("name")))),
        (" tags.a.b desc ", (SortKey(Field("tags", "a.b"), True),)),
    ],
)
def test_sort_keys_are_fields_with_a_direction(text: str, keys: tuple[SortKey, ...]) -> None:
    assert parse_order_by(text, MODEL_FIELDS) == keys


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,", "no sort key"),
        ("name down", "no sort key"),
        ("nam", "Did you mean name?"),
        ("tags", "tags needs a key"),
        ("description", "cannot be sorted by"),
        ("name, name desc", "named twice"),
        (",".join(["name"] * 9), "8 sort keys"),
        ("x" * 5000, "4096"),
    ],
)
def test_wrong_sort_keys_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(OrderByInvalid) as refusal:
        parse_order_by(text, MODEL_FIELDS)
    assert sentence in refusal.value.message


@given(st.text())
def test_any_text_is_an_order_or_refused_as_one(text: str) -> None:
    with suppress(OrderByInvalid):
        parse_order_by(text, VERSION_FIELDS)
