"""The one parser of overrides: keys, values, sweeps, and back to text."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maml_exp.config.overrides import as_text, gives, in_quotes, keys_of, parse, parse_all, split_sweep
from maml_exp.core.checks import SettingError

GOOD = [  # text; key; value
    ("inner.lr=0.02", "inner.lr", 0.02),
    ("seed=3", "seed", 3),
    ("model=one_hidden", "model", "one_hidden"),
    ("model.hidden=[64,64]", "model.hidden", [64, 64]),
    ("name='a, b'", "name", "a, b"),
    ('name="a = b"', "name", "a = b"),
    ("name=", "name", ""),
    ("name=null", "name", None),
    ("evaluation.plots=False", "evaluation.plots", False),
    ("evaluation.lr=${inner.lr}", "evaluation.lr", "${inner.lr}"),
    ("optimizer.epsilon=1e-8", "optimizer.epsilon", 1e-8),
    ("+experiment=smoke", "experiment", "smoke"),
    ("++seed=3", "seed", 3),
    ("+model={hidden:[3],activation:tanh}", "model", {"hidden": [3], "activation": "tanh"}),
    ("hydra/launcher=joblib", "hydra/launcher", "joblib"),
]


@pytest.mark.parametrize(("text", "key", "value"), GOOD, ids=[case[0] for case in GOOD])
def test_an_override_is_a_key_and_a_value(text, key, value):
    override = parse(text)
    assert (override.text, override.key, override.value) == (text, key, value)
    assert type(override.value) is type(value)
    assert not override.sweeps
    assert override.is_plain == (not text.startswith("+"))


BAD = ["", "seed", "=3", "inner.lr==3", "model.hidden=[1,,2]", "--config-dir=/tmp", "a b=3", "a:b"]


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_what_is_no_override_is_named(text):
    with pytest.raises(SettingError) as caught:
        parse(text)
    assert str(caught.value) == f"{text} is not a setting such as inner.lr=0.02"
    with pytest.raises(SettingError):
        parse_all(["seed=3", text])
    assert keys_of(["seed=3", text]) == {"seed"}


def test_what_is_nested_too_deeply_is_no_override():
    with pytest.raises(SettingError, match=r"^model.hidden=\[{100}.* is not a setting") as caught:
        parse("model.hidden=" + "[" * 5000 + "]" * 5000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text", ["seed=1,2", "seed=range(3)", "inner.lr=interval(0,1)", "~seed", "~seed=3", "model@x=y"]
)
def test_a_value_is_asked_only_of_an_override_that_has_one(text):
    override = parse(text)
    assert not override.is_plain
    with pytest.raises(SettingError, match="is not usable here") as caught:
        _ = override.value
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("text", ["seed=1,2", "seed=range(3)", "model=glob(*)", "inner.lr=interval(0,1)"])
def test_several_values_are_a_sweep(text):
    assert parse(text).sweeps


def test_keys_are_without_signs_and_packages():
    texts = ["+experiment=smoke", "++seed=3", "~name", "model@hydra=one_hidden", "inner.lr=1,2", "garbage"]
    assert keys_of(texts) == {"experiment", "seed", "name", "model", "inner.lr"}
    assert gives(texts, "seed")
    assert not gives(texts, "training.iterations")


SWEPT = [
    (["seed=3"], [["seed=3"]]),
    (["seed=0,1", "model=a"], [["seed=0", "model=a"], ["seed=1", "model=a"]]),
    (["seed=range(2)", "inner.lr=0.1,0.2"], [[f"seed={s}", f"inner.lr={lr}"] for s in (0, 1) for lr in (0.1, 0.2)]),
    (["model.hidden=[8],[4,4]"], [["model.hidden=[8]"], ["model.hidden=[4,4]"]]),
    (["name=a,'b c'"], [["name=a"], ["name='b c'"]]),
]


@pytest.mark.parametrize(("texts", "jobs"), SWEPT, ids=[" ".join(case[0]) for case in SWEPT])
def test_a_sweep_has_a_job_for_every_combination(texts, jobs):
    assert split_sweep(parse_all(texts)) == jobs


def test_what_makes_no_jobs_is_refused_and_says_what_would():
    with pytest.raises(SettingError, match=r"inner.lr=interval\(0,1\) is not usable: a sweep takes values"):
        split_sweep(parse_all(["inner.lr=interval(0,1)"]))


TEXT = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12),
    st.sampled_from(
        ["adam", "one_hidden", "null", "True", "inf", "1e3", "a,b", "[a]", "it's", "a\\", "${seed}", "a: b"]
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b_c"]), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(value=VALUES)
def test_a_value_written_and_read_again_is_the_same(value):
    assert parse(f"key={as_text(value)}").value == value


@given(text=TEXT)
def test_any_text_in_quotes_is_that_text(text):
    override = parse(f"key={in_quotes(text)}")
    assert not override.sweeps
    assert override.value == text


@pytest.mark.parametrize("text", ["relu", "first_order", "a.b-c"])
def test_a_text_that_is_one_word_needs_no_quotes(text):
    assert as_text(text) == text


def test_a_value_is_its_caller_s_to_change():
    parse("model.hidden=[64,64]").value.append(3)
    assert parse("model.hidden=[64,64]").value == [64, 64]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("task.inputs=[Zeit (h), t]", """quote each, for the shell and for us: "task.inputs=['Zeit (h)','t']\""""),
        ("model.hidden=[40,40", "did you mean 'model.hidden=[40,40]'?"),
        ("name=a b(c", """quote the value, for the shell and for us: "name='a b(c'\""""),
    ],
)
def test_what_cannot_be_read_is_shown_as_it_can_be_typed(text, advice):
    with pytest.raises(SettingError) as refused:
        parse(text)
    assert str(refused.value) == f"{text} is not a setting such as inner.lr=0.02; {advice}"
    (shown,) = shlex.split(advice.partition(": ")[2] or advice.removeprefix("did you mean ").rstrip("?"))
    assert parse(shown).key == text.partition("=")[0]
