"""What is logged: metrics.csv and TensorBoard hold the same points, once each, and the core's numbers."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from helpers import CLOCK, TINY, environment, points, points_of_rows, read_events, read_rows, read_summary, train

from maml_exp.config.composing import compose
from maml_exp.core.evaluation import evaluate
from maml_exp.core.training import Trainer
from maml_exp.run.tensorboard import Board
from maml_exp.store.metrics_file import MetricsError, columns
from maml_exp.store.metrics_file import read_rows as product_rows

TRAINING = ("meta/loss", "meta/support_loss", "meta/grad_norm")


def steps_with(rows, tag):
    return [int(row["step"]) for row in rows if tag in row]


def test_tensorboard_shows_the_rows_of_metrics_csv_once_each(smoke):
    rows, shown = read_rows(smoke[1]), points(smoke[1])
    assert len(rows) == 11
    assert {key for key, values in shown.items() if len(values) != 1} == set()
    assert shown == points_of_rows(rows)


@pytest.mark.parametrize(
    ("overrides", "logged", "evaluated"),
    [
        (["training.log_every=10", "training.evaluate_every=50"], range(10, 101, 10), [50, 100]),
        ([], [*range(7, 100, 7), 100], [30, 60, 90, 100]),
        (["training.log_every=1000", "training.evaluate_every=0"], [100], []),
        (["training.log_every=1", "training.iterations=5", "training.evaluate_every=2"], range(1, 6), [2, 4, 5]),
    ],
    ids=["one a multiple of the other", "intervals that do not meet", "only at the end", "every step"],
)
def test_rows_are_at_the_steps_asked_for(overrides, logged, evaluated, tmp_path):
    folder = train(tmp_path / "run", *overrides, "evaluation.plots=false")
    rows = read_rows(folder)
    assert [step for step in steps_with(rows, "meta/loss") if step not in set(evaluated) - set(logged)] == list(logged)
    assert steps_with(rows, "test_K5/mean_step_00") == evaluated
    assert steps_with(rows, "final/objective") == [rows[-1]["step"]]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)


@pytest.mark.parametrize(
    "overrides", [[], ["algorithm=joint", "dtype=float64"], ["algorithm=fomaml", "seed=4"]], ids=str
)
def test_rows_hold_means_over_the_iterations_since_the_last_row(overrides, tmp_path):
    folder = train(tmp_path / "run", *overrides)
    trainer = Trainer(compose([*TINY, *overrides]).problem)
    state, values = trainer.init(compose([*TINY, *overrides]).seed), []
    for _ in range(100):
        state, metrics = trainer.train_step(state)
        values.append([metrics.loss, metrics.support_loss, metrics.gradient_norm])
    last = 0
    for row in [row for row in read_rows(folder) if "meta/loss" in row]:
        step = int(row["step"])
        expected = np.mean(values[last:step], axis=0)
        np.testing.assert_allclose([row[tag] for tag in TRAINING], expected, rtol=1e-12)
        last = step
    assert last == 100


def test_small_evaluations_are_the_core_s_on_the_first_tasks(tiny):
    config = compose(TINY)
    learner = Trainer(config.problem).learner
    fixed = learner.problem.family.held_out("test", 1000, 10, 10, 100)
    rows = {int(row["step"]): row for row in read_rows(tiny) if "test_K5/mean_step_00" in row}
    for step in set(rows) & {60, 100}:
        with np.load(tiny / "checkpoints" / f"step_{step:08d}.npz", allow_pickle=False) as file:
            vector = file["vector"]
        errors = evaluate(learner, vector, fixed, [5, 10], 2, 0.01)
        for k in (5, 10):
            mean, median = errors[k].mean(axis=0), np.median(errors[k], axis=0)
            for s in range(3):
                assert rows[step][f"test_K{k}/mean_step_{s:02d}"] == mean[s]
                assert rows[step][f"test_K{k}/median_step_{s:02d}"] == median[s]
    assert 100 in rows


def test_final_metrics_are_the_summary_s(smoke):
    last, summary = read_rows(smoke[1])[-1], read_summary(smoke[1])
    finals = {tag: value for tag, value in last.items() if tag.startswith("final/")}
    expected = {
        f"final/mean_K{k}_step_{step:02d}": summary["evaluation"]["shots"][str(k)]["trained"]["mean"][step]
        for k in (5, 10, 20)
        for step in (0, 1, 5, 10)
    }
    trained = summary["evaluation"]["shots"]["10"]["trained"]  # at the objective's shots and its one step
    robust = {f"final/{name}": trained[name][1] for name in ("median", "iqm")}
    assert finals == {"final/objective": summary["objective"], **robust, **expected}


CURVATURE = ("meta/curvature_share", "meta/fomaml_cosine")


@pytest.mark.parametrize(
    ("overrides", "extras"),
    [
        (["training.log_curvature=true"], CURVATURE),
        (["training.log_curvature=true", "algorithm=fomaml"], CURVATURE),
        (["training.log_curvature=true", "algorithm=joint"], ()),  # it has no inner step to differentiate
        ([], ()),
    ],
    ids=str,
)
def test_a_learner_s_own_numbers_have_columns_of_their_own_and_means_too(overrides, extras, tmp_path):
    folder, config = train(tmp_path / "run", *overrides), compose([*TINY, *overrides])
    trainer = Trainer(config.problem)
    state, values = trainer.init(config.seed), []
    for _ in range(7):
        state, metrics = trainer.train_step(state)
        values.append([metrics.extras[tag.removeprefix("meta/")] for tag in extras])
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert header == columns(config, trainer.learner)
    assert tuple(header[1 : 4 + len(extras)]) == (*TRAINING, *extras)
    assert {*CURVATURE} & {*header} == {*extras}
    first = read_rows(folder)[0]
    np.testing.assert_allclose([first[tag] for tag in extras], np.mean(values, axis=0), rtol=1e-12)
    assert {tag for tag, _ in points(folder)} >= {*extras}


def test_learned_rates_are_logged_as_they_are_and_told_at_the_end(tmp_path):
    options = ["algorithm=lslr", "inner.steps=2", "model.hidden=[4]"]
    folder, config = train(tmp_path / "run", *options), compose([*TINY, *options])
    trainer = Trainer(config.problem)
    state, found = trainer.init(config.seed), {}
    names = [f"layer_{layer}_step_{step}" for layer in (0, 1) for step in (0, 1)]
    for step in range(1, config.training.iterations + 1):
        state, _ = trainer.train_step(state)
        rates = trainer.learner.layout.parts(state.vector)["rates"].reshape(2, 2).T  # stored step by step, and raw
        found[step] = dict(zip(names, rates.ravel().tolist(), strict=True))
    rows = [row for row in read_rows(folder) if "meta/loss" in row]
    assert len(rows) >= 2
    for row in rows:
        told = {name: row[f"learned/rate_{name}"] for name in names}
        assert told == pytest.approx(found[int(row["step"])], rel=1e-6)
    last = {name.removeprefix("rate_"): value for name, value in read_summary(folder)["learned"].items()}
    assert last == pytest.approx(found[config.training.iterations], rel=1e-6)
    assert "learned/rate_layer_1_step_0" in {tag for tag, _ in points(folder)}


def test_clock_columns_are_plausible(smoke):
    rows = [row for row in read_rows(smoke[1]) if "meta/loss" in row]
    assert all(row[name] > 0 for row in rows for name in CLOCK)
    for name in ("time/seconds", "time/unix"):
        assert sorted(row[name] for row in rows) == [row[name] for row in rows]
    # ten iterations a row: seconds between two rows and the speed of the second agree
    for a, b in pairwise(rows):
        assert (b["time/seconds"] - a["time/seconds"]) * b["time/iterations_per_second"] == pytest.approx(10)


def test_the_event_file_is_whole_and_starts_as_tensorboard_needs(smoke):
    events = read_events(smoke[1])  # verifies every checksum
    assert events[0].file_version == "brain.Event:2"
    steps = [event.step for event in events if any(value.HasField("simple_value") for value in event.summary.value)]
    assert steps == sorted(steps)


def test_the_configuration_is_shown_as_text(smoke):
    texts = [
        v
        for event in read_events(smoke[1])
        for v in event.summary.value
        if v.metadata.plugin_data.plugin_name == "text"
    ]
    (content,) = texts[0].tensor.string_val
    assert (smoke[1] / ".hydra" / "config.yaml").read_text() in content.decode()


def test_a_second_event_file_takes_the_place_of_the_first(tmp_path):
    for value in (1.0, 2.0):
        board = Board(tmp_path)
        board.scalars({"x": value}, 3, 0.0)
        board.close()
    assert points(tmp_path) == {("x", 3): [2.0]}


HEADER = "step,meta/loss,meta/support_loss,meta/grad_norm,time/unix\n7,0.1,1,1,2\n"
TORN = [
    ("", [7]),
    ("14,0.25", [7]),
    ("14,0.25,1,1,1\n", [7, 14]),
    ("14,0.25,1,1,1\n21,", [7, 14]),
    ("14,,,,\n", [7, 14]),
]
DAMAGED = [
    "14,0.25\n21,0.5,1,1,1\n",
    "14,abc,1,1,1\n",
    ",0.5,1,1,1\n",
    "nan,0.5,1,1,1\n",
    "\n",
    "\x00\x00\n",
    "6,1,1,1,1\n",
]


@pytest.mark.parametrize(("rest", "steps"), TORN, ids=[repr(rest) for rest, _ in TORN])
def test_a_torn_line_is_no_row(rest, steps, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(HEADER + rest)
    rows = product_rows(path)
    assert [row["step"] for row in rows] == steps
    assert (rows[0]["meta/loss"], rows[0]["time/unix"]) == (0.1, 2.0)
    assert [row["step"] for row in product_rows(path, last_step=7)] == [7]


@pytest.mark.parametrize("rest", DAMAGED, ids=repr)
def test_a_damaged_line_is_named(rest, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(HEADER + rest)
    with pytest.raises(MetricsError, match="line 3"):
        product_rows(path)


def test_pytorch_is_not_imported_and_stays_importable(tmp_path):
    """tensorboardX imports it where it is installed: more than a second of every start."""
    (tmp_path / "torch.py").write_text("print('torch')")
    code = "import maml_exp.run.tensorboard; print('board'); import torch"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.split() == ["board", "torch"]
