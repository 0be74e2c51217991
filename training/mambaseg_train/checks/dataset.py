"""``check_dataset``: every check over a whole raw data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mambaseg_train.checks.case import CaseResult, Fault, check_case
from mambaseg_train.checks.description import Described, read_described
from mambaseg_train.checks.inventory import CaseFiles, list_cases
from mambaseg_train.checks.report import Finding, Report, Severity, cases_of, quoted, with_details

Progress = Callable[[int, int, str], None]

# What a fault means and what to do; {cases} are the cases with their details, {count} says how many.
_SENTENCES: Mapping[str, str] = {
    "unreadable": "{count} cannot be read (truncated, damaged or no image): {cases}. Get the files again.",
    "not_finite": "{count} hold voxels that are not a number (NaN) or infinite, which training would spread to every "
    "weight: {cases}. Replace those voxels (for CT outside the scanned field by -1024).",
    "missing_channel": "{count} lack a channel, or have one too many: {cases}. Add the file, or correct "
    "'channel_names' in dataset.json.",
    "shape": "Label and image (or two channels) differ in shape in {count}: {cases}. Resample them to one grid.",
    "spacing": "Label and image (or two channels) differ in spacing in {count}: {cases}. If the voxels do belong "
    "together, copy the image's header to the label; else resample.",
    "origin": "Label and image (or two channels) differ in origin, so they lie elsewhere in the patient, in {count}: "
    "{cases}. If the voxels do belong together, copy the image's header to the label; else resample.",
    "direction": "Label and image (or two channels) differ in direction in {count}: {cases}. If the voxels do belong "
    "together, copy the image's header to the label; else resample.",
    "unknown_values": "Labels hold values that dataset.json does not know in {count}: {cases}. Map the values, or add "
    "them to 'labels'.",
}


def check_dataset(
    folder: str | Path, progress: Progress | None = None, *, test: bool = True, skip: Sequence[str] = ()
) -> Report:
    """Check a raw data set in nnU-Net's format, case by case; at most one case is in memory at a time.

    Parameters
    ----------
    folder
        ``DatasetXXX_Name`` with ``dataset.json``, ``imagesTr``, ``labelsTr``.
    progress
        Told how many cases are done, of how many, and which is next.
    test
        Check ``imagesTs`` and ``labelsTs`` too, where they are.
    skip
        Kinds of findings that are known and wanted.

    Raises
    ------
    DataError
        If there is no ``dataset.json``, or nothing can be checked against what it says.
    """
    place = Path(folder)
    described, findings = read_described(place)
    training, lonely = list_cases(place, described.ending, "Tr")
    findings += lonely
    testing, lonely = list_cases(place, described.ending, "Ts") if test else ([], [])
    findings += lonely
    findings += _count_findings(described, training, place)
    results: list[CaseResult] = []
    cases = [*training, *testing]
    for done, case in enumerate(cases):
        if progress is not None:
            progress(done, len(cases), case.name)
        results.append(_with_unknown(check_case(case, len(described.channels)), described))
    if progress is not None:
        progress(len(cases), len(cases), "")
    findings += _fault_findings(results)
    findings += _class_findings(results[: len(training)], described)
    kept = tuple(finding for finding in findings if finding.kind not in skip)
    return Report(place, len(training), len(testing), kept)


def _count_findings(described: Described, training: Sequence[CaseFiles], place: Path) -> list[Finding]:
    findings = []
    if not training:
        findings.append(Finding("missing_image", "error", f"There is no image in '{place / 'imagesTr'}'. Add cases."))
    elif len(training) != described.training:
        findings.append(
            Finding(
                "description",
                "error",
                f"dataset.json says that there are {described.training} training cases, but 'imagesTr' has "
                f"{len(training)}. Correct 'numTraining', or add the missing cases.",
            )
        )
    names = {case.name for case in training}
    gone = tuple(sorted(described.split_cases - names))
    if gone:
        findings.append(
            Finding("split", "error", f"The split names cases that are not there: {quoted(gone)}. Correct it.", gone)
        )
    return findings


def _with_unknown(result: CaseResult, described: Described) -> CaseResult:
    """Add the fault of label values that the data set does not know."""
    unknown = sorted((result.values or frozenset()) - described.allowed)
    if not unknown:
        return result
    shown = ", ".join(map(str, unknown[:5])) + (" ..." if len(unknown) > 5 else "")
    fault = Fault("unknown_values", f"{'value' if len(unknown) == 1 else 'values'} {shown}")
    return CaseResult(result.name, (*result.faults, fault), result.values)


def _fault_findings(results: Sequence[CaseResult]) -> list[Finding]:
    by_kind: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for result in results:
        for fault in result.faults:
            by_kind[fault.kind].append((result.name, fault.detail))
    findings = []
    for kind, sentence in _SENTENCES.items():
        details = by_kind.get(kind, [])
        if details:
            names = tuple(dict.fromkeys(name for name, _ in details))
            text = sentence.format(count=cases_of(len(names)), cases=with_details(details))
            findings.append(Finding(kind, "error", text, names))
    return findings


def _class_findings(results: Sequence[CaseResult], described: Described) -> list[Finding]:
    labelled = [result for result in results if result.values is not None]
    if not labelled:
        return []
    findings = []
    for name, numbers in described.classes.items():
        holding = [result.name for result in labelled if (result.values or frozenset()) & set(numbers)]
        taught = [result.name for result in labelled if name in described.annotated.get(result.name, described.classes)]
        findings += _one_class(name, holding, taught, len(labelled))
    empty = tuple(result.name for result in labelled if result.values == frozenset({0}))
    if empty:
        findings.append(
            Finding(
                "empty_label",
                "warning",
                f"{cases_of(len(empty)).capitalize()} have a label without any structure: {quoted(empty)}. Look "
                "whether that is meant so.",
                empty,
            )
        )
    return findings


def _one_class(name: str, holding: Sequence[str], taught: Sequence[str], cases: int) -> list[Finding]:
    findings = []
    if not set(holding) & set(taught):
        findings.append(
            _finding(
                "class_nowhere",
                "error",
                f"The class '{name}' is in no training case, so it cannot be learnt ({cases_of(cases)} looked at, "
                f"{len(taught)} of them annotated for it). Take it out of 'labels', or add cases that show it.",
                (),
            )
        )
        return findings
    empty = [case for case in taught if case not in set(holding)]
    if empty:
        findings.append(
            _finding(
                "empty_class",
                "warning",
                f"The class '{name}' is empty in {cases_of(len(empty))} that count as annotated for it: "
                f"{quoted(empty)}. If it was not outlined there, name the annotated classes of those cases in "
                "'mambaseg.annotated', or the network learns to miss it.",
                empty,
            )
        )
    extra = [case for case in holding if case not in set(taught)]
    if extra:
        findings.append(
            _finding(
                "not_annotated",
                "warning",
                f"The class '{name}' has voxels in {cases_of(len(extra))} that 'mambaseg.annotated' says were not "
                f"annotated for it: {quoted(extra)}. They are not trained on; add the class there if they are right.",
                extra,
            )
        )
    return findings


def _finding(kind: str, severity: Severity, sentence: str, cases: Sequence[str]) -> Finding:
    return Finding(kind, severity, sentence, tuple(cases))
