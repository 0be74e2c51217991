"""One wrapper for a parameter node, for as long as this Slicer runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Reloading the module's file makes new classes; the wrappers of the old ones stay here too.
_kept: list[Any] = []


def wrapped(wrapper_class: Callable[[Any], Any], node: Any) -> Any:
    """Wrap a parameter node, or give the wrapper that there is.

    A wrapper observes its node and cannot be taken off it. In current Slicer (5.13) one that nobody holds is collected
    with its observers at any moment, also while the node calls them, and then Slicer crashes: so none is let go.

    Parameters
    ----------
    wrapper_class
        Class that ``parameterNodeWrapper`` made.
    node
        vtkMRMLScriptedModuleNode.

    Returns
    -------
    Any
        The wrapper, with the node's values as they are now.
    """
    for one in _kept:
        if type(one) is wrapper_class and one.parameterNode is node:
            # A wrapper remembers what it read: of a scene that is being loaded, nodes that were not there yet.
            one.Modified()
            return one
    made = wrapper_class(node)
    _kept.append(made)
    return made
