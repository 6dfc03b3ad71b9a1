"""`maml-exp gradcheck`: the proof of the gradients, a line a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from maml_exp.commands import parser_of
from maml_exp.config.composing import compose
from maml_exp.config.labels import method_label
from maml_exp.config.overrides import keys_of, parse_all
from maml_exp.config.usual import options
from maml_exp.core.activations import ACTIVATIONS
from maml_exp.core.proof.gradcheck import TOLERANCE, checks

TASKS_CHECKED = 3


def run_gradcheck(arguments: Sequence[str]) -> int:
    """Check the default table, each of its axes narrowed to what the overrides choose."""
    parser = parser_of("gradcheck", run_gradcheck)
    parser.add_argument("overrides", nargs="*", help="settings, as in model.hidden=[40,40] or algorithm=maml")
    overrides = parser.parse_args(arguments).overrides
    parse_all(overrides)
    config = compose(overrides).reading()
    keys = keys_of(overrides)

    def chosen(group: str, *names: str) -> bool:
        return not keys.isdisjoint({group, "experiment", *(f"{group}.{name}" for name in names)})

    chosen_activation = not keys.isdisjoint({"experiment", "model.activation"})
    one = any(key == "experiment" or key.split(".")[0] == "algorithm" for key in keys)
    presets = (
        [config] if one else [compose([*overrides, f"algorithm={name}"]).reading() for name in options("algorithm")]
    )
    failed = total = 0
    for check in checks(
        replace(config.problem, meta_batch=TASKS_CHECKED),
        {method_label(preset.algorithm): preset.algorithm for preset in presets},
        hidden=[config.model.hidden] if chosen("model", "hidden") else [[40], [40, 40]],
        activations=[config.model.activation] if chosen_activation else list(ACTIVATIONS),
        steps=[config.inner.steps] if chosen("inner", "steps") else [0, 1, 2, 5],
        seed=config.seed,
    ):
        verdict = "ok" if check.passed else "FAILED"
        print(f"{check.what:<21} S={check.steps:<3} {check.network:<18} relative error {check.error:.1e}  {verdict}")
        total, failed = total + 1, failed + (not check.passed)
    print(f"{total - failed} of {total} checks within {TOLERANCE:g} of the complex-step derivative, float64")
    return 1 if failed else 0
