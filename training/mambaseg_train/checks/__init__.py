"""Checks of a raw data set before anything is planned: what is wrong, in which cases, in sentences."""

from __future__ import annotations

from mambaseg_train.checks.dataset import check_dataset
from mambaseg_train.checks.report import Finding, Report

__all__ = ["Finding", "Report", "check_dataset"]
