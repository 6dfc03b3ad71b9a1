import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from maml_exp.core.activations import ACTIVATIONS
from maml_exp.core.checks import SettingError, declared
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import (
    LEARNERS,
    gradient,
    learned_optimizer,
    lstm_meta_learner,
    neural_process,
    recurrent,
    ridge,
)
from maml_exp.core.learners._gradient_settings import OUTER, RATES, STARTS, STEP_LOSSES, STORES, SUPPORT_LOSSES
from maml_exp.core.learners.base import FITNESS, EvolutionSettings
from maml_exp.core.network import INITIALIZERS, ModelSettings
from maml_exp.core.optimizers import OPTIMIZERS, adam, sgd
from maml_exp.core.optimizers.base import SCHEDULES
from maml_exp.core.tasks import TASKS, glyphs, harmonic, images, mixture, polynomial, sinusoid, table
from maml_exp.core.tasks.sinusoid import SUPPORT_TARGETS

NAN, INF = float("nan"), float("inf")
KINDS = [ModelSettings, InnerSettings, gradient.Settings, sinusoid.Settings, adam.Settings, sgd.Settings]
KINDS += [ridge.Settings, recurrent.Settings, neural_process.Settings]
KINDS += [learned_optimizer.Settings, lstm_meta_learner.Settings, EvolutionSettings]
KINDS += [table.Settings, mixture.Settings, polynomial.Settings, harmonic.Settings, glyphs.Settings, images.Settings]
CHOICES = {"algorithm.learner": LEARNERS, "task.name": TASKS, "optimizer.name": OPTIMIZERS}  # looked up by name
LABELS = {"algorithm.preset"}  # any text: it names what was chosen and decides nothing

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


