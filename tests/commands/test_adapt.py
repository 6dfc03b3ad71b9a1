"""maml-exp adapt and the API's adapt: the same numbers as an independent adaptation, and every mistake by its line."""

import csv

import numpy as np
import pytest
from helpers import TINY

import maml_exp
from maml_exp.cli import main

X = np.array([-3.0, -1.0, 0.5, 2.0, 4.0])
Y = 2.0 * np.sin(X - 0.5)


def parameters(run):
    """[W; b] of every layer of the 1-8-1 network, cut out of theta by hand."""
    theta = run.theta.astype(float)
    return theta[:8].reshape(1, 8), theta[8:16], theta[16:24].reshape(8, 1), theta[24:25]


def predict(weights, x):
    w1, b1, w2, b2 = weights
    return (np.maximum(x[:, None] @ w1 + b1, 0) @ w2 + b2)[:, 0]


def adapted_by_hand(weights, x, y, lr, steps):
    """Gradient descent on the mean squared error, with derivatives by central differences of every parameter."""
    flat = np.concatenate([part.ravel() for part in weights])
    shapes = [part.shape for part in weights]
    ends = np.cumsum([part.size for part in weights])

    def loss(vector):
        parts = [piece.reshape(shape) for piece, shape in zip(np.split(vector, ends[:-1]), shapes, strict=True)]
        return np.mean((predict(parts, x) - y) ** 2)

    for _ in range(steps):
        gradient = [(loss(flat + h) - loss(flat - h)) / 2e-6 for h in 1e-6 * np.eye(flat.size)]
        flat = flat - lr * np.array(gradient)
    return [piece.reshape(shape) for piece, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


@pytest.fixture(scope="module")
def trained(tiny):
    return maml_exp.load(tiny)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("lr", [None, 0.05])
def test_adaptation_is_gradient_descent_from_theta(trained, steps, lr):
    rate = 0.01 if lr is None else lr
    weights = adapted_by_hand(parameters(trained), X, Y, rate, steps)
    grid = np.linspace(-5, 5, 21)
    made = trained.adapt(X, Y, steps=steps, lr=lr).path(grid)
    assert made.shape == (steps + 1, 21)
    np.testing.assert_allclose(made[0], predict(parameters(trained), grid), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made[-1], predict(weights, grid), rtol=1e-3, atol=1e-4)


def test_shapes_follow_what_was_given(trained):
    assert trained.adapt(X, Y).predict([0.0, 1.0]).shape == (2,)
    assert trained.adapt(X[:, None], Y[:, None]).predict([[0.0], [1.0]]).shape == (2, 1)


REFUSED = {
    "as many": (X, Y[:-1]),
    r"x has shape \(5, 2\); it must be \(K,\) or \(K, 1\)": (np.ones((5, 2)), Y),
    "y has shape": (X, np.ones((5, 2))),
    r"x\[1\] is nan": ([1.0, np.nan], [0.0, 0.0]),
    r"y\[0\] is": ([1.0], [np.inf]),
    "x has shape": ([], []),
    "x is not an array of numbers": (["a"], [1.0]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused(trained, message):
    with pytest.raises(maml_exp.SettingError, match=message):
        trained.adapt(*REFUSED[message])


@pytest.mark.parametrize(("options", "message"), [({"steps": -1}, "steps=-1"), ({"lr": 0.0}, "lr=0.0")])
def test_steps_and_rate_out_of_range_are_refused(trained, options, message):
    with pytest.raises(maml_exp.SettingError, match=message):
        trained.adapt(X, Y, **options)


def write(path, *lines, encoding="utf-8"):
    path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return path


@pytest.fixture
def points(tmp_path):
    return write(tmp_path / "points.csv", "x,y", *(f"{x!r},{y!r}" for x, y in zip(X.tolist(), Y.tolist(), strict=True)))


def read(path):
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    return header, np.array(rows, dtype=float)


def test_the_command_writes_what_the_api_predicts(trained, tiny, points, tmp_path, capsys):
    at = write(tmp_path / "grid.csv", "x", "0.25", "-4", "3")
    out = tmp_path / "predictions.csv"
    arguments = ["adapt", str(tiny), str(points), "--at", str(at), "--steps", "4", "--lr", "0.02", "--out", str(out)]
    assert main(arguments) == 0
    header, rows = read(out)
    made = trained.adapt(X, Y, steps=4, lr=0.02).path([0.25, -4, 3])
    assert header == ["x", "y_before", "y"]
    np.testing.assert_array_equal(rows, np.stack([[0.25, -4, 3], made[0], made[-1]], axis=1))
    assert out.with_suffix(".png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    before = np.mean((trained.adapt(X, Y, steps=0).predict(X) - Y) ** 2)
    assert f"5 support points: mean squared error {before:.4g} before" in capsys.readouterr().out


def test_without_inputs_the_family_s_own_range_is_predicted(tiny, points, tmp_path):
    assert main(["adapt", str(tiny), str(points)]) == 0
    _, rows = read("points-adapted.csv")
    np.testing.assert_allclose(rows[:, 0], np.linspace(-5, 5, 200))


def test_other_columns_are_not_looked_at(tiny, points, tmp_path):
    lines = [line.split(",") for line in points.read_text().splitlines()]
    write(tmp_path / "more.csv", *(f"{x},any text,{y}" if n else f"{x},z,{y}" for n, (x, y) in enumerate(lines)))
    for name in (points, tmp_path / "more.csv"):
        assert main(["adapt", str(tiny), str(name), "--out", str(tmp_path / f"{name.stem}-out.csv")]) == 0
    assert (tmp_path / "more-out.csv").read_bytes() == (tmp_path / f"{points.stem}-out.csv").read_bytes()


def test_predictions_that_are_not_finite_are_no_success(tiny, points, tmp_path, capsys):
    out = tmp_path / "o.csv"
    assert main(["adapt", str(tiny), str(points), "--lr", "1e9", "--steps", "40", "--out", str(out)]) == 1
    assert capsys.readouterr().err == (
        "maml-exp: it diverged: 200 of 200 predictions are not finite; try a smaller --lr (now 1e+09) "
        "or fewer --steps (now 40)\n"
    )
    assert out.exists()  # as far as it went


def test_a_spreadsheet_s_file_is_read(tiny, tmp_path):
    path = tmp_path / "windows.csv"
    path.write_bytes('\ufeff"y", x\r\n1.5,"2"\r\n\r\n-1,3\r\n'.encode())
    assert main(["adapt", str(tiny), str(path), "--steps", "0", "--at", str(path)]) == 0
    _, rows = read("windows-adapted.csv")
    np.testing.assert_array_equal(rows[:, 0], [2, 3])


BAD_FILES = {
    "line 1: there is no column y; expected are the columns x, y": ["x", "1"],
    "line 1: the name 'x' is there twice, columns 1, 3": ["x,y,x", "1,2,3"],
    "line 3: 'abc' in column y is not a finite number": ["x,y", "1,2", "1,abc"],
    "line 2: 'nan' in column x is not a finite number": ["x,y", "nan,2"],
    "line 2: '' in column y is not a finite number": ["x,y", "1,"],
    "line 2: '1_0' in column y is not a finite number": ["x,y", "1,1_0"],
    "line 4: 3 values; expected are 2, one for each of x, y": ["x,y", "1,2", "3,4", "5,6,7"],
    "line 2: 1 values; expected are 2": ["x,y", "1"],
    "has no points": ["x,y"],
    "line 1: there is no column x": ["x;y", "1;2"],
}


@pytest.mark.parametrize("message", BAD_FILES)
def test_a_mistake_in_a_file_is_named_by_its_line(message, tiny, tmp_path, capsys):
    path = write(tmp_path / "bad.csv", *BAD_FILES[message])
    assert main(["adapt", str(tiny), str(path)]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "bad-adapted.csv").exists()


def test_other_files_are_refused_in_a_line(tiny, tmp_path, capsys):
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00x")
    for path in (binary, tmp_path / "nowhere.csv", tmp_path):
        assert main(["adapt", str(tiny), str(path)]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_several_inputs_need_a_file_of_them(tmp_path, points, capsys):
    folder = tmp_path / "oracle"
    assert main([*TINY, f"hydra.run.dir={folder}", "task.oracle=true"]) == 0
    full = write(tmp_path / "full.csv", "x,amplitude,phase,y", "1,2,0.5,1", "-1,2,0.5,-1.5")
    assert main(["adapt", str(folder), str(full)]) == 1
    assert "give --at FILE.csv with the columns x, amplitude, phase" in capsys.readouterr().err
    assert main(["adapt", str(folder), str(full), "--at", str(full)]) == 0
    header, rows = read("full-adapted.csv")
    assert header == ["x", "amplitude", "phase", "y_before", "y"]
    assert rows.shape == (2, 5)
    assert main(["adapt", str(folder), str(points), "--at", str(points)]) == 1
    assert "there is no column amplitude" in capsys.readouterr().err
