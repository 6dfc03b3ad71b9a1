"""Classification from the command line: glyphs need no file, and images of the user's are not opened unasked."""

import json

import numpy as np
import pytest
from helpers import points, train
from PIL import Image

from maml_exp import SettingError, load
from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.core.training import make_learner

RNG = np.random.default_rng(4)
CLASSES, EACH = 30, 8
ON_IMAGES = ["task=images", "task.ways=3", "task.size=6", "task.query=3", "evaluation.shots=[1,2]", "evaluation.grid=9"]
ON_GLYPHS = ["task=glyphs", "task.size=10", "evaluation.shots=[1,3]", "evaluation.grid=10"]


def write(path, seed=0):
    """Folders of noisy pictures of a pattern of each class's own."""
    rng = np.random.default_rng(seed)
    for number in range(CLASSES):
        folder = path / f"a{number % 4}" / f"c{number}"
        folder.mkdir(parents=True)
        pattern = rng.integers(200, size=(6, 6))
        for place in range(EACH):
            Image.fromarray((pattern + rng.integers(55, size=(6, 6))).astype(np.uint8)).save(folder / f"{place}.png")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, and its images beside it."""
    folder = tmp_path_factory.mktemp("on_images")
    write(folder / "images")
    return train(folder / "run", *ON_IMAGES, f"task.file={folder / 'images'}")


@pytest.fixture(scope="module")
def on_glyphs(tmp_path_factory):
    return train(tmp_path_factory.mktemp("on_glyphs") / "run", *ON_GLYPHS)


def numbers(folder):
    summary = json.loads((folder / "summary.json").read_text())
    return summary["parameters_sha256"], summary["evaluation"]["shots"]


def test_a_run_says_what_its_images_were(trained, on_glyphs):
    for run, classes in ((trained, CLASSES), (on_glyphs, None)):
        data = json.loads((run / "provenance.json").read_text())["data"]
        assert data["train"] + data["validation"] + data["test"] == data["groups"] == (classes or data["groups"])
        assert len(json.loads((run / "data.json").read_text())["fingerprint"]["content"]) == 64


def test_accuracy_is_shown_and_error_rates_are_kept(on_glyphs, capsys):
    summary = json.loads((on_glyphs / "summary.json").read_text())
    mean = summary["evaluation"]["shots"]["1"]["trained"]["mean"]
    assert summary["evaluation"]["measure"] == "accuracy"
    assert summary["objective"] == mean[1]
    assert 0 < mean[1] < 1
    (shown,) = [value for (tag, _), (value,) in points(on_glyphs).items() if tag == "result/mean_K1_step_01"]
    assert shown == pytest.approx(100 * (1 - mean[1]), rel=1e-6)
    assert main(["compare", str(on_glyphs)]) == 0
    assert "accuracy (%)" in (told := capsys.readouterr().out)
    assert f"{100 * (1 - mean[1]):.1f}" in told


def test_curves_alone_have_panels(on_glyphs, tmp_path, capsys):
    other = train(tmp_path / "other", *ON_GLYPHS, "inner.lr=0.02")
    assert main(["compare", str(on_glyphs), str(other), "--panels"]) == 0
    told = capsys.readouterr()
    assert "on curves" in told.err
    assert "panels.png" not in told.out


def test_images_that_a_run_names_are_not_opened_unasked(trained, capsys):
    for line in (["plot", str(trained)], ["rerun", str(trained)]):
        assert main(line) == 1
        assert "give them again, task.file=PATH" in capsys.readouterr().err
    assert main(["rerun", str(trained), f"task.file={trained.parent / 'images'}"]) == 0
    assert "identical" in capsys.readouterr().out


def test_a_run_goes_on_to_the_same_bits_on_the_same_images_alone(trained, copied, tmp_path, capsys):
    run = copied(trained)
    for name in ("status.json", "summary.json", "checkpoints/step_00000100.npz"):
        (run / name).unlink()
    other = write(tmp_path / "other", seed=5)
    assert main(["resume", str(run), f"task.file={other}"]) == 1
    assert "has changed since the run began" in capsys.readouterr().err
    assert main(["rerun", str(trained), f"task.file={other}"]) == 3
    assert "has changed since the run: other" in capsys.readouterr().err
    assert main(["resume", str(run), f"task.file={trained.parent / 'images'}"]) == 0
    assert numbers(run) == numbers(trained)


def test_adapting_needs_no_images(trained):
    x, y = RNG.random((3, 36)), np.eye(3)
    assert load(trained).adapt(x, y, steps=2).predict(RNG.random((5, 36))).shape == (5, 3)


def test_glyphs_need_nothing_again(on_glyphs, copied, capsys):
    assert main(["rerun", str(on_glyphs)]) == 0
    assert "identical" in capsys.readouterr().out
    run = copied(on_glyphs)
    for name in ("status.json", "summary.json", "checkpoints/step_00000100.npz"):
        (run / name).unlink()
    assert main(["resume", str(run)]) == 0
    assert numbers(run) == numbers(on_glyphs)


def test_a_minibatch_is_of_the_support_points_of_all_classes():
    make_learner(compose([*ON_GLYPHS, "algorithm.minibatch=5"]).problem)
    with pytest.raises(SettingError, match=r"algorithm\.minibatch=6 with task\.shots=5"):
        make_learner(compose([*ON_GLYPHS, "algorithm.minibatch=6"]).problem)


BAD = {
    "size": (["task=glyphs", "task.size=3"], "an integer from 4 to 64"),
    "ways": (["task=glyphs", "task.ways=500"], "and task.ways=500 needs as many"),
    "scale": (["task=glyphs", "task.scale=[0.1,1]"], "0.5 <= low <= high <= 2"),
    "rotation": (["task=glyphs", "task.rotation=-1"], "a number from 0 to 180"),
    "file": (["task=images"], "task=images needs task.file"),
    "no such file": (["task=images", "task.file=nowhere"], "nowhere cannot be read"),
    "shots": ([*ON_IMAGES, "evaluation.shots=[9]"], "classes have fewer than 10 images"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_costs_a_line_and_leaves_nothing(name, trained, tmp_path, capsys):
    changes, message = BAD[name]
    file = [f"task.file={trained.parent / 'images'}"] if name == "shots" else []
    assert main(["+experiment=smoke", *changes, *file, f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
