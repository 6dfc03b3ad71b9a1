"""Saved configurations of older versions, brought up to today's schema one small step at a time.

A saved configuration says the version of its schema; one without is of the first. A migration changes plain data
alone, before anything is checked: what a file holds beside it is refused afterwards, as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Plain = dict[str, Any]


def name_learner_and_preset(plain: Plain) -> None:
    """1 -> 2: algorithm.name was the method; now learner names the code, preset is a label, outer the gradient."""
    algorithm = plain.get("algorithm")
    outer_of = {"maml": "exact", "fomaml": "first_order", "joint": "joint"}
    if not isinstance(algorithm, dict) or "name" not in algorithm:
        return
    name = algorithm.pop("name")
    if isinstance(name, str) and name in outer_of:
        plain["algorithm"] = {"learner": "gradient", "preset": name, "outer": outer_of[name], **algorithm}
    else:  # none of that version's: for the checks to refuse by its name
        plain["algorithm"] = {"learner": name, **algorithm}


def drop_other_optimizers_keys(plain: Plain) -> None:
    """1 -> 2: every optimizer had the keys of all; now each has its own."""
    optimizer = plain.get("optimizer")
    foreign = {"adam": ("momentum",), "sgd": ("beta1", "beta2", "epsilon")}
    if isinstance(optimizer, dict):
        for key in foreign.get(str(optimizer.get("name")), ()):
            optimizer.pop(key, None)


def give(plain: Plain, section: str, new: Plain, **of: Any) -> None:
    """Give a section the settings that it does not say, if those it says are as in `of`."""
    found = plain.get(section)
    if isinstance(found, dict) and all(found.get(key) == value for key, value in of.items()):
        for key, value in new.items():
            found.setdefault(key, _copied(value))


def keep_clip_norm(plain: Plain) -> None:
    """2 -> 3: auto became the default of clip_norm; what was saved stays, and where nothing was it meant never."""
    give(plain, "optimizer", {"clip_norm": None})


def train_to_the_end(plain: Plain) -> None:
    """2 -> 3: training.keep_best and training.patience are new; off, a run ends with its last iteration."""
    give(plain, "training", {"keep_best": False, "patience": 0})


def name_every_axis(plain: Plain) -> None:
    """3 -> 4: learning by gradient descent has more axes; what was saved is where each of them begins."""
    give(plain, "algorithm", AXES_OF_3, learner="gradient")


def keep_the_rate_constant(plain: Plain) -> None:
    """3 -> 4: optimizer.schedule and optimizer.lr_end are new; the rate was the same in every iteration."""
    give(plain, "optimizer", {"schedule": "constant", "lr_end": 0.0})


def name_baselines(plain: Plain) -> None:
    """3 -> 4: evaluation.baselines is new; null is what there was: none for sinusoids."""
    give(plain, "evaluation", {"baselines": None})


def name_what_sinusoids_lacked(plain: Plain) -> None:
    """3 -> 4: sinusoids may have noise, and other ranges where they are judged."""
    beyond = dict.fromkeys(("amplitude_test", "phase_test", "x_range_test"))
    give(plain, "task", {"x_training": "random", "noise": 0.0, **beyond}, name="sinusoid")


def name_what_networks_lacked(plain: Plain) -> None:
    """4 -> 5: hidden layers may be normalised."""
    give(plain, "model", {"layer_norm": False})


def name_the_ridge_head_s_scale(plain: Plain) -> None:
    """4 -> 5: predictions of a ridge head may be scaled; those of regression, all there was, are not."""
    give(plain, "algorithm", {"learn_scale": None}, learner="ridge")


def name_evolution(plain: Plain) -> None:
    """5 -> 6: the outer loop may be evolution; it was a gradient."""
    give(plain, "algorithm", {"evolution": NO_EVOLUTION})


def name_support_targets(plain: Plain) -> None:
    """5 -> 6: support targets of sinusoids may be distorted; they were not."""
    give(plain, "task", {"support_targets": "plain"}, name="sinusoid")


NO_EVOLUTION: Plain = {"population": 0, "sigma": 0.1, "fitness": "ranks"}
AXES_OF_3: Plain = {
    "first_order_until": 0.0,
    "moves": "all",
    "rates": "one",
    "learn_rates": False,
    "rates_store": "log",
    "rates_start": None,
    "rates_lr": None,
    "proximal": 0.0,
    "step_losses": "last",
    "step_losses_until": 0.1,
    "minibatch": None,
    "context": 0,
    "context_start": "zero",
    "support_loss": "task",
    "loss_hidden": [40],
    "loss_sees_targets": True,
}
MIGRATIONS: dict[int, tuple[Callable[[Plain], None], ...]] = {
    1: (name_learner_and_preset, drop_other_optimizers_keys),
    2: (keep_clip_norm, train_to_the_end),
    3: (name_every_axis, keep_the_rate_constant, name_baselines, name_what_sinusoids_lacked),
    4: (name_what_networks_lacked, name_the_ridge_head_s_scale),
    5: (name_evolution, name_support_targets),
}
# A sweep's plan holds what was typed. Where a default has changed since, it is typed as it was
OLD_DEFAULTS: dict[int, tuple[str, ...]] = {
    2: ("optimizer.clip_norm=null",),
    3: ("evaluation.steps=10",),
}


def _copied(value: Any) -> Any:
    """A copy of dictionaries and lists: in a comparison of thousands of runs copy.deepcopy is a tenth of the time."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value


def migrated(plain: Plain) -> Plain:
    """A copy in today's schema; one of a version that is not known stays as it is, for the checks to refuse."""
    plain = _copied(plain)
    version: Any = plain.get("schema", 1)
    while type(version) is int and version in MIGRATIONS:
        for migrate in MIGRATIONS[version]:
            migrate(plain)
        version += 1
        plain["schema"] = version
    return plain


def typed_then(overrides: list[str], version: int) -> list[str]:
    """Overrides that were typed under an older schema, after the defaults that have changed since."""
    changed = [text for since, texts in OLD_DEFAULTS.items() if version <= since for text in texts]
    return [*changed, *overrides]
