"""Help and show: all that can be said is told, and quickly."""

import subprocess
import sys
from pathlib import Path

import pytest

from dlrun.cli import flags
from dlrun.cli.help import overview, show
from dlrun.config import catalogue, components
from dlrun.config.schema import Count, allowed, keys
from dlrun.errors import InvalidConfig

CONF = catalogue.conf()
OPTIONS = [(g, o) for g in catalogue.groups([CONF]) for o in catalogue.options(g, [CONF])]
ENTRIES = catalogue.entries(CONF / "config.yaml")


@pytest.mark.parametrize(
    "words", [["--help"], ["show", "model"], ["show", "act"], ["show", "eval"], ["ls"]], ids=" ".join
)
def test_help_imports_neither_jax_nor_hydra(words: list[str]):
    code = (
        f"import sys; from dlrun.cli.main import main; code = main({words});"
        "print(*sys.modules, sep='\\n', file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert not {"jax", "flax", "hydra", "omegaconf", "numpy", "matplotlib", "rich"} & set(done.stderr.split())


def choices(text: str) -> dict[str, list[str]]:
    """The options of each group that help lists, on one line or several."""
    found: dict[str, list[str]] = {}
    for line in text.split("Choices")[1].split("\n\n")[0].splitlines()[1:]:
        if line[2] != " ":
            found[line.split()[0]] = line.split()[1:]
        else:
            found[list(found)[-1]] += line.split()
    assert list(found) == catalogue.groups([CONF])
    return found


def test_help_tells_of_all_groups_options_keys_flags_and_subcommands(dlrun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    outcome = dlrun("--help")
    assert outcome.code == 0
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    for group, options in choices(outcome.out).items():
        assert {option.rstrip("*") for option in options} == set(catalogue.options(group, [CONF]))
    for entry in ENTRIES:
        if entry.value:
            assert f" {entry.key}={entry.value} {entry.comment} " in " ".join(outcome.out.split())
            assert entry.comment
    for action in flags.parser()._actions:
        assert all(any(flag in line for line in lines) for flag in action.option_strings)
    for command in flags.SUBCOMMANDS:
        assert any(line.startswith(f"dlrun {command} ") for line in lines)


@pytest.mark.parametrize("columns", [60, 100])
def test_help_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    keys_part = overview([]).split("Keys with")[1].splitlines()[1:]
    assert max(map(len, keys_part[: len(ENTRIES)])) <= columns


def test_the_default_of_every_group_is_marked():
    marked = {group: [o for o in options if o.endswith("*")] for group, options in choices(overview([])).items()}
    chosen = catalogue.defaults(CONF / "config.yaml")
    assert marked == {group: [f"{chosen[group]}*"] if group in chosen else [] for group in marked}


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids="=".join)
def test_show_tells_default_range_and_meaning_of_every_key(group: str, option: str):
    lines = [line.strip() for line in show([f"{group}={option}"], []).splitlines()]
    file = catalogue.options(group, [CONF])[option]
    assert lines[0] == f"{group}={option}"
    assert catalogue.headline(file).split()[0] in lines[1]
    signature = (
        keys(components.resolve(group, catalogue.component(file) or option, ())) if group in components.HOMES else {}
    )
    entries = catalogue.entries(file) if group in components.HOMES else []
    assert set(signature) == {e.key for e in entries}
    for entry in entries:
        at = lines.index(f"{group}.{entry.key}={entry.value}")
        below = " ".join(lines[at + 1 :])
        assert below.startswith(f"{entry.comment} allowed: {signature[entry.key].allowed}")
        assert entry.comment


def test_show_of_groups_sections_and_keys(dlrun):
    assert dlrun("show", "eval").out.splitlines()[0] == "eval.every=1epoch"
    assert "eval.batch_size=null" in dlrun("show", "eval").out
    assert dlrun("show", "batch_size").out.split("\n")[0] == "batch_size=64"
    assert f"allowed: {allowed(Count)}" in dlrun("show", "batch_size").out
    assert {"optim=adam", "optim=adamw", "optim=sgd", "optim.lr=0.1"} <= set(dlrun("show", "optim.lr").out.splitlines())
    assert dlrun("show", "model").out.startswith(f"model={min(catalogue.options('model', [CONF]))} ")
    assert all(f"{group}={option}" in dlrun("show").out for group, option in OPTIONS)
    assert "norm=layer act=gelu" in dlrun("show", "model=transformer").out


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.value], ids=lambda e: e.key)
def test_show_tells_what_is_allowed_of_every_fixed_key(entry: catalogue.Entry):
    assert show([entry.key], []).splitlines()[-1].startswith("    allowed: ")


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("model=resent", "resnet"),
        ("modle", "model"),
        ("eval.evry", "eval.every"),
        ("optim.lrr", "optim.lr"),
        ("bach_size", "batch_size"),
    ],
)
def test_show_of_something_unknown_names_the_nearest(word: str, nearest: str, dlrun):
    outcome = dlrun("show", word, "seed")
    assert (outcome.code, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"error: {word}: unknown")
    assert f"did you mean '{nearest}'?" in line


