"""Figures over cases, the paired test, and the files they are kept in."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from typing import Any

import numpy as np
import pytest

from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.paired import ALL_STRUCTURES, Comparison, compare
from mambaseg_train.evaluation.report import (
    Evaluation,
    comparison_text,
    make_evaluation,
    read_evaluation,
    summary_text,
    write_json,
)
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.summary import over_structures, summarise
from mambaseg_train.evaluation.table import Score, read_scores, write_long_scores, write_scores

KEYS = ("dice", "hd95")


def score(case, structure, dice, *, hd95=1.0, group="", truth=10, prediction=10):
    return Score(case, structure, {"dice": dice, "hd95": hd95}, truth, prediction, group)


def column(structure, values, **more: Any):
    return [score(f"c{place}", structure, value, **more) for place, value in enumerate(values)]


def test_mean_spread_median_and_worst():
    values = [0.9, 0.5, math.nan, 0.7, 0.8]
    (found,) = summarise(column("liver", values), ("dice",))
    figures = found.statistic("dice")
    defined = [0.9, 0.5, 0.7, 0.8]
    assert (found.cases, figures.count) == (5, 4)
    assert figures.mean == pytest.approx(np.mean(defined))
    assert figures.sd == pytest.approx(np.std(defined, ddof=1))
    assert figures.median == pytest.approx(statistics.median(defined))
    assert (figures.lowest, figures.highest) == (0.5, 0.9)
    assert [case for case, _ in figures.worst] == ["c1", "c3", "c4", "c0"]


def test_worst_distance_is_the_largest():
    rows = [score(f"c{n}", "liver", 0.9, hd95=float(n)) for n in range(8)]
    (found,) = summarise(rows, KEYS)
    assert [case for case, _ in found.statistic("hd95").worst] == ["c7", "c6", "c5", "c4", "c3"]


def test_missed_and_invented_are_counted():
    rows = [
        score("a", "liver", 0.0, prediction=0),
        score("b", "liver", 0.0, truth=0),
        score("c", "liver", math.nan, truth=0, prediction=0),
    ]
    (found,) = summarise(rows, KEYS)
    assert (found.missed, found.invented, found.both_empty) == (1, 1, 1)


def test_folds_and_seeds():
    folds = [*column("liver", [0.8, 0.6], group="fold_0"), score("d", "liver", 0.4, group="fold_1")]
    figures = summarise(folds, ("dice",))[0].statistic("dice")
    assert figures.groups == pytest.approx({"fold_0": 0.7, "fold_1": 0.4})
    assert figures.group_sd == pytest.approx(statistics.stdev([0.7, 0.4]))
    assert (figures.count, figures.mean) == (3, pytest.approx(0.6))
    seeds = column("liver", [0.8, 0.6], group="seed_1") + column("liver", [0.6, 0.2], group="seed_2")
    figures = summarise(seeds, ("dice",))[0].statistic("dice")
    # Two patients, each with the mean of its seeds: not four
    assert (figures.count, figures.sd) == (2, pytest.approx(statistics.stdev([0.7, 0.4])))
    assert figures.groups == pytest.approx({"seed_1": 0.7, "seed_2": 0.4})


def test_mean_over_structures_is_of_their_means():
    """As nnU-Net's foreground_mean: a structure counts once, however many cases have it (partial labels)."""
    rows = column("liver", [1.0, 1.0, 1.0]) + column("spleen", [0.4])
    (overall,) = over_structures(rows, summarise(rows, ("dice",)))
    assert overall.mean == pytest.approx(0.7)
    assert overall.worst[0] == ("c0", pytest.approx(0.7))


def test_table_survives_its_file(tmp_path):
    rows = (score("a, b", "liver", 0.123456, group="fold_0"), score("c", 'le"ft', math.nan, truth=0, prediction=0))
    write_scores(tmp_path / "cases.csv", rows, KEYS)
    found = read_scores(tmp_path / "cases.csv")
    assert found[0] == rows[0]
    assert math.isnan(found[1].value("dice"))
    assert found[1].both_empty
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no table of scores"):
        read_scores(tmp_path / "other.csv")
    with pytest.raises(DataError, match="could not be read"):
        read_scores(tmp_path / "none.csv")


