"""What the panel shows of models: cards, the list with its search, and a card as HTML; before anything is installed."""

from __future__ import annotations

from UMambaSegmentLib.models.card import Channel, Figure, ModelCard, Structure
from UMambaSegmentLib.models.card_html import card_html
from UMambaSegmentLib.models.families import Family, families
from UMambaSegmentLib.models.listing import disk_use, list_models
from UMambaSegmentLib.models.search import find_models, modalities

__all__ = [
    "Channel",
    "Family",
    "Figure",
    "ModelCard",
    "Structure",
    "card_html",
    "disk_use",
    "families",
    "find_models",
    "list_models",
    "modalities",
]
