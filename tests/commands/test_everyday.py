"""Everyday use: version, help, one exit status for mistakes, words for what was mistyped, -q, what to do next."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import COMMAND, TIMEOUT, TINY, command, environment

import maml_exp
from maml_exp.cli import VERBS, main

QUICK = [*TINY, "training.iterations=2"]


def test_the_version_is_the_package_s(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"maml-exp {maml_exp.__version__}\n"


def test_version_and_help_do_not_wait_for_hydra():
    for word in ("--version", "help"):
        code = f"import sys; from maml_exp.cli import main; main([{word!r}]); print('hydra' in sys.modules)"
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT)
        assert process.stdout.splitlines()[-1] == "False", process.stderr


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("form", [["VERB", "--help"], ["help", "VERB"], ["--help", "VERB"]], ids=" ".join)
def test_the_help_of_a_verb_says_how_it_ends(verb, form, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb if word == "VERB" else word for word in form])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(f"usage: maml-exp {verb} ")
    assert "exit status: 0 " in text


# what each verb makes of an option and of arguments that it does not know: exit status 1, and its help is named
UNKNOWN = [
    [verb, *["x"] * words, "--no-such=3"] for verb, words in zip(VERBS, (1, 1, 1, 2, 1, 2, 1, 1, 1, 0), strict=True)
]
TOO_FEW = [["resume"], ["rerun"], ["diff", "a"], ["compare"], ["adapt", "a"], ["plot"], ["completion"]]
TOO_MANY = [["diff", "a", "b", "c"], ["settings", "a", "b"]]
ODD = [["plot", "a", "--format", "gif"], ["resume", "a", "--jobs", "many"], ["completion", "tcsh"]]


@pytest.mark.parametrize("arguments", [*UNKNOWN, *TOO_FEW, *TOO_MANY, *ODD], ids=" ".join)
def test_a_mistake_of_any_verb_is_a_line_and_status_1(arguments, capsys):
    if arguments[0] == "completion" and "--no-such=3" in arguments:
        arguments = ["completion", "bash", "--no-such=3"]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert f"maml-exp {arguments[0]} --help says more" in captured.err


TYPED = [
    (["resum", "x"], "did you mean maml-exp resume?"),
    (["help", "comparee"], "did you mean maml-exp compare?"),
    (["inner.lr"], "inner.lr needs a value: inner.lr=..."),
    (["model"], "model needs an option, as in model=one_hidden"),
    (["resume", "x", "--jbos", "2"], "did you mean --jobs?"),
    (["resume", "x", "y"], "y is one too many: one run or sweep at a time"),
    (["--foo"], "unrecognized arguments: --foo"),
    (["algoritm=maml"], "did you mean algorithm=..."),
    (["innner.lr=1"], "innner.lr is not a setting; did you mean inner.lr?"),
    (["hiden=[3]"], "did you mean model.hidden?"),
    (["task.amplitude=[1,", "3]"], "quote it, as in 'task.amplitude=[1, 3]'"),
    (["seed=1", "name=a", "b"], "quote it, as in 'name=a b'"),
    (["-m", "seed=0,1", "task.phase=[0,", "3]", "inner.lr=1"], "quote it, as in 'task.phase=[0, 3]'"),
    (["name=größe"], "\"name='größe'\""),
    (["algorithm=maml,fomaml"], "put -m (--multirun) in front: maml-exp -m algorithm=maml,fomaml"),
    (["seed=0,1"], "put -m (--multirun) in front: maml-exp -m seed=0,1"),
    (["+experiment=smoke", "seed=range(3)"], "put -m (--multirun) in front: maml-exp -m 'seed=range(3)'"),
    (["algorithm=[maml,fomaml]"], "for a sweep: maml-exp -m algorithm=maml,fomaml"),
    (["-m", "algorithm=[maml,fomaml]"], "for a sweep: maml-exp -m algorithm=maml,fomaml"),
    (["experiment=smoke"], "+experiment=smoke"),
    (["optimizer.name=sgd"], "optimizer=sgd"),
    (["gradcheck", "foo"], "foo is not a setting such as inner.lr=0.02"),
    (["gradcheck", "model.hidden=[4,", "4]"], "quote it, as in 'model.hidden=[4, 4]'"),
]


@pytest.mark.parametrize(("arguments", "message"), TYPED, ids=[" ".join(case[0]) for case in TYPED])
def test_what_was_meant_is_said(arguments, message, capsys):
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not Path("runs").exists()


def test_what_a_quoted_value_is_told_to_be_works(capsys):
    """The advice, taken by a real shell."""
    assert main(["name=größe"]) == 1
    advice = capsys.readouterr().err.rpartition("for us: ")[2].strip()
    line = f"{shlex.join(COMMAND)} {shlex.join(QUICK)} {advice}"
    process = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=TIMEOUT)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1].endswith("-größe")


OWN = [
    ("inner:\n  steps: 3\n", "needs the line '# @package _global_' at its top"),
    ("# @package _global_\nmodel: one_hidden\n", "write  defaults: [override /model: one_hidden]"),
    ("# @package _global_\nalgorithm: fomaml # first order\n", "write  defaults: [override /algorithm: fomaml]"),
    ("# @package _global_\ninner:\n  stepz: 3\n", "inner.stepz is not a setting; did you mean inner.steps?"),
]


@pytest.mark.parametrize(("text", "message"), OWN, ids=[case[1] for case in OWN])
def test_a_mistake_in_an_experiment_of_one_s_own_is_explained(text, message, capsys):
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/own.yaml").write_text(text)
    assert main(["--config-dir", "mine", "+experiment=own"]) == 1
    assert message in capsys.readouterr().err


def test_an_experiment_written_as_told_works(capsys):
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/own.yaml").write_text("# @package _global_\ndefaults: [override /model: one_hidden]\n")
    assert main(["--config-dir", "mine", "+experiment=own", "--cfg", "job", "--package", "model"]) == 0
    assert "hidden:\n- 40\n" in capsys.readouterr().out


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    assert main(["-q", "-m", *QUICK, "seed=0,1", f"hydra.sweep.dir={folder}"]) == 0
    return folder


@pytest.mark.parametrize("line", ["rerun S", "rerun S seed=3", "plot S", "diff S S", "adapt S points.csv"])
def test_a_sweep_where_a_run_is_wanted_names_its_jobs(sweep, line, capsys):
    assert main(line.replace("S", str(sweep)).split()) == 1
    assert f"{sweep} is a sweep; give one of its 2 jobs, as {sweep}/0_seed=0" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["plot", "list", "compare"])
def test_an_empty_sweep_says_how_to_start_it(verb, tmp_path, capsys):
    (tmp_path / "sweep.json").write_text('{"overrides": [], "constant": [], "jobs": [["seed=1"]]}')
    assert main([verb, str(tmp_path)]) == 1
    assert f"maml-exp resume {tmp_path} starts" in capsys.readouterr().err


BLAMED = [
    ("inner.lr=-3", "maml-exp: inner.lr=-3.0 is not usable: it must be a finite number > 0"),
    ("inner.lrr=3", "maml-exp: inner.lrr is not a setting; did you mean inner.lr?"),
    ("seed=0,1", "maml-exp: seed=0,1 gives several values; rerun makes one run"),
]


@pytest.mark.parametrize(("override", "message"), BLAMED, ids=[case[0] for case in BLAMED])
def test_rerun_blames_the_override(tiny, override, message, capsys):
    assert main(["rerun", str(tiny), override]) == 1
    assert capsys.readouterr().err.startswith(message)


def test_rerun_blames_the_file_where_it_is_the_file_s_fault(tiny, copied, capsys):
    run = copied(tiny)
    config = run / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("meta_batch: 25", "meta_batch: -1"))
    assert main(["rerun", str(run), "seed=3"]) == 1
    assert f"{config}: training.meta_batch=-1 is not usable" in capsys.readouterr().err


def test_a_run_ends_with_its_picture_and_commands_that_work(tmp_path):
    process = command(*QUICK, "evaluation.plots=true", "name='a run'", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    after = process.stdout.partition("middle half: ")[2].splitlines()[2:]
    said = dict(line.split(maxsplit=1) for line in after[:1]) | {line[:12].strip(): line[13:] for line in after[1:4]}
    (folder,) = tmp_path.glob("runs/*/*a run")
    assert said["picture"] == str((folder / "plots" / "finetune.png").relative_to(tmp_path))
    assert shlex.split(said["a change"]) == ["maml-exp", "rerun", str(folder.relative_to(tmp_path)), "seed=1"]
    assert shlex.split(said["your points"])[:2] == ["maml-exp", "adapt"]
    assert said["curves"] == "tensorboard --logdir runs"
    assert after[-1] == str(folder)
    again = command(*shlex.split(said["a change"])[1:], cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_quiet_leaves_the_table_and_the_log_file(tmp_path):
    loud, quiet = (command(*flag, *QUICK, "seed=7", cwd=tmp_path) for flag in ([], ["-q"]))
    assert loud.returncode == quiet.returncode == 0
    assert quiet.stderr == ""
    assert "maml, 1-8-1 relu" in loud.stderr
    assert loud.stdout.startswith(quiet.stdout)
    assert "picture" not in quiet.stdout
    logs = [path.read_text() for path in tmp_path.glob("runs/*/*/maml_exp.log")]
    assert len(logs) == 2
    assert all("maml, 1-8-1 relu" in text for text in logs)


def test_a_quiet_sweep_prints_its_table_alone(sweep, tmp_path):
    process = command("--quiet", "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=here", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.split()[:4] == ["job", "status", "objective", "error"]
    assert "finished, objective" not in process.stdout


def test_quiet_still_shows_errors(capfd):
    assert main(["-q", "inner.lr=-1"]) == 1
    assert "inner.lr=-1.0 is not usable" in capfd.readouterr().err
    assert main([*QUICK, "-q", "inner.lr=1e30", "inner.steps=5", "training.iterations=50"]) == 1
    assert "error: the meta-loss is" in capfd.readouterr().err


COMPLETED = [
    (["re"], {"resume", "rerun"}),
    (["inner.l"], {"inner.lr="}),
    (["model=o"], {"model=one_hidden"}),
    (["-m", "algorithm=f"], {"algorithm=fomaml"}),
    (["help", "gradc"], {"gradcheck"}),
    (["compare", "--no"], {"--no-figures"}),
    (["resume", "ru"], {"runs"}),
    (["resume", "runs/a"], {"runs/a1", "runs/a2"}),
    (["resume", "runs/a1/"], set()),  # a run's own folders are none
    (["rerun", "runs/a1", "inner.st"], {"inner.steps="}),
    (["list", "--where", "algorithm=jo"], {"algorithm=joint"}),
    (["adapt", "runs/a1", "poi"], {"points.csv"}),
    (["settings", "opt"], {"optimizer"}),
]


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell}")


@pytest.fixture
def home(tmp_path):
    """A folder with runs, and the program beside them; returns where the program is looked for."""
    program = tmp_path / "bin" / "maml-exp"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    for run in ("a1", "a2", "b"):
        (tmp_path / "runs" / run / ".hydra").mkdir(parents=True)
        (tmp_path / "runs" / run / ".hydra" / "config.yaml").touch()
        (tmp_path / "runs" / run / "plots").mkdir()
    (tmp_path / "points.csv").touch()
    return f"{program.parent}:{environment()['PATH']}"


@needs("bash")
@needs("fish")
def test_fish_completes_the_same(home, tmp_path):
    asked = [f"complete -C {shlex.quote(shlex.join(['maml-exp', *words]))}; echo ." for words, _ in COMPLETED]
    code = "maml-exp completion fish | source\n" + "\n".join(asked)
    process = subprocess.run(
        ["fish", "--no-config", "-c", code],
        cwd=tmp_path,
        env=environment(PATH=home, HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert process.stderr == ""
    answers = process.stdout.split(".\n")[:-1]
    assert [set(answer.split()) for answer in answers] == [expected for _, expected in COMPLETED]


@needs("zsh")
def test_zsh_takes_over_bash_s_functions(home, tmp_path):
    process = subprocess.run(
        ["zsh", "-f", "-c", 'eval "$(maml-exp completion zsh)"; print -r -- $_comps[maml-exp]; whence -w _maml_exp'],
        cwd=tmp_path,
        env=environment(PATH=home, HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stderr == ""
    assert process.stdout.splitlines() == ["_bash_complete -o nospace -F _maml_exp", "_maml_exp: function"]


@pytest.mark.slow
@needs("bash")
@pytest.mark.parametrize("install", ["completion bash", "-sc install=bash"])
def test_bash_completes_verbs_runs_and_settings(install, home, tmp_path):
    """In a real bash, by the function that `complete` says it would call."""
    cases = COMPLETED if install == "completion bash" else COMPLETED[:1]
    calls = [f"ask maml-exp {shlex.join(words)}" for words, _ in cases]
    code = f"""eval "$(maml-exp {install})"
ask() {{
    local function=$(complete -p maml-exp | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${{#COMP_LINE}}
    $function maml-exp "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
    echo "${{COMPREPLY[@]}}"
}}
""" + "\n".join(calls)
    process = subprocess.run(
        ["bash", "--norc", "-c", code],
        cwd=tmp_path,
        env=environment(PATH=home),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert process.stderr == ""
    assert [set(line.split()) for line in process.stdout.splitlines()] == [expected for _, expected in cases]
