"""The Slicer side: MRML to arrays and back, the engine process, installing, and what the panel shows."""
