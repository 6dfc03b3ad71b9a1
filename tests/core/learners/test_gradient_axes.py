"""Every axis of the gradient learner, alone and together: each named part's gradient is that of a slow reference."""

import re
from collections import Counter

import numpy as np
import pytest

from maml_exp.core.checks import SettingError
from maml_exp.core.inner.below import Context, Features
from maml_exp.core.inner.layers.heads import TwoHeads
from maml_exp.core.inner.layers.matrices import MultipliedOutLayer
from maml_exp.core.inner.layers.rates import StepRates, WeightRates
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.inner.tails import LearnedLoss
from maml_exp.core.learners.gradient import Learner, Settings
from maml_exp.core.proof import gradcheck

from .axes import TOLERANCE, batch_of, derivative, make_problem, part_errors, somewhere, with_axes

# presets by their published names; the rest of a preset is in other groups
PRESETS = {
    "maml": {},
    "fomaml": {"outer": "first_order"},
    "joint": {"outer": "joint"},
    "reptile": {"outer": "reptile", "minibatch": 3},
    "anil": {"moves": "head"},
    "boil": {"moves": "body"},
    "meta_sgd": {"rates": "weight", "learn_rates": True, "rates_store": "raw", "rates_start": [0.005, 0.1]},
    "lslr": {"rates": "layer_and_step", "learn_rates": True, "rates_store": "raw"},
    "maml_plus_plus": {
        "rates": "layer_and_step",
        "learn_rates": True,
        "rates_store": "raw",
        "step_losses": "annealed",
        "first_order_until": 0.3,
    },
    "cavia": {"moves": "context", "context": 5},
    "mil": {"context": 20, "context_start": "learned"},
    "proximal": {"proximal": 1.0},
    "two_heads": {"support_loss": "head"},
    "learned_loss": {"support_loss": "learned", "loss_hidden": [4]},
}
VARIANTS = [*Learner.variants, {"pairs": None}]


def assert_proven(problem, progress=0.0, seed=0, directions=5):
    """Every part, in both representations and in the one that is chosen."""
    for variant in VARIANTS:
        learner = Learner(problem, **variant)
        errors = part_errors(learner, somewhere(learner, seed), batch_of(problem, seed), progress, seed, directions)
        assert set(errors) == set(learner.layout.sizes)
        assert max(errors.values()) <= TOLERANCE, (variant, errors)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sine"])
def test_every_preset_is_proven(preset, activation):
    for steps in (1, 2, 3, 5):
        assert_proven(make_problem(steps=steps, activation=activation, **PRESETS[preset]), progress=0.5, directions=2)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("layer_norm", "classes"), [(True, False), (False, True), (True, True)])
def test_every_preset_is_proven_with_classes_and_layer_normalisation(preset, activation, layer_norm, classes):
    options = {"activation": activation, "layer_norm": layer_norm, "classes": classes}
    for steps in (1, 3):
        assert_proven(make_problem(steps=steps, **options, **PRESETS[preset]), progress=0.5, directions=2)


@pytest.mark.parametrize("preset", ["maml", "fomaml", "joint", "anil", "boil", "proximal"])
def test_without_inner_steps_all_are_the_gradient_of_the_query_loss(preset):
    assert_proven(make_problem(steps=0, **PRESETS[preset]))


SHARES = [0.0, 0.4, 1.0]
AXES = {
    "outer": ["exact", "exact", "first_order", "reptile", "joint"],
    "first_order_until": SHARES,
    "moves": ["all", "head", "body", "context", [0], [1], [0, 2], [1, 2], [2, 0]],
    "rates": ["one", "layer", "layer_and_step", "weight"],
    "learn_rates": [True],
    "rates_store": ["log", "raw"],
    "proximal": [1.7],
    "step_losses": ["last", "all", "annealed"],
    "step_losses_until": SHARES,
    "minibatch": [1, 2, 3, 4],
    "context": [0, 1, 2, 3],
    "context_start": ["zero", "learned"],
    "support_loss": ["task", "head", "learned"],
    "loss_hidden": [[], [4], [3, 2]],
    "loss_sees_targets": [True, False],
}
OPTIONS = {
    "steps": [0, 1, 2, 3, 5],
    "activation": ["relu", "tanh", "softplus", "sine"],
    "hidden": [(5, 4), (3, 6)],
    "layer_norm": [True, False],
    "classes": [True, False],
}
SEEN = Counter()


