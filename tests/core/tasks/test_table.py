"""The family on a table: whole groups are split, rows drawn once, held-out values reach nothing."""

from dataclasses import replace

import numpy as np
import pytest

from maml_exp.core.checks import SettingError
from maml_exp.core.evaluation import adaptation_errors
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient
from maml_exp.core.network import ModelSettings
from maml_exp.core.optimizers import adam
from maml_exp.core.problem import Problem
from maml_exp.core.tasks._rows import drawn_rows, split_groups
from maml_exp.core.tasks.table import Family, Settings
from maml_exp.core.training import Trainer

from .tables import random_table, table_of

SETTINGS = Settings(shots=4, group="g", inputs=["u", "v"], outputs=["y", "z"], file="test.csv")
TABLE = random_table()


def family(table=TABLE, **changes):
    return Family(replace(SETTINGS, **changes), table)


# ------------------------------------------------------------------ rows and splits


@pytest.mark.parametrize(
    ("sizes", "points"),
    [([5, 5, 5], 5), ([7, 30, 9], 6), ([400, 5000, 20], 12), ([5000] * 4, 30), ([1000, 481], 30)],
)
def test_rows_of_a_group_are_drawn_once_each(sizes, points):
    sizes = np.array(sizes)
    for seed in range(50):
        rows = drawn_rows(np.random.default_rng(seed), sizes, points)
        assert rows.shape == (len(sizes), points)
        assert ((rows >= 0) & (rows < sizes[:, None])).all()
        assert all(len(set(row)) == points for row in rows.tolist())


@pytest.mark.parametrize("size", [6, 200])
def test_every_row_is_as_likely_at_every_place(size):
    rng, count = np.random.default_rng(0), 40_000
    rows = drawn_rows(rng, np.full(count, size), 3)
    for place in range(3):
        found = np.bincount(rows[:, place], minlength=size)
        chi_squared = float(((found - count / size) ** 2 / (count / size)).sum())
        assert chi_squared < size - 1 + 5 * np.sqrt(2 * (size - 1))  # mean and deviation of chi squared


@pytest.mark.parametrize("count", [3, 4, 7, 40, 202])
def test_splits_hold_every_group_once_and_have_their_shares(count):
    names = [f"group {i}" for i in range(count)]
    split = split_groups(names, [0.6, 0.15, 0.25], 0)
    assert sorted(i for groups in split.values() for i in groups) == list(range(count))
    assert min(map(len, split.values())) >= 1
    if count >= 40:
        assert [round(len(split[key]) / count, 2) for key in split] == pytest.approx([0.6, 0.15, 0.25], abs=0.02)


def test_a_split_is_decided_by_names_and_seed_alone():
    names = [f"group {i}" for i in range(50)]
    backwards = names[::-1]
    split = split_groups(names, [0.5, 0.2, 0.3], 1)
    other = split_groups(backwards, [0.5, 0.2, 0.3], 1)
    for key in split:
        assert [names[i] for i in split[key]] == [backwards[i] for i in other[key]]
    assert split != split_groups(names, [0.5, 0.2, 0.3], 2)


def test_one_more_group_moves_few_others():
    names = [f"group {i}" for i in range(100)]
    before = split_groups(names, [0.6, 0.15, 0.25], 0)
    after = split_groups([*names, "a new one"], [0.6, 0.15, 0.25], 0)
    moved = sum(len(set(before[key]) - set(after[key])) for key in before)
    assert moved <= 2


def test_a_column_of_splits_is_obeyed():
    splits = {group: ["train", "validation", "test"][i % 3] for i, group in enumerate(TABLE.groups)}
    made = Family(SETTINGS, replace_splits(TABLE, splits))
    tasks = made.held_out("test", 0, 100, 5, 100)
    assert sorted(tasks.names) == [group for group in TABLE.groups if splits[group] == "test"]


def replace_splits(table, splits):
    return replace(table, splits=[splits[group] for group in table.groups])


# ------------------------------------------------------------------ tasks


def groups_of(made, x):
    """The group of every row of inputs (T, K, n), as a network sees them."""
    flat = made.to_own_inputs(x).reshape(-1, 2)
    rows = np.stack([TABLE.numbers["u"], TABLE.numbers["v"]], axis=1)
    places = np.abs(flat[:, None] - rows).sum(axis=2).argmin(axis=1)
    return np.searchsorted(TABLE.starts, places, side="right") - 1, places


def test_a_meta_batch_holds_rows_of_training_groups_one_a_task():
    made = family(query=6)
    batch = made.sample(np.random.default_rng(3), 8, "float64")
    x = np.concatenate([batch.x_support, batch.x_query], axis=1)
    groups, places = (found.reshape(8, 10) for found in groups_of(made, x))
    assert all(len(set(row)) == 1 for row in groups.tolist())
    assert all(len(set(row)) == 10 for row in places.tolist())
    y = np.concatenate([batch.y_support, batch.y_query], axis=1)
    own = made.to_own_outputs(y)
    np.testing.assert_allclose(own[..., 0], TABLE.numbers["y"][places], rtol=1e-12)
    np.testing.assert_allclose(own[..., 1], TABLE.numbers["z"][places], rtol=1e-12)
    training = set(TABLE.groups) - held_out_names(made)
    assert {TABLE.groups[i] for i in groups.ravel()} <= training


