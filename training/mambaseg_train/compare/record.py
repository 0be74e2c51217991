"""A finished comparison as plain values, to be kept beside its plots: what the README's table is made from."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mambaseg.io.files import replacing
from mambaseg_train.compare.conduct import Compared
from mambaseg_train.compare.design import Design, Places, Run
from mambaseg_train.compare.state import read_state
from mambaseg_train.compare.table import architecture_note
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.paired import ALL_STRUCTURES
from mambaseg_train.predict import read_raw

RECORD = "comparison.json"
SCHEMA_VERSION = 1


def make_record(design: Design, places: Places, compared: Sequence[Compared]) -> dict[str, Any]:
    """Everything that a reader needs to believe the table, and to make it again.

    Parameters
    ----------
    design
        What was compared.
    places
        Where its runs are.
    compared
        The networks, the control first.
    """
    raw = read_raw(places.raw / design.dataset)
    own = raw.get("mambaseg") or {}
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": design.dataset,
        "title": str(raw.get("description") or design.dataset),
        "licence": str(own.get("licence") or ""),
        "configuration": design.configuration,
        "seeds": list(design.seeds),
        "folds": list(design.folds),
        "cases": len(compared[0].evaluation.cases),
        "unit": compared[0].evaluation.unit,
        "split_sha256": str((own.get("split") or {}).get("sha256", "")),
        "settings": dict(design.overrides),
        "sizes": dict(design.sizes),
        "spacing": list(design.spacing),
        "measures": list(design.measures),
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "note": architecture_note(compared),
        "networks": [_network(design, places, item) for item in compared],
    }


def _network(design: Design, places: Places, item: Compared) -> dict[str, Any]:
    cost = item.cost
    return {
        "name": item.network,
        "title": item.title,
        "parameters": cost.parameters,
        "operations": cost.operations,
        "patch": list(cost.patch),
        "batch": cost.batch,
        "steps": cost.steps,
        "seconds_per_step": cost.seconds_per_step,
        "peak_bytes": cost.peak_bytes,
        "device": cost.device,
        "settings": {**cost.settings, "deep_supervision": cost.deep_supervision},
        "weights_sha256": {run.name: _weights(places, run) for run in design.runs() if run.network == item.network},
        "figures": {key: _figures(item, key) for key in design.measures},
    }


def _weights(places: Places, run: Run) -> str:
    from mambaseg.models import load_model

    folder = read_state(places.state(run)).trained_in
    return load_model(Path(folder), folds=[str(run.fold)]).weights_sha256(str(run.fold))


def _figures(item: Compared, key: str) -> dict[str, Any]:
    found = next((part for part in item.evaluation.overall if part.measure == key), None)
    against = None if item.against is None else item.against.result(ALL_STRUCTURES, key)
    figures: dict[str, Any] = {} if found is None else {"mean": _plain(found.mean), "sd": _plain(found.sd)}
    figures["structures"] = {
        each.name: _plain(next((part.mean for part in each.statistics if part.measure == key), math.nan))
        for each in item.evaluation.structures
    }
    if against is not None:
        figures |= {name: _plain(getattr(against, name)) for name in ("difference", "low", "high", "p_value")}
    return figures


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write ``comparison.json`` whole.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with replacing(path, ".json") as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote.

    Raises
    ------
    DataError
        If it cannot be read, or is no record of a comparison.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read ({error}). Run the comparison again.") from error
    if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION or "networks" not in value:
        raise DataError(f"'{path}' is no record of a comparison of this version. Run the comparison again.")
    return value