def sensible(axes, **options):
    """A problem with as many of the axes as go together: of two that are refused, one is dropped."""
    while True:
        try:
            problem = make_problem(**options, **axes)
            Learner(problem)
        except SettingError as error:
            refusal = str(error)
        else:
            return problem, axes
        assert len(re.findall(r"\b(?:algorithm|inner|task|model)\.\w+", refusal)) >= 2, refusal
        dropped = [key for key in re.findall(r"algorithm\.(\w+)=", refusal) if key in axes][-1]
        axes = {key: value for key, value in axes.items() if key != dropped}


def one_of_each(rng, choices):
    return {key: values[rng.integers(len(values))] for key, values in choices.items()}


@pytest.mark.parametrize("seed", range(300))
def test_every_sensible_combination_is_proven(seed):
    rng = np.random.default_rng(seed)
    drawn = {key: value for key, value in one_of_each(rng, AXES).items() if rng.random() < 0.5}
    problem, axes = sensible(drawn, **one_of_each(rng, OPTIONS))
    SEEN.update(proven=1, **{f"{key}={value}": 1 for key, value in axes.items()})
    assert_proven(problem, rng.choice([0.0, 0.05, 0.5, 0.99]), seed, directions=2)


def test_the_table_above_saw_every_value_of_every_axis():
    if SEEN["proven"] < 300:
        pytest.skip("not all of the table was run here")
    for key, values in {
        "outer": ["exact", "first_order", "reptile"],
        "moves": ["head", "body", "context", [0], [1], [0, 2], [1, 2]],
        "rates": ["layer", "layer_and_step", "weight"],
        "step_losses": ["all", "annealed"],
        "context_start": ["learned"],
        "support_loss": ["head", "learned"],
        "minibatch": [1, 2, 3, 4],
    }.items():
        for value in values:
            assert SEEN[f"{key}={value}"] > 0, (key, value, SEEN)


TOGETHER = {
    "everything that is exact": {
        "moves": [0, 2],
        "rates": "layer_and_step",
        "learn_rates": True,
        "step_losses": "all",
        "minibatch": 3,
        "context": 2,
        "context_start": "learned",
        "support_loss": "learned",
    },
    "head rates over a trunk": {"moves": "head", "rates": "weight", "learn_rates": True, "minibatch": 3},
    "two heads, own rates": {"support_loss": "head", "rates": "weight", "learn_rates": True, "step_losses": "all"},
    "proximal context": {"proximal": 2.0, "context": 2, "context_start": "learned", "step_losses": "all"},
}


@pytest.mark.parametrize("name", TOGETHER)
def test_the_reference_itself_is_right_by_central_differences(name):
    problem = make_problem(steps=3, **TOGETHER[name])
    learner = Learner(problem)
    vector, batch = somewhere(learner), batch_of(problem)
    for direction in np.random.default_rng(0).standard_normal((3, vector.size)):
        u = direction / np.linalg.norm(direction)
        at = [
            learner.reference_loss(vector + h * u, batch, np.random.default_rng(0), 0.0, vector) for h in (-1e-5, 1e-5)
        ]
        exact = derivative(learner, vector, batch, 0.0, 0, u)
        assert (at[1] - at[0]) / 2e-5 == pytest.approx(exact, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", TOGETHER)
def test_combinations_are_proven_at_three_layers_of_their_own(name):
    assert_proven(make_problem(steps=5, **TOGETHER[name]))


def gradient_of(problem, vector, batch, progress=0.0, **variant):
    return Learner(problem, **variant).meta_gradient(vector, batch, np.random.default_rng(0), progress)


each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=["pairs", "multiplied_out", "chosen"])


