"""Files that would take gigabytes or minutes: refused by what they declare, under a limit of memory."""

import io
import json
import os
import resource
import zipfile

import numpy as np
import pytest
import yaml
from helpers import checkpoint_path, command, environment, read_rows, read_status

from maml_exp.cli import main
from maml_exp.core.checks import SettingError
from maml_exp.data.npz import read_arrays
from maml_exp.store import checkpoints
from maml_exp.store.checkpoints import CheckpointError

MEGABYTES = 2**20


def limited(megabytes, *arguments, cwd):
    """A real process that cannot have more memory than that, whatever is mapped included; and its peak in MB."""

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * MEGABYTES, megabytes * MEGABYTES))

    return command(*arguments, cwd=cwd, preexec_fn=limit, env=environment(OPENBLAS_NUM_THREADS="1"))


def npz(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def npy(array, *replaced):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    content = buffer.getvalue()
    for old, new in replaced:
        assert content.count(old) == 1
        content = content.replace(old, new)
    return content


NUMBERS = npy(np.zeros(3))
BOMBS = {  # the file; what the message says
    "compressed": (npz([("vector.npy", npy(np.zeros(10**6)))], zipfile.ZIP_DEFLATED), "compressed"),
    "a shape beyond what is there": (npz([("vector.npy", npy(np.zeros(3), (b"(3,), ", b"(3**9,")))]), "not a readable"),
    "a long shape": (npz([("vector.npy", npy(np.zeros(10000), (b"(10000,)", b"(99999,)")))]), "declares shape"),
    "objects": (npz([("vector.npy", npy(np.array([{}], dtype=object)))]), "dtype object"),
    "dates": (npz([("vector.npy", npy(np.zeros(3, "M8[s]")))]), "dtype datetime64"),
    "a name of none of ours": (npz([("pwned.npy", NUMBERS)]), "pwned"),
    "a path as a name": (npz([("../vector.npy", NUMBERS)]), "no array of ours"),
    "5000 arrays": (npz([(f"moment_{i}.npy", NUMBERS) for i in range(5000)]), "5000 arrays"),
    "no zip": (b"x" * 1000, "no npz file"),
    "bytes behind the end": (npz([("vector.npy", NUMBERS)]) + b"x", "no npz file"),
    "nothing": (b"", "no npz file"),
}


@pytest.mark.parametrize("what", BOMBS)
def test_an_npz_that_is_none_of_ours_is_refused_by_what_it_declares(what, tmp_path):
    content, says = BOMBS[what]
    path = tmp_path / "step_00000001.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=says) as error:
        checkpoints.load(path)
    assert str(path) in str(error.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(npz([("vector.npy", NUMBERS), ("vector.npy", NUMBERS)]))
    with pytest.raises(SettingError, match="twice"):
        read_arrays(tmp_path / "x.npz", "vector", 10_000)


def test_arrays_that_share_their_bytes_are_refused(tmp_path):
    """A list of members in which all point at the same place: small on the disk, as large as one likes in memory."""
    content = npz([(f"moment_{i}.npy", npy(np.zeros(1000))) for i in range(3)])
    start = content.index(b"PK\x01\x02")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        second = file.infolist()[1].header_offset
    (tmp_path / "x.npz").write_bytes(content[:second] + content[start:-6] + second.to_bytes(4, "little") + bytes(2))
    with pytest.raises(SettingError, match="declares"):
        read_arrays(tmp_path / "x.npz", r"moment_\d", 100_000)


def test_arrays_of_every_kind_of_ours_come_back(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array("text")}
    arrays["c"] = np.asfortranarray(np.eye(3, 2, dtype="f4"))
    np.savez(tmp_path / "x.npz", **arrays)
    read = read_arrays(tmp_path / "x.npz", "[abc]", 10_000)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert (read[name] == array).all()


@pytest.mark.parametrize("name", ["checkpoints/step_00000090.npz", "metrics.csv", "status.json", "provenance.json"])
def test_a_sparse_file_takes_no_memory(name, killed, copied):
    """A terabyte that takes no room on the disk."""
    folder = copied(killed)
    path = folder / name
    if not path.exists():
        path.touch()
    os.truncate(path, 10**12)
    process = limited(400, "resume", folder, cwd=folder.parent)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    assert "is finished" not in process.stdout
    if name.startswith(("metrics", "checkpoints")):
        assert path.name in process.stderr
        assert "bytes" in process.stderr


def test_8000_settings_are_refused(tiny, copied, capsys):
    folder = copied(tiny)
    with open(folder / ".hydra" / "config.yaml", "a") as file:
        file.writelines(f"k{i}: {i}\n" for i in range(8000))
    assert main(["compare", str(folder), str(tiny), "--no-figures"]) == 0
    said = capsys.readouterr().err
    assert f"{folder / '.hydra' / 'config.yaml'} cannot be read: it holds more than" in said
    assert len(said.splitlines()) == 1


def test_diff_reads_large_tables_a_line_at_a_time(tiny, copied):
    """Two of 40 MB, and a difference in the last row."""
    folders = [copied(tiny, "a"), copied(tiny, "b")]
    header, *_ = (tiny / "metrics.csv").read_text().splitlines()
    width = header.count(",") + 1
    row = ",".join(["0.12345678901234567"] * (width - 1))
    for folder, last in zip(folders, ("1.5", "2.5"), strict=True):
        with open(folder / "metrics.csv", "w") as file:
            file.write(header + "\n")
            file.writelines(f"{step},{row}\n" for step in range(1, 80_000))
            file.write(f"80000,{last}," + ",".join(["1.0"] * (width - 2)) + "\n")
    assert folders[0].joinpath("metrics.csv").stat().st_size > 25 * MEGABYTES
    process = limited(200, "diff", *folders, cwd=tiny.parent)
    assert process.returncode == 3, process.stderr
    assert "metrics.csv parts at step 80000: meta/loss 1.5 -> 2.5" in process.stdout


HUGE = ["evaluation.tasks=10000000", "evaluation.validation_tasks=10000000", "training.meta_batch=1000000000"]
HUGE += ["evaluation.tasks_in_training=10000000", "model.hidden=[100000,100000]"]


@pytest.mark.parametrize("setting", HUGE)
def test_sizes_that_no_memory_holds_are_refused_before_training(setting, tmp_path, capsys):
    folder, more = tmp_path / "run", ["evaluation.steps=1000", "evaluation.shots=[5]"]
    assert main(["+experiment=smoke", *more, setting, f"hydra.run.dir={folder}"]) == 1
    said = capsys.readouterr().err
    assert f"{setting.split('=')[0]}=" in said
    assert "GiB of memory" in said
    assert not (folder / "metrics.csv").exists()
    assert read_status(folder)["state"] == "failed"


def test_a_configuration_that_claims_a_huge_network_is_refused(killed, copied, capsys):
    folder = copied(killed)
    path = folder / ".hydra" / "config.yaml"
    plain = yaml.safe_load(path.read_text())
    plain["model"]["hidden"] = [100_000, 100_000, 100_000]
    path.write_text(yaml.safe_dump(plain))
    before = read_rows(folder)
    assert main(["resume", str(folder)]) == 1
    assert "GiB of memory" in capsys.readouterr().err
    assert read_rows(folder) == before
    assert checkpoint_path(folder, 80).exists()


def test_a_status_of_deep_nesting_says_nothing(killed, copied):
    folder = copied(killed)
    (folder / "status.json").write_text('{"a":' * 100_000)
    assert main(["resume", str(folder)]) == 0
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
