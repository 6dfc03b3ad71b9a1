"""Columns of metrics.csv that had another name in the first version are read by both, and written by today's."""

import csv
import shutil

from helpers import read_events, train
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from maml_exp.cli import main
from maml_exp.run.tensorboard import DIFFERS
from maml_exp.store.metrics_file import read_rows
from maml_exp.store.records import learning_curve
from maml_exp.store.run_folder import RunFolder


def test_an_old_run_is_read_and_resumed(tmp_path, request):
    old = request.config.rootpath / "tests" / "data" / "bd1b5f6" / "interrupted"
    with open(old / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    tag = next(name for name in rows[0] if name.startswith("evaluation_K") and "/mean_" in name)
    points = {int(row["step"]): float(row[tag]) for row in rows if row[tag]}
    assert points
    new = tag.replace("evaluation_K", "test_K")
    assert {row["step"]: row[new] for row in read_rows(old / "metrics.csv") if new in row} == points
    shots, step = int(tag.split("K")[1].split("/")[0]), int(tag[-2:])
    iterations, errors = learning_curve(RunFolder(old), shots, step)
    assert dict(zip(iterations.tolist(), errors.tolist(), strict=True)) == points

    run = shutil.copytree(old, tmp_path / "run")
    assert main(["resume", str(run)]) == 0
    text = (run / "metrics.csv").read_text()
    assert "evaluation_K" not in text
    assert points.items() <= {row["step"]: row[new] for row in read_rows(run / "metrics.csv") if new in row}.items()


def test_tensorboard_shows_meta_above_all_else(tiny):
    values = [value for event in read_events(tiny, check=False) for value in event.summary.value]
    tags = {value.tag for value in values if value.HasField("simple_value")}
    groups = sorted({tag.partition("/")[0] for tag in tags})  # as TensorBoard orders them
    assert groups == ["meta", "result", "test_K10", "test_K5", "time"]


def test_hparams_of_a_run_alone_put_first_what_is_not_the_default(tmp_path):
    run = train(tmp_path / "run", "seed=3", "algorithm=fomaml", "training.iterations=1")
    values = [value for event in read_events(run, check=False) for value in event.summary.value]
    (found,) = [value for value in values if value.tag == "_hparams_/experiment"]
    infos = HParamsPluginData.FromString(found.metadata.plugin_data.content).experiment.hparam_infos
    first = {info.name for info in infos if info.SerializeToString().endswith(DIFFERS)}
    assert {"seed", "algorithm.preset", "model.hidden", "training.iterations"} <= first
    assert first.isdisjoint({"algorithm.learner", "inner.lr", "evaluation.plots", "training.log_every"})