@each_variant
@pytest.mark.parametrize("axes", [{}, {"outer": "first_order"}, {"step_losses": "all"}])
def test_all_layers_listed_is_maml_to_the_bit(variant, axes):
    problem = make_problem(steps=3, **axes)
    vector, batch = somewhere(Learner(problem)), batch_of(problem)
    listed = with_axes(problem, moves=[2, 0, 1], **axes)
    np.testing.assert_array_equal(
        gradient_of(listed, vector, batch, **variant).vector, gradient_of(problem, vector, batch, **variant).vector
    )


@each_variant
@pytest.mark.parametrize("by", ["one", "layer", "layer_and_step"])
@pytest.mark.parametrize("store", ["log", "raw"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_learned_rates_at_their_start_give_mamls_gradient_to_the_bit(variant, by, store, dtype):
    problem = make_problem(steps=3)
    batch = batch_of(problem, dtype=dtype)
    learner = Learner(with_axes(problem, rates=by, learn_rates=True, rates_store=store), **variant)
    vector = learner.init(np.random.default_rng(0)).astype(dtype)
    theta = learner.layout.slices["theta"]
    ours = learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.0)
    plain = gradient_of(problem, vector[theta], batch, **variant)
    np.testing.assert_array_equal(ours.vector[theta], plain.vector)
    assert ours[1:3] == plain[1:3]
    assert np.all(ours.vector[learner.layout.slices["rates"]] != 0)


@pytest.mark.parametrize("axes", [{"step_losses": "all"}, {"step_losses": "annealed"}])
def test_step_losses_are_the_last_one_alone_to_the_bit_where_there_is_no_other(axes):
    one_step, late = make_problem(steps=1), make_problem(steps=3)
    vector = somewhere(Learner(one_step))
    for problem, progress in [(one_step, 0.0), (late, 0.5)]:
        if problem is late and axes["step_losses"] == "all":
            continue
        batch = batch_of(problem)
        np.testing.assert_array_equal(
            gradient_of(with_axes(problem, **axes), vector, batch, progress).vector,
            gradient_of(problem, vector, batch, progress).vector,
        )


@each_variant
def test_first_order_until_is_first_order_and_then_exact_to_the_bit(variant):
    problem = make_problem(steps=2)
    vector, batch = somewhere(Learner(problem)), batch_of(problem)
    annealed = with_axes(problem, first_order_until=0.3)
    for progress, axes in [(0.0, {"outer": "first_order"}), (0.29, {"outer": "first_order"}), (0.3, {}), (0.9, {})]:
        np.testing.assert_array_equal(
            gradient_of(annealed, vector, batch, progress, **variant).vector,
            gradient_of(with_axes(problem, **axes), vector, batch, progress, **variant).vector,
        )


@each_variant
def test_one_step_of_reptile_is_joint_training_times_alpha(variant):
    problem = make_problem(steps=1, outer="reptile")
    vector, batch = somewhere(Learner(problem)), batch_of(problem)
    joint = gradient_of(with_axes(problem, outer="joint"), vector, batch, **variant)
    reptile = gradient_of(problem, vector, batch, **variant)
    np.testing.assert_allclose(reptile.vector, problem.inner.lr * joint.vector, rtol=1e-12, atol=1e-15)
    assert reptile.loss == pytest.approx(joint.loss, rel=1e-14)


@each_variant
@pytest.mark.parametrize("by", ["one", "layer", "layer_and_step", "weight"])
def test_first_order_rates_get_minus_g_times_v(variant, by):
    """-g_s . v by hand, from one central difference of the query loss along the support gradient of every layer."""
    problem = make_problem(steps=1, outer="first_order", rates=by, learn_rates=True, rates_store="raw")
    learner = Learner(problem, **variant)
    batch = batch_of(problem)
    vector = learner.init(np.random.default_rng(0))
    rates = learner.layout.slices["rates"]
    found = learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.0).vector[rates]
    changed = []
    for index in range(rates.start, rates.stop):
        ends = []
        for h in (-1e-6, 1e-6):
            moved = vector.copy()
            moved[index] += h
            ends.append(learner.meta_gradient(moved, batch, np.random.default_rng(0), 0.0).loss)
        changed.append((ends[1] - ends[0]) / 2e-6)
    np.testing.assert_allclose(found, changed, rtol=1e-5, atol=1e-8)  # with S = 1 it is the exact derivative


