"""Evaluation: measures by case, figures over cases, a paired test between two models, and plots.

`run.evaluate` goes from folders to a folder; `scoring.score_case` scores arrays; `report.read_evaluation` and
`table.read_scores` read what was written.
"""
