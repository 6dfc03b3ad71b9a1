"""What the fuzzer does to files, and the command lines and configurations it makes up: all decided by a generator."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import socket
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ANSI, HTML, FORMULA = "\x1b]0;owned\x07\x1b[31mred", "<img src=x onerror=alert(1)>", '=HYPERLINK("http://x","y")'
ODD: list[Any] = [
    *[None, True, False, -1, 0, 1, 2, 0.5, 1e308, -1e308, 1e-320, float("nan"), float("inf"), 10**18, 10**400],
    *[-(10**400), "", " ", "x" * 10_000, ANSI, HTML, FORMULA, "${now:x}", "${oc.env:HOME}", "${seed}", "???", "NaN"],
    *["../../x", "/dev/zero", "a\nb", "\x00", "ключ", "\u202eabc", "$x^{", "%s%n", "1e5", "0x10", "[1,2", "{a: 1}"],
    *[[], [[]], {}, {"a": 1}, [1, "a", None], [1] * 1000, [-1], [0.5], [10**400], {"_target_": "os.getcwd"}],
]


def damage_file(rng: random.Random, path: Path, others: list[Path], outside: Path) -> str:
    """Damage a file in one of the ways below; returns the way's name."""
    name = rng.choice(sorted(DAMAGES))
    DAMAGES[name](rng, path, others, outside)
    return name


def _rewrite(change: Callable[[random.Random, bytes], bytes]) -> Callable[..., None]:
    def damage(rng: random.Random, path: Path, others: list[Path], outside: Path) -> None:
        path.write_bytes(change(rng, path.read_bytes()))

    return damage


def _in_place(make: Callable[[random.Random, Path, Path], object]) -> Callable[..., None]:
    """Something else in the file's place."""

    def damage(rng: random.Random, path: Path, others: list[Path], outside: Path) -> None:
        path.unlink()
        make(rng, path, outside)

    return damage