@pytest.mark.parametrize("preset", [name for name in PRESETS if name not in ("joint", "reptile")])
@each_variant
def test_evaluation_after_all_steps_is_the_training_pass(preset, variant):
    problem = make_problem(steps=3, **PRESETS[preset])
    learner = Learner(problem, **variant)
    vector, batch = somewhere(learner), batch_of(problem)
    *_, last = learner.adapt(vector, batch.x_support, batch.y_support, batch.x_query, steps=3)
    loss = learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.5).loss
    assert problem.family.loss.mean(last - batch.y_query) == pytest.approx(loss, rel=1e-12)


@each_variant
def test_the_losses_of_reptile_are_those_of_its_last_step_and_of_its_first(variant):
    problem = make_problem(steps=3, outer="reptile")
    learner = Learner(problem, **variant)
    vector, batch = somewhere(learner), batch_of(problem)
    x, y = batch.pooled()
    before, _, last = learner.adapt(vector, x, y, x, steps=2)
    found = learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.5)
    loss = problem.family.loss
    assert (found.loss, found.support_loss) == pytest.approx((loss.mean(last - y), loss.mean(before - y)), rel=1e-12)
    assert found.loss != pytest.approx(found.support_loss)


def test_steps_beyond_the_trained_ones_have_the_last_rates_and_another_rate_replaces_alpha():
    problem = make_problem(steps=2, rates="layer_and_step", learn_rates=True)
    learner = Learner(problem)
    vector, batch = somewhere(learner), batch_of(problem)
    parts = learner.layout.parts(vector)
    longer = Learner(make_problem(steps=4, lr=0.02, rates="layer_and_step", learn_rates=True))
    table = parts["rates"].reshape(2, -1)
    same = np.concatenate([parts["theta"], table[[0, 1, 1, 1]].ravel()])
    points = (batch.x_support, batch.y_support, batch.x_query)
    ours = list(learner.adapt(vector, *points, steps=4, lr=0.02))
    for found, exact in zip(ours, longer.adapt(same, *points, steps=4), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-12)


@pytest.mark.parametrize("preset", PRESETS)
@each_variant
def test_float32_is_close_to_float64_and_no_state_leaks(preset, variant):
    problem = make_problem(steps=2, **PRESETS[preset])
    learner = Learner(problem, **variant)
    vector, batch = somewhere(learner), batch_of(problem)
    small = batch_of(problem, dtype=np.float32)
    first = learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.5)
    rounded = learner.meta_gradient(vector.astype(np.float32), small, np.random.default_rng(0), 0.5)
    list(learner.adapt(vector, *batch[:3], steps=3))
    again = learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.5)
    assert rounded.vector.dtype == np.float32
    for part in learner.layout.slices.values():
        difference = np.linalg.norm(rounded.vector[part] - first.vector[part])
        assert difference < 1e-4 * np.linalg.norm(first.vector[part])
    np.testing.assert_array_equal(again.vector, first.vector)
    assert again[1:] == first[1:]


def test_minibatches_use_every_point_before_one_comes_again():
    problem = make_problem(steps=5, outer="reptile", minibatch=3)  # 9 points a task: 3 steps to see them all
    learner = Learner(problem)
    chosen = learner._points(batch_of(problem), np.random.default_rng(0)).chosen
    assert [step.shape for step in chosen] == [(3, 3)] * 5
    for task in range(3):
        assert sorted(np.concatenate([step[task] for step in chosen[:3]])) == list(range(9))


def test_learned_rates_are_told_by_what_moves():
    problem = make_problem(steps=2, moves="head", context=2, rates="layer_and_step", learn_rates=True)
    learner = Learner(problem)
    vector = learner.init(np.random.default_rng(0))
    told = learner.inner_rates(vector)
    assert {name: rates.shape for name, rates in told.items()} == {"layer_2": (2,), "context": (2,)}
    assert all(np.all(rates == problem.inner.lr) for rates in told.values())
    assert learner.outer_rates == {}
    assert Learner(with_axes(problem, learn_rates=True, rates_lr=0.5)).outer_rates == {"rates": 0.5}


