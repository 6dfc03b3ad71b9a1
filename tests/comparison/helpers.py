"""Run folders written by hand, in the documented format, with numbers chosen by the test."""

import json

import yaml

from maml_exp.config.composing import compose

STEPS = 3
FOMAML = {"algorithm__preset": "fomaml", "algorithm__outer": "first_order"}


def make_run(folder, means=None, *, state="finished", diverged=0, objective=None, losses=(), **settings):
    """A run with `means`: {shots: errors after 0 .. STEPS steps}; settings, or whole groups, by dotted name."""
    config = compose([]).to_dict()
    config["evaluation"]["steps"] = STEPS
    for key, value in settings.items():
        *path, name = key.split("__")
        part = config
        for step in path:
            part = part[step]
        assert name in part
        part[name] = value
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "status.json").write_text(json.dumps({"state": state, "step": 0, "iterations": 1, "error": None}))
    # the meta-loss and, as often, the held-out error after one step; None: a row without it
    numbers = ["" if loss is None else loss for loss in losses]
    rows = "".join(f"{100 * (i + 1)},1.0,1.0,1.0,{number}\n" for i, number in enumerate(numbers))
    (folder / "metrics.csv").write_text(
        "step,meta/loss,meta/support_loss,meta/grad_norm,evaluation_K10/mean_step_01\n" + rows
    )
    if means is not None:
        (folder / "summary.json").write_text(json.dumps(summary(means, diverged, objective)))
    return folder


def summary(means, diverged, objective):
    def part(mean):
        counts = [diverged] * len(mean)
        return {"mean": mean, "ci95": mean, "median": mean, "p95": mean, "diverged": counts}

    shots = {str(k): {"trained": part(mean), "random": part([9.0] * len(mean))} for k, mean in means.items()}
    if objective is None:
        objective = next(iter(means.values()))[1]
    evaluation = {"lr": 0.01, "steps": STEPS, "shots": shots}
    return {"step": 1, "parameters_sha256": "x", "objective": objective, "evaluation": evaluation}
