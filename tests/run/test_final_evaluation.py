"""The final evaluation's numbers against the arrays it saves, and what its table says."""

import numpy as np
import pytest
from helpers import read_rows, read_summary, train

from maml_exp.core.statistics import DIVERGED_FACTOR, statistics
from maml_exp.data.text_table import digits


def arrays(folder):
    with np.load(folder / "evaluation.npz") as file:
        return {name: file[name].astype(float) for name in file.files}


def test_the_summary_is_the_statistics_of_the_saved_errors(tiny):
    saved, evaluation = arrays(tiny), read_summary(tiny)["evaluation"]
    for shots in ("5", "10"):
        for which in ("trained", "random"):
            expected = statistics(saved[f"{which}_K{shots}"], saved["reference"])._asdict()
            for name, values in expected.items():
                np.testing.assert_allclose(evaluation["shots"][shots][which][name], values, rtol=1e-6, err_msg=name)
    assert evaluation["reference"] == pytest.approx(saved["reference"].mean(), rel=1e-6)
    assert evaluation["objective"] == {"shots": 10, "steps": 1}
    assert evaluation["fingerprint"]["name"] == "sinusoid"


def test_the_reference_is_the_variance_of_every_curve(tiny):
    from maml_exp.config.saved import load_config

    config = load_config(tiny / ".hydra" / "config.yaml")
    tasks = config.problem.family.held_out("test", config.evaluation.seed, 20, 10, config.evaluation.grid)
    np.testing.assert_allclose(arrays(tiny)["reference"], tasks.y_query[..., 0].var(axis=1), rtol=1e-6)


def test_what_outliers_hide_is_logged_beside_the_objective(tiny):
    last, trained = read_rows(tiny)[-1], read_summary(tiny)["evaluation"]["shots"]["10"]["trained"]
    assert last["final/objective"] == trained["mean"][1]
    assert last["final/median"] == trained["median"][1]
    assert last["final/iqm"] == trained["iqm"][1]


def test_tasks_that_diverge_are_counted_by_the_one_definition_and_named(tmp_path, capsys):
    """A rate at which some tasks explode, finite or not: the table says how many, and what that means."""
    folder = train(tmp_path / "wild", "evaluation.lr=0.5", "evaluation.steps=3")
    saved = arrays(folder)
    limit = DIVERGED_FACTOR * saved["reference"].mean()
    errors = saved["trained_K10"]
    counts = (~np.isfinite(errors) | (errors > limit)).sum(axis=0)
    assert counts.max() > 0
    assert read_summary(folder)["evaluation"]["shots"]["10"]["trained"]["diverged"] == counts.tolist()
    printed = capsys.readouterr().out
    worst = int(np.argmax(counts))
    assert f"{counts[worst]} of 20 tasks diverged with this run (step {worst}): an error beyond 100 times" in printed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4, "0.400"),
        (4.0, "4.00"),
        (123.4, "123"),
        (1234.0, "1.23e+03"),
        (0.001234, "0.00123"),
        (np.inf, "inf"),
        (np.nan, "-"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_keep_their_trailing_zeros(value, text):
    assert digits(value) == text