def test_random_first_rates_are_within_their_range():
    for store in ("log", "raw"):
        problem = make_problem(rates="weight", learn_rates=True, rates_store=store, rates_start=[0.005, 0.1])
        learner = Learner(problem)
        rates = np.concatenate(
            [r.ravel() for r in learner.inner_rates(learner.init(np.random.default_rng(0))).values()]
        )
        assert rates.size == learner.network.parameter_count
        assert 0.005 <= rates.min() < 0.02
        assert 0.08 < rates.max() <= 0.1


REFUSED = [
    ("outer", "rates", {"outer": "joint", "rates": "layer", "learn_rates": True}),
    ("outer", "learn_rates", {"outer": "joint", "learn_rates": True}),
    ("outer", "proximal", {"outer": "joint", "proximal": 1.0}),
    ("outer", "step_losses", {"outer": "joint", "step_losses": "all"}),
    ("outer", "context", {"outer": "joint", "context": 2}),
    ("outer", "support_loss", {"outer": "joint", "support_loss": "head"}),
    ("outer", "minibatch", {"outer": "joint", "minibatch": 2}),
    ("outer", "learn_rates", {"outer": "reptile", "learn_rates": True}),
    ("outer", "context_start", {"outer": "reptile", "context": 2, "context_start": "learned"}),
    ("outer", "support_loss", {"outer": "reptile", "support_loss": "learned"}),
    ("outer", "step_losses", {"outer": "reptile", "step_losses": "annealed"}),
    ("outer", "moves", {"outer": "reptile", "moves": "head"}),
    ("outer", "support_loss", {"outer": "first_order", "support_loss": "learned"}),
    ("outer", "support_loss", {"outer": "first_order", "support_loss": "head"}),
    ("outer", "first_order_until", {"outer": "first_order", "first_order_until": 0.5}),
    ("first_order_until", "support_loss", {"first_order_until": 1.0, "support_loss": "head"}),
    ("rates", "learn_rates", {"rates": "weight"}),
    ("rates_start", "learn_rates", {"rates_start": [0.1, 0.2]}),
    ("rates_lr", "learn_rates", {"rates_lr": 0.1}),
    ("learn_rates", "proximal", {"learn_rates": True, "proximal": 1.0}),
    ("moves", "context", {"moves": "context"}),
    ("context_start", "context", {"context_start": "learned"}),
    ("moves", "support_loss", {"moves": "head", "support_loss": "head"}),
]


@pytest.mark.parametrize(("first", "second", "axes"), REFUSED)
def test_what_makes_no_sense_together_is_refused_by_both_names(first, second, axes):
    with pytest.raises(SettingError) as caught:
        Settings(**axes)
    assert f"algorithm.{first}=" in str(caught.value)
    assert f"algorithm.{second}=" in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "steps", "axes"),
    [
        ("algorithm.context", "inner.steps", 0, {"context": 2}),
        ("algorithm.learn_rates", "inner.steps", 0, {"learn_rates": True}),
        ("algorithm.outer", "inner.steps", 0, {"outer": "reptile"}),
        ("algorithm.support_loss", "inner.steps", 0, {"support_loss": "head"}),
        ("algorithm.minibatch", "inner.steps", 0, {"minibatch": 2}),
        ("algorithm.minibatch", "task.shots", 1, {"minibatch": 5}),
        ("algorithm.minibatch", "task.query", 1, {"minibatch": 10, "outer": "reptile"}),
        ("algorithm.moves", "model.hidden", 1, {"moves": [0, 3]}),
        ("algorithm.moves", "algorithm.support_loss", 1, {"moves": [2], "support_loss": "head"}),
    ],
)
def test_what_does_not_suit_the_problem_is_refused_by_both_names(first, second, steps, axes):
    with pytest.raises(SettingError) as caught:
        Learner(make_problem(steps=steps, **axes))
    assert first in str(caught.value)
    assert second in str(caught.value)


