"""Tables of the user's: what is odd is read, what is damaged is refused in a line that says where."""

import gzip
import lzma
import os
import tracemalloc

import numpy as np
import pytest
from helpers import default_config

from maml_exp.config.schema import from_dict
from maml_exp.core.checks import SettingError
from maml_exp.data import sources

HEADER = "country,year,births"
GOOD = [f"c{i},{1960 + j},{i + j / 10}" for i in range(12) for j in range(15)]
TASK = {"name": "table", "group": "country", "inputs": ["year"], "outputs": ["births"], "shots": 3, "file": "t.csv"}


def text_of(*rows, header=HEADER):
    return "\n".join([header, *rows, ""])


def family_of(path, **changes):
    """The family that a run with this file has."""
    config = from_dict(default_config().to_dict() | {"task": TASK | changes})
    return config.reading(str(path)).problem.family


def with_row(row, place=20):
    return text_of(*GOOD[:place], row, *GOOD[place:])


DAMAGED = {  # content, what the message must say
    "empty": ("", "is empty"),
    "only names": (text_of(), "has no rows below"),
    "blank lines": (text_of("", "", ""), "has no rows below"),
    "no such column": (text_of(*GOOD, header="land,year,births"), "line 1: there is no column country; it has land"),
    "misspelt": (text_of(*GOOD, header="country,yaer,births"), "there is no column year; .* did you mean yaer"),
    "case": (text_of(*GOOD, header="Country,year,births"), "there is no column country; .* did you mean Country"),
    "no names": (text_of(*GOOD, header=GOOD[0]), "line 1: there is no column country"),
    "duplicate names": (
        text_of(*GOOD, header="country,year,year"),
        "line 1: the name 'year' is there twice, columns 2, 3",
    ),
    "duplicate others": (
        text_of(*(f"{row},1,2" for row in GOOD), header=HEADER + ",a,a"),
        "the name 'a' is there twice, columns 4, 5",
    ),
    "semicolons": (text_of(*GOOD).replace(",", ";"), "line 1: values are apart by semicolons"),
    "tabs": (text_of(*GOOD).replace(",", "\t"), "line 1: values are apart by tabs"),
    "bars": (text_of(*GOOD).replace(",", "|"), "line 1: values are apart by bars"),
    "empty cell": (with_row("c0,1990,"), "line 22: '' in column births is not a finite number; fill it in"),
    "NA": (with_row("c0,NA,3"), "line 22: 'NA' in column year is not a finite number; fill it in"),
    "nan": (with_row("c0,1990,nan"), "line 22: 'nan' in column births is not a finite number"),
    "infinite": (with_row("c0,1990,inf"), "line 22: 'inf' in column births"),
    "overflow": (with_row("c0,1990,1e999"), "line 22: '1e999' in column births"),
    "text": (with_row("c0,1990,many"), "line 22: 'many' in column births"),
    "date": (with_row("c0,1990-01-01,3"), "line 22: '1990-01-01' in column year"),
    "underscore": (with_row("c0,1_990,3"), "line 22: '1_990' in column year"),
    "thousands": (with_row('c0,"1,990",3'), "line 22: '1,990' in column year"),
    "decimal comma": (with_row('c0,1990,"3,5"'), "line 22: '3,5' in column births"),
    "unit": (with_row("c0,1990,3.5 births"), "line 22: '3.5 births' in column births"),
    "percent": (with_row("c0,1990,35%"), "line 22: '35%' in column births"),
    "no group": (with_row(",1990,3"), "line 22: column country is empty"),
    "blank group": (with_row("  ,1990,3"), "line 22: column country is empty"),
    "too few cells": (with_row("c0,1990"), "line 22: 2 values; expected are 3"),
    "too many cells": (with_row("c0,1990,3,4"), "line 22: 4 values; expected are 3"),
    "a line of text": (with_row("source: somebody"), "line 22: 1 values; expected are 3"),
    "names again": (with_row(HEADER), "line 22: 'year' in column year"),
    "quote not closed": (with_row('c0,"1990,3'), "line 22: not a CSV file in UTF-8"),
    "quote inside": (with_row('c0,"19"90,3'), "line 22: not a CSV file in UTF-8"),
    "long cell": (with_row("c0,1990," + "1" * 200_000), "line 22: not a CSV file in UTF-8"),
    "long group": (with_row("c" * 1000 + ",1990,3"), "is no name"),
    "one group": (text_of(*GOOD[:15]), r"1 group\(s\) in column country; it needs at least 3"),
    "two groups": (text_of(*GOOD[:30]), r"2 group\(s\)"),
    "a group a row": (text_of(*(f"c{i},{i},{i}" for i in range(40))), r"fewer than 4 rows: c\d+ \(1\)"),
    "constant input": (
        text_of(*(f"c{i},1990,{j}" for i in range(9) for j in range(9))),
        "column year is 1990 in every",
    ),
    "constant output": (text_of(*(f"c{i},{j},3" for i in range(9) for j in range(9))), "column births is 3 in every"),
    "too far apart": (text_of(*(f"c{i},{j},{(-1) ** j}e308" for i in range(9) for j in range(9))), "too far apart"),
    "not UTF-8": (text_of(*GOOD).replace("c7", "caf\xe9").encode("latin-1"), "not a CSV file in UTF-8"),
    "UTF-16": (text_of(*GOOD).encode("utf-16"), "not a CSV file in UTF-8"),
    "binary": (bytes(range(256)) * 4, "not a CSV file in UTF-8"),
    "other split": (
        text_of(*(f"{row},holdout" for row in GOOD), header=HEADER + ",split"),
        "'holdout' in column split is none of train, validation, test",
    ),
    "group in two splits": (
        text_of(*(f"{row},{('train', 'test')[i % 2]}" for i, row in enumerate(GOOD)), header=HEADER + ",split"),
        "rows of 'c0' are in two splits",
    ),
    "split without validation": (
        text_of(*(f"{row},{('train', 'test')[i > 90]}" for i, row in enumerate(GOOD)), header=HEADER + ",split"),
        "rows of 'c6' are in two splits|no validation group",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_table_is_refused_in_a_line_that_says_where(name, tmp_path):
    content, message = DAMAGED[name]
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingError, match=message) as refused:
        family_of(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_there_are_forty_damages():
    assert len(DAMAGED) >= 40


def contents(family):
    tasks = family.held_out("test", 0, 100, 3, 100)
    return [*tasks[:4], *family.sample(np.random.default_rng(0), 5, "float32")], family.fingerprint()


ODD = {
    "BOM": "\ufeff" + text_of(*GOOD),
    "windows lines": text_of(*GOOD).replace("\n", "\r\n"),
    "no last newline": text_of(*GOOD).rstrip("\n"),
    "blank lines": text_of("", *GOOD, "", ""),
    "spaces": text_of(*(row.replace(",", " , ") for row in GOOD), header="country , year, births "),
    "quotes": text_of(*(",".join(f'"{cell}"' for cell in row.split(",")) for row in GOOD)),
    "other columns": text_of(*(f"x,{row},y z" for row in GOOD), header=f"a,{HEADER},b"),
    "other order of columns": text_of(
        *(",".join(reversed(row.split(","))) for row in GOOD), header="births,year,country"
    ),
    "other order of rows": text_of(*np.random.default_rng(0).permutation(GOOD)),
    "other order of groups": text_of(*GOOD[::-1]),
    "other words for numbers": text_of(*(row.replace(",19", ",+19").replace(".5", ".50e0") for row in GOOD)),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_the_same_table_to_the_bit(name, tmp_path):
    (tmp_path / "plain.csv").write_text(text_of(*GOOD))
    (tmp_path / "another name.csv").write_text(ODD[name], encoding="utf-8", newline="")
    plain, fingerprint = contents(family_of(tmp_path / "plain.csv"))
    odd, same = contents(family_of(tmp_path / "another name.csv"))
    assert fingerprint == same
    for one, two in zip(plain, odd, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_a_packed_file_is_the_same_table(suffix, pack, tmp_path):
    (tmp_path / "t.csv").write_text(text_of(*GOOD))
    (tmp_path / f"t.csv{suffix}").write_bytes(pack(text_of(*GOOD).encode()))
    (tmp_path / f"cut.csv{suffix}").write_bytes(pack(text_of(*GOOD).encode())[:-20])
    assert contents(family_of(tmp_path / "t.csv"))[1] == contents(family_of(tmp_path / f"t.csv{suffix}"))[1]
    with pytest.raises(SettingError, match="is damaged"):
        family_of(tmp_path / f"cut.csv{suffix}")


def test_one_byte_that_has_changed_in_a_packed_file_is_damage(tmp_path):
    packed = gzip.compress(text_of(*GOOD).encode())
    for place in range(10, len(packed), 9):
        (tmp_path / "t.csv.gz").write_bytes(packed[:place] + bytes([packed[place] ^ 0xFF]) + packed[place + 1 :])
        with pytest.raises(SettingError, match=r"t\.csv\.gz"):
            family_of(tmp_path / "t.csv.gz")


def test_what_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST", 10_000)
    (tmp_path / "t.csv.xz").write_bytes(lzma.compress(text_of(*GOOD * 100).encode()))
    with pytest.raises(SettingError, match="unpacks to more than 10000 bytes"):
        family_of(tmp_path / "t.csv.xz")


def arrays():
    cells = [row.split(",") for row in GOOD]
    return {
        "country": np.array([row[0] for row in cells]),
        "year": np.array([int(row[1]) for row in cells]),
        "births": np.array([float(row[2]) for row in cells]),
    }


def test_an_npz_is_the_same_table(tmp_path):
    (tmp_path / "t.csv").write_text(text_of(*GOOD))
    np.savez(tmp_path / "t.npz", **arrays())
    assert contents(family_of(tmp_path / "t.csv"))[1] == contents(family_of(tmp_path / "t.npz"))[1]


NPZ_DAMAGED = {
    "there is no column births": lambda a: {"country": a["country"], "year": a["year"]},
    "they must be alike": lambda a: a | {"births": a["births"][:-1]},
    "births has shape": lambda a: a | {"births": a["births"][:, None]},
    "births holds <U": lambda a: a | {"births": a["births"].astype(str)},
    "row 5: nan in births": lambda a: a | {"births": np.where(np.arange(180) == 5, np.nan, a["births"])},
    "row 7: country is empty": lambda a: a | {"country": np.where(np.arange(180) == 7, " ", a["country"])},
}


@pytest.mark.parametrize("message", NPZ_DAMAGED)
def test_a_damaged_npz_is_refused(message, tmp_path):
    np.savez(tmp_path / "t.npz", **NPZ_DAMAGED[message](arrays()))
    with pytest.raises(SettingError, match=message):
        family_of(tmp_path / "t.npz")


def test_an_npz_of_objects_or_none_is_refused(tmp_path):
    np.savez(tmp_path / "t.npz", **(arrays() | {"country": np.array(arrays()["country"], dtype=object)}))
    (tmp_path / "u.npz").write_text("no npz")
    for name in ("t.npz", "u.npz"):
        with pytest.raises(SettingError, match=name):
            family_of(tmp_path / name)


def test_categories_of_texts_are_read(tmp_path):
    rows = [f"{row},{'AB'[i % 15 > 7]}" for i, row in enumerate(GOOD)]
    (tmp_path / "t.csv").write_text(text_of(*rows, header=HEADER + ",half"))
    family = family_of(tmp_path / "t.csv", inputs=["half", "year"], categorical=["half"])
    assert family.input_names == ("half=A", "half=B", "year")
    (x, _), *_ = family.training_tasks()
    np.testing.assert_array_equal(x[:, 0] + x[:, 1], 1)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path, message in (
        (tmp_path / "pipe.csv", "a pipe"),
        (tmp_path, "a folder"),
        (tmp_path / "no.csv", "No such file"),
    ):
        with pytest.raises(SettingError, match=message):
            family_of(path)


def test_a_link_of_the_users_is_followed(tmp_path):
    (tmp_path / "t.csv").write_text(text_of(*GOOD))
    (tmp_path / "link.csv").symlink_to(tmp_path / "t.csv")
    assert family_of(tmp_path / "link.csv").facts()["counts"]["rows"] == len(GOOD)


def test_shipped_data_has_a_name_and_others_are_refused():
    family = family_of("x", file="package:fertility.csv")
    counts = family.facts()["counts"]
    assert (counts["rows"], counts["groups"]) == (202 * 50, 202)
    for name in ("package:nothing.csv", "package:../sources.py", "package:README.md"):
        with pytest.raises(SettingError, match=r"package: must be one of fertility\.csv"):
            family_of("x", file=name)


def test_a_file_that_changed_is_read_again(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text_of(*GOOD))
    before = family_of(path).fingerprint()
    path.write_text(with_row("c0,2000,3"))
    assert family_of(path).fingerprint() != before


@pytest.mark.parametrize("key", ["file", "group", "inputs", "outputs"])
def test_a_setting_that_is_missing_is_named(key, tmp_path):
    (tmp_path / "t.csv").write_text(text_of(*GOOD))
    with pytest.raises(SettingError, match=rf"task=table needs task\.{key}; for example"):
        family_of(tmp_path / "t.csv", **{key: type(TASK[key])()})


@pytest.mark.slow
def test_memory_is_bounded_by_the_numbers_that_are_kept(tmp_path):
    rows, path = 200_000, tmp_path / "large.csv"
    with open(path, "w") as file:
        file.write(HEADER + ",note\n")
        file.writelines(f"group {i % 500},{i % 977},{i % 31},some text of no use {i}\n" for i in range(rows))
    tracemalloc.start()
    try:
        family_of(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 300 * rows  # bytes a row; as Python's texts the cells alone take 270 more