def held_out_names(made):
    return {name for split in ("validation", "test") for name in made.held_out(split, 0, 100, 5, 100).names}


def test_training_inputs_and_outputs_have_mean_0_and_deviation_1():
    made = family()
    x, y = (np.concatenate([task[part] for task in made.training_tasks()]) for part in (0, 1))
    for values in (x, y):
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(values.std(axis=0), 1, rtol=1e-12)


def test_query_points_are_all_other_rows_and_what_fills_up_has_no_weight():
    made = family()
    tasks = made.held_out("test", 5, 100, 7, 10)
    assert tasks.weights is not None
    for place, name in enumerate(tasks.names):
        group = TABLE.groups.index(name)
        rows = np.arange(TABLE.starts[group], TABLE.starts[group + 1])
        real = tasks.weights[place] == 1
        assert real.sum() == len(rows) - 7
        seen = np.concatenate([tasks.x_support[place], tasks.x_query[place][real]])
        assert sorted(groups_of(made, seen[None])[1]) == rows.tolist()


def test_a_number_of_query_points_takes_at_most_a_grid_of_the_others():
    tasks = family(query=3).held_out("test", 5, 100, 7, 10)
    assert tasks.x_query.shape[1] == 10
    assert tasks.weights is None  # every group has more


@pytest.mark.parametrize("query", ["rest", 3])
def test_support_points_do_not_depend_on_how_many_are_asked_for(query):
    many, few = (family(query=query).held_out("test", 1, tasks, shots, 10) for tasks, shots in ((100, 9), (3, 4)))
    np.testing.assert_array_equal(many.x_support[:3, :4], few.x_support)
    assert many.names[:3] == few.names


def test_an_error_does_not_see_what_fills_up():
    made, problem = family(), problem_on(TABLE)
    trainer = Trainer(problem)
    vector, tasks = trainer.init(0).vector, made.held_out("test", 5, 100, 7, 10)
    errors = adaptation_errors(trainer.learner, vector, tasks, 7, 2)
    for place in range(len(errors)):
        real = tasks.weights[place] == 1
        alone = [part[place : place + 1] for part in tasks[:2]]
        x, y = tasks.x_query[place, real], tasks.y_query[place, real]
        predictions = [made[0] for made in trainer.learner.adapt(vector, *alone, x[None], 2)]
        scale = np.concatenate([made.to_own_outputs(np.ones(2)) - made.to_own_outputs(np.zeros(2))])
        expected = [np.mean(((prediction - y) * scale) ** 2) for prediction in predictions]
        np.testing.assert_allclose(errors[place], expected, rtol=1e-6)


def test_a_variance_is_what_a_constant_costs_in_the_tables_unit():
    made = family()
    tasks = made.held_out("test", 5, 100, 7, 10)
    found = made.loss.unadapted(tasks.y_query, tasks.weights)
    for place in range(len(found)):
        own = made.to_own_outputs(tasks.y_query[place][tasks.weights[place] == 1])
        np.testing.assert_allclose(found[place], own.var(axis=0).mean(), rtol=1e-10)


def problem_on(table, iterations=5, dtype="float32"):
    learner = gradient.Settings()
    parts = (ModelSettings(hidden=[8]), learner, InnerSettings(lr=0.05, steps=2), SETTINGS, adam.Settings())
    return Problem(*parts, meta_batch=4, iterations=iterations, dtype=dtype, data=table)


def trained_on(table):
    trainer = Trainer(problem_on(table))
    state, losses = trainer.init(0), []
    for _ in range(5):
        state, values = trainer.train_step(state)
        losses.append(values.loss)
    return trainer, state.vector, losses


