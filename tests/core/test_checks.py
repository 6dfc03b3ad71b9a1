from dataclasses import dataclass
from typing import ClassVar

import pytest

from maml_exp.core import checks
from maml_exp.core.checks import Check, SettingError, declared, setting


@dataclass
class Oven(checks.Settings):
    section: ClassVar[str] = "oven"
    name: str = "?"  # not declared by `setting`: nothing checks it
    degrees: float = setting(180.0, "how hot", checks.number(above=20), unit="degrees")
    trays: list[int] = setting([1, 2], "which trays are in", Check(lambda v: len(v) < 4, lambda: "at most 3 trays"))
    timer: int | None = setting(None, "when it ends", checks.optional(checks.integer(1, 90), null="null: never"))


@dataclass
class Kitchen(checks.Settings):
    lights: bool = setting(True, "whether one sees", checks.boolean())
    oven: Oven = setting(Oven, "what bakes", Check(lambda v: isinstance(v, Oven), lambda: "an oven"))


INTERVAL = "[low, high], two finite numbers with low"


@pytest.mark.parametrize(
    ("check", "good", "bad", "allowed"),
    [
        (checks.integer(2, 4), [2, 4], [1, 5, 3.0, True, None, "3"], "an integer from 2 to 4"),
        (checks.number(), [1e-300, 3], [0, -1, float("inf"), float("nan"), True, None], "a finite number > 0"),
        (checks.number(above=-1), [-0.5, 0], [-1, "0"], "a finite number > -1"),
        (checks.fraction(), [0, 0.5], [1, -0.1, None], "a number with 0 <= value < 1"),
        (checks.boolean(), [True, False], [0, 1, "true", None], "true or false"),
        (checks.one_of(lambda: ["b", "a"]), ["a", "b"], ["c", "", None, 1, ["a"]], "one of a, b"),
        (checks.interval(), [[0, 0], (0, 1)], [[1, 0], [0], [-1e308, 1e308], None], f"{INTERVAL} <= high"),
        (checks.interval(strict=True), [[0, 1]], [[0, 0], [1, 0]], f"{INTERVAL} < high"),
        (checks.optional(checks.integer(1, 2)), [None, 1], [0, "null"], "an integer from 1 to 2, or null"),
        (checks.optional(checks.boolean(), "null: ask"), [None, True], [0], "true or false, or null: ask"),
    ],
    ids=lambda value: value.allowed() if isinstance(value, Check) else "",
)
def test_a_check_accepts_what_it_says_it_allows(check, good, bad, allowed):
    assert check.allowed() == allowed
    for value in good:
        check.require("key", value)
    for value in bad:
        with pytest.raises(SettingError) as caught:
            check.require("key", value)
        assert str(caught.value) == f"key={value!r} is not usable: it must be {allowed}"


def test_the_words_for_what_is_allowed_are_made_only_when_they_are_shown():
    asked = []
    check = Check(lambda value: value == 1, lambda: asked.append(1) or "one")
    check.require("key", 1)
    assert asked == []
    with pytest.raises(SettingError, match="it must be one"):
        check.require("key", 2)
    assert asked == [1]


def test_settings_are_checked_when_they_are_made_under_their_groups_name():
    with pytest.raises(SettingError, match=r"oven\.degrees=20 is not usable: it must be a finite number > 20"):
        Oven(degrees=20)
    with pytest.raises(SettingError, match=r"^lights=1 is not usable"):
        Kitchen(lights=1)
    assert Oven(name="anything goes").degrees == 180


def test_declared_settings_carry_default_help_and_unit():
    found = declared(Oven)
    assert list(found) == ["oven.degrees", "oven.trays", "oven.timer"]
    assert found == declared(Oven())
    field = found["oven.degrees"]
    assert (field.default, field.metadata["help"], field.metadata["unit"]) == (180.0, "how hot", "degrees")
    assert list(declared(Kitchen)) == ["lights", "oven"]


def test_defaults_that_can_change_are_made_anew():
    first, second = Kitchen(), Kitchen()
    first.oven.trays.append(3)
    assert first.oven is not second.oven
    assert (second.oven.trays, Oven().trays) == ([1, 2], [1, 2])


def test_a_long_value_is_cut():
    with pytest.raises(SettingError) as caught:
        checks.require(False, "key", "x" * 100, "short")
    shown = "'" + "x" * 56 + "..."
    assert str(caught.value) == f"key={shown} is not usable: it must be short"
