"""What keeping only the largest piece of each structure, which a model may advise, does to the figures."""

from __future__ import annotations

from mambaseg_train.evaluation.report import Evaluation

_CLEARLY = 5.0  # mm of a mean HD95 from which on a structure is named


def sentence(every: Evaluation, largest: Evaluation) -> str:
    """For the card: mean Dice of both, and the structures whose HD95 changes clearly.

    Parameters
    ----------
    every, largest
        The same cases with all pieces, and with the largest of each structure.
    """
    named = []
    for one, other in zip(every.structures, largest.structures, strict=True):
        before, after = (each.statistic("hd95").mean for each in (one, other))
        if abs(before - after) >= _CLEARLY:
            named.append(f"{one.name} {before:.1f} {every.unit} instead of {after:.1f}")
    before, after = (_mean_dice(each) for each in (every, largest))
    changes = f"mean HD95: {', '.join(named)}" if named else "no structure's mean HD95 changes by 5 mm or more"
    return (
        f"The largest component of each structure is kept, as each is one piece in everybody. With every component "
        f"('Keep' under 'Advanced' in the panel, keep_largest in scripts) mean Dice over all structures is "
        f"{before:.3f} instead of {after:.3f}; {changes}."
    )


def _mean_dice(evaluation: Evaluation) -> float:
    return next(item.mean for item in evaluation.overall if item.measure == "dice")