def models(size=20, gain=0.05):
    rng = np.random.default_rng(5)
    base = rng.uniform(0.5, 0.9, size)
    return column("liver", base + gain + rng.normal(0, 0.02, size)), column("liver", base)


def test_paired_test_agrees_with_scipy_and_a_plain_bootstrap():
    from scipy.stats import wilcoxon

    first, second = models()
    result = compare(first, second, ("dice",)).result("liver", "dice")
    differences = np.array([a.value("dice") - b.value("dice") for a, b in zip(first, second, strict=True)])
    assert result.difference == pytest.approx(differences.mean())
    assert result.p_value == pytest.approx(wilcoxon(differences).pvalue)
    rng = np.random.default_rng(0)
    means = rng.choice(differences, (4000, len(differences))).mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    assert (result.low, result.high) == (pytest.approx(low, abs=0.002), pytest.approx(high, abs=0.002))
    assert result.first_better == np.sum(differences > 0)


def test_exact_p_by_hand():
    """Five cases, all better: two of the 32 signs are as extreme."""
    first = column("liver", [0.9, 0.8, 0.7, 0.6, 0.5])
    second = column("liver", [0.8, 0.6, 0.4, 0.2, 0.0])
    result = compare(first, second, ("dice",)).result("liver", "dice")
    assert result.p_value == pytest.approx(2 / 32)
    assert "fewer than 6 cases" in comparison_text(compare(first, second, ("dice",)))


def test_direction_of_distances():
    first, second = column("liver", [0.9] * 3, hd95=2.0), column("liver", [0.9] * 3, hd95=5.0)
    result = compare(first, second, ("hd95",)).result("liver", "hd95")
    assert (result.difference, result.first_better, result.second_better) == (-3.0, 3, 0)
    assert (result.low, result.high) == (-3.0, -3.0)


def test_equal_models_and_a_single_case():
    first, _ = models()
    result = compare(first, first, ("dice",)).result("liver", "dice")
    assert (result.difference, result.p_value, result.equal) == (0.0, 1.0, 20)
    alone = compare(first[:1], first[:1], ("dice",)).result("liver", "dice")
    assert math.isnan(alone.p_value)
    assert math.isnan(alone.low)


def test_other_cases_are_refused_by_name():
    first, second = models(4)
    with pytest.raises(DataError, match=r"only 'A' has 'c3' \(liver\)"):
        compare(first, second[:3], ("dice",), ("A", "B"))
    with pytest.raises(DataError, match=r"only 'B' has 'c0' \(spleen\)"):
        compare(first, [*second, score("c0", "spleen", 1.0)], ("dice",), ("A", "B"))
    with pytest.raises(DataError, match="nothing to compare"):
        compare([], [], ("dice",))


def test_inventing_counts_against_rightly_leaving_out():
    right = [score("a", "liver", math.nan, hd95=math.nan, truth=0, prediction=0), score("b", "liver", 0.8)]
    wrong = [score("a", "liver", 0.0, hd95=90.0, truth=0, prediction=7), score("b", "liver", 0.8)]
    comparison = compare(right, wrong, KEYS)
    assert comparison.result("liver", "dice").first_better == 1
    assert comparison.result("liver", "hd95").first == pytest.approx(0.5)
    neither = compare(right, right, KEYS).result("liver", "dice")
    assert neither.cases == 1


def test_seeds_are_averaged_before_the_test():
    first = column("liver", [0.8, 0.6], group="seed_1") + column("liver", [0.6, 0.2], group="seed_2")
    second = column("liver", [0.5, 0.5], group="seed_1") + column("liver", [0.5, 0.5], group="seed_2")
    result = compare(first, second, ("dice",)).result("liver", "dice")
    assert (result.cases, result.first_better, result.second_better) == (2, 1, 1)


