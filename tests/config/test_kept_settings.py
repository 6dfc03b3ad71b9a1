"""What a saved configuration of schema 3 does not say is what it meant then."""

from pathlib import Path

import pytest
import yaml

from maml_exp.config.migrations import migrated
from maml_exp.config.saved import load_config
from maml_exp.config.schema import SCHEMA

DATA = Path(__file__).parents[1] / "data"
SAVED = ["bd1b5f6/finished", "schema2/finished", "schema3/finished"]


def plain_of(folder):
    return yaml.safe_load((DATA / folder / ".hydra" / "config.yaml").read_text())


@pytest.mark.parametrize("folder", SAVED)
def test_the_outer_rate_stays_constant(folder):
    config = load_config(DATA / folder / ".hydra" / "config.yaml")
    assert (config.optimizer.schedule, config.optimizer.lr_end) == ("constant", 0.0)
    assert config.optimizer.lr == plain_of(folder)["optimizer"]["lr"]


@pytest.mark.parametrize("strange", [{"optimizer": "adam"}, {"optimizer": None}, {}], ids=str)
def test_what_is_no_optimizer_is_left_for_the_checks_to_refuse(strange):
    assert migrated({"schema": 3, **strange}) == {"schema": SCHEMA, **strange}
