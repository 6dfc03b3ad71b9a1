"""Configurations of jobs that are alike are to the letter those that Hydra composes."""

import hydra
import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import setup_globals
from hydra.errors import ConfigCompositionException
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from maml_exp.config.composing import HYDRA_DEFAULTS, conf_dir
from maml_exp.sweep import hydra_run  # noqa: F401  has Hydra know the schema
from maml_exp.sweep.launchers import amend
from maml_exp.sweep.launching import Compositions, likeness

ALIKE = [
    ["seed=0", "inner.lr=0.01", "task.shots=5"],
    ["seed=1", "inner.lr=0.01", "task.shots=5"],
    ["seed=2", "inner.lr=1e-3", "task.shots=5"],
    ["seed='3'", "inner.lr=${optimizer.lr}", "task.shots=5"],
]
IN_TWO_WAYS = [
    ["inner.lr=0.1", "inner={lr:0.5}"],
    ["inner.lr=0.2", "inner={lr:0.5}"],
    ["optimizer.lr=0.1", "optimizer=sgd", "optimizer.momentum=0.5"],
    ["optimizer.lr=0.2", "optimizer=sgd", "optimizer.momentum=0.5"],
    ["seed=1", "hydra.job.name=own", "seed=2"],
    ["seed=3", "hydra.job.name=own", "seed=4"],
]
OTHERS = [
    ["seed=4"],
    ["optimizer.lr=0.1", "+experiment=fertility"],
    ["seed=5", "task=harmonic"],
    ["seed=6"],
    ["name=x", "seed=7"],
]


NAMING = [
    "hydra.job.config.override_dirname.exclude_keys=[inner.lr]",
    "hydra.job.config.override_dirname.kv_sep=_is_",
    "hydra.sweep.subdir=${seed}_${hydra.job.override_dirname}",
]


@pytest.fixture(params=[[], NAMING], ids=["", "named"])
def context(tmp_path, request):
    """A sweep's context and configuration."""
    setup_globals()
    with hydra.initialize_config_dir(str(conf_dir()), **HYDRA_DEFAULTS):
        running = GlobalHydra.instance().hydra
        own = [f"hydra.sweep.dir={tmp_path}", "hydra/launcher=together", "hydra.launcher.jobs=1", *request.param]
        master = running.compose_config("config", own, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        yield HydraContext(config_loader=running.config_loader, callbacks=Callbacks()), master


def as_text(config):
    return OmegaConf.to_yaml(config), repr(config)


@pytest.fixture
def by_hydra(context):
    loader, master = context[0].config_loader, context[1]
    return lambda overrides: as_text(loader.load_sweep_config(master, overrides))


@pytest.mark.slow
def test_jobs_are_composed_as_by_hydra(context, by_hydra):
    compositions = Compositions(*context)
    for overrides in [*ALIKE, *OTHERS, *IN_TWO_WAYS, *ALIKE[::-1]]:
        assert as_text(compositions.of(overrides)) == by_hydra(overrides)


def test_what_a_job_changes_is_not_the_next_ones(context, by_hydra):
    compositions = Compositions(*context)
    for overrides in ALIKE:
        composed = compositions.of(overrides)
        assert as_text(composed) == by_hydra(overrides)
        composed.hydra.job.num = 7
        composed.seed = -1


def test_what_is_amended_is_the_sweep_s_and_its_jobs(context):
    hydra_context, sweep = context
    settings = {"launcher.jobs": 3, "sweep.dir": "a, b=c", "job.config.override_dirname.exclude_keys": ["x,y", "null"]}
    amend(sweep.hydra, {f"hydra.{key}": value for key, value in settings.items()})
    job = hydra_context.config_loader.load_sweep_config(sweep, ["seed=1"])
    for config in (sweep, job):
        assert {key: OmegaConf.select(config.hydra, key) for key in settings} == settings


def test_a_value_that_is_none_is_refused_as_by_hydra(context):
    compositions = Compositions(*context)
    compositions.of(["seed=0"])
    with pytest.raises(ConfigCompositionException, match="seed=one"):
        compositions.of(["seed=one"])
    assert compositions.of(["seed=2"]).seed == 2


def test_only_alike_jobs_are_made_of_each_other(context, monkeypatch):
    composed = []
    loader = context[0].config_loader
    real = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *given: composed.append(given[1]) or real(*given))
    compositions = Compositions(*context)
    for overrides in [*ALIKE, ["seed=1", "task.shots=6"], ["seed=2", "task.shots=6"], ["task.shots=6", "seed=3"]]:
        compositions.of(overrides)
    assert composed == [ALIKE[0], ["seed=1", "task.shots=6"], ["task.shots=6", "seed=3"]]


def test_likeness_knows_every_choice_but_seeds_and_rates():
    assert likeness(["seed=1", "inner.lr=1", "a=2"]) == likeness(["seed=2", "inner.lr=3", "a=2"])
    for other in (["seed=1", "inner.lr=1", "a=3"], ["seed=1", "a=2"], ["inner.lr=1", "seed=1", "a=2"]):
        assert likeness(other) != likeness(["seed=1", "inner.lr=1", "a=2"])
