"""Everything that touches MRML: volumes in, segmentations out, undo, provenance. No Qt, and no torch."""
