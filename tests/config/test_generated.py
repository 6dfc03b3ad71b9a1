"""Hundreds of generated bad configurations: a clear error each, no exception, nothing left behind."""

import shutil
import string
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml
from helpers import TINY, tree
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.config.plain import setting_names
from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError

pytestmark = pytest.mark.slow
MANY = settings(suppress_health_check=list(HealthCheck))  # the working directory is the same for all examples
SHORT = "training.iterations=1"  # where nothing is refused, the run that follows is over soon
COMPOSED = compose(TINY)  # once: it is slow
WITH_SGD = compose([*TINY, "optimizer=sgd"])
SETTINGS = sorted(setting_names(COMPOSED.to_dict()))
OF_SGD = "optimizer.momentum"  # the one setting here that adam does not have
WORD = st.text(string.ascii_lowercase, min_size=1, max_size=12)

# values that no setting of a kind can have
MEANING = ("true", "false", "yes", "no", "on", "off", "null", "inf", "nan", "y", "n")
NO_TEXT = WORD.filter(lambda word: word not in MEANING)
NO_NUMBER = st.one_of(st.floats(max_value=0.0), st.sampled_from([float("inf"), float("nan")]), NO_TEXT, st.booleans())
NO_FRACTION = st.one_of(st.floats(max_value=-1e-9), st.floats(min_value=1.0), NO_TEXT, st.booleans())
NO_RANGE = st.one_of(
    st.lists(st.floats(-9, 9), max_size=1),
    st.lists(st.floats(-9, 9), min_size=3, max_size=5),
    st.tuples(st.floats(0, 9), st.floats(-9, -1)).map(list),
    st.tuples(st.sampled_from([float("nan"), float("inf")]), st.floats(-9, 9)).map(list),
    st.tuples(NO_TEXT, NO_TEXT).map(list),
    st.integers(),
    NO_TEXT,
)


def no_integer(low, high):
    outside = st.one_of(st.integers(max_value=low - 1), st.integers(min_value=high + 1, max_value=2**70))
    return st.one_of(outside, st.integers(0, 9).map(lambda n: n + 0.5), NO_TEXT, st.booleans())


NO_LIST_OF_INTEGERS = st.one_of(
    st.just([]),
    st.lists(st.integers(max_value=0), min_size=1, max_size=3),
    st.lists(st.integers(min_value=10**5 + 1), min_size=1, max_size=3),
    st.lists(NO_TEXT, min_size=1, max_size=3),
    st.lists(st.lists(st.integers(1, 9), max_size=2), min_size=1, max_size=3),
    NO_TEXT,
)
INTEGERS = {  # smallest value allowed
    **{f"training.{key}": 1 for key in ("iterations", "meta_batch", "log_every")},
    **{f"training.{key}": 0 for key in ("evaluate_every", "checkpoint_every", "keep_checkpoints")},
    **{f"evaluation.{key}": low for key, low in (("tasks", 1), ("tasks_in_training", 1), ("steps", 0), ("grid", 2))},
    **{"inner.steps": 0, "task.shots": 1, "task.query": 1, "threads": 1, "seed": 0, "evaluation.seed": 0},
}
CHOSEN = ("algorithm.learner", "optimizer.name", "task.name")  # they name whose settings the group holds
BAD = {
    **{key: no_integer(low, 2**63) for key, low in INTEGERS.items()},
    **dict.fromkeys(("inner.lr", "optimizer.lr", "optimizer.epsilon", "optimizer.clip_norm"), NO_NUMBER),
    **dict.fromkeys((OF_SGD, "optimizer.beta1", "optimizer.beta2"), NO_FRACTION),
    **dict.fromkeys(("task.amplitude", "task.phase", "task.frequency", "task.x_range"), NO_RANGE),
    **dict.fromkeys(("model.hidden", "evaluation.shots"), NO_LIST_OF_INTEGERS),
    **dict.fromkeys(
        ("model.activation", "model.initializer", *CHOSEN, "algorithm.outer", "dtype"),
        NO_TEXT.map(lambda word: f"no-{word}"),
    ),
    **dict.fromkeys(
        ("name", "algorithm.preset"), st.sampled_from(["../x", "a/b", "", " ", "x" * 101, "a\tb", "ünï/x"])
    ),
    "evaluation.plots": st.sampled_from(["maybe", "", [], [True]]),
}


@st.composite
def bad_values(draw):
    """A setting and a value that it cannot have."""
    key = draw(st.sampled_from(sorted(BAD)))
    return key, draw(BAD[key])


@st.composite
def misspelt(draw):
    """A key that is no setting, made from one that is."""
    key = draw(st.sampled_from(SETTINGS))
    place = draw(st.integers(0, len(key) - 1))
    how = draw(st.sampled_from(["drop", "double", "swap", "add"]))
    letter = draw(st.sampled_from(string.ascii_lowercase))
    changed = {
        "drop": key[:place] + key[place + 1 :],
        "double": key[: place + 1] + key[place:],
        "swap": key[:place] + letter + key[place + 1 :],
        "add": f"{key}_{letter}",
    }[how]
    assume(all(changed.split(".")) and not any(name == changed or name.startswith(f"{changed}.") for name in SETTINGS))
    assume(changed.split(".")[0] != "hydra")
    return changed, draw(st.sampled_from([1, 0.5, "x", [1]]))


