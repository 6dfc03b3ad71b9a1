"""What cannot be used is set aside and never lost: checkpoints, tables; and finished runs without their results."""

import shutil

import pytest
from helpers import TINY, assert_same_result, checkpoint_path, command, planted, read_rows, read_status, saved_steps
from helpers import signalled as before_step

from maml_exp.cli import main
from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.store.metrics_file import read_rows as product_rows
from maml_exp.store.metrics_file import table


def damaged_at(folder, step, name=None):
    """Make a checkpoint unreadable; returns its bytes."""
    path = checkpoint_path(folder, step)
    path.write_bytes(path.read_bytes()[:-100] if path.exists() else b"garbage")
    return path.read_bytes()


def test_checkpoints_that_were_passed_over_do_not_push_out_good_ones(killed, tiny, copied):
    """Without metrics.csv none can be used; what the run that starts over saves is there when it is stopped."""
    folder = copied(killed)
    config = folder / ".hydra" / "config.yaml"
    (folder / "metrics.csv").unlink()
    old = {step: checkpoint_path(folder, step).read_bytes() for step in (20, 40, 60, 80)}
    process = planted(before_step(50, "SIGTERM"), "resume", folder, cwd=folder.parent)
    assert process.returncode == 143, process.stderr
    assert saved_steps(folder) == [20, 40, 51]
    assert read_status(folder)["step"] == 51
    for step, content in old.items():
        assert (folder / "checkpoints" / f"step_{step:08d}.npz.unusable").read_bytes() == content
        assert f"step_{step:08d}.npz.unusable" in process.stderr
    assert "resumed at iteration 51" in (again := command("resume", folder, cwd=folder.parent)).stderr, again.stderr
    assert_same_result(folder, tiny)
    assert config.exists()


def test_with_one_checkpoint_kept_and_that_damaged_a_run_gets_on(tmp_path):
    """It is stopped again and again; every time it has come further."""
    folder = tmp_path / "run"
    planted(before_step(87, "SIGKILL"), *TINY, "training.keep_checkpoints=1", f"hydra.run.dir={folder}", cwd=tmp_path)
    assert saved_steps(folder) == [80]
    damaged_at(folder, 80)
    reached = []
    for _ in range(3):
        process = planted(before_step(30, "SIGTERM"), "resume", folder, cwd=tmp_path)
        assert process.returncode == 143, process.stderr
        reached.append(read_status(folder)["step"])
    assert reached == [31, 62, 93]
    assert (folder / "checkpoints" / "step_00000080.npz.unusable").exists()


def test_a_second_one_that_is_set_aside_does_not_replace_the_first(killed, copied):
    folder = copied(killed)
    (folder / "checkpoints" / "step_00000080.npz.unusable").write_text("the first")
    second = damaged_at(folder, 80)
    assert main(["resume", str(folder)]) == 0
    assert (folder / "checkpoints" / "step_00000080.npz.unusable").read_text() == "the first"
    assert (folder / "checkpoints" / "step_00000080.npz.unusable-2").read_bytes() == second


def test_drawing_sets_nothing_aside(tiny, copied):
    folder = copied(tiny)
    damaged_at(folder, 100)
    assert main(["plot", str(folder)]) == 0
    assert saved_steps(folder) == [20, 40, 60, 80, 100]


def change_lines(change):
    def apply(text):
        return "".join(change(text.splitlines(keepends=True)))

    return apply


