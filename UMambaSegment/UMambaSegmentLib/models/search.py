"""Finding models by words and modality."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from UMambaSegmentLib.models.card import ModelCard

_GAPS = re.compile(r"[\s_]+")


def plain(text: str) -> str:
    """Text as it is compared: without case, accents and runs of blanks; an underscore is a blank."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return _GAPS.sub(" ", bare.casefold()).strip()


def _searched(card: ModelCard) -> str:
    structures = (part for one in card.structures for part in (one.name, one.meaning))
    return plain("\n".join((card.id, card.title, card.text, card.family, card.variant, card.network, *structures)))


def matches(card: ModelCard, query: str) -> bool:
    """Whether every word of the query (or part of a word) is in the model's title, text or structures."""
    text = _searched(card)
    return all(word in text for word in plain(query).split())


def find_models(
    cards: Sequence[ModelCard], query: str = "", modality: str = "", *, superseded: bool = False
) -> tuple[ModelCard, ...]:
    """Choose from the list, keeping its order.

    Parameters
    ----------
    cards
        From `list_models`.
    query
        Words; empty for all.
    modality
        Such as ``CT``, in any case; empty for all.
    superseded
        Also give models that another one took the place of. One that is on this computer is given in any case until
        its successor is here too: nobody's working model disappears.
    """
    here = {card.id for card in cards if card.runnable}

    def wanted(card: ModelCard) -> bool:
        outdated = card.superseded_by != "" and not (card.runnable and card.superseded_by not in here)
        return (
            (superseded or not outdated)
            and (not modality or modality.casefold() in {one.casefold() for one in card.modalities})
            and matches(card, query)
        )

    return tuple(card for card in cards if wanted(card))


def modalities(cards: Iterable[ModelCard]) -> tuple[str, ...]:
    """Every modality that a model of the list takes, sorted."""
    return tuple(sorted({one for card in cards for one in card.modalities}))
