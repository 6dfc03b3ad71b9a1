"""Damage runs and sweeps in every way we know, run every verb on them, and make up command lines and configurations.

    python scripts/attack/fuzz.py --damages 300 --texts 1000
    python scripts/attack/fuzz.py --minutes 60 --seed 7
    python scripts/attack/fuzz.py --seed 7 --only damage:123        one case again, with all that it said

A case must end by itself, without a traceback, with less than 500 MB, and with nothing changed outside the damaged
folder. Each runs in a process forked from this one, which has everything imported. Exit status 0: no failure; 3: some.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import yaml
from damages import change_plain, command_line, damage_file

import maml_exp.commands.adapt
import maml_exp.commands.compare
import maml_exp.commands.diff
import maml_exp.commands.plot
import maml_exp.commands.rerun
import maml_exp.commands.resume
import maml_exp.comparison.figures
import maml_exp.run.figures
import maml_exp.sweep.hydra_run  # noqa: F401  imported here, once, and not in every case
from maml_exp import cli

SECONDS, MEGABYTES = 30, 500
VERBS = ["resume", "rerun", "diff", "compare", "plot", "adapt", "settings"]
TINY = [
    *["+experiment=smoke", "model.hidden=[8]", "training.iterations=30", "training.log_every=4"],
    *["training.evaluate_every=10", "training.checkpoint_every=10", "evaluation.shots=[5,10]", "evaluation.tasks=5"],
    *["evaluation.tasks_in_training=3", "evaluation.steps=2", "evaluation.plots=false"],
]


class Outcome(NamedTuple):
    """How a process ended."""

    status: int  # negative: by that signal
    megabytes: float
    hung: bool
    said: str


def in_process(arguments: list[str], cwd: Path, said: Path, seconds: float) -> Outcome:
    """Run a command line in a forked process under limits."""
    child = os.fork()
    if child == 0:
        _child(arguments, cwd, said)
    end, hung = time.monotonic() + seconds, False
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end and not hung:
            hung = True
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    text = said.read_text(errors="replace")
    return Outcome(os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024, hung, text)


def _child(arguments: list[str], cwd: Path, said: Path) -> None:
    status = 70
    try:
        os.setpgid(0, 0)
        os.chdir(cwd)
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((0, nothing), (1, file), (2, file)):
            os.dup2(target, number)
        pages = int(Path("/proc/self/statm").read_text().split()[0]) if os.path.exists("/proc/self/statm") else 0
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEGABYTES * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.argv = ["maml-exp", *arguments]
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        status = cli.main()
    except SystemExit as error:  # argparse's and Hydra's own
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(status)


def fault(outcome: Outcome, arguments: list[str]) -> str | None:
    """What is wrong with how a process ended; what was typed itself may be said again as it is."""
    if outcome.hung:
        return "hung"
    if "out of memory" in outcome.said or "MemoryError" in outcome.said:
        return "memory"
    if "Traceback" in outcome.said or outcome.status in (70, 120):
        return "traceback"
    if outcome.status < 0:
        return f"signal {-outcome.status}"
    if outcome.megabytes > MEGABYTES:
        return "memory"
    if "\x1b" in outcome.said and not any("\x1b" in argument for argument in arguments):
        return "control characters"
    return None


def digest(folder: Path) -> str:
    """Everything below a folder: names, kinds and bytes."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        kind = "link" if path.is_symlink() else "file" if path.is_file() else "other"
        total.update(f"{path.relative_to(folder)} {kind} ".encode(errors="replace"))
        if kind == "file":
            total.update(path.read_bytes())
    return total.hexdigest()