def typed(value):
    """A value as it is typed on a command line."""
    if isinstance(value, list):
        return "[" + ",".join(map(typed, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value + "'"
    return repr(value)


def assert_refused(capsys, arguments, named):
    """Exit status 1, at most two lines, one of the words in `named` among them, no exception."""
    capsys.readouterr()
    shutil.rmtree("runs", ignore_errors=True)  # of an example before that was not refused
    status = main(arguments)
    errors = capsys.readouterr().err
    assert status == 1, errors
    assert 1 <= len(errors.splitlines()) <= 2, errors
    assert "Traceback" not in errors
    assert len(errors) < 1000
    assert any(word in errors for word in named), errors
    assert list(Path().iterdir()) == []


@settings(MANY, max_examples=40)
@given(case=bad_values())
def test_bad_values_on_the_command_line(case, capsys):
    key, value = case
    option = ["optimizer=sgd"] * (key == OF_SGD)
    assert_refused(capsys, [SHORT, *option, f"{key}={typed(value)}"], [key])


@settings(MANY, max_examples=20)
@given(case=misspelt(), plus=st.sampled_from(["", "+", "++"]))
def test_misspelt_keys_on_the_command_line(case, plus, capsys):
    key, value = case
    assert_refused(capsys, [SHORT, f"{plus}{key}={typed(value)}"], [key, key.split(".")[0]])


@settings(MANY, max_examples=30)
@given(
    key=st.sampled_from([*SETTINGS, "model", "inner", ""]),
    text=st.text("abe=+~[]{}(),:.'\"\\$ 019-@/!?*&#\n\té", max_size=25),
    plus=st.sampled_from(["", "", "+", "++", "~"]),
)
def test_odd_texts_are_a_configuration_or_an_error_in_words(key, text, plus):
    try:
        config = compose([f"{plus}{key}={text}"])
    except SettingError as error:
        message = str(error)
    else:
        message = "fine"
        assert isinstance(config, Config)
    assert 1 <= len(message.splitlines()) <= 2
    assert "Traceback" not in message


@pytest.fixture(scope="module")
def strangers(tiny, killed, tmp_path_factory):
    """A finished and a killed run, whose configurations the tests overwrite."""
    base = tmp_path_factory.mktemp("strangers")
    return shutil.copytree(tiny, base / "finished"), shutil.copytree(killed, base / "killed")


def assert_saved_is_refused(capsys, strangers, plain, named):
    """Both verbs refuse a folder with this configuration and leave it as it is."""
    for folder, verb in zip(strangers, ("rerun", "resume"), strict=True):
        (folder / ".hydra" / "config.yaml").write_text(yaml.dump(plain, Dumper=yaml.SafeDumper))
        before = tree(folder)
        assert_refused(capsys, [verb, str(folder)], named)
        assert tree(folder) == before


@settings(MANY, max_examples=130)
@given(case=st.one_of(bad_values(), misspelt()))
def test_bad_values_in_a_saved_configuration(case, strangers, capsys):
    key, value = case
    plain = (WITH_SGD if key == OF_SGD else COMPOSED).to_dict()
    *groups, name = key.split(".")
    part = reduce(lambda found, group: found.setdefault(group, {}), groups, plain)
    assume(isinstance(part, dict))
    part[name] = value
    assert_saved_is_refused(capsys, strangers, plain, [key, key.split(".")[0]])


@settings(MANY, max_examples=40)
@given(keys=st.lists(st.sampled_from(SETTINGS), min_size=1, max_size=4, unique=True))
def test_missing_settings_in_a_saved_configuration(keys, strangers, capsys):
    plain = COMPOSED.to_dict()
    for key in keys:
        *groups, name = key.split(".")
        del reduce(getitem, groups, plain)[name]
    assert_saved_is_refused(capsys, strangers, plain, keys)


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates())
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(SETTINGS), st.text(max_size=8), st.integers()), inner, max_size=4),
    ),
    max_leaves=15,
)


@settings(MANY, max_examples=80)
@given(plain=TREES)
def test_anything_at_all_as_a_saved_configuration(plain, strangers, capsys):
    assert_saved_is_refused(capsys, strangers, plain, ["config.yaml", "setting", "usable"])


@settings(MANY, max_examples=50)
@given(group=st.sampled_from(sorted({name.split(".")[0] for name in SETTINGS if "." in name})), value=TREES)
def test_anything_at_all_in_place_of_a_group(group, value, strangers, capsys):
    assert_saved_is_refused(capsys, strangers, {**COMPOSED.to_dict(), group: value}, [group])