SWITCH = ("true or false", [0, 1, None, "true", []], [True, False])
SHARE = ("a number from 0 to 1", [-0.1, 1.1, NAN, INF, None, "0.5", True, [0.5]], [0, 0.0, 0.5, 1, 1.0])
COLUMNS, COLUMNS_BAD = "a list of different names of columns", [None, "a", ["a", "a"], [1], [" "], {"a": 1}]
RANGE = "[low, high], two finite numbers with low <= high"
SHIFTS_BAD, SCALES = [-0.1, NAN, INF, None, "0.5", True, [0.5]], "[low, high] with 0.5 <= low <= high <= 2"
TABLE = {
    "model.hidden": ("a list of 1 to 100 widths, each from 1 to 100000", WIDTHS_BAD, WIDTHS_GOOD),
    "model.activation": (names(ACTIVATIONS), NAMES_BAD, list(ACTIVATIONS)),
    "model.layer_norm": SWITCH,
    "model.initializer": (names(INITIALIZERS), NAMES_BAD, list(INITIALIZERS)),
    "algorithm.learner": (names(LEARNERS.names()), NAMES_BAD, LEARNERS.own_names()),
    "algorithm.outer": (names(OUTER), NAMES_BAD, list(OUTER)),
    "algorithm.first_order_until": SHARE,
    "algorithm.moves": (
        "one of all, head, body, context, or a list of different layers from 0, as in [0,2]",
        [*NAMES_BAD, [], [-1], [0, 0], [101], [0.0], ["0"], {0: 1}],
        ["all", "head", "body", [0], (2, 0), [100]],
    ),
    "algorithm.rates": (names(RATES), NAMES_BAD, ["one"]),
    "algorithm.learn_rates": SWITCH,
    "algorithm.rates_store": (names(STORES), NAMES_BAD, list(STORES)),
    "algorithm.rates_start": (
        "[low, high], two finite numbers with 0 < low <= high, or null",
        [[0, 1], [-1, 1], [2, 1], 1],
        [None],
    ),
    "algorithm.rates_lr": ("a finite number > 0, or null", [v for v in NUMBERS_BAD if v is not None], [None]),
    "algorithm.proximal": ("a finite number >= 0", [v for v in NUMBERS_BAD if v not in (0, 0.0)], [0, 0.0, 1.5]),
    "algorithm.step_losses": (names(STEP_LOSSES), NAMES_BAD, list(STEP_LOSSES)),
    "algorithm.step_losses_until": SHARE,
    "algorithm.minibatch": (
        "an integer from 1 to 1000000, or null",
        [v for v in [*COUNTS_BAD, 0, 10**6 + 1] if v is not None],
        [None, 1, np.int64(5)],
    ),
    "algorithm.context": ("an integer from 0 to 10000", [*COUNTS_BAD, 10_001], [0, 1, 10_000]),
    "algorithm.context_start": (names(STARTS), NAMES_BAD, ["zero"]),
    "algorithm.support_loss": (names(SUPPORT_LOSSES), NAMES_BAD, list(SUPPORT_LOSSES)),
    "algorithm.loss_hidden": (
        "a list of widths, each from 1 to 100000",
        [v for v in WIDTHS_BAD if v not in ([], [1] * 101)],
        [[], [1], (40, 3), [100_000]],
    ),
    "algorithm.loss_sees_targets": SWITCH,
    "algorithm.penalty": ("a finite number > 0", NUMBERS_BAD, NUMBERS_GOOD),
    "algorithm.learn_penalty": ("true or false", [0, 1, None, "true", []], [True, False]),
    "algorithm.learn_scale": ("true or false, or null", [0, 1, "true", []], [True, False, None]),
    "algorithm.units": ("an integer from 1 to 10000", [*COUNTS_BAD, 0, 10001], [1, 64, np.int64(5)]),
    "algorithm.aggregate": ("one of attention, mean", NAMES_BAD, ["mean", "attention"]),
    "algorithm.encoder": ("a list of 1 to 100 widths, each from 1 to 100000", WIDTHS_BAD, WIDTHS_GOOD),
    "algorithm.decoder": ("a list of 1 to 100 widths, each from 1 to 100000", WIDTHS_BAD, WIDTHS_GOOD),
    "algorithm.heads": ("an integer from 1 to 10000", [*COUNTS_BAD, 0, 10001], [1, 4, np.int64(5)]),
    "algorithm.evolution.population": ("an integer from 0 to 1000000", [*COUNTS_BAD, 10**6 + 1], [0, 1, 150]),
    "algorithm.evolution.sigma": ("a finite number > 0", NUMBERS_BAD, NUMBERS_GOOD),
    "algorithm.evolution.fitness": (names(FITNESS), NAMES_BAD, list(FITNESS)),
    "algorithm.second_order": SWITCH,
    "algorithm.scale": ("a finite number > 0", NUMBERS_BAD, NUMBERS_GOOD),
    "algorithm.learn_start": SWITCH,
    "inner.lr": ("a finite number > 0", NUMBERS_BAD, NUMBERS_GOOD),
    "inner.steps": ("an integer from 0 to 1000", [*COUNTS_BAD, 1001], [0, 1, 1000, np.int64(5)]),
    "task.name": (names(TASKS.names()), NAMES_BAD, TASKS.own_names()),
    "task.shots": (
        "an integer from 1 to 1000000, or a list of different integers",
        [*(v for v in COUNTS_BAD if v != [1]), 0, 10**6 + 1, [], [5, 5], [0, 1], [1.0, 2], [[1], 2], (1, 2), "5,10"],
        [1, 10**6, np.int32(5), [5, 10], [20, 1]],
    ),
    "task.query": ("an integer from 1 to 1000000", [*COUNTS_BAD, 0, 10**6 + 1], [1, 10**6, np.int32(5)]),
    "task.amplitude": (RANGE, RANGES_BAD, [*RANGES_GOOD, [1, 1]]),
    "task.phase": (RANGE, RANGES_BAD, [*RANGES_GOOD, [1, 1]]),
    "task.frequency": (RANGE, RANGES_BAD, [*RANGES_GOOD, [1, 1]]),
    "task.x_range": (RANGE.replace("<=", "<"), [*RANGES_BAD, [1, 1]], RANGES_GOOD),
    "task.oracle": SWITCH,
    "task.x_training": ("one of grid, random", NAMES_BAD, ["random", "grid"]),
    "task.support_targets": (names(SUPPORT_TARGETS), NAMES_BAD, list(SUPPORT_TARGETS)),
    "task.noise": ("a finite number >= 0", [-1, -1e-30, NAN, INF, None, "0.1", True], [0, 0.0, 0.3, np.float64(1)]),
    "task.amplitude_test": (RANGE, [bad for bad in RANGES_BAD if bad is not None], [None, *RANGES_GOOD, [1, 1]]),
    "task.phase_test": (RANGE, [bad for bad in RANGES_BAD if bad is not None], [None, *RANGES_GOOD, [1, 1]]),
    "task.x_range_test": (RANGE.replace("<=", "<"), [[1, 1], *RANGES_BAD[:11]], [None, *RANGES_GOOD]),
    "task.modes": ("a list of different ones of", [[], ["cube"], ["line", "line"], "line", None], [["line"]]),
    "task.degree": ("an integer from 0 to 20", [*COUNTS_BAD, 21], [0, 1, 20]),
    "task.file": ("the path of a", [None, 1, ["a.csv"]], ["", "a.csv", "package:fertility.csv"]),
    "task.group": ("the name of a column", [None, 1, ["a"]], ["", "country"]),
    "task.inputs": (COLUMNS, COLUMNS_BAD, [[], ["a"], ["a", "b"]]),
    "task.outputs": (COLUMNS, COLUMNS_BAD, [[], ["a"], ["a", "b"]]),
    "task.categorical": (COLUMNS, COLUMNS_BAD, [[]]),
    "task.split": ("three numbers > 0 that sum to 1", [[], [1], [0.5, 0.5], [1, 0, 0], None], [[0.5, 0.25, 0.25]]),
    "task.split_seed": ("an integer from 0 to 9223372036854775807", COUNTS_BAD, [0, 1, 2**63 - 1]),
    "task.ways": ("an integer from 2 to 1000", [*COUNTS_BAD, 0, 1, 1001], [2, 1000, np.int64(5)]),
    "task.size": ("an integer from 4 to 64", [*COUNTS_BAD, 3, 65], [4, 10, 64]),
    "task.split_by": ("one of character, ", NAMES_BAD, ["character", "script"]),
    "task.rotation": ("a number from 0 to 180", [*SHIFTS_BAD, 181], [0, 180, 0.5]),
    "task.shear": ("a number from 0 to 1", [*SHIFTS_BAD, 1.1], [0, 1, 0.5]),
    "task.scale": (SCALES, [*RANGES_BAD, [0.4, 1], [1, 2.1]], [[0.5, 2], [1, 1]]),
    "task.shift": ("a number from 0 to 0.5", [*SHIFTS_BAD, 0.6], [0, 0.5, 0.25]),
    "task.invert": SWITCH,
    "task.short": (names(["refuse", "drop"]), NAMES_BAD, ["refuse", "drop"]),
    "optimizer.name": (names(OPTIMIZERS.names()), NAMES_BAD, OPTIMIZERS.own_names()),
    "optimizer.lr": ("a finite number > 0", NUMBERS_BAD, NUMBERS_GOOD),
    "optimizer.schedule": (names(SCHEDULES), NAMES_BAD, list(SCHEDULES)),
    "optimizer.lr_end": ("a finite number >= 0", [v for v in NUMBERS_BAD if v not in (0, 0.0) or v is None], [0, 0.0]),
    "optimizer.momentum": ("a number with 0 <= value < 1", FRACTIONS_BAD, FRACTIONS_GOOD),
    "optimizer.beta1": ("a number with 0 <= value < 1", FRACTIONS_BAD, FRACTIONS_GOOD),
    "optimizer.beta2": ("a number with 0 <= value < 1", FRACTIONS_BAD, FRACTIONS_GOOD),
    "optimizer.epsilon": ("a finite number > 0", NUMBERS_BAD, NUMBERS_GOOD),
    "optimizer.clip_norm": (
        "auto, a finite number > 0, or null",
        [v for v in NUMBERS_BAD if v is not None] + ["never", "AUTO"],
        [None, "auto", *(v for v in NUMBERS_GOOD if not isinstance(v, int))],  # an integer becomes a float
    ),
}
REFUSED = [(key, value, allowed) for key, (allowed, bad, _) in TABLE.items() for value in bad]
ACCEPTED = [(key, value) for key, (_, _, good) in TABLE.items() for value in good]


