"""Figures: valid pictures, the same ones in TensorBoard and when drawn again, and pyplot only when it is needed."""

import io
import json
import os
import re
import shutil

import matplotlib
import numpy as np
import pytest
from helpers import TINY, command, planted, read_events, train
from matplotlib import image

from maml_exp.cli import main
from maml_exp.run.figures import drawing, of_run

NAMES = ("finetune", "adaptation")


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_pictures_with_colour_in_them(smoke, name):
    path = smoke[1] / "plots" / f"{name}.png"
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = image.imread(path)
    height, width, _ = pixels.shape
    assert height > 300
    assert width > 600
    for colour in ("#0072B2", "#E69F00"):  # this run or ten steps, and the random initialisation or one step
        target = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert (np.abs(pixels[..., :3] - target).max(axis=-1) < 0.01).sum() > 50


def test_the_figures_are_in_the_event_file_as_they_are(smoke):
    shown = {
        v.tag: (event.step, v.image)
        for event in read_events(smoke[1])
        for v in event.summary.value
        if v.HasField("image")
    }
    assert sorted(shown) == sorted(NAMES)
    for name, (step, embedded) in shown.items():
        content = (smoke[1] / "plots" / f"{name}.png").read_bytes()
        height, width, _ = image.imread(io.BytesIO(content)).shape
        assert (step, embedded.height, embedded.width) == (100, height, width)
        assert embedded.encoded_image_string == content


def test_plot_draws_the_same_pictures_again(smoke, copied, capsys):
    folder = copied(smoke[1])
    shutil.rmtree(folder / "plots")
    assert main(["plot", str(folder)]) == 0
    assert capsys.readouterr().out.split() == [str(folder / "plots" / f"{name}.png") for name in NAMES]
    for name in NAMES:
        assert (folder / "plots" / f"{name}.png").read_bytes() == (smoke[1] / "plots" / f"{name}.png").read_bytes()


@pytest.mark.parametrize("panels", [1, 2, 3])
def test_legend_and_title_keep_clear_of_the_panels_whatever_their_number(panels, tmp_path, monkeypatch):
    shown = []

    def legend_below(fig, *labels):
        drawing.legend_below(fig, *labels)
        if fig.axes[-1].get_xlabel() == "gradient steps":
            shown.append(fig)

    monkeypatch.setattr(of_run, "legend_below", legend_below)
    shots = f"evaluation.shots={[5, 10][: max(1, panels - 1)]}".replace(" ", "")
    settings = (shots, "evaluation.objective_shots=5", f"training.evaluate_every={0 if panels == 1 else 30}")
    train(tmp_path / "run", *settings, "evaluation.plots=true", "evaluation.lr=0.2", "evaluation.steps=10")
    (fig,) = shown
    assert len(fig.axes) == panels
    width, height = fig.canvas.get_width_height()
    (legend,), title = fig.legends, fig._suptitle.get_window_extent()
    assert "beyond" in fig._suptitle.get_text()
    assert 0 < title.x0 < title.x1 < width
    assert title.y1 < height
    for axis in fig.axes:
        assert axis.xaxis.label.get_window_extent().y0 > legend.get_window_extent().y1
        assert axis.title.get_window_extent().y1 < title.y0
    assert legend.get_window_extent().y0 >= 0


def test_pictures_of_tasks_that_diverge_are_drawn_again_as_they_were(tmp_path):
    folder = train(tmp_path / "run", "evaluation.lr=0.2", "evaluation.steps=10", "evaluation.plots=true")
    diverged = json.loads((folder / "summary.json").read_text())["evaluation"]["shots"]["5"]["trained"]["diverged"]
    assert 0 < max(diverged) < 20  # some of the tasks, whose number stands in the picture
    before = (folder / "plots" / "adaptation.png").read_bytes()
    assert main(["plot", str(folder)]) == 0
    assert (folder / "plots" / "adaptation.png").read_bytes() == before


