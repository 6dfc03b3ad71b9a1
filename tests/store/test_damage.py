"""Damaged checkpoints and rows: named, passed over, and made again to the same bits."""

import io
import json
import pickle
import re
import shutil
import warnings
import zipfile

import numpy as np
import pytest
from helpers import assert_same_result, checkpoint_path, saved_steps, tree

from maml_exp.cli import main
from maml_exp.store import checkpoints as checkpoint
from maml_exp.store.checkpoints import CheckpointError

STARTS_OVER = r"start\w* (over|again)|from (the (start|beginning)|scratch)"


def rewrite(path, **changes):
    """Change a checkpoint's record, checksum made right again: only its meaning is wrong."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    record = json.loads(str(arrays.pop("record")))
    record.pop("sha256")
    for name in [name for name in changes if name in arrays or name.startswith("moment")]:
        arrays[name] = changes.pop(name)
    record |= changes
    record["sha256"] = checkpoint.digest(arrays, record)
    path.write_bytes(npz(record=np.array(json.dumps(record)), **arrays))


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def bit_flipped(where):
    """Flip a bit of the byte at a fraction of the file's length."""

    def flip(path):
        content = bytearray(path.read_bytes())
        content[min(int(where * len(content)), len(content) - 1)] ^= 0x10
        path.write_bytes(content)

    return flip


def cut_to(fraction):
    return lambda path: path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])


def in_array(path):
    """Change one bit inside the vector's numbers."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("vector.npy")
        vector = archive.read("vector.npy")
    start = content.index(vector, info.header_offset)
    changed = bytearray(content)
    changed[start + len(vector) - 3] ^= 1
    path.write_bytes(changed)


def stored_again(path):
    """A whole zip file, every zip checksum right, but one parameter changed: only our own checksum can see it."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["vector"] = arrays["vector"].copy()
    arrays["vector"][3] = np.nextafter(arrays["vector"][3], np.float32(9))
    path.write_bytes(npz(**arrays))


def other_configuration(path):
    with np.load(path, allow_pickle=False) as file:
        config = json.loads(str(file["record"]))["config"]
    rewrite(path, config={**config, "seed": 1})


DAMAGE = {
    "zero bytes": lambda path: path.write_bytes(b""),
    "one byte": lambda path: path.write_bytes(path.read_bytes()[:1]),
    **{f"cut to {fraction:.0%}": cut_to(fraction) for fraction in (0.1, 0.5, 0.9, 0.99)},
    "last byte missing": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "all zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "random bytes": lambda path: path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size)),
    "text": lambda path: path.write_text("not a checkpoint\n" * 100),
    **{f"a bit flipped at {where:.1%}": bit_flipped(where) for where in (0.0, 0.02, 0.25, 0.5, 0.75)},
    "a bit of the vector flipped": in_array,
    "one parameter changed": stored_again,
    "another configuration": other_configuration,
    "another step inside": lambda path: rewrite(path, step=81),
    "another format": lambda path: rewrite(path, format=999),
    "another number of parameters": lambda path: rewrite(path, vector=np.zeros(5, np.float32)),
    "another dtype": lambda path: rewrite(path, vector=np.zeros(25, np.float64)),
    "a moment of another size": lambda path: rewrite(path, moment_1=np.zeros(7, np.float32)),
    "a moment too many": lambda path: rewrite(path, moment_2=np.zeros(25, np.float32)),
    "another optimizer's count": lambda path: rewrite(path, count="many"),
    "a generator that is none": lambda path: rewrite(path, generator={"bit_generator": "Nothing"}),
    "a learner's generator that is none": lambda path: rewrite(path, learner_generator=7),
    "named parts of another size": lambda path: rewrite(path, parts={"theta": 24}),
    "named parts that are none": lambda path: rewrite(path, parts=["theta"]),
    "the first format without what it had": lambda path: rewrite(path, format=1),
    "sums that are none": lambda path: rewrite(path, sums=3),
    "seconds that are none": lambda path: rewrite(path, seconds="long"),
    "a health that is no numbers": lambda path: rewrite(path, watched={"health": {"norms": "many"}}),
    "only the vector": lambda path: path.write_bytes(npz(vector=np.zeros(25, np.float32))),
    "another kind of npz": lambda path: path.write_bytes(npz(a=np.arange(3))),
    "an npy file": lambda path: np.save(path.open("wb"), np.arange(3)),
    "an object array": lambda path: path.write_bytes(npz(record=np.array([None]))),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"theta": 1})),
    "an empty zip file": lambda path: zipfile.ZipFile(path, "w").close(),
    "a broken link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


