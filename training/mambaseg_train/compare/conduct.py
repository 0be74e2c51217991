"""Conducting a comparison: plan and preprocess once, then train, predict and score each run."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambaseg.io.files import replacing
from mambaseg_train import nnunet
from mambaseg_train.compare.checks import check_design
from mambaseg_train.compare.cost import Cost, measure_cost
from mambaseg_train.compare.design import Design, Places, Run
from mambaseg_train.compare.process import Process, run_process
from mambaseg_train.compare.state import RunState, hold_design, read_state, write_state
from mambaseg_train.errors import RunError
from mambaseg_train.evaluation.paired import Comparison, compare
from mambaseg_train.evaluation.report import Evaluation, make_evaluation
from mambaseg_train.evaluation.run import Request, score_folder
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.structures import LabelScheme, read_scheme
from mambaseg_train.evaluation.table import Score
from mambaseg_train.evaluation.truths import truth_folder
from mambaseg_train.files import write_text
from mambaseg_train.networks.traits import traits
from mambaseg_train.planning.sizes import Sizes

Say = Callable[[str], None]


@dataclass(frozen=True)
class Compared:
    """One network of a finished comparison.

    Attributes
    ----------
    network
        Name.
    scores
        By case, structure and group.
    evaluation
        Figures over cases and groups.
    against
        Paired test against the control (a difference is this network minus the control); None for the control.
    cost
        Size, time and memory.
    """

    network: str
    scores: tuple[Score, ...]
    evaluation: Evaluation
    against: Comparison | None
    cost: Cost

    @property
    def title(self) -> str:
        """For people."""
        return traits(self.network).title


def plans_name(design: Design, network: str) -> str:
    """Name of a network's plans, different for other sizes and memory so that comparisons do not overwrite plans."""
    asked: list[Any] = [dict(design.sizes), design.memory_gb, list(design.spacing), planned_device(design.device)]
    asked += [design.recipe] if design.recipe else []
    return f"compare_{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]}_{network}"


def planned_device(device: str) -> str:
    """What plans are made for."""
    return "cpu" if device in {"cpu", "mps"} else "cuda"


def conduct(
    design: Design, places: Places, *, process: Process = run_process, say: Say = print
) -> tuple[Compared, ...]:
    """Train, predict and score everything that is not done yet.

    Parameters
    ----------
    design
        What is compared.
    places
        Where.
    process
        Runs a command of ours.
    say
        Told what happens.

    Returns
    -------
    tuple[Compared, ...]
        The networks, the control first.

    Raises
    ------
    RunError
        If another comparison was begun in this folder, there is no such fold, or a training fails; the same call goes
        on from there.
    PlanError, DataError
        As planning, preprocessing and evaluation do.
    """
    check_design(design, places)
    hold_design(places.base / "design.json", design.to_json())
    _prepare(design, places, say)
    runs = design.runs()
    for number, run in enumerate(runs, start=1):
        _conduct_run(design, places, run, process, functools.partial(_numbered, say, f"[{number}/{len(runs)}]"))
    say("Scoring ...")
    return score(design, places)


def _numbered(say: Say, number: str, text: str) -> None:
    say(f"{number} {text}")


def _prepare(design: Design, places: Places, say: Say) -> None:
    from mambaseg_train.planning.api import plan
    from mambaseg_train.recipes import load_recipe
    from mambaseg_train.run.preprocess import preprocess

    folders = nnunet.Folders(places.raw, places.preprocessed, places.base / "results")
    before = {name: os.environ.get(name) for name in folders.environment()}
    try:
        for network in design.networks:
            name = plans_name(design, network)
            if not (places.preprocessed / design.dataset / f"{name}.json").is_file():
                plan(
                    design.dataset,
                    network,
                    folders,
                    memory_gb=design.memory_gb,
                    sizes=_sizes_for(design, network),
                    plans_name=name,
                    spacing=design.spacing or None,
                    device=planned_device(design.device),
                    recipe=load_recipe(design.recipe) if design.recipe else None,
                    dimension=2 if design.configuration == "2d" else 3,
                    say=say,
                )
            preprocess(design.dataset, name, folders, configurations=[design.configuration], say=say)
    finally:
        _restore(before)