def test_all_unknown_words_are_told_together():
    with pytest.raises(InvalidConfig) as raised:
        show(["modle", "model=resent", "seed"], [])
    assert len(raised.value.problems) == 2


@pytest.fixture
def mine() -> Path:
    folder = Path("mine")
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "mynet.yaml").write_text("# My net.\nname: mynet_shown:MyNet\nrank: 3  # of the factors\n")
    (folder / "model" / "small.yaml").write_text("# A small one.\nname: mlp\nwidths: [8]\n")
    Path("mynet_shown.py").write_text(
        "from dlrun.schema import Count\n"
        "def MyNet(inputs, outputs, parts, rngs, *, rank: Count = 2, tied: bool = False): ...\n"
    )
    return folder


def test_show_and_help_tell_of_the_users_own_options(mine: Path, dlrun):
    assert "mynet" in dlrun("--help", "--config-dir", "mine").out
    assert "My net." in dlrun("show", "model", "--config-dir", "mine").out
    assert f"allowed: a list, each item {allowed(Count)}" in dlrun("show", "model=small", "--config-dir", "mine").out


def test_the_users_own_code_is_imported_only_when_trusted(mine: Path, dlrun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("DLRUN_TRUST", "")
    untrusted = dlrun("show", "model=mynet", "--config-dir", "mine").out
    assert "model.rank=3" in untrusted
    assert "--trust mynet_shown" in untrusted
    assert "allowed: a whole" not in untrusted
    assert "mynet_shown" not in sys.modules
    trusted = dlrun("show", "model=mynet", "--config-dir", "mine", "--trust", "mynet_shown").out
    assert f"model.rank=3\n    of the factors\n    allowed: {allowed(Count)}" in trusted
    assert "model.tied=false\n    allowed: true or false" in trusted  # left out of the file: the signature's default
    sys.modules.pop("mynet_shown")


def test_a_config_dir_that_is_not_there(dlrun):
    for words in (["--help"], ["show", "model"]):
        outcome = dlrun(*words, "--config-dir", "nowhere")
        assert (outcome.code, outcome.out, outcome.err) == (2, "", "error: --config-dir nowhere: no such folder\n")


def test_entries_are_read_as_they_are_written():
    Path("x.yaml").write_text(
        '# Head.\nname: "a.b:C"\ncolor: "#fff"  # of the curve\n'
        "              # and its band\n# not of it\n"
        "widths: [1, 2]\nempty:\npart:   # a section\n  key: 1e-3 # inner\nplain: a#b\n"
    )
    found = {e.key: (e.value, e.comment) for e in catalogue.entries(Path("x.yaml"))}
    assert found == {
        "color": ('"#fff"', "of the curve and its band"),
        "widths": ("[1, 2]", ""),
        "empty": ("", ""),
        "part": ("", "a section"),
        "part.key": ("1e-3", "inner"),
        "plain": ("a#b", ""),
    }
    assert catalogue.component(Path("x.yaml")) == "a.b:C"
    assert catalogue.headline(Path("x.yaml")) == "Head."
