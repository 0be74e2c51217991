"""From a click or a call to segments in the scene: the warm engine, one run, and runs over frames and folders."""
