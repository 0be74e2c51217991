"""``mambaseg-train demo``: from images to a package that segments, on a CPU, step by step, by the commands themselves.

Each step is a command of ``mambaseg-train``; the tutorial in ``training/README.md`` gives the same commands by hand.
"""