def damaged(path, damage):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        DAMAGE[damage](path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(damage, killed, tiny, copied, capsys):
    folder = copied(killed)
    newest = checkpoint_path(folder, 80)
    damaged(newest, damage)
    assert main(["resume", str(folder)]) == 0
    errors = capsys.readouterr().err
    warned = [line for line in errors.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 1
    assert str(newest) in warned[0]
    assert "unsafely" not in errors  # numpy's advice for what it takes for a pickle
    assert "resumed at iteration 60 of 100" in errors
    assert "Traceback" not in errors
    assert_same_result(folder, tiny)


def test_a_checkpoint_named_after_another_step_is_passed_over(killed, tiny, copied, capsys):
    folder = copied(killed)
    checkpoint_path(folder, 80).rename(checkpoint_path(folder, 99))
    assert main(["resume", str(folder)]) == 0
    errors = capsys.readouterr().err
    assert f"{checkpoint_path(folder, 99)} holds step 80" in errors
    assert "resumed at iteration 60 of 100" in errors
    assert_same_result(tiny, tiny)
    checkpoint_path(folder, 99).unlink(missing_ok=True)
    assert_same_result(folder, tiny)


def described(point):
    """All that a checkpoint holds, as values that compare."""
    optimizer = point.state.optimizer
    generators = [rng.bit_generator.state for rng in (point.state.rng, point.state.learner_rng)]
    arrays = [array.tobytes() for array in (point.state.vector, *optimizer.moments)]
    return arrays, point.state.step, optimizer.count, generators, point.sums, point.seconds, point.config, point.parts


def test_a_flipped_bit_is_found_or_harmless(killed, copied):
    """Some bits of a zip file mean nothing, such as a time; no flip ever changes what is loaded."""
    path = checkpoint_path(copied(killed), 80)
    content, whole = path.read_bytes(), checkpoint.load(path)
    found = 0
    for place in np.random.default_rng(0).integers(8 * len(content), size=300):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            point = checkpoint.load(path)
        except CheckpointError as error:
            found += str(path) in str(error)
            continue
        assert described(point) == described(whole)
    assert found > 200


@pytest.mark.parametrize("watched", [{"health": {"norms": 5}}, {"health": {"mood": 1}}, {"validation": {"x": [1]}}])
def test_a_memory_that_no_run_has_is_refused_in_a_line(watched, killed, copied, capsys):
    folder = copied(killed)
    rewrite(checkpoint_path(folder, 80), watched=watched)
    assert main(["resume", str(folder)]) == 1
    said = capsys.readouterr().err
    assert str(checkpoint_path(folder, 80)) in said
    assert "Traceback" not in said + (folder / "maml_exp.log").read_text()
    assert saved_steps(folder) == [20, 40, 60, 80]  # nothing is lost


@pytest.mark.parametrize("damage", ["zero bytes", "cut to 50%", "random bytes", "another configuration"])
def test_with_all_damaged_it_starts_over_and_says_so(damage, killed, tiny, copied, capsys):
    folder = copied(killed)
    for step in saved_steps(folder):
        damaged(checkpoint_path(folder, step), damage)
    assert main(["resume", str(folder)]) == 0
    errors = capsys.readouterr().err
    assert [f"step_{step:08d}.npz" in errors for step in (20, 40, 60, 80)] == [True] * 4
    assert re.search(STARTS_OVER, errors)
    assert_same_result(folder, tiny)


def test_without_a_checkpoint_it_starts_over_and_says_so(killed, tiny, copied, capsys):
    folder = copied(killed)
    shutil.rmtree(folder / "checkpoints")
    assert main(["resume", str(folder)]) == 0
    assert re.search(STARTS_OVER, capsys.readouterr().err)
    assert_same_result(folder, tiny)


@pytest.mark.parametrize(
    "damage", ["zero bytes", "cut to 90%", "a bit of the vector flipped", "an object array", "a pickle"]
)
def test_loading_says_which_file_and_writes_nothing(damage, killed, copied):
    folder = copied(killed)
    path = checkpoint_path(folder, 80)
    damaged(path, damage)
    before = tree(folder)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        checkpoint.load(path)
    assert tree(folder) == before


def test_rows_ahead_of_the_checkpoint_are_made_again(killed, tiny, copied):
    """metrics.csv that lost its last rows, or holds a torn one, costs nothing: they are written anew."""
    folder = copied(killed)
    content = (folder / "metrics.csv").read_bytes()
    lines = content.splitlines(keepends=True)
    (folder / "metrics.csv").write_bytes(b"".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, tiny)


@pytest.mark.parametrize("left", [0, 1, 4], ids=["nothing", "only its header", "three rows"])
def test_rows_that_are_missing_are_not_left_out_silently(left, killed, tiny, copied, capsys):
    """Rows before the newest checkpoint are gone: either they are made again, or the run says that it cannot."""
    folder = copied(killed)
    lines = (folder / "metrics.csv").read_bytes().splitlines(keepends=True)
    (folder / "metrics.csv").write_bytes(b"".join(lines[:left]))
    status = main(["resume", str(folder)])
    assert "metrics.csv" in capsys.readouterr().err
    if status == 0:
        assert_same_result(folder, tiny)
