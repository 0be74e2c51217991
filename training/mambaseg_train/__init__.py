"""Training for mambaseg: from a folder of images to a model package, by nnU-Net's self-configuring way.

Importing this package loads neither torch nor nnunetv2, so that ``mambaseg-train --help`` answers at once.
"""

from __future__ import annotations

from mambaseg.version import VERSION

__version__ = VERSION