def test_a_structure_one_seed_of_three_invents_is_not_as_bad_as_one_that_all_do():
    def seeds(*invents: bool):
        return [
            score("a", "liver", 0.0 if wrong else math.nan, hd95=90.0 if wrong else math.nan, truth=0,
                  prediction=7 if wrong else 0, group=f"seed_{place}")
            for place, wrong in enumerate(invents)
        ]  # fmt: skip

    for first, second, dice, hd95 in (
        (seeds(True, False, False), seeds(True, True, True), (2 / 3, 0.0), (30.0, 90.0)),
        (seeds(False, False, False), seeds(False, True, False), (1.0, 2 / 3), (0.0, 30.0)),
    ):
        comparison = compare(first, second, KEYS)
        for key, wanted in (("dice", dice), ("hd95", hd95)):
            result = comparison.result("liver", key)
            assert (result.first, result.second) == pytest.approx(wanted)
    assert compare(seeds(False, False), seeds(False, False), KEYS).results == ()
    (found,) = summarise(seeds(True, False, False), ("dice",))
    assert found.statistic("dice").mean == pytest.approx(2 / 3)


def test_slices_of_one_patient_are_no_further_patients():
    """Twelve slices of three patients, all better: over slices that is proof, over patients it is none."""
    from scipy.stats import wilcoxon

    gains = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.20, 0.21, 0.22, 0.23, 0.10, 0.15]
    first, second = column("liver", [0.5 + gain for gain in gains]), column("liver", [0.5] * 12)
    patients = {f"c{place}": "abc"[(place >= 6) + (place >= 10)] for place in range(12)}
    means = np.array([np.mean(gains[:6]), np.mean(gains[6:10]), np.mean(gains[10:])])

    alone = compare(first, second, ("dice",), ("A", "B"))
    grouped = compare(first, second, ("dice",), ("A", "B"), groups=patients)
    by_case, by_patient = alone.result("liver", "dice"), grouped.result("liver", "dice")

    assert (by_case.cases, by_case.independent, by_patient.cases, by_patient.independent) == (12, 12, 12, 3)
    assert by_case.p_value == pytest.approx(2 / 2**12)
    assert by_patient.p_value == pytest.approx(wilcoxon(means).pvalue) == pytest.approx(2 / 2**3)
    assert by_patient.difference == pytest.approx(means.mean())
    assert by_patient.first - by_patient.second == pytest.approx(by_patient.difference)
    assert by_patient.high - by_patient.low > by_case.high - by_case.low
    assert (by_patient.first_better, by_patient.second_better) == (12, 0)
    assert (alone.grouped, grouped.grouped) == (False, True)
    text = comparison_text(grouped)
    for part in ("12 cases belong to 3 groups (patients)", "bootstrap over groups", "fewer than 6 groups"):
        assert part in text
    assert "groups" not in comparison_text(alone)
    assert [item["independent"] for item in grouped.to_json()["results"]] == [3, 3]
    assert Comparison.from_json(json.loads(json.dumps(grouped.to_json()))) == grouped


def test_patients_with_a_case_each_change_nothing():
    first, second = models()
    groups = {row.case: f"patient of {row.case}" for row in first}
    assert compare(first, second, KEYS, groups=groups) == compare(first, second, KEYS)
    # A case that the data set does not place is independent, though a group has its name
    placed = compare(first[:3], second[:3], ("dice",), groups={"c0": "c2", "c1": "c2"}).result("liver", "dice")
    assert placed.independent == 2


def test_comparisons_of_before_groups_are_read():
    first, second = models(3)
    value = compare(first, second, KEYS).to_json()
    for item in value["results"]:
        del item["independent"]
    assert Comparison.from_json(value) == compare(first, second, KEYS)


def test_correction_over_structures():
    rng = np.random.default_rng(2)
    first, second = [], []
    for place in range(5):
        base = rng.uniform(0.5, 0.9, 12)
        first += column(f"s{place}", base + rng.normal(0.02 * place, 0.03, 12))
        second += column(f"s{place}", base)
    results = [item for item in compare(first, second, ("dice",)).results if item.structure != ALL_STRUCTURES]
    by_p = sorted(results, key=lambda item: item.p_value)
    wanted, lowest = {}, 1.0
    for rank in range(len(by_p), 0, -1):
        lowest = min(lowest, by_p[rank - 1].p_value * len(by_p) / rank)
        wanted[by_p[rank - 1].structure] = lowest
    assert {item.structure: item.p_adjusted for item in results} == pytest.approx(wanted)


