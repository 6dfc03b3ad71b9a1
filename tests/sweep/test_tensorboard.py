"""What a real TensorBoard serves of a sweep with a failed and a diverged job, killed in the middle and resumed."""

import urllib.request

import numpy as np
import pytest
import yaml
from helpers import NOT_SHOWN, points_of_rows, read_events, read_rows, read_status, read_summary, shown_as
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from maml_exp.config.plain import flatten

from .conftest import DIVERGING, FAILING, RATES, job_folders

pytestmark = pytest.mark.slow

FINAL = ["result/objective", "result/median", "result/iqm"]
FINAL += [f"result/mean_K{shots}_step_0{step}" for shots in (5, 10) for step in (0, 1)]


@pytest.fixture(scope="module")
def jobs(resumed):
    """Folders of the sweep's jobs by the name that TensorBoard should give them: {name: (number, folder)}."""
    return {path.name: (number, path) for number, path in enumerate(job_folders(resumed.folder))}


def session_groups(server):
    """Rows of the HParams tab by name."""
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    columns = [{"metric": {"tag": tag, "group": ""}} for tag in FINAL]
    body = {"startIndex": 0, "sliceSize": 1000, "allowedStatuses": statuses, "colParams": columns}
    return server.post("data/plugin/hparams/session_groups", body)["sessionGroups"]


def test_runs_have_the_jobs_names_and_there_are_no_others(server, jobs):
    assert sorted(server.get("data/runs")) == sorted(jobs)
    assert len(jobs) == 12


def test_every_scalar_equals_metrics_csv_at_every_step(server, jobs):
    """Every tag of every run, each step once: also for the run that was resumed."""
    tags = server.get("data/plugin/scalars/tags")
    for name, (_, folder) in jobs.items():
        expected = {}
        rows = read_rows(folder) if (folder / "metrics.csv").exists() else []
        for (tag, step), (value,) in points_of_rows(rows).items():
            expected.setdefault(tag, {})[step] = value
        assert set(tags.get(name, {})) == set(expected)
        if not expected:  # refused before it began
            continue
        assert min(tag.partition("/")[0] for tag in expected) == "meta"  # the order of TensorBoard's sections
        walltimes = {row["step"]: row["time/unix"] for row in rows if "meta/loss" in row}
        for tag, values in expected.items():
            served = server.get("data/plugin/scalars/scalars", run=name, tag=tag)
            assert [(step, value) for _, step, value in served] == sorted(values.items())
            if tag == "meta/loss":
                assert [time for time, _, _ in served] == [walltimes[step] for step in values]


def test_the_scalars_are_those_of_a_run_never_killed(server, whole, jobs):
    (name,) = [name for name, (number, _) in jobs.items() if number == 4]  # killed in its middle
    never_killed = read_rows(whole.folder / name)
    for tag in {tag for row in never_killed for tag in row if not tag.startswith("time/") and tag not in NOT_SHOWN}:
        expected = [[row["step"], float(np.float32(row[tag]))] for row in never_killed if tag in row]
        served = server.get("data/plugin/scalars/scalars", run=name, tag=shown_as(tag))
        assert [point[1:] for point in served] == expected


def test_the_diverged_runs_shows_what_it_logged_and_the_failed_run_nothing(server, jobs):
    tags = server.get("data/plugin/scalars/tags")
    by_number = {number: name for name, (number, _) in jobs.items()}
    assert tags.get(by_number[FAILING], {}) == {}
    assert not any(tag.startswith("result/") for tag in tags.get(by_number[DIVERGING], {}))


def test_images_are_the_png_files(server, jobs):
    tags = server.get("data/plugin/images/tags")
    for name, (number, folder) in jobs.items():
        plots = {path.stem: path for path in (folder / "plots").glob("*.png")}
        assert set(tags.get(name, {})) == set(plots)
        assert bool(plots) == (number not in (DIVERGING, FAILING))
    first = jobs[next(iter(jobs))][1]
    for tag, path in {path.stem: path for path in (first / "plots").glob("*.png")}.items():
        (image,) = server.get("data/plugin/images/images", run=first.name, tag=tag, sample=0)
        assert image["step"] == 100
        with urllib.request.urlopen(f"{server.address}data/plugin/images/individualImage?{image['query']}") as answer:
            assert answer.read() == path.read_bytes()


def test_the_configuration_is_under_text(server, jobs):
    assert {"finetune", "adaptation"} <= {path.stem for path in next(iter(jobs.values()))[1].glob("plots/*.png")}
    tags = server.get("data/plugin/text/tags")
    for name, (number, folder) in jobs.items():
        if number == FAILING:  # refused: there is no configuration
            continue
        (tag,) = tags[name]
        assert tag.startswith("config")
        (text,) = server.get("data/plugin/text/text", run=name, tag=tag)
        assert text["step"] == 0
        for line in (folder / ".hydra" / "config.yaml").read_text().splitlines():
            assert line.strip() in text["text"]


def test_hparams_has_one_row_a_run_with_its_status(server, jobs):
    groups = session_groups(server)
    assert sorted(group["name"] for group in groups) == sorted(jobs)
    for group in groups:
        number, folder = jobs[group["name"]]
        (session,) = group["sessions"]
        expected = "STATUS_FAILURE" if number in (DIVERGING, FAILING) else "STATUS_SUCCESS"
        assert session["status"] == expected, read_status(folder)


def test_hparams_has_the_swept_values_and_all_settings(server, jobs):
    for group in session_groups(server):
        number, folder = jobs[group["name"]]
        assert group["hparams"]["optimizer.lr"] == float(RATES[number])
        assert group["hparams"]["algorithm.preset"] == "maml"
        assert group["hparams"]["algorithm.outer"] == "exact"
        if number != FAILING:
            saved = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
            assert set(group["hparams"]) == set(flatten(saved))


def test_hparams_has_the_final_numbers(server, jobs):
    for group in session_groups(server):
        number, folder = jobs[group["name"]]
        found = {metric["name"]["tag"]: metric["value"] for metric in group["metricValues"]}
        if number in (DIVERGING, FAILING):
            assert found == {}
            continue
        last = [row for row in read_rows(folder) if "final/objective" in row][-1]
        assert found == {tag: float(np.float32(last[tag.replace("result/", "final/")])) for tag in FINAL}
        assert found["result/objective"] == float(np.float32(read_summary(folder)["objective"]))


def test_hparams_shows_the_swept_setting_first_and_the_final_numbers(server):
    """TensorBoard shows five settings, those that differ first, of the more than forty there are."""
    experiment = server.post("data/plugin/hparams/experiment", {"experimentName": ""})
    assert experiment["hparamInfos"][0]["name"] == "optimizer.lr"
    assert [info["name"] for info in experiment["hparamInfos"] if info.get("differs")] == ["optimizer.lr"]
    assert [info["name"]["tag"] for info in experiment["metricInfos"]] == FINAL


def test_any_run_may_give_hparams_its_columns(jobs):
    """TensorBoard takes them from one run's record, whichever: a failed run's must not hide the others' numbers."""
    for _, folder in jobs.values():
        values = [value for event in read_events(folder) for value in event.summary.value]
        for value in [value for value in values if value.tag == "_hparams_/experiment"]:
            record = HParamsPluginData.FromString(value.metadata.plugin_data.content).experiment
            assert [info.name.tag for info in record.metric_infos] == FINAL
