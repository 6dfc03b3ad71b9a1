"""Runs in lockstep have the bits that they have alone."""

from dataclasses import replace

import numpy as np
import pytest

from maml_exp.config.composing import compose, conf_dir
from maml_exp.core.inner import stack
from maml_exp.core.optimizers.base import FLUSH_EVERY, OptimizerState
from maml_exp.core.replay import WARM_UP
from maml_exp.core.training import Trainer
from maml_exp.core.training.lockstep import LockstepState, LockstepTrainer, shared_by

from .learners import axes

RUNS, ITERATIONS = 3, WARM_UP + 4  # behind the check, two that are replayed
SMALL = [
    "model.hidden=[12,9]",
    "training.meta_batch=3",
    "training.iterations=8",
    "task.shots=4",
    "task.query=5",
    "inner.steps=2",
]
FILES = {path.stem: path.read_text() for path in (conf_dir() / "algorithm").glob("*.yaml")}
PRESETS = sorted(name for name, text in FILES.items() if "learner/gradient@" in text and name != "evolution")
OF_PRESET = {"reptile": ["algorithm.minibatch=3", "inner.steps=5"], "proximal": ["algorithm.proximal=2"]}
OTHERS = [
    ["dtype=float64"],
    ["inner.steps=1", "task.shots=1"],
    ["inner.steps=3", "model.hidden=[40,40]", "task.shots=10"],
    ["model.hidden=[12]"],
    ["model.hidden=[1,1]", "training.meta_batch=1"],
    ["model.hidden=[7,9,8]", "model.activation=tanh"],
    ["model.activation=softplus"],
    ["model.activation=softplus", "model.layer_norm=true"],
    ["model.layer_norm=true", "algorithm=anil"],
    ["model.activation=sine"],
    ["optimizer=sgd", "optimizer.momentum=0.9"],
    ["optimizer=annealed"],
    ["optimizer.clip_norm=0.5"],
    ["task.noise=0.3", "task.x_training=grid"],
    ["task.oracle=true"],
    ["task=harmonic"],
    ["task=polynomial"],
    ["task=mixture"],
    ["algorithm.step_losses=all"],
    ["algorithm.minibatch=3"],
    ["algorithm=anil", "algorithm.minibatch=3"],
    ["algorithm=anil", "algorithm.learn_rates=true", "algorithm.rates_lr=0.1"],
    ["algorithm=meta_sgd", "algorithm.rates_store=log"],
    ["algorithm=mil", "algorithm.learn_rates=true", "algorithm.rates=layer"],
    ["algorithm=mil", "algorithm.learn_rates=true", "algorithm.rates=weight"],
]


def problems_of(overrides, rates=("inner.lr", "optimizer.lr")):
    """Problems of runs that differ in these rates."""
    shared = compose([*SMALL, *overrides]).problem
    found = []
    for run in range(RUNS):
        inner = replace(shared.inner, lr=shared.inner.lr * (1 + 0.3 * run)) if "inner.lr" in rates else shared.inner
        lr = shared.optimizer.lr * (1 + 0.1 * run)
        optimizer = replace(shared.optimizer, lr=lr) if "optimizer.lr" in rates else shared.optimizer
        found.append(replace(shared, inner=inner, optimizer=optimizer))
    return found


def assert_same_bits(alone, together):
    assert (alone.step, alone.optimizer.count) == (together.step, together.optimizer.count)
    pairs = zip([alone.vector, *alone.optimizer.moments], [together.vector, *together.optimizer.moments], strict=True)
    for one, other in pairs:
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    for one, other in ((alone.rng, together.rng), (alone.learner_rng, together.learner_rng)):
        assert one.bit_generator.state == other.bit_generator.state


def require_same_bits(problems):
    """Train alone and in lockstep; compare every iteration."""
    assert len({shared_by(problem) for problem in problems}) == 1
    trainers = [Trainer(problem) for problem in problems]
    states = [trainer.init(seed) for seed, trainer in enumerate(trainers)]
    in_lockstep = LockstepTrainer(problems)
    together = LockstepState.of([trainer.init(seed) for seed, trainer in enumerate(trainers)])
    for _ in range(ITERATIONS):
        stepped = [trainer.train_step(state) for trainer, state in zip(trainers, states, strict=True)]
        states = [state for state, _ in stepped]
        together, metrics = in_lockstep.train_step(together)
        assert metrics == [alone for _, alone in stepped]
        for alone, of_run in zip(states, together.by_run(), strict=True):
            assert_same_bits(alone, of_run)
    for learner in (trainers[0].learner, in_lockstep.trainer.learner):
        assert all(computed.is_trusted for computed in learner._replayed.values()) or annealed(learner)
    require_same_predictions(trainers[0].learner, np.stack([state.vector for state in states]))


def annealed(learner):
    """Weights of query losses that change while training, too often in a short one."""
    return learner.settings.step_losses == "annealed"