BAD = {
    "outer": ["maml", "", None],
    "moves": ["heads", [], [0, 0], [-1], [0.5], [True], None, 1],
    "rates": ["step", None],
    "learn_rates": [1, "true", None],
    "rates_store": ["exp"],
    "rates_start": [[0, 1], [1, 0.5], [1], 0.1],
    "rates_lr": [0, -1, float("nan")],
    "proximal": [-1, float("inf"), None],
    "step_losses": ["first"],
    "step_losses_until": [-0.1, 1.1],
    "first_order_until": [-0.1, 1.1, None],
    "minibatch": [0, 1.5],
    "context": [-1, 1.0, None],
    "context_start": ["one"],
    "support_loss": ["none"],
    "loss_hidden": [[0], 40, [1.5]],
    "loss_sees_targets": [0, None],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_a_bad_value_is_refused_and_named(key, value):
    with pytest.raises(SettingError, match=f"algorithm.{key}="):
        Settings(**{key: value})


def test_settings_are_a_structured_configuration():
    omegaconf = pytest.importorskip("omegaconf")
    for axes in PRESETS.values():
        merged = omegaconf.OmegaConf.merge(omegaconf.OmegaConf.structured(Settings), axes)
        assert omegaconf.OmegaConf.to_object(merged) == Settings(**axes)


def test_inner_settings_are_not_changed_by_an_algorithm():
    assert InnerSettings() == InnerSettings(lr=0.01, steps=1)


def test_gradcheck_walks_every_preset_and_part():
    presets = {name: Settings(preset=name, **axes) for name, axes in PRESETS.items()}
    found = list(
        gradcheck.checks(make_problem(), presets, hidden=[[5, 4]], activations=["tanh"], steps=[0, 1, 2], seed=0)
    )
    assert [check for check in found if not check.passed] == []
    steps = {name: {check.steps for check in found if check.what.split()[0] == name} for name in PRESETS}
    assert steps["maml"] == {0, 1, 2}
    assert steps["joint"] == {0}
    assert steps["cavia"] == steps["meta_sgd"] == steps["learned_loss"] == {1, 2}
    parts = {check.what for check in found}
    assert {
        "maml meta-gradient",
        "lslr meta-gradient of theta",
        "lslr meta-gradient of rates",
        "mil meta-gradient of context",
        "two_heads meta-gradient of head",
        "learned_loss meta-gradient of loss",
    } <= parts


# one wrong line each; the proof must see every one of them
MUTATIONS = [
    (StepRates, "step", lambda self, s: np.copyto(self.steps[s], self._errors[s]), "lslr"),
    (StepRates, "direction", lambda self, s, hv: hv, "lslr"),
    (WeightRates, "note", lambda self, product: setattr(self, "dots", product.sum(axis=0)), "meta_sgd"),
    (MultipliedOutLayer, "_join", lambda self, s: None, "maml_plus_plus"),
    (Context, "r_fill", lambda self, s: None, "mil"),
    (Context, "r_backward", lambda self, s: None, "cavia"),
    (Features, "r_backward", lambda self, s: self.errors.__setitem__(s, 0 * self._layer.inputs[s]), "anil"),
    (LearnedLoss, "r_error", lambda self, s, rz, out: out.fill(0), "learned_loss"),
    (TwoHeads, "pulled_back", lambda self, s: None, "two_heads"),
]


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "preset"), MUTATIONS, ids=[f"{m[0].__name__}.{m[1]}" for m in MUTATIONS]
)
def test_the_proof_sees_a_wrong_line(owner, name, wrong, preset, monkeypatch):
    axes = {**PRESETS[preset], "first_order_until": 0.0, "step_losses_until": 1.0}
    problem = make_problem(steps=3, **axes)
    learner = Learner(problem, pairs=False)
    vector, batch = somewhere(learner), batch_of(problem)
    assert max(part_errors(learner, vector, batch).values()) <= TOLERANCE
    monkeypatch.setattr(owner, name, wrong)
    broken = Learner(problem, pairs=False)
    assert not max(part_errors(broken, vector, batch).values()) <= TOLERANCE