def makers(key):
    """Functions that take a value for a setting and return it: of every dataclass that has the setting."""
    if key in CHOICES:

        def look_up(value):
            CHOICES[key].get(value)
            return value

        return [look_up]
    name = key.rpartition(".")[2]
    kinds = [kind for kind in KINDS if key in declared(kind)]
    assert kinds, f"there is no {key}"
    return [lambda value, kind=kind: getattr(kind(**{name: value}), name) for kind in kinds]


def identifiers(rows):
    return [f"{row[0]}={row[1]!r:.40}" for row in rows]


@pytest.mark.parametrize(("key", "value", "allowed"), REFUSED, ids=identifiers(REFUSED))
def test_a_bad_value_is_refused_and_the_message_says_what_is_allowed(key, value, allowed):
    for make in makers(key):
        with pytest.raises(SettingError) as caught:
            make(value)
        message = str(caught.value)
        assert message.startswith(f"{key}={value!r:.57}")  # longer values are cut short
        assert allowed in message
        assert len(message) < 300


@pytest.mark.parametrize(("key", "value"), ACCEPTED, ids=identifiers(ACCEPTED))
def test_a_good_value_is_kept_as_it_is(key, value):
    for make in makers(key):
        assert make(value) is value


@pytest.mark.parametrize("key", ["inner.lr", "optimizer.lr", "optimizer.momentum", "task.amplitude"])
def test_an_integer_too_large_for_a_float_is_refused_too(key):
    for make in makers(key):
        with pytest.raises(SettingError, match=key):
            make([0, 10**400] if key == "task.amplitude" else 10**400)


