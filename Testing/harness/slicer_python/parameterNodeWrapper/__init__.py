"""Stand-in for slicer.parameterNodeWrapper: typed parameters of a module, kept in its MRML node, bound to widgets.

Values are stored as Slicer stores them (names and texts), so scenes are alike. Of Slicer's types and widgets it has
those that a module of this project may use, and refuses the rest: parameter packs, QColor, FloatRange, Any, subject
hierarchy widgets, and unions written ``A | B``.
"""

from .default import Default
from .guiConnectors import Decimals, GuiConnector, SingleStep, createGuiConnector, parameterNodeGuiConnector
from .serializers import Serializer, ValidatedSerializer, createSerializer
from .validators import Choice, Exclude, IsInstance, Maximum, Minimum, NotNone, Validator, WithinRange
from .wrapper import (
    SlicerParameterNamePropertyName,
    findChildWidgetForParameter,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "GuiConnector",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "Serializer",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "ValidatedSerializer",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "createSerializer",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "parameterNodeGuiConnector",
    "parameterNodeWrapper",
]
