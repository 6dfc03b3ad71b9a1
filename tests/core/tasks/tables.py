"""Tables for tests of the family on them, made without any reader."""

import numpy as np

from maml_exp.core.tasks._rows import Table


def table_of(rows, inputs=("u", "v"), outputs=("y", "z"), texts=(), splits=None):
    """A table of {group: array (K, columns)}: numbers of inputs and outputs, then codes of texts {name: levels}."""
    groups = sorted(rows)
    names, texts = [*inputs, *outputs], dict(texts)
    values = np.concatenate([np.asarray(rows[group], dtype=float) for group in groups])
    starts = np.concatenate([[0], np.cumsum([len(rows[group]) for group in groups])])
    numbers = {name: values[:, place] for place, name in enumerate(names)}
    codes = {name: values[:, len(names) + place].astype(int) for place, name in enumerate(texts)}
    splits = None if splits is None else [splits[group] for group in groups]
    return Table(groups, starts, numbers, codes, texts, splits, "test.csv", "f" * 64, "c" * 64)


def random_table(groups=30, rows=(25, 60), columns=4, seed=0, **options):
    """Groups of 25 to 60 rows of random numbers about a mean of their own."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(*rows, size=groups)
    made = {f"g{i:03d}": rng.normal(3, 2) + rng.normal(size=(size, columns)) for i, size in enumerate(sizes)}
    return table_of(made, **options)
