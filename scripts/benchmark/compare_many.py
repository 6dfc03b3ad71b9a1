"""Time `maml-exp compare` over thousands of run folders, generated from one real run.

python scripts/benchmark/compare_many.py --runs 2000
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from maml_exp.store.files import read_json
from maml_exp.store.run_folder import RunFolder

COMMAND = [sys.executable, "-m", "maml_exp"]


def generate(template: RunFolder, base: Path, runs: int) -> None:
    """Folders that differ in seed and inner.lr, with numbers scattered around the template's."""
    config, summary = template.config.read_text(), read_json(template.summary)
    metrics, status = template.metrics.read_text(), template.status.read_text()
    rng = np.random.default_rng(0)
    for number in range(runs):
        folder = RunFolder(base / f"{number}_generated")
        folder.config.parent.mkdir(parents=True)
        rate = [0.001, 0.003, 0.01, 0.03][number % 4]
        text = config.replace("seed: 0\n", f"seed: {number // 4}\n", 1).replace("lr: 0.01\n", f"lr: {rate}\n", 1)
        folder.config.write_text(text)
        for part in summary["evaluation"]["shots"].values():
            part["trained"]["mean"] = (np.array(part["random"]["mean"]) * rng.uniform(0.1, 0.3)).tolist()
        folder.summary.write_text(json.dumps(summary))
        folder.metrics.write_text(metrics)
        folder.status.write_text(status)


def main() -> int:
    """Generate, compare, print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        settings = ["training.iterations=10000", "evaluation.plots=false", f"hydra.run.dir={base / 'template'}"]
        subprocess.run([*COMMAND, *settings], check=True, capture_output=True)
        generate(RunFolder(base / "template"), base / "runs", options.runs)
        started = time.perf_counter()
        command = [*COMMAND, "compare", str(base / "runs"), "--out", str(base / "out")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        rows = len((base / "out" / "comparison.csv").read_text().splitlines()) - 1
    print(f"{options.runs} runs compared in {seconds:.1f} s, peak memory {memory:.0f} MB, {rows} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