def _flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content or b"x")
    for _ in range(rng.choice([1, 1, 1, 20])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _lines(change: Callable[[random.Random, list[bytes]], list[bytes]]) -> Callable[..., None]:
    return _rewrite(lambda rng, content: b"".join(change(rng, content.splitlines(keepends=True))))


def _sparse(rng: random.Random, path: Path, others: list[Path], outside: Path) -> None:
    os.truncate(path, rng.choice([10**9, 10**12]))


def _swap(rng: random.Random, path: Path, others: list[Path], outside: Path) -> None:
    other = rng.choice(others)
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def _linked_folder(rng: random.Random, path: Path, others: list[Path], outside: Path) -> None:
    """The folder around it, or for a file at the top the file, is a link to a copy outside."""
    target = outside / "target"
    moved = path.parent if path.parent.name in (".hydra", "checkpoints", "plots") else path
    shutil.move(moved, target)
    moved.symlink_to(target)


def _linked(rng: random.Random, path: Path, outside: Path) -> None:
    path.symlink_to(rng.choice(["/dev/zero", outside / "precious", outside / "nothing", path.name, "/dev/stdin"]))


def _hard_linked(rng: random.Random, path: Path, outside: Path) -> None:
    os.link(outside / "precious", path)


def _device(rng: random.Random, path: Path, outside: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # what /dev/zero is
    except OSError:  # only root may
        path.symlink_to("/dev/zero")


def _socket(rng: random.Random, path: Path, outside: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _zip(rng: random.Random, path: Path, outside: Path) -> None:
    """A zip bomb, or an npz that is none of ours."""
    kind = rng.choice(["bomb", "shape", "pickle", "twice", "many", "odd dtype"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if kind == "bomb" else zipfile.ZIP_STORED) as file:
        if kind == "bomb":
            with file.open("vector.npy", "w", force_zip64=True) as member:
                for _ in range(100):
                    member.write(bytes(10**6))
        else:
            array = {"pickle": np.array([{}], dtype=object), "odd dtype": np.zeros(3, "M8[s]")}.get(kind, np.zeros(3))
            inner = io.BytesIO()
            np.save(inner, array, allow_pickle=True)
            content = inner.getvalue()
            if kind == "shape":
                content = content.replace(b"(3,), ", b"(9999999999,), ")
            for number in range(3000 if kind == "many" else 1):
                file.writestr(f"moment_{number}.npy", content)
            if kind == "twice":
                file.fp.write(b"")
    path.write_bytes(buffer.getvalue())


def _plain_change(rng: random.Random, content: bytes) -> bytes:
    """JSON or YAML with an odd value, a key more, or a key less; other files a line of odd text."""
    for load, dump in ((json.loads, json.dumps), (yaml.safe_load, yaml.safe_dump)):
        try:
            plain = load(content)
            if isinstance(plain, (dict, list)):
                return dump(change_plain(rng, plain)).encode()
        except (ValueError, yaml.YAMLError, RecursionError):
            continue
    return content + f"{rng.choice(ODD)}\n".encode()


def change_plain(rng: random.Random, plain: Any) -> Any:
    """Plain data with one place in it changed."""
    place, key = rng.choice(_places(plain))
    action = rng.choice(["value", "value", "value", "less", "more", "key"])
    if action == "less":
        del place[key]
    elif isinstance(place, list) or action == "value":
        place[key] = rng.choice(ODD)
    elif action == "key":
        place[rng.choice([ANSI, HTML, FORMULA, "", "a.b", "1", "_target_", str(key).upper()])] = place.pop(key)
    else:
        place[rng.choice(["x", ANSI, HTML, FORMULA])] = rng.choice(ODD)
    return plain


def _places(plain: Any) -> list[tuple[Any, Any]]:
    """Every place in plain data; an odd value put in before may be nested deeper than a call can follow."""
    found, left = [], [plain]
    while left:
        here = left.pop()
        keys = list(here) if isinstance(here, dict) else list(range(len(here))) if isinstance(here, list) else []
        found += [(here, key) for key in keys]
        left += [here[key] for key in reversed(keys)]
    return found


DAMAGES: dict[str, Callable[..., None]] = {
    "bits flipped": _rewrite(_flip),
    "cut off": _rewrite(lambda rng, content: content[: rng.randrange(len(content) + 1)]),
    "empty": _rewrite(lambda rng, content: b""),
    "random bytes": _rewrite(lambda rng, content: rng.randbytes(rng.choice([1, 100, 100_000]))),
    "bytes added": _rewrite(lambda rng, content: content + rng.randbytes(rng.choice([1, 100, 10_000]))),
    "20 MB": _rewrite(lambda rng, content: content + rng.choice([b"x", b"\n", b"[],", b"1,"]) * (20_000_000 // 2)),
    "sparse": _sparse,
    "lines repeated": _lines(lambda rng, lines: [*lines, *lines]),
    "lines reversed": _lines(lambda rng, lines: lines[::-1]),
    "lines shuffled": _lines(lambda rng, lines: rng.sample(lines, len(lines))),
    "a line missing": _lines(lambda rng, lines: [line for line in lines if line is not rng.choice(lines)]),
    "another alphabet": _rewrite(lambda rng, content: content.decode(errors="replace").encode("utf-16")),
    "deep JSON": _rewrite(lambda rng, content: b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
    "deep YAML": _rewrite(lambda rng, content: content + b"x: " + b"[" * 5_000 + b"]" * 5_000),
    "8000 keys": _rewrite(lambda rng, content: content + "".join(f"k{i}: {i}\n" for i in range(8000)).encode()),
    "an odd value": _rewrite(_plain_change),
    "an odd value (2)": _rewrite(_plain_change),
    "an odd value (3)": _rewrite(_plain_change),
    "swapped": _swap,
    "missing": _in_place(lambda rng, path, outside: None),
    "a folder": _in_place(lambda rng, path, outside: path.mkdir()),
    "a pipe": _in_place(lambda rng, path, outside: os.mkfifo(path)),
    "a socket": _in_place(_socket),
    "a device": _in_place(_device),
    "a link": _in_place(_linked),
    "a second name of a file outside": _in_place(_hard_linked),
    "a link to a folder or file outside": _linked_folder,
    "a zip": _in_place(_zip),
}

WORDS = ["seed", "name", "dtype", "threads", "model.hidden", "model.activation", "inner.lr", "inner.steps"]
WORDS += [
    "task.shots",
    "task.query",
    "task.x_range",
    "task",
    "task.file",
    "task.inputs",
    "optimizer.lr",
    "optimizer",
    "algorithm",
    "model",
    "training.log_every",
]
WORDS += ["evaluation.shots", "evaluation.lr", "evaluation.tasks", "evaluation.objective", "training.keep_checkpoints"]
FLAGS = [
    "--cfg",
    "--help",
    "--info",
    "-c",
    "--resolve",
    "-m",
    "--experimental-rerun",
    "--exp",
    "--jobs",
    "--out",
    "--where",
]
FLAGS += ["--format", "--style", "--steps", "--lr", "--at", "--package", "--version", "--hydra-help", "--nonsense"]
FREE = ["sweep.json", "a=b=c", "=", "+", "~seed", "++x.y=1", "hydra.run.dir=", "model@x=one_hidden", "x", "", "-", "--"]


def command_line(rng: random.Random, verbs: list[str], tiny: list[str], run: str) -> list[str]:
    """Arguments that somebody might type who read the manual upside down; they train the tiny run at most."""
    verb = rng.choice([*verbs, None, None, None])
    arguments = [verb] if verb else list(tiny)
    if verb and rng.random() < 0.7:
        arguments += [run] * (2 if verb == "diff" else 1)
    for _ in range(rng.randrange(4)):
        word = rng.choice(WORDS)
        kind = rng.random()
        if kind < 0.6:
            value = str(rng.choice(ODD)).replace("\x00", "")[:100_000]
            arguments.append(f"{rng.choice(['', '', '', '+', '++', '~'])}{word}={value}")
        else:
            arguments.append(rng.choice(FLAGS + FREE))
    return arguments
