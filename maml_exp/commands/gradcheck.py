"""`maml-exp gradcheck`: the proof of the gradients, a line a check."""

from __future__ import annotations

from collections.abc import Sequence

from maml_exp.core.learners.gradient import ALGORITHMS
from maml_exp.core.proof.gradcheck import TOLERANCE, checks
from maml_exp.core.tasks.sinusoid import TASKS
from maml_exp.sweep.hydra_run import compose


def run_gradcheck(overrides: Sequence[str]) -> int:
    """Check the default table, each of its axes narrowed to what the overrides choose; 1 if a check fails."""
    config = compose(overrides)
    keys = {override.lstrip("+").split("=")[0] for override in overrides}

    def chosen(*names: str) -> bool:
        return not keys.isdisjoint(names) or "experiment" in keys

    failed = total = 0
    for check in checks(
        TASKS[config.task.name](config.task),
        hidden=[config.model.hidden] if chosen("model", "model.hidden") else [[40], [40, 40]],
        activations=[config.model.activation] if chosen("model.activation") else ["relu", "tanh"],
        steps=[config.inner.steps] if chosen("inner", "inner.steps") else [0, 1, 2, 5],
        algorithms=[config.algorithm.name] if chosen("algorithm", "algorithm.name") else list(ALGORITHMS),
        inner_lr=config.inner.lr,
        initializer=config.model.initializer,
        seed=config.seed,
    ):
        verdict = "ok" if check.passed else "FAILED"
        print(f"{check.what:<21} S={check.steps:<3} {check.network:<18} relative error {check.error:.1e}  {verdict}")
        total, failed = total + 1, failed + (not check.passed)
    print(f"{total - failed} of {total} checks within {TOLERANCE:g} of the complex-step derivative, float64")
    return 1 if failed else 0
