"""Our sweeper: Hydra's basic one, which checks a sweep's jobs before the first starts, but quicker.

It stands in this folder since Hydra takes sweepers and launchers from the namespace `hydra_plugins` alone;
`maml_exp.sweep.hydra_run` puts the folder above on the path.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from maml_exp.config.messages import known_names
from maml_exp.config.overrides import Override, parse_all
from maml_exp.config.schema import check_values


class CheckingSweeper(BasicSweeper):
    """Finds what cannot be composed before the first job starts."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Raise `SettingError` or one of Hydra's errors for a job that cannot be composed.

        Hydra's own check composes every job, as its launchers do again: twice 0.07 s. Jobs that differ in the values
        of single settings alone compose alike: one of them is composed, and each value checked against its type.
        """
        assert self.config is not None  # after setup
        names = set(known_names(self.config))
        alike: dict[tuple[str, ...], Sequence[str]] = {}
        values: dict[str, Override] = {}
        for texts in batch:
            plain = {o.text: o for o in parse_all(texts) if o.is_plain and o.key in names}
            alike.setdefault(tuple(text for text in texts if text not in plain), texts)
            values |= plain
        super().validate_batch_is_legal(list(alike.values()))
        check_values(self.config, ((override.key, override.value) for override in values.values()))