@pytest.mark.parametrize("split", ["test", "validation"])
def test_values_of_held_out_groups_made_huge_change_nothing_before_they_are_judged_on(split):
    before, vector, losses = trained_on(TABLE)
    names = held_out_names(before.problem.family) & set(before.problem.family.held_out(split, 0, 100, 5, 100).names)
    huge = {name: values.copy() for name, values in TABLE.numbers.items()}
    for name in names:
        group = TABLE.groups.index(name)
        for values in huge.values():
            values[TABLE.starts[group] : TABLE.starts[group + 1]] *= 1e30
    after, other, same_losses = trained_on(replace(TABLE, numbers=huge))
    np.testing.assert_array_equal(vector, other)
    assert losses == same_losses
    kept = "validation" if split == "test" else "test"
    for one, two in zip(
        *(made.problem.family.held_out(kept, 0, 100, 5, 100)[:4] for made in (before, after)), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    changed = after.problem.family.held_out(split, 0, 100, 5, 100)
    assert np.abs(changed.y_query).max() > 1e28  # and there it is seen


# ------------------------------------------------------------------ short groups, odd columns


def test_groups_that_are_too_short_are_refused_by_name_or_dropped():
    rows = {f"g{i}": np.random.default_rng(i).normal(size=(3 if i % 4 == 0 else 12, 4)) for i in range(24)}
    table = table_of(rows)
    with pytest.raises(SettingError, match=r"train groups have fewer than 5 rows: g\d+ \(3\)"):
        family(table)
    dropped = family(table, short="drop")
    dropped.require_shots(5)
    (note,) = dropped.notes()
    assert "are left out" in note
    names = held_out_names(dropped)
    assert names
    assert not {f"g{i}" for i in range(0, 24, 4)} & names
    with pytest.raises(SettingError, match=r"evaluation\.shots"):
        family(table, shots=1, query=1).require_shots(20)


def test_a_split_does_not_depend_on_how_many_points_are_asked_for():
    rows = {f"g{i}": np.random.default_rng(i).normal(size=(4 + i, 4)) for i in range(24)}
    few, many = (family(table_of(rows), short="drop", shots=shots) for shots in (2, 9))
    assert set(many.held_out("test", 0, 99, 9, 5).names) <= set(few.held_out("test", 0, 99, 2, 5).names)


@pytest.mark.parametrize(("column", "message"), [(0, "column u is 7 in every"), (3, "column z is 7 in every")])
def test_a_constant_column_is_refused(column, message):
    rows = {f"g{i}": np.random.default_rng(i).normal(size=(12, 4)) for i in range(9)}
    for values in rows.values():
        values[:, column] = 7
    with pytest.raises(SettingError, match=message):
        family(table_of(rows))


def test_fewer_than_three_groups_are_refused():
    rows = {f"g{i}": np.random.default_rng(i).normal(size=(12, 4)) for i in range(2)}
    with pytest.raises(SettingError, match=r"2 group\(s\) in column g; it needs at least 3"):
        family(table_of(rows))


def test_categories_are_one_column_each_and_unknown_ones_all_zero():
    rng = np.random.default_rng(0)
    rows = {f"g{i}": np.c_[rng.normal(size=(12, 3)), np.full(12, i % 2)] for i in range(12)}
    table = table_of(rows, inputs=("u",), outputs=("y", "z"), texts={"kind": ["a", "b", "never seen"]})
    made = Family(replace(SETTINGS, inputs=["kind", "u"], categorical=["kind"]), table)
    assert made.input_names == ("kind=a", "kind=b", "u")
    seen = made.inputs_of({"kind": np.array(["b", "a", "else"]), "u": np.array([1.0, 2.0, 3.0])})
    np.testing.assert_array_equal(seen, [[0, 1, 1], [1, 0, 2], [0, 0, 3]])
    np.testing.assert_array_equal(made.from_own_inputs(seen)[:, :2], seen[:, :2])  # they stay 0 and 1
    assert made.input_columns == ("kind", "u")
    assert made.text_columns == ("kind",)


def test_what_a_run_remembers_is_enough_to_turn_units_and_not_to_draw_tasks():
    whole = family()
    remembered = Family(SETTINGS, whole.facts())
    x, y = np.random.default_rng(0).normal(size=(2, 5, 2))
    np.testing.assert_array_equal(whole.from_own_inputs(x), remembered.from_own_inputs(x))
    np.testing.assert_array_equal(whole.to_own_outputs(y), remembered.to_own_outputs(y))
    assert remembered.fingerprint() == whole.fingerprint()
    assert (remembered.inputs, remembered.outputs, remembered.is_open) == (2, 2, False)
    for draw in (
        lambda: remembered.sample(np.random.default_rng(0), 2, "float32"),
        lambda: remembered.require_shots(2),
    ):
        with pytest.raises(SettingError, match=r"give it again, task\.file=PATH"):
            draw()


@pytest.mark.parametrize(
    "damage",
    [{"x_mean": [0.0]}, {"fingerprint": {"a": {}}}, {"y_scale": [0.0, 1.0]}, {"levels": 3}, {"x_low": ["a", "b"]}],
)
def test_what_a_run_remembers_is_checked(damage):
    with pytest.raises(SettingError, match="damaged"):
        Family(SETTINGS, family().facts() | damage)


SETTINGS_BAD = {
    "task.file": [{"file": 3}, {"file": None}],
    "task.inputs": [{"inputs": ["u", "u"]}, {"inputs": "u"}, {"inputs": [1]}, {"inputs": [" "]}],
    "task.split": [{"split": [0.5, 0.5]}, {"split": [0.5, 0.6, 0.1]}, {"split": [1.0, 0.0, 0.0]}, {"split": None}],
    "task.query": [{"query": "all"}, {"query": 0}, {"query": 1.5}],
    "task.short": [{"short": "keep"}],
    "task.categorical": [{"categorical": ["w"]}],
    "used twice": [{"inputs": ["u", "y"]}, {"group": "z"}],
}


@pytest.mark.parametrize(("key", "changes"), [(key, one) for key, several in SETTINGS_BAD.items() for one in several])
def test_settings_that_cannot_be_used_are_named(key, changes):
    with pytest.raises(SettingError, match=key):
        replace(SETTINGS, **changes)
