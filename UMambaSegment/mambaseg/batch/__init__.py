"""A model over a cohort: a segmentation and a report a case, and one table of volumes.

A case that fails is noted and the next one runs; a batch that was stopped goes on where it was. `line` has the stages
of neighbouring cases overlap, `processes` has several devices work on one batch.
"""

from __future__ import annotations

from mambaseg.batch.outcomes import BatchProgress, BatchSummary, CaseOutcome, Pace, outcome_to_json
from mambaseg.batch.run import Machine, segment_batch
from mambaseg.cases import Case

__all__ = [
    "BatchProgress",
    "BatchSummary",
    "Case",
    "CaseOutcome",
    "Machine",
    "Pace",
    "outcome_to_json",
    "segment_batch",
]
