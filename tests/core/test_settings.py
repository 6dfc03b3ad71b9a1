from fractions import Fraction

import numpy as np
import pytest
from maml_exp.core.optimizers.updates import OPTIMIZERS
from maml_exp.core.settings import AlgorithmSettings, InnerSettings, ModelSettings, OptimizerSettings, TaskSettings

from maml_exp.core.activations import ACTIVATIONS
from maml_exp.core.checks import SettingError
from maml_exp.core.learners.gradient import ALGORITHMS
from maml_exp.core.network import INITIALIZERS
from maml_exp.core.tasks.sinusoid import TASKS

NAN, INF = float("nan"), float("inf")
GROUPS = {
    "model": ModelSettings,
    "algorithm": AlgorithmSettings,
    "inner": InnerSettings,
    "task": TaskSettings,
    "optimizer": OptimizerSettings,
}

# key: (what the message must say is allowed, values refused, values accepted)
NAMES_BAD = ["", "nonsense", "RELU", "Adam", " maml", None, 1, True, ["relu"], {}]
NUMBERS_BAD = [0, 0.0, -1, -1e-30, NAN, INF, -INF, None, "0.1", True, [0.1], 1j]
NUMBERS_GOOD = [1e-30, 0.01, 1, 1e30, np.float64(0.1), np.float32(0.1), Fraction(1, 3)]
COUNTS_BAD = [-1, 1.0, 0.5, NAN, INF, None, "1", True, False, [1], np.float64(1)]
FRACTIONS_BAD = [-0.1, -1e-30, 1, 1.0, 1.5, NAN, INF, None, "0.9", True, [0.9]]
FRACTIONS_GOOD = [0, 0.0, 0.9, 1 - 1e-12, np.float32(0.5)]
RANGES_BAD = [[], [1], [1, 2, 3], [2, 1], [NAN, 1], [0, NAN], [0, INF], [-INF, 0], [None, 1], ["0", "1"], [True, 2]]
RANGES_BAD += [[-1e308, 1e308], None, 1, "01", {0: 1, 1: 2}, {1, 2}, [[0], [1]]]
RANGES_GOOD = [[0, 1], (0, 1), [-2.5, -1], [np.float64(0), np.float64(1)]]
WIDTHS_BAD = [[], [0], [-1], [40, 0], [1.5], [40.0], [True], ["40"], [None], [[40]], [100_001], [1] * 101]
WIDTHS_BAD += [40, None, "40", {40}, {40: 40}]
WIDTHS_GOOD = [[1], [40, 40], (40,), [100_000], [1] * 100, [np.int64(3)]]


def names(registry):
    return "one of " + ", ".join(sorted(registry))


RANGE = "[low, high], two finite numbers with low <= high"
TABLE = {
    "model.hidden": ("a list of 1 to 100 widths, each from 1 to 100000", WIDTHS_BAD, WIDTHS_GOOD),
    "model.activation": (names(ACTIVATIONS), NAMES_BAD, list(ACTIVATIONS)),
    "model.initializer": (names(INITIALIZERS), NAMES_BAD, list(INITIALIZERS)),
    "algorithm.name": (names(ALGORITHMS), NAMES_BAD, list(ALGORITHMS)),
    "inner.lr": ("a finite number > 0", NUMBERS_BAD, NUMBERS_GOOD),
    "inner.steps": ("an integer from 0 to 1000", [*COUNTS_BAD, 1001], [0, 1, 1000, np.int64(5)]),
    "task.name": (names(TASKS), NAMES_BAD, list(TASKS)),
    "task.shots": ("an integer from 1 to 1000000", [*COUNTS_BAD, 0, 10**6 + 1], [1, 10**6, np.int32(5)]),
    "task.query": ("an integer from 1 to 1000000", [*COUNTS_BAD, 0, 10**6 + 1], [1, 10**6, np.int32(5)]),
    "task.amplitude": (RANGE, RANGES_BAD, [*RANGES_GOOD, [1, 1]]),
    "task.phase": (RANGE, RANGES_BAD, [*RANGES_GOOD, [1, 1]]),
    "task.frequency": (RANGE, RANGES_BAD, [*RANGES_GOOD, [1, 1]]),
    "task.x_range": (RANGE.replace("<=", "<"), [*RANGES_BAD, [1, 1]], RANGES_GOOD),
    "task.oracle": ("true or false", [0, 1, None, "true", []], [True, False]),
    "optimizer.name": (names(OPTIMIZERS), NAMES_BAD, list(OPTIMIZERS)),
    "optimizer.lr": ("a finite number > 0", NUMBERS_BAD, NUMBERS_GOOD),
    "optimizer.momentum": ("a number with 0 <= value < 1", FRACTIONS_BAD, FRACTIONS_GOOD),
    "optimizer.beta1": ("a number with 0 <= value < 1", FRACTIONS_BAD, FRACTIONS_GOOD),
    "optimizer.beta2": ("a number with 0 <= value < 1", FRACTIONS_BAD, FRACTIONS_GOOD),
    "optimizer.epsilon": ("a finite number > 0", NUMBERS_BAD, NUMBERS_GOOD),
    "optimizer.clip_norm": ("a finite number > 0", [v for v in NUMBERS_BAD if v is not None], [None, *NUMBERS_GOOD]),
}
REFUSED = [(key, value, allowed) for key, (allowed, bad, _) in TABLE.items() for value in bad]
ACCEPTED = [(key, value) for key, (_, _, good) in TABLE.items() for value in good]


def make(key, value):
    group, name = key.split(".")
    return getattr(GROUPS[group](**{name: value}), name)


def identifiers(rows):
    return [f"{row[0]}={row[1]!r:.40}" for row in rows]


@pytest.mark.parametrize(("key", "value", "allowed"), REFUSED, ids=identifiers(REFUSED))
def test_a_bad_value_is_refused_and_the_message_says_what_is_allowed(key, value, allowed):
    with pytest.raises(SettingError) as caught:
        make(key, value)
    message = str(caught.value)
    assert message.startswith(f"{key}={value!r:.57}")  # longer values are cut short
    assert allowed in message
    assert len(message) < 300


@pytest.mark.parametrize(("key", "value"), ACCEPTED, ids=identifiers(ACCEPTED))
def test_a_good_value_is_kept_as_it_is(key, value):
    assert make(key, value) is value


@pytest.mark.parametrize("key", ["inner.lr", "optimizer.lr", "optimizer.momentum", "task.amplitude"])
def test_an_integer_too_large_for_a_float_is_refused_too(key):
    with pytest.raises(SettingError, match=key):
        make(key, [0, 10**400] if key == "task.amplitude" else 10**400)


@pytest.mark.parametrize(("length", "shown"), [(58, "'" + "x" * 58 + "'"), (59, "'" + "x" * 56 + "...")])
def test_a_value_longer_than_sixty_characters_is_cut(length, shown):
    with pytest.raises(SettingError, match="algorithm") as caught:
        AlgorithmSettings("x" * length)
    assert len(shown) == 60
    assert f"={shown} is not usable" in str(caught.value)


def test_the_table_has_every_setting():
    assert set(TABLE) == {f"{group}.{name}" for group, kind in GROUPS.items() for name in kind.__dataclass_fields__}


def test_a_setting_error_is_a_value_error():
    assert issubclass(SettingError, ValueError)


def test_defaults_are_allowed_and_not_shared():
    first, second = ModelSettings(), ModelSettings()
    first.hidden.append(1)
    assert second.hidden == [40, 40]
    for kind in GROUPS.values():
        assert kind() == kind()
