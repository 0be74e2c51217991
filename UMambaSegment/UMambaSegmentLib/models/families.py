"""Models of the same task in several architectures, as one entry of the list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from UMambaSegmentLib.models.card import ModelCard


@dataclass(frozen=True)
class Family:
    """One entry of the list: a title and its variants, the one to offer first at the head."""

    title: str
    cards: tuple[ModelCard, ...]

    @property
    def preferred(self) -> ModelCard:
        """The variant to offer first: one that is here and whole, else the first of the list."""
        return self.cards[0]

    def variants(self) -> tuple[tuple[str, ModelCard], ...]:
        """Names for a choice among the variants, no two alike, with their cards."""
        names = [card.variant or card.network or card.id for card in self.cards]
        return tuple(
            (name if names.count(name) == 1 else f"{name} ({card.id})", card)
            for name, card in zip(names, self.cards, strict=True)
        )


def families(cards: Iterable[ModelCard]) -> tuple[Family, ...]:
    """Gather models by family in the order of the list; a model without a family is one of its own."""
    gathered: dict[tuple[str, str], list[ModelCard]] = {}
    for card in cards:
        key = ("family", card.family) if card.family else ("model", card.id)
        gathered.setdefault(key, []).append(card)
    return tuple(
        Family(
            name if kind == "family" else members[0].name,
            tuple(sorted(members, key=lambda card: (not card.runnable, card.superseded_by != ""))),
        )
        for (kind, name), members in gathered.items()
    )