@pytest.mark.parametrize(("suffix", "start"), [("pdf", b"%PDF-"), ("svg", b"<?xml")])
def test_plot_draws_other_formats(smoke, copied, suffix, start, capsys):
    folder = copied(smoke[1])
    assert main(["plot", str(folder), "--format", suffix]) == 0
    assert capsys.readouterr().out.split() == [str(folder / "plots" / f"{name}.{suffix}") for name in NAMES]
    for name in NAMES:
        content = (folder / "plots" / f"{name}.{suffix}").read_bytes()
        assert content.startswith(start)
        assert len(content) > 5000
        assert (folder / "plots" / f"{name}.png").read_bytes() == (smoke[1] / "plots" / f"{name}.png").read_bytes()


def test_plot_changes_nothing_but_plots(tiny, copied):
    folder = copied(tiny)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert main(["plot", str(folder)]) == 0
    after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.parent.name != "plots"}
    assert after == before
    assert sorted(p.name for p in (folder / "plots").iterdir()) == ["adaptation.png", "finetune.png"]


@pytest.mark.parametrize("missing", ["summary.json", "checkpoints"])
def test_plot_says_what_is_missing(tiny, copied, missing, capsys):
    folder = copied(tiny)
    shutil.rmtree(folder / missing) if missing == "checkpoints" else (folder / missing).unlink()
    assert main(["plot", str(folder)]) == 1
    assert re.search(missing[:10], capsys.readouterr().err)
    assert not (folder / "plots").exists()


def test_figures_are_closed_and_leave_the_settings_alone(tiny, copied):
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    assert main(["plot", str(copied(tiny))]) == 0
    assert plt.get_fignums() == []
    assert {key for key in before if matplotlib.rcParams[key] != before[key]} <= {"backend", "backend_fallback"}


@pytest.mark.parametrize(("plots", "imported"), [("false", False), ("true", True)])
def test_matplotlib_is_imported_only_for_a_figure_and_pyplot_never(plots, imported, tmp_path):
    plant = (
        "loaded = lambda: 'matplotlib.figure' in sys.modules\n"
        "plant(lambda: print('before the first step', loaded()), 0, Trainer, 'train_step')\n"
        "import atexit; atexit.register(lambda: print('at the end', loaded()))\n"
        "atexit.register(lambda: print('pyplot', 'matplotlib.pyplot' in sys.modules))"  # 0.4 s that nothing needs
    )
    process = planted(plant, *TINY, f"evaluation.plots={plots}", f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "before the first step False" in process.stdout.splitlines()
    assert f"at the end {imported}" in process.stdout.splitlines()
    assert "pyplot False" in process.stdout.splitlines()
    assert (tmp_path / "run" / "plots").exists() is imported


@pytest.mark.parametrize(
    "overrides",
    [
        ["evaluation.steps=0"],
        ["evaluation.shots=[3]", "task.shots=7", "evaluation.tasks=1"],
        ["dtype=float64", "model.activation=sine", "task.frequency=[0.5,2]"],
    ],
    ids=" ".join,
)
def test_figures_of_unusual_runs(overrides, tmp_path):
    folder = tmp_path / "run"
    settings = [*TINY, "training.iterations=2", *overrides, "evaluation.plots=true", f"hydra.run.dir={folder}"]
    assert main(settings) == 0
    for name in NAMES:
        assert image.imread(folder / "plots" / f"{name}.png").shape[2] == 4


def test_no_display_is_needed(smoke, copied):
    folder = copied(smoke[1])
    where_we_are = {key: value for key, value in os.environ.items() if key == "PYTHONPATH"}
    bare = {"PATH": "/usr/bin:/bin", "MPLBACKEND": "TkAgg", **where_we_are}
    process = command("plot", folder, cwd=folder.parent, env=bare)
    assert process.returncode == 0, process.stderr
    assert (folder / "plots" / "finetune.png").read_bytes() == (smoke[1] / "plots" / "finetune.png").read_bytes()
