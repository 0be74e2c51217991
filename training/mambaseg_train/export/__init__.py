"""From a finished training to a model package with its card.

`run.export_package` does it; `verify.verify_package` holds the package's labels against nnU-Net's own prediction.
"""
