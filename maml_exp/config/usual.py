"""The files of conf/, read without Hydra: the options there are, the settings they make, and what differs from those.

Composing takes Hydra a tenth of a second; here it is a few small files. A test holds both to the same settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from maml_exp.config.choices import CHOICES, settings_class
from maml_exp.config.plain import flatten, put
from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.core.problem import clip_limit

GROUPS = {
    "model": "the network: hidden layers, activation, initialisation",
    "algorithm": "what is learned, and how: the method",
    "inner": "inner loop: learning rate and number of gradient steps",
    "task": "the family of tasks: shots, ranges",
    "optimizer": "the outer loop's optimizer",
    "training": "iterations, meta-batch, how often to log, evaluate, save",
    "evaluation": "fixed tasks, shots and steps the result is judged on",
    "experiment": "whole experiments, added with a plus: +experiment=smoke",
}
# groups of settings that one word chooses, and the setting that says which it was
CHOSEN_BY = {"algorithm": "algorithm.preset", "optimizer": "optimizer.name", "task": "task.name"}
CLIP = "optimizer.clip_norm"
GLOBAL = "# @package _global_"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times faster
Plain = dict[str, Any]


def conf_dir() -> Path:
    """The configuration files: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    candidates = (package / "conf", package.parent / "conf")
    return next(path for path in candidates if (path / "config.yaml").is_file())


def options(group: str) -> list[str]:
    """The options of a group, as model; none where there is no such group."""
    files = {path.stem for path in (conf_dir() / group).glob("*.yaml")}
    registry = CHOICES[group].registry if group in CHOICES else None
    added = set() if registry is None else {*registry.names()} - {*registry.own_names()}
    return sorted(files | added)


@cache
def usual_settings(*chosen: tuple[str, str]) -> Plain:
    """The settings, dotted, that these (group, option) and no single setting make; they are not to be changed."""
    main = _read(conf_dir() / "config.yaml")
    choice = _default_choices(main) | dict(chosen)
    files = {group: _option(group, option) for group, option in choice.items()}
    for text in files.values():
        choice |= {group: option for group, option in _overridden(text) if group not in dict(chosen)}
    plain = _declared()
    for group, option in choice.items():
        found = _option(group, option)
        for kind in _choice_schemas(group, option, found):
            plain[group] = kind
        body = {key: value for key, value in found.items() if key not in ("defaults", GLOBAL)}
        _lay(plain, body if GLOBAL in found else {group: body})
    _lay(plain, {key: value for key, value in main.items() if key != "defaults"})
    return flatten(plain)


@cache
def _read(path: Path) -> Plain:
    """A file of conf/; under the key `GLOBAL` whether it has that line."""
    text = path.read_text(encoding="utf-8")
    found = yaml.load(text, Loader=LOADER) or {}
    return found | ({GLOBAL: True} if text.startswith(GLOBAL) else {})


def _default_choices(main: Plain) -> dict[str, str]:
    entries = [entry for entry in main["defaults"] if isinstance(entry, dict)]
    return {group: option for entry in entries for group, option in entry.items() if group in GROUPS}


def _option(group: str, option: str) -> Plain:
    """What an option's file says; nothing for one that was registered or comes with a package."""
    if not option.isidentifier():
        raise SettingError(f"{group}={option} is not usable: it is not a name")
    path = conf_dir() / group / f"{option}.yaml"
    return _read(path) if path.is_file() else {}


def _overridden(text: Plain) -> Iterable[tuple[str, str]]:
    """What an option chooses in other groups, as with `override /optimizer: sgd`."""
    for entry in text.get("defaults", ()):
        if isinstance(entry, dict):
            yield from (
                (key.removeprefix("override /"), option)
                for key, option in entry.items()
                if key.startswith("override /") and key.removeprefix("override /") in GROUPS
            )


def _declared() -> Plain:
    """What the schema itself says, in its order; of groups that hold what they name, nothing yet."""
    plain: Plain = {}
    for field in dataclasses.fields(Config):
        made = field.default_factory
        plain[field.name] = field.default if made is dataclasses.MISSING else dataclasses.asdict(made())
    return plain | {group: {} for group in CHOICES}


def _choice_schemas(group: str, option: str, found: Plain) -> Iterable[Plain]:
    """The defaults of the choice that an option names, from its line /schema/learner/gradient@_here_."""
    if group not in CHOICES:
        return
    start = f"/{CHOICES[group].schema_group}/"
    entries = [entry for entry in found.get("defaults", ()) if isinstance(entry, str) and entry.startswith(start)]
    names = [entry.removeprefix(start).partition("@")[0] for entry in entries] or ([] if found else [option])
    for name in names:
        yield dataclasses.asdict(settings_class(group, name)())


def _lay(plain: Plain, over: Plain) -> None:
    """Lay nested settings over others, in place; a list is a value."""
    for key, value in flatten(over).items():
        put(plain, key, value)


def changes(settings: Mapping[str, Any], ignored: Container[str] = (), always: Sequence[str] = ()) -> dict[str, Any]:
    """The overrides, by key, that make these settings (dotted) of the defaults, in as few words as there are.

    Settings named in `always` are among them where they are the default, too. What means the same is no change.
    """
    overrides: dict[str, Any] = dict(_chosen(*(str(settings.get(key)) for key in CHOSEN_BY.values())))
    usual = usual_settings(*overrides.items())
    for key, value in settings.items():
        chosen_already = key.split(".")[0] in overrides and value == usual.get(key)
        differs = value != usual.get(key) and not (key == CLIP and _clips_alike(settings, usual))
        if key not in ignored and (differs or (key in always and not chosen_already)):
            overrides[_named(key)] = value
    return overrides


def clip_norm_of(settings: Mapping[str, Any]) -> Any:
    """What optimizer.clip_norm means beside the other settings (dotted); as it stands where they are damaged."""
    limit, steps = settings.get(CLIP), settings.get("inner.steps")
    try:
        return clip_limit(limit, steps) if isinstance(steps, int) else limit
    except (TypeError, ValueError):
        return limit


def _clips_alike(settings: Mapping[str, Any], usual: Mapping[str, Any]) -> bool:
    """Whether the usual clip_norm would do the same here: auto and the null of older runs do with one inner step."""
    return clip_norm_of(settings) == clip_norm_of({**settings, CLIP: usual.get(CLIP)})


@cache
def _chosen(*names: str) -> tuple[tuple[str, str], ...]:
    """The options of CHOSEN_BY's groups that differ from the usual ones, as (group, option)."""
    found: list[tuple[str, str]] = []
    for (group, key), option in zip(CHOSEN_BY.items(), names, strict=True):
        if option == usual_settings(*found).get(key) or option not in options(group):
            continue
        try:
            usual_settings(*found, (group, option))
        except (TypeError, SettingError):  # somebody's own, with settings that have no default
            continue
        found.append((group, option))
    return tuple(found)


def _named(key: str) -> str:
    """The override that sets a key: algorithm=maml is shorter than algorithm.preset=maml, and does more."""
    return next((group for group, chosen_by in CHOSEN_BY.items() if chosen_by == key), key)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Dotted names by their shortest ends that are no other's: hidden for model.hidden, but inner.lr stays."""
    full = list(dict.fromkeys(names))
    ends: dict[str, set[str]] = {}
    for name in full:
        for end in _ends(name):
            ends.setdefault(end, set()).add(name)
    return {
        name: next((end for end in _ends(name) if len(ends[end]) == 1 and end not in GROUPS), name) for name in full
    }


def _ends(name: str) -> list[str]:
    """c, b.c and a.b.c of a.b.c."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in reversed(range(len(parts)))]
