"""Models: packages, the store, the catalogue with downloads, and importers of published checkpoints.

Importing this package imports neither torch nor an importer; both come with the first use.
"""

from __future__ import annotations

from mambaseg.models.catalogue import Catalogue, Entry, download_model, load_catalogue
from mambaseg.models.loading import bundled_models, install, load_model, locate, open_package, remove_model
from mambaseg.models.model import Model
from mambaseg.models.package import Package, read_package, write_package
from mambaseg.models.schema import label_from_json, label_to_json, spec_from_json, spec_to_json
from mambaseg.models.spec import Label, ModelSpec, NetworkSpec
from mambaseg.models.store import Installed, Store

__all__ = [
    "Catalogue",
    "Entry",
    "Installed",
    "Label",
    "Model",
    "ModelSpec",
    "NetworkSpec",
    "Package",
    "Store",
    "bundled_models",
    "download_model",
    "install",
    "label_from_json",
    "label_to_json",
    "load_catalogue",
    "load_model",
    "locate",
    "open_package",
    "read_package",
    "remove_model",
    "spec_from_json",
    "spec_to_json",
    "write_package",
]
