"""What a directory of others says is read within bounds, decides what is computed, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlrun.cli import resume
from dlrun.config import composition, records, trust
from dlrun.config.components import HOMES
from dlrun.config.schema import filled, keys
from dlrun.config.settings import Settings
from dlrun.errors import InvalidConfig
from dlrun.runs import files, loading, rundir
from tests.conftest import QUICK
from tests.sweeps import SMALL, contents

USUAL = filled(Settings, {})


@pytest.fixture
def run(finished: Callable[..., Any], own_folder: Path) -> Path:
    """A run directory that somebody else may have changed."""
    finished(*QUICK).directory.rename(own_folder / "run")
    return Path("run")


def say(directory: Path, **changes: Any) -> Path:
    """Changes what the directory's configuration says."""
    file = directory / rundir.CONFIG
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))
    return file


def test_every_key_at_the_top_has_one_who_decides_it() -> None:
    assert {*trust.DECIDES} == {*keys(Settings), *HOMES, "experiment", "hydra"}


HOSTILE = {
    "compile_cache": "/elsewhere",
    "distributed": {"coordinator": "elsewhere:1", "processes": 2, "process": 0},
    "launcher": {"name": "submitit", "setup": ["touch /elsewhere"]},
    "hydra": {"searchpath": ["/elsewhere"], "job_logging": {"handlers": {"x": {"()": "os.system"}}}},
}


@pytest.mark.parametrize("key", [key for key, who in trust.DECIDES.items() if who == "person"])
def test_what_a_person_decides_is_left_out_of_a_directory(run: Path, key: str) -> None:
    for said in (HOSTILE[key], 5, ["/elsewhere"]):
        file = say(run, **{key: said})
        cfg, problems, notices = resume.configuration(run, [])
        assert composition.plain(cfg)[0].get(key) == USUAL.get(key)
        assert problems == []
        assert [f"ignored in {file}" in line for line in notices] == [True]


def test_what_a_directory_decides_stays_without_a_word(run: Path) -> None:
    say(run, compile_cache=None, data={"name": "digits"}, log={"every": 7})
    cfg, problems, notices = resume.configuration(run, [])
    assert (cfg.compile_cache, cfg.log.every, problems, notices) == (None, 7, [], [])


def test_ones_own_folder_of_compiled_programs_is_typed_again(dlrun: Callable, run: Path, own_folder: Path) -> None:
    say(run, compile_cache=str(own_folder / "mine"))
    done = dlrun("resume", str(run), "epochs=2")
    assert done.code == 0, done.err
    assert f"if it is yours: dlrun resume run compile_cache={own_folder / 'mine'}\n" in done.err
    assert not (own_folder / "mine").exists()
    assert done.run["config"]["compile_cache"] == "auto"
    cfg, _, notices = resume.configuration(run, [f"compile_cache={own_folder / 'mine'}"])
    assert (cfg.compile_cache, notices) == (str(own_folder / "mine"), [])


RESOLVERS = ["${oc.env:SECRET}", "a/${oc.env:SECRET,x}", "${ oc.env:SECRET}", "${oc.${b}:SECRET}", "${oc.decode:'1'}"]


@pytest.mark.parametrize("text", RESOLVERS)
def test_no_resolver_of_a_directory_is_evaluated(
    dlrun: Callable, run: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    log = {"project": text}
    say(run, log=log, b="env")
    record = run / rundir.RUN
    record.write_text(record.read_text().replace('"project": "dlrun"', '"project": "${oc.env:SECRET}"'))
    cfg, _, _ = resume.configuration(run, [])
    assert composition.plain(cfg)[0]["log"]["project"] == "${oc.env:SECRET}"  # what run.json has, which is text

    record.write_text(record.read_text().replace('"project"', '"subject"'))
    before = contents(run)
    done = dlrun("resume", str(run))
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: run/.hydra/config.yaml: log.project={text}: not evaluated, as it comes from a directory; "
        "allowed: a plain value, in run.json or in its place\n"
    )
    assert contents(run) == before