class Fuzzer:
    """The folders that are damaged, and what came of it."""

    def __init__(self, base: Path, seed: int):
        self.base, self.seed = base, seed
        self.tried: Counter[str] = Counter()
        self.failures: dict[str, list[str]] = defaultdict(list)
        self.most = 0.0
        self._make()

    def _make(self) -> None:
        """A finished run, one that was stopped, and a sweep with a job left to do."""
        original, points = self.base / "original", self.base / "points.csv"
        original.mkdir()
        points.write_text("x,y\n0.5,1\n-0.5,0\n")
        for arguments in (
            [*TINY, f"hydra.run.dir={original / 'run'}"],
            ["-m", *TINY, "seed=1,2", f"hydra.sweep.dir={original / 'sweep'}"],
        ):
            outcome = in_process(arguments, self.base, self.base / "said", 600)
            if outcome.status != 0:
                raise SystemExit(f"the runs to damage could not be made:\n{outcome.said}")
        stopped = shutil.copytree(original / "run", original / "stopped")
        (job,) = (original / "sweep").glob("1_*")
        for folder in (stopped, job):
            for name in ("summary.json", "evaluation.npz", "checkpoints/step_00000030.npz"):
                (folder / name).unlink()
            status = folder / "status.json"
            status.write_text(status.read_text().replace("finished", "running"))

    def case(self, kind: str, number: int, show: bool = False) -> None:
        """One case; all in it follows from the seed, its kind and its number."""
        rng = random.Random(f"{self.seed}:{kind}:{number}")
        make: Callable[[random.Random, Path], tuple[str, list[list[str]]]] = getattr(self, f"_{kind}")
        state = rng.getstate()
        with tempfile.TemporaryDirectory(dir=self.base) as first:
            _, lines = make(rng, Path(first))
        for place in range(len(lines)):  # a verb may mend the folder: each gets its own
            rng.setstate(state)
            with tempfile.TemporaryDirectory(dir=self.base) as folder:
                what, made = make(rng, Path(folder))
                self._run(f"{kind}:{number}", what, made[place], Path(folder), show)

    def _run(self, name: str, what: str, arguments: list[str], folder: Path, show: bool) -> None:
        before = digest(folder / "outside")
        outcome = in_process(arguments, folder / "cwd", self.base / "said", SECONDS)
        found = fault(outcome, arguments)
        if found is None and digest(folder / "outside") != before:
            found = "changed something outside"
        verb = arguments[0] if arguments and arguments[0] in VERBS else "train"
        self.tried[f"{what.split(' of ')[0]} | {verb}"] += 1
        self.most = max(self.most, outcome.megabytes)
        shown = " ".join(arguments).replace(str(folder), "CASE")[:300]
        if found is not None:
            last = outcome.said.strip().splitlines()[-1:] or [""]
            line = f"--seed {self.seed} --only {name}   {found}: {what}: maml-exp {shown!r}: {last[0][:200]!r}"
            self.failures[found].append(line)
            print(f"FAILED {line}", flush=True)
        if show:
            print(f"{what}: maml-exp {shown}\n{outcome.said}exit status {outcome.status}, {outcome.megabytes:.0f} MB\n")

    def _room(self, folder: Path) -> Path:
        """A place for a case: its working folder, what is around it, and copies of the runs."""
        (folder / "cwd").mkdir()
        outside = folder / "outside"
        outside.mkdir()
        (outside / "precious").write_text("mine\n")
        shutil.copytree(self.base / "original" / "run", outside / "run")
        return outside

    def _damage(self, rng: random.Random, folder: Path) -> tuple[str, list[list[str]]]:
        outside = self._room(folder)
        which = rng.choice(["run", "run", "stopped", "stopped", "sweep"])
        damaged = shutil.copytree(self.base / "original" / which, folder / "damaged")
        files = sorted(path for path in damaged.rglob("*") if path.is_file())
        at = rng.choice(files)
        what = f"{damage_file(rng, at, files, outside)} of {which}/{at.relative_to(damaged)}"
        whole, points = str(outside / "run"), str(self.base / "points.csv")
        job = at.relative_to(damaged).parts[0] if which == "sweep" and at.parent != damaged else ""
        run = str(damaged / job) if which == "sweep" and job else str(damaged)
        figures = [] if rng.random() < 0.1 else ["--no-figures"]
        lines = [["resume", str(damaged)], ["diff", run, whole], ["adapt", run, points], ["plot", run], ["rerun", run]]
        return what, [*lines, ["compare", str(damaged), whole, *figures]]

    def _config(self, rng: random.Random, folder: Path) -> tuple[str, list[list[str]]]:
        outside = self._room(folder)
        run = shutil.copytree(self.base / "original" / "stopped", folder / "damaged")
        path = run / ".hydra" / "config.yaml"
        plain = yaml.safe_load(path.read_text())
        for _ in range(rng.choice([1, 1, 2, 5])):
            plain = change_plain(rng, plain)
        plain.get("training", {}) and isinstance(plain["training"], dict) and _keep_short(plain["training"])
        path.write_text(yaml.safe_dump(plain))
        verb = rng.choice(VERBS[:4])
        more = [str(outside / "run")] if verb in ("diff", "compare") else []
        return "a configuration", [[verb, str(run), *more, *(["--no-figures"] * (verb == "compare"))]]

    def _line(self, rng: random.Random, folder: Path) -> tuple[str, list[list[str]]]:
        self._room(folder)
        run = shutil.copytree(self.base / "original" / "run", folder / "damaged")
        return "a command line", [command_line(rng, VERBS, TINY, str(run))]

    def table(self) -> str:
        """What was tried, by damage and verb, and every failure."""
        rows = [f"{count:6d}  {what}" for what, count in sorted(self.tried.items())]
        failed = [line for lines in self.failures.values() for line in lines]
        total = f"{sum(self.tried.values())} cases, {len(failed)} failures, at most {self.most:.0f} MB"
        return "\n".join([*rows, total, *failed])


def _keep_short(training: dict) -> None:
    """A valid configuration may say a billion iterations: that is no hang."""
    if isinstance(training.get("iterations"), (int, float)) and training["iterations"] > 1000:
        training["iterations"] = 30


def main() -> int:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--damages", type=int, default=300, help="damaged files; six verbs each")
    parser.add_argument("--texts", type=int, default=1000, help="command lines and configurations, half of each")
    parser.add_argument("--minutes", type=float, help="go on for so long instead")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one case, with what it said")
    options = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # thousands of folders: not on a disk
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as folder:
        fuzzer = Fuzzer(Path(folder), options.seed)
        if options.only:
            kind, number = options.only.split(":")
            fuzzer.case(kind, int(number), show=True)
        elif options.minutes:
            end, number = time.monotonic() + 60 * options.minutes, 0
            while time.monotonic() < end:
                for kind in ("damage", "config", "line"):
                    fuzzer.case(kind, number)
                number += 1
        else:
            half = options.texts // 2
            for kind, count in (("damage", options.damages), ("config", half), ("line", half)):
                for number in range(count):
                    fuzzer.case(kind, number)
                print(f"{kind}: {count} made, at most {fuzzer.most:.0f} MB", file=sys.stderr, flush=True)
        print(fuzzer.table())
        return 3 if fuzzer.failures else 0


if __name__ == "__main__":
    sys.exit(main())
