"""Which of the bundled models is chosen where nobody has chosen one."""

from __future__ import annotations

PREFERRED = "ct-head-neck"
"""Id of the bundled model that runs, and is shown first, where none is named."""

DEMONSTRATION = "demo-phantom"
"""Id of the bundled model that was made from synthetic phantoms alone: never chosen unasked."""
