"""What Hydra composes for the jobs of a sweep: those that differ in a seed or a rate have all else in common.

To compose a configuration from its files takes Hydra a tenth of a second: several hundred iterations of a small run.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

FREE = ("seed", "inner.lr", "optimizer.lr")  # in which runs in lockstep may differ; nothing else is chosen by them


def likeness(overrides: Sequence[str]) -> tuple[str, ...]:
    """What was typed, but for the values of those that are free: jobs that share it may go in lockstep."""
    keys = [text.partition("=")[0] for text in overrides]
    return tuple(key if key in FREE else text for key, text in zip(keys, overrides, strict=True))


class Compositions:
    """Composes jobs, and keeps the last configuration for the next job that is alike.

    Args:
        hydra_context: whose loader composes.
        config: the sweep's own.
    """

    def __init__(self, hydra_context: HydraContext, config: DictConfig):
        self._loader, self._config = hydra_context.config_loader, config
        self._last: tuple[tuple[str, ...], DictConfig] | None = None

    def of(self, overrides: Sequence[str]) -> DictConfig:
        """A job's configuration, to the letter as Hydra composes it; the caller may change it."""
        alike = likeness(overrides)
        if self._last is not None and self._last[0] == alike:
            try:
                return _changed(deepcopy(self._last[1]), overrides)
            except OmegaConfBaseException:  # Hydra says what is wrong with a value
                pass
        composed = self._loader.load_sweep_config(self._config, list(overrides))
        self._last = alike, deepcopy(composed)
        return composed


def _changed(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration of a job that is like the one it was composed for, by what Hydra does with a value."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        if override.key_or_group in FREE:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    of_task = [override for override in parsed if not override.is_hydra_override()]
    config.hydra.overrides.task = [override.input_line for override in of_task]
    naming = config.hydra.job.config.override_dirname
    named = [str(override.input_line) for override in of_task if override.key_or_group not in naming.exclude_keys]
    config.hydra.job.override_dirname = naming.item_sep.join(sorted(named)).replace("=", naming.kv_sep)
    return config
