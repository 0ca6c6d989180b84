"""Gives a program its teacher: the trained model whose outputs it learns from (``loss=distillation``)."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.config.plan import Plan
from dlrun.data.dataset import Dataset
from dlrun.errors import InvalidConfig, Unfit
from dlrun.nn.parts import Inputs
from dlrun.program import trained_model
from dlrun.program.program import Program
from dlrun.program.trained_model import Trained


def with_teacher(program: Program, plan: Plan, data: Dataset) -> tuple[Program, dict[str, Any], Trained]:
    """The program with its teacher, the teacher's arrays by name, and the teacher. Raises :class:`Unfit`."""
    where = plan.values["loss"]["teacher"]
    if where is None:
        raise Unfit("teacher", None, "be the directory of a run to learn from")
    if data.task not in ("classification", "language_modelling"):
        raise Unfit(".loss", "distillation", "be another loss: distillation compares classes, and there are none")
    try:
        teacher = trained_model.load(Path(os.path.expanduser(where)), plan.trust)
    except InvalidConfig as error:
        raise Unfit("teacher", where, f"hold a model that can be rebuilt; {'; '.join(error.problems)}") from None
    mine, its = (
        Inputs(d["kind"], tuple(d["shape"]), d.get("vocabulary", 0)) for d in (data.preprocessing(), teacher.data)
    )
    if mine != its or list(data.classes) != teacher.data["classes"]:
        raise Unfit(
            "teacher",
            where,
            f"be a run on the same data: it takes {its} and knows {len(teacher.data['classes'])} classes",
        )
    mine, its = json.loads(json.dumps(data.preprocessing())), teacher.data
    for key in ("encoder", "tokeniser"):
        if mine.get(key) != its.get(key):
            raise Unfit(
                "teacher",
                where,
                f"be a run on the same data with the same split: its {key} differs, according to data.json",
            )
    arrays: dict[str, Any] = {"params": teacher.params, "variables": teacher.variables}
    if "input_mean" in mine:
        arrays["inputs"] = restandardised(mine, its)
    return replace(program, teacher=teacher.outputs), {"teacher": arrays}, teacher


def restandardised(mine: dict[str, Any], its: dict[str, Any]) -> dict[str, np.ndarray]:
    """``scale`` and ``shift`` that turn inputs standardised by one data.json into inputs standardised by another."""
    (mean, std), (its_mean, its_std) = (
        (np.asarray(d["input_mean"], np.float64), np.asarray(d["input_std"], np.float64)) for d in (mine, its)
    )
    change = {"scale": std / its_std, "shift": (mean - its_mean) / its_std}
    return {name: value.astype(np.float32) for name, value in change.items()}