def _sizes_for(design: Design, network: str) -> Sizes:
    """The design's sizes; the channels of some networks double from stage to stage and have no limit."""
    limited = traits(network).staged
    return Sizes(**{name: value for name, value in design.sizes.items() if limited or name != "max_features"})


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _conduct_run(design: Design, places: Places, run: Run, process: Process, say: Say) -> None:
    path = places.state(run)
    state = read_state(path)
    environment = nnunet.Folders(places.raw, places.preprocessed, places.results(run)).environment()
    if state.status == "waiting":
        say(f"Training {run.sentence()} (log: {places.log(run)})")
        process(_training(design, run), environment, places.log(run))
        trained_in = places.results(run) / design.dataset / _results_name(design, run.network)
        if not (trained_in / f"fold_{run.fold}" / "checkpoint_final.pth").is_file():
            raise RunError(f"The training of {run.sentence()} ended without its final checkpoint in '{trained_in}'.")
        state = state.after(status="trained", trained_in=str(trained_in))
        write_state(path, state)
    if state.status == "trained":
        say(f"Segmenting with {run.sentence()}")
        cases = _cases(design, places, run, state)
        listed = places.base / "runs" / f"{run.name}.cases.json"
        write_text(listed, json.dumps(cases) + "\n")
        process(_predicting(design, places, run, state, listed), environment, places.log(run))
        state = state.after(status="done", cases=tuple(cases))
        write_state(path, state)
    else:
        say(f"{run.sentence()}: done before")


def _results_name(design: Design, network: str) -> str:
    return f"{traits(network).trainer}__{plans_name(design, network)}__{design.configuration}"


def _training(design: Design, run: Run) -> list[str]:
    arguments = ["train", design.dataset, "--plans", plans_name(design, run.network)]
    arguments += ["-c", design.configuration, "--fold", str(run.fold), "--device", design.device]
    arguments += ["--seed", str(run.seed)]
    for name, value in design.overrides.items():
        arguments += ["--set", f"{name}={value}"]
    return arguments


def _cases(design: Design, places: Places, run: Run, state: RunState) -> list[str]:
    from mambaseg_train.predict import test_cases, validation_cases

    raw = places.raw / design.dataset
    if run.fold == "all":
        return list(test_cases(raw))
    return list(validation_cases(Path(state.trained_in), str(run.fold)))


def _predicting(design: Design, places: Places, run: Run, state: RunState, listed: Path) -> list[str]:
    output = places.base / "predicting" / run.name if _shared(design) else places.predictions(design, run)
    arguments = ["predict", state.trained_in, "--fold", str(run.fold), "--dataset", str(places.raw / design.dataset)]
    return [*arguments, "-o", str(output), "--cases", str(listed), "--device", design.device]


def _shared(design: Design) -> bool:
    """Whether a group's folder takes the cases of several folds."""
    return len(design.seeds) > 1 and bool(design.folds)


def score(design: Design, places: Places) -> tuple[Compared, ...]:
    """Score what was predicted and hold each network against the control.

    Raises
    ------
    RunError
        If a run is not done.
    DataError
        If predictions and truths do not belong together.
    """
    waiting = [run for run in design.runs() if read_state(places.state(run)).status != "done"]
    if waiting:
        raise RunError(f"{len(waiting)} runs are not done, such as {waiting[0].sentence()}. Run the comparison first.")
    raw = places.raw / design.dataset
    scheme = read_scheme(raw / "dataset.json")
    if _shared(design):
        _gather(design, places, scheme.file_ending)
    settings = MetricSettings.from_json(design.metrics)
    cases = tuple(dict.fromkeys(case for run in design.runs() for case in read_state(places.state(run)).cases))
    found: dict[str, tuple[Score, ...]] = {}
    for network in design.networks:
        request = Request(
            predictions=places.base / "predictions" / network,
            truth=truth_folder(raw, scheme, settings, design.part),
            scheme=scheme,
            settings=settings,
            model=traits(network).title,
            cases=cases,
        )
        found[network] = score_folder(request)
    return tuple(_compared(design, places, network, found, settings, scheme) for network in design.networks)


def _gather(design: Design, places: Places, ending: str) -> None:
    """Put the folds of a seed into one folder: each of its cases was predicted by one fold.

    What is there is copied again: a fold may have been predicted anew since.
    """
    for run in design.runs():
        target = places.predictions(design, run)
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted((places.base / "predicting" / run.name).glob(f"*{ending}")):
            if path.name.startswith("."):
                continue  # a file that is being written
            with replacing(target / path.name, ending) as temporary:
                shutil.copyfile(path, temporary)


def _compared(
    design: Design,
    places: Places,
    network: str,
    found: Mapping[str, Sequence[Score]],
    settings: MetricSettings,
    scheme: LabelScheme,
) -> Compared:
    title = traits(network).title
    scores = tuple(found[network])
    against = None
    if network != design.control:
        names = (title, traits(design.control).title)
        against = compare(scores, found[design.control], settings.keys, names, groups=scheme.groups)
    finished = [(read_state(places.state(run)), run) for run in design.runs() if run.network == network]
    return Compared(
        network,
        scores,
        make_evaluation(title, design.dataset, settings, scores, unit=scheme.unit),
        against,
        measure_cost([(Path(state.trained_in), str(run.fold)) for state, run in finished]),
    )
