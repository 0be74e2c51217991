"""Several networks trained and scored alike: same data, split, budget and seeds, one table.

`conduct.conduct` trains, predicts and scores, one process a training, and goes on where it was interrupted; `table` and
`plot` show what came out, each network beside the control.
"""