TABLES = {  # what is done to metrics.csv; from which step the run goes on; the line that is named
    "a garbled column": (lambda text: text.replace("meta/grad_norm", "meta/grad_n0rm", 1), 0, "line 1"),
    "two columns exchanged": (lambda text: text.replace("meta/loss,meta/sup", "meta/sup,meta/loss", 1), 0, "line 1"),
    "a header of nothing": (change_lines(lambda lines: ["\n", *lines[1:]]), 0, "line 1"),
    "every row twice": (
        change_lines(lambda lines: [lines[0], *(r for row in lines[1:] for r in (row, row))]),
        0,
        "line 3",
    ),
    "the last row twice": (change_lines(lambda lines: [*lines, lines[-1]]), 80, "line "),
    "rows reversed": (change_lines(lambda lines: [lines[0], *lines[:0:-1]]), 0, "line 3"),
    "two rows exchanged": (change_lines(lambda lines: [*lines[:8], lines[9], lines[8], *lines[10:]]), 40, "line 10"),
    "a garbled cell": (lambda text: text.replace("\n63,", "\n63,x", 1), 60, "line 12"),
    "a cell less": (lambda text: text.replace("\n63,", "\n63", 1), 60, "line 12"),
    "a row of no step of this run": (
        lambda text: text + text.splitlines()[-1].replace("84,", "1000,", 1) + "\n",
        80,
        "1000",
    ),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_damaged_table_is_kept_and_never_taken(what, tiny, killed, copied, capsys):
    change, step, names = TABLES[what]
    folder = copied(killed)
    text = change((folder / "metrics.csv").read_text())
    assert text != (folder / "metrics.csv").read_text()
    (folder / "metrics.csv").write_text(text)
    assert main(["resume", str(folder)]) == 0
    said = capsys.readouterr().err
    assert (folder / "metrics.csv.unusable").read_text() == text
    assert "metrics.csv.unusable" in said
    assert names in said
    assert f"resumed at iteration {step} of 100" in said
    assert_same_result(folder, tiny)


def test_a_torn_last_line_is_no_damage(killed, tiny, copied):
    folder = copied(killed)
    with open(folder / "metrics.csv", "a") as file:
        file.write("91,0.12")
    assert [row["step"] for row in product_rows(folder / "metrics.csv")][-1] == 84
    assert main(["resume", str(folder)]) == 0
    assert not (folder / "metrics.csv.unusable").exists()
    assert_same_result(folder, tiny)


def test_a_damaged_table_is_named_where_it_is_read(tiny, copied, capsys):
    folder = copied(tiny)
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join([lines[0], *lines[:0:-1]]))
    assert main(["diff", str(folder), str(tiny)]) == 3
    assert f"metrics.csv cannot be compared: {folder / 'metrics.csv'}, line 3" in capsys.readouterr().out
    assert main(["compare", str(folder), "--out", "out"]) == 1
    assert f"{folder / 'metrics.csv'}, line 3" in capsys.readouterr().err
    with pytest.raises(SettingError, match="line 3"):
        list(table(folder / "metrics.csv")[1])


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"evaluation"'])
def test_a_finished_run_without_its_summary_is_judged_again(content, tiny, copied, capsys):
    folder = copied(tiny)
    if content is None:
        (folder / "summary.json").unlink()
    else:
        (folder / "summary.json").write_bytes(content)
    (folder / "evaluation.npz").unlink()
    assert main(["resume", str(folder)]) == 0
    assert "resumed at iteration 100 of 100" in capsys.readouterr().err
    assert_same_result(folder, tiny)
    assert main(["resume", str(folder)]) == 0
    assert "is finished" in capsys.readouterr().out


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "x").write_text("mine")
    with pytest.raises(OSError, match="file"):
        door.write(tmp_path / "file", b"new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "x"]


def test_a_file_in_a_folder_that_is_gone_does_not_bring_it_back(tmp_path):
    """A run's folder that was moved away while it ran must not leave a second one with a status in it."""
    with pytest.raises(FileNotFoundError, match="gone"):
        door.write(tmp_path / "gone" / "status.json", b"{}")
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_folder_is_moved_says_so_and_goes_on_there(tiny, tmp_path):
    places = str(tmp_path / "run"), str(tmp_path / "moved")
    plant = f"plant(lambda: os.rename{places!r}, 50, Trainer, 'train_step')"
    process = planted(plant, *TINY, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert process.returncode == 1
    assert f"{tmp_path / 'run'} is not there any more; was it moved" in process.stderr
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "run").exists()
    assert saved_steps(tmp_path / "moved") == [20, 40]
    assert main(["resume", str(tmp_path / "moved")]) == 0
    shutil.move(tmp_path / "moved", tmp_path / "run")
    assert_same_result(tmp_path / "run", tiny)


def test_rows_are_read_as_they_are(tiny):
    assert [row["step"] for row in product_rows(tiny / "metrics.csv")] == [row["step"] for row in read_rows(tiny)]