def test_what_a_resolver_of_ones_own_stood_for_stays(
    dlrun: Callable, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROJECT", "mine")
    done = dlrun(*QUICK, "log.project=${oc.env:PROJECT}")
    monkeypatch.delenv("PROJECT")
    again = dlrun("resume", str(done.directory), "epochs=2")
    assert again.code == 0, again.err
    assert again.run["config"]["log"]["project"] == "mine"


def test_references_between_keys_are_filled_in(run: Path) -> None:
    say(run, label_smoothing="${optim.weight_decay}")
    assert composition.plain(resume.configuration(run, [])[0])[0]["label_smoothing"] == pytest.approx(0.01, abs=0.1)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dlrun.cli.main import main

    folder = tmp_path_factory.mktemp("swept") / "sweep"
    assert main(["-m", *SMALL, "epochs=1", "seed=0,1", "launcher.fail_fast=true", f"hydra.sweep.dir={folder}"]) == 0
    return folder


WORDS = [
    "compile_cache=/elsewhere",
    "++compile_cache=/elsewhere",
    "distributed.coordinator=elsewhere:1",
    "launcher=submitit",
    'launcher.setup=["touch x"]',
    "launcher.workers=${oc.env:SECRET}",
    "launcher.max_jobs=1000000000",
    "launcher.workers=5000",
    "launcher.retries=1000000000",
    "hydra.sweeper.n_trials=1000000000",
    "hydra/launcher=joblib",
    "hydra.searchpath=[/elsewhere]",
    "hydra.sweeper._target_=os.system",
    "hydra.job_logging.handlers.x.class=os.system",
    "log.project=${oc.env:SECRET}",
    "log.project='${${a}:SECRET}'",
    "experiment=../../elsewhere",
    "+model@hydra.launcher=mlp",
]


@pytest.mark.parametrize("word", WORDS)
def test_what_a_person_decides_is_not_taken_from_a_sweeps_record(
    dlrun: Callable, swept: Path, own_folder: Path, word: str
) -> None:
    shutil.copytree(swept, own_folder / "sweep")
    file = own_folder / "sweep/sweep.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "overrides": [*record["overrides"], word]}))
    before = contents(own_folder)
    done = dlrun("resume", "sweep")
    assert (done.code, done.out) == (2, "")
    assert "only a command may set it, not a directory; if it is yours: dlrun resume sweep " in done.err
    assert len(done.err.splitlines()) == 1
    assert contents(own_folder) == before
    typed = word.lstrip("+") if word.startswith("++") else word
    assert resume.sweep(Path("sweep"), [typed], []) is not None


def test_folders_of_configs_are_not_taken_from_a_sweeps_record(dlrun: Callable, swept: Path, own_folder: Path) -> None:
    shutil.copytree(swept, own_folder / "sweep")
    file, conf = own_folder / "sweep/sweep.json", own_folder / "my conf"
    file.write_text(json.dumps({**json.loads(file.read_text()), "config_dirs": [str(conf)]}))
    assert f"dlrun --config-dir '{conf}' resume sweep\n" in dlrun("resume", "sweep").err
    conf.mkdir()
    assert dlrun("--config-dir", str(conf), "resume", "sweep").code == 0


FILES = {
    "compile_cache: /elsewhere": "compile_cache=/elsewhere: not allowed in a file, as compiled programs are loaded",
    "hydra: {job_logging: {handlers: {x: {(): os.system, command: touch x}}}}": (
        "hydra.job_logging.handlers.x.()=os.system: not allowed; a configuration names nothing to import"
    ),
    "hydra: {job_logging: {handlers: {x: {class: logging.os.system}}}}": "x.class=logging.os.system: not allowed",
    "hydra: {hydra_logging: {handlers: {x: {stream: 'ext://os.environ'}}}}": "ext://os.environ: not allowed",
}


@pytest.mark.parametrize("text", FILES)
def test_no_file_names_code(dlrun: Callable, own_folder: Path, text: str) -> None:
    (own_folder / "conf/experiment").mkdir(parents=True)
    (own_folder / "conf/experiment/x.yaml").write_text(f"# @package _global_\n{text}\n")
    done = dlrun("--config-dir", "conf", "experiment=x", *QUICK)
    assert (done.code, done.out) == (2, "")
    assert FILES[text] in done.err
    assert [path.name for path in own_folder.iterdir()] == ["conf"]


BOMBS = {
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "an alias of what it is in": "a: &a [*a]\n",
    "depth": "a: " + "[" * 100_000,
    "keys of depth": "? " * 1000 + "a",
    "size": "a: " + "x" * files.YAML_BYTES,
    "values": "a: [" + "x, " * files.YAML_VALUES + "]",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_would_fill_the_memory_is_refused(run: Path, bomb: str) -> None:
    file = run / rundir.CONFIG
    file.write_text(BOMBS[bomb])
    with pytest.raises(InvalidConfig, match=r"^run/.hydra/config.yaml: can't be read: it(s alias| has more than)"):
        records.load(file)
    record = json.loads((run / rundir.RUN).read_text())
    del record["config"]
    (run / rundir.RUN).write_text(json.dumps(record))
    assert [one.config for one in loading.load([str(run)])] == [{}]


def test_a_file_of_any_size_is_refused_with_the_same_line(dlrun: Callable, run: Path) -> None:
    file = run / rundir.CONFIG
    for size in (3 * 2**20, 2**30):
        with file.open("wb") as f:
            f.truncate(size)  # holds no blocks on the disk
        done = dlrun("resume", str(run))
        assert (done.code, done.out) == (2, "")
        assert done.err == f"error: {file}: can't be read: it has more than 1,048,576 bytes\n"


def test_what_a_later_version_wrote_is_left_as_it_is(dlrun: Callable, run: Path, swept: Path, own_folder: Path) -> None:
    shutil.copytree(swept, own_folder / "sweep")
    shutil.copytree(swept, own_folder / "other")
    for directory, name, named in (
        ("run", "run.json", "run"),
        ("sweep", "sweep.json", "sweep"),
        ("other", "0/run.json", "other/0"),
    ):
        file = Path(directory, name)
        file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
        before = contents(own_folder)
        done = dlrun("resume", directory)
        assert (done.code, done.out) == (2, "")
        assert done.err == f"error: {named}: format 99 is not known to this dlrun, which reads up to 1\n"
        assert contents(own_folder) == before


def test_aliases_within_bounds_are_read() -> None:
    assert files.from_yaml(b"a: &a [1, 2]\nb: *a\nc: &c x\nd: *c") == {"a": [1, 2], "b": [1, 2], "c": "x", "d": "x"}