def require_same_predictions(learner, vectors, tasks=5):
    """Adapt alone and together, to points of each task's own and to those of a grid."""
    problem = learner.problem
    x, y, x_query, _ = problem.family.sample(np.random.default_rng(0), tasks, problem.dtype)
    for points in (x_query, np.repeat(x_query[:1], tasks, axis=0)):
        together = list(learner.adapt(vectors, x, y, points, 3))
        for run, vector in enumerate(vectors):
            alone = list(learner.adapt(vector, x, y, points, 3))
            assert [found[run].tobytes() for found in together] == [found.tobytes() for found in alone]


@pytest.mark.parametrize("tasks", [1, 3, 4, 12, 100])
def test_predictions_of_some_tasks_at_a_time_have_the_same_bits(tasks, monkeypatch):
    learner = Trainer(problems_of([])[0]).learner
    vectors = np.stack([learner.init(np.random.default_rng(run)) for run in range(RUNS)])
    monkeypatch.setattr(stack, "NUMBERS_AT_ONCE", tasks * 5 * 13)  # points, and the widest layer's columns
    require_same_predictions(learner, vectors)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_the_bits_of_runs_alone(preset):
    overrides = [f"algorithm={preset}", *OF_PRESET.get(preset, [])]
    rates = compose(overrides).problem.algorithm.rates_in_lockstep
    require_same_bits(problems_of(overrides, rates))


@pytest.mark.parametrize("overrides", OTHERS, ids=" ".join)
def test_every_setting_has_the_bits_of_runs_alone(overrides):
    require_same_bits(problems_of(overrides))


@pytest.mark.parametrize("outer", ["exact", "joint"])
def test_classes_have_the_bits_of_runs_alone(outer):
    task = axes.ClassesSettings(shots=4, query=5)
    require_same_bits([replace(problem, task=task) for problem in problems_of([f"algorithm.outer={outer}"])])


@pytest.mark.parametrize("rates", [(), ("inner.lr",), ("optimizer.lr",)], ids=["none", "inner", "outer"])
def test_rates_may_be_the_same(rates):
    require_same_bits(problems_of([], rates))


@pytest.mark.parametrize("overrides", [["optimizer=adam"], ["optimizer=sgd", "optimizer.momentum=0.9"]], ids=" ".join)
def test_moments_are_flushed_as_alone(overrides):
    problems = problems_of([*overrides, "optimizer.lr=5"])  # of sgd, what is negligible depends on it
    states = [Trainer(problem).init(seed) for seed, problem in enumerate(problems)]
    tiny = np.geomspace(1e-36, 1e-28, states[0].vector.size).astype(np.float32)
    moments = tuple(np.stack([tiny] * RUNS) for _ in states[0].optimizer.moments)
    vectors, gradients = np.stack([state.vector for state in states]), np.zeros((RUNS, tiny.size), np.float32)
    before = OptimizerState(FLUSH_EVERY - 1, moments)
    _, together = LockstepTrainer(problems).trainer.updated(vectors, before, gradients, 0.5)
    for run, problem in enumerate(problems):
        of_run = OptimizerState(before.count, tuple(moment[run] for moment in moments))
        _, alone = Trainer(problem).updated(vectors[run], of_run, gradients[run], 0.5)
        for one, several in zip(alone.moments, together.moments, strict=True):
            assert one.tobytes() == several[run].tobytes()
            assert 0 < np.count_nonzero(one) < one.size


@pytest.mark.parametrize("preset", sorted(FILES.keys() - set(PRESETS)))
def test_other_learners_train_alone(preset):
    assert shared_by(compose([f"algorithm={preset}"]).problem) is None


@pytest.mark.parametrize("override", ["task.shots=[4,5]", "training.log_curvature=true", "inner.steps=0"])
def test_what_is_drawn_or_measured_of_one_run_trains_alone(override):
    assert shared_by(compose([override]).problem) is None


@pytest.mark.parametrize(
    ("override", "may_differ"),
    [
        ("seed=1", True),
        ("inner.lr=0.5", True),
        ("optimizer.lr=0.5", True),
        ("evaluation.tasks=7", True),
        ("training.log_every=7", True),
        ("inner.steps=2", False),
        ("model.hidden=[12]", False),
        ("task.shots=7", False),
        ("task.noise=0.1", False),
        ("optimizer.beta1=0.8", False),
        ("optimizer.clip_norm=1", False),
        ("optimizer=sgd", False),
        ("algorithm=fomaml", False),
        ("training.meta_batch=7", False),
        ("training.iterations=7", False),
        ("dtype=float64", False),
    ],
)
def test_runs_in_lockstep_differ_in_seeds_rates_and_what_is_not_trained_by(override, may_differ):
    assert (shared_by(compose([]).problem) == shared_by(compose([override]).problem)) is may_differ


def test_steps_that_fade_do_so_by_one_rate():
    first, second = (compose(["algorithm=proximal", f"inner.lr={lr}"]).problem for lr in (0.01, 0.02))
    assert shared_by(first) != shared_by(second)
