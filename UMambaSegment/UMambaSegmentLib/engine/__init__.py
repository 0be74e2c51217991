"""The engine process as Slicer sees it: starting, asking, watching, ending. Nothing here knows of the scene."""