@pytest.mark.parametrize(("length", "shown"), [(58, "'" + "x" * 58 + "'"), (59, "'" + "x" * 56 + "...")])
def test_a_value_longer_than_sixty_characters_is_cut(length, shown):
    with pytest.raises(SettingError, match="algorithm") as caught:
        gradient.Settings(outer="x" * length)
    assert len(shown) == 60
    assert f"={shown} is not usable" in str(caught.value)


def test_the_table_has_every_setting():
    fields = {f"{kind.section}.{field.name}" for kind in KINDS for field in dataclasses.fields(kind)}
    fields -= {kind.section for kind in KINDS}  # one inside another
    assert set(TABLE) == fields - LABELS
    assert {key for kind in KINDS for key in declared(kind)} == fields - LABELS - set(CHOICES)


@pytest.mark.parametrize("key", CHOICES)
def test_a_choice_has_settings_of_its_own_that_name_it(key):
    registry, name = CHOICES[key], key.partition(".")[2]
    for choice in registry.own_names():
        kind = registry.get(choice).Settings
        assert kind in KINDS, f"the table above knows nothing of {key}={choice}"
        assert getattr(kind(), name) == choice


def test_every_setting_has_a_line_of_help():
    for kind in KINDS:
        for key, field in declared(kind).items():
            assert 0 < len(field.metadata["help"]) <= 100, key
            assert "\n" not in field.metadata["help"], key


def test_a_setting_error_is_a_value_error():
    assert issubclass(SettingError, ValueError)


def test_defaults_are_allowed_and_not_shared():
    first, second = ModelSettings(), ModelSettings()
    first.hidden.append(1)
    assert second.hidden == [40, 40]
    for kind in KINDS:
        assert kind() == kind()
