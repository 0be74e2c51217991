"""Reading images and writing results. Importing this package loads neither SimpleITK nor pydicom."""

from __future__ import annotations

from mambaseg.io.read import read_volume
from mambaseg.io.write import check_writable, write_segmentation, write_volume

__all__ = ["check_writable", "read_volume", "write_segmentation", "write_volume"]