def test_summary_survives_its_file(tmp_path):
    rows = [*column("liver", [0.9, 0.5, math.nan], group="fold_0"), score("x", "spleen", 0.3, group="fold_1")]
    evaluation = make_evaluation("bot", "Toy", MetricSettings(measures=KEYS), rows)
    write_json(tmp_path / "summary.json", evaluation)
    found = read_evaluation(tmp_path / "summary.json")
    assert found.to_json() == evaluation.to_json()
    assert found.structure("liver").statistic("dice").mean == pytest.approx(0.7)
    assert math.isnan(found.structure("spleen").statistic("dice").sd)
    assert found.groups == ("fold_0", "fold_1")
    with pytest.raises(DataError, match="'kidney' was not scored"):
        found.structure("kidney")
    text = summary_text(evaluation)
    assert "liver" in text
    assert "mean of structures" in text
    assert "by group: fold_0" in text


def test_unit_goes_from_the_data_set_into_file_and_text(tmp_path):
    rows = [*column("liver", [0.9, 0.5]), *column("spleen", [0.9, 0.5])]
    rows = [dataclasses.replace(row, values={**row.values, "nsd": 0.8}) for row in rows]
    settings = MetricSettings(measures=("dice", "nsd", "hd95"))
    pictures = make_evaluation("bot", "Toy", settings, rows, unit="pixels")
    write_json(tmp_path / "summary.json", pictures)
    assert read_evaluation(tmp_path / "summary.json").unit == "pixels"
    text = summary_text(pictures)
    assert "tolerance 2 pixels" in text
    assert "HD95 [pixels]" in text
    assert "mm" not in text
    assert "HD95 [pixels]" in comparison_text(compare(rows, rows, ("hd95",)), unit="pixels")
    volumes = make_evaluation("bot", "Toy", settings, rows)
    assert (volumes.unit, "tolerance 2 mm" in summary_text(volumes)) == ("mm", True)
    older = {name: value for name, value in volumes.to_json().items() if name != "unit"}
    assert Evaluation.from_json(older).unit == "mm"


def test_long_table_has_a_row_a_value(tmp_path):
    rows = [score("a", "liver", 0.5, hd95=math.nan, group="fold_0")]
    write_long_scores(tmp_path / "cases.csv", {"bot": rows, "control": rows}, KEYS)
    lines = (tmp_path / "cases.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == [
        "network,group,case,structure,measure,value",
        "bot,fold_0,a,liver,dice,0.5",
        "bot,fold_0,a,liver,hd95,",
    ]
    assert len(lines) == 5


def test_comparison_survives_its_file(tmp_path):
    first, second = models(3)
    comparison = compare(first, second, KEYS, ("A", "B"))
    write_json(tmp_path / "paired.json", comparison)
    value = json.loads((tmp_path / "paired.json").read_text())
    assert Comparison.from_json(value) == comparison


@pytest.mark.parametrize(
    ("change", "words"),
    [({"schema": "x"}, "no evaluation"), ({"schema_version": 2}, "schema version 2"), ({"structures": 3}, "damaged")],
)
def test_other_files_are_no_summary(tmp_path, change, words):
    evaluation = make_evaluation("bot", "Toy", MetricSettings(measures=KEYS), column("liver", [0.9, 0.5]))
    with pytest.raises(DataError, match=words):
        Evaluation.from_json({**evaluation.to_json(), **change})
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="could not be read"):
        read_evaluation(tmp_path / "broken.json")


def test_evaluations_are_values():
    evaluation = make_evaluation("bot", "Toy", MetricSettings(measures=KEYS), column("liver", [0.9, 0.5]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        evaluation.model = "x"


def test_a_style_that_a_library_sets_for_the_whole_process_is_not_taken_over():
    from matplotlib import rc_context

    from mambaseg_train.evaluation import figures

    with rc_context({"axes.facecolor": "#eaeaf2", "axes.grid": True}):
        axes = figures.new_figure(3, 2).add_subplot()
        figures.style(axes)
    assert axes.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    assert not any(line.get_visible() for line in axes.yaxis.get_gridlines())
