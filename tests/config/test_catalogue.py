"""The contract between conf/ and the code: every YAML file says what its component's signature says."""

import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlrun.config import catalogue, components, composition, plan, records
from dlrun.config.schema import allowed, find_problems, keys
from dlrun.config.settings import Settings

CONF = catalogue.conf()
OPTIONS = [(group, name, file) for group in components.HOMES for name, file in catalogue.options(group, [CONF]).items()]
IDS = [f"{group}={name}" for group, name, _ in OPTIONS]
ALIASES = {"silu": "swish", "he": "he_normal"}
FILES = [CONF / "config.yaml", *(file for *_, file in OPTIONS), *catalogue.options("experiment", [CONF]).values()]

each_option = pytest.mark.parametrize(("group", "name", "file"), OPTIONS, ids=IDS)


def load(file: Path) -> dict[str, Any]:
    """A file's keys, numbers as OmegaConf reads them: 1e-3 is one."""
    cfg = records.load(file)
    return {k: v for k, v in composition.plain(cfg)[0].items() if k not in ("defaults", "hydra")}


def component(group: str, name: str) -> Callable[..., Any]:
    return components.resolve(group, ALIASES.get(name, name), ())


def test_every_group_has_options() -> None:
    assert {group for group, *_ in OPTIONS} == set(components.HOMES) == set(components.GIVEN)
    assert set(catalogue.groups([CONF])) - {"experiment"} == set(components.HOMES)


@each_option
def test_option_is_named_as_its_file_and_component(group: str, name: str, file: Path) -> None:
    assert load(file)["name"] == ALIASES.get(name, name)
    known = component(group, ALIASES.get(name, name))
    assert known.__name__.replace("_", "").lower() == ALIASES.get(name, name).replace("_", "")
    assert known.__doc__


@each_option
def test_keys_are_those_of_the_signature(group: str, name: str, file: Path) -> None:
    values = load(file)
    del values["name"]
    signature = keys(component(group, name))
    assert list(values) == list(signature)
    assert find_problems(component(group, name), values, group) == []
    assert values == {k: _plain(key.default) for k, key in signature.items()}
    assert all(key.annotation is not Any for key in signature.values())


@each_option
def test_the_runner_gives_what_it_takes_by_position(group: str, name: str, file: Path) -> None:
    assert tuple(components.positional(component(group, name))) == components.given(group, component(group, name))


def test_settings_are_those_of_config_yaml() -> None:
    values = load(CONF / "config.yaml")
    assert values == _plain(Settings())
    assert list(_flat(values)) == list(_flat(_plain(Settings())))
    assert find_problems(Settings, values, "") == []


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.name}")
def test_comments(file: Path) -> None:
    assert len(catalogue.headline(file)) > 10
    assert catalogue.headline(file).endswith((".", "optim.lr=3e-3"))
    for entry in catalogue.entries(file):
        section = isinstance(_at(yaml.safe_load(file.read_text()), entry.key), dict)
        known = file.parent.name == "experiment"  # its keys have their meaning where they are defined
        assert entry.comment or section or known, f"{entry.key} has no comment"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.name}")
def test_no_imports_and_no_stray_files(file: Path) -> None:
    assert "_target_" not in file.read_text()
    assert "\t" not in file.read_text()


@pytest.fixture(scope="module")
def hydra() -> Any:
    return composition.loader([])


@each_option
def test_option_composes_and_passes(hydra: Any, group: str, name: str, file: Path) -> None:
    cfg, found = composition.compose(hydra, [f"{group}={name}"])
    assert found == []
    values, unresolved = composition.plain(cfg)
    assert unresolved == []
    checked = plan.plan(values)
    assert checked.choices[group].component is component(group, name)
    assert checked.values == {k: v for k, v in values.items() if k not in ("experiment", *catalogue.NOT_OF_A_RUN)}
    traced = [
        f"{group}.{k}" for k, key in keys(component(group, name)).items() if key.traced and values[group][k] is not None
    ]
    on = [k for k in traced if k not in plan.OFF_AT_ZERO or values[group][k.partition(".")[2]] != 0]
    assert [k for k in checked.numbers if k.startswith(f"{group}.")] == on
    assert not {k for k, _ in checked.choices[group].values} & {t.partition(".")[2] for t in traced}
    hash(checked.choices[group])  # part of a compiled function's key


@pytest.mark.parametrize("name", catalogue.options("experiment", [CONF]))
def test_experiment_composes_and_says_what_to_expect(hydra: Any, name: str) -> None:
    cfg, found = composition.compose(hydra, [f"experiment={name}"])
    values, unresolved = composition.plain(cfg)
    assert found + unresolved == []
    assert plan.plan(values).values["seed"] == 0
    header = catalogue.headline(CONF / "experiment" / f"{name}.yaml")
    assert f"dlrun experiment={name}" in header
    assert re.search(r"\b(s|minutes?|hours?)\b", header), "how long it takes"
    assert re.search(r"Expect|Not run", header)
    assert re.search(r"\d\.\d", header)


def test_numbers_of_training_live_in_the_state(hydra: Any) -> None:
    cfg, _ = composition.compose(hydra, ["dropout=0.1", "clip_norm=1", "ema=0.9", "label_smoothing=0.1", "optim=sgd"])
    numbers = plan.plan(composition.plain(cfg)[0]).numbers
    expected = {"dropout", "clip_norm", "ema", "label_smoothing", "optim.lr", "optim.momentum", "optim.weight_decay"}
    assert expected | {"schedule.warmup", "schedule.final", "init.scale"} == set(numbers)
    assert all(type(v) is float for v in numbers.values())


def test_every_key_says_what_is_allowed() -> None:
    signatures = [keys(component(group, name)) for group, name, _ in OPTIONS]
    for signature in [*signatures, *_signatures(Settings)]:
        for key in signature.values():
            if not key.section:
                assert re.fullmatch(r"[^<>{}]*(>=? ?[\d.]+[^<>{}]*)?", allowed(key.annotation)), key
                assert "typing" not in key.allowed


def _signatures(section: type) -> Iterator[dict[str, Any]]:
    yield keys(section)
    for key in keys(section).values():
        if key.section:
            yield from _signatures(key.annotation)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return found


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values
