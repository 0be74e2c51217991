"""From the layouts in which data sets are published to nnU-Net's raw format: one module a layout."""

from __future__ import annotations

from mambaseg_train.converters.registry import NAMES, all_converters, get_converter
from mambaseg_train.converters.split import SplitRule
from mambaseg_train.converters.write import Facts, Order, convert

__all__ = ["NAMES", "Facts", "Order", "SplitRule", "all_converters", "convert", "get_converter"]
