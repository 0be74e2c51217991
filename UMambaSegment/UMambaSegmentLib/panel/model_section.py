"""Choosing a model: search, modality, variants, and the card of the chosen one."""

from __future__ import annotations

from collections.abc import Sequence

from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.models.card import ModelCard
from UMambaSegmentLib.models.card_html import card_html
from UMambaSegmentLib.models.families import Family, families
from UMambaSegmentLib.models.listing import default_of, list_models
from UMambaSegmentLib.models.search import find_models, modalities
from UMambaSegmentLib.panel.context import PanelContext


class ModelSection:
    """One list entry a task; where a task has several networks, the variant is chosen below."""

    def __init__(self, context: PanelContext) -> None:
        self._context = context
        self._cards: tuple[ModelCard, ...] = ()
        self._entries: tuple[Family, ...] = ()
        self._variants: tuple[tuple[str, ModelCard], ...] = ()
        self._filling = False
        self._shown: ModelCard | None = None
        ui = context.ui
        ui.modelSearchBox.connect("textChanged(QString)", lambda _text: self._fill_list())
        ui.modalityFilter.connect("currentIndexChanged(int)", lambda _index: self._fill_list())
        ui.modelList.connect("currentRowChanged(int)", self._on_row)
        ui.variantSelector.connect("currentIndexChanged(int)", self._on_variant)
        self.reload()

    def reload(self) -> None:
        """Look anew at what models there are."""
        self._cards = list_models()
        ui = self._context.ui
        self._filling = True
        kept = str(ui.modalityFilter.currentText)
        ui.modalityFilter.clear()
        names = [_("All images"), *modalities(self._cards)]
        ui.modalityFilter.addItems(names)
        ui.modalityFilter.setCurrentIndex(names.index(kept) if kept in names else 0)
        self._filling = False
        self._shown = None
        self._fill_list()
        self.follow_parameters()

    def find(self, model_id: str) -> ModelCard | None:
        """The card of an id."""
        return next((card for card in self._cards if card.id == model_id), None)

    def follow_parameters(self) -> None:
        """Choose what the case's parameters say; the preferred or first usable model where they say nothing."""
        parameters = self._context.parameters
        if parameters is None:
            return
        card = self.find(parameters.model)
        if card is None and not parameters.model:
            card = default_of(self._cards)
            if card is not None:
                parameters.model = card.id
        self._show(card)

    def _fill_list(self) -> None:
        if self._filling:
            return
        import qt

        ui = self._context.ui
        modality = "" if int(ui.modalityFilter.currentIndex) <= 0 else str(ui.modalityFilter.currentText)
        self._entries = families(find_models(self._cards, str(ui.modelSearchBox.text), modality))
        self._filling = True
        ui.modelList.clear()
        for entry in self._entries:
            first = entry.preferred
            item = qt.QListWidgetItem(_entry_text(entry))
            item.setToolTip(first.problem or first.text or first.name)
            ui.modelList.addItem(item)
        self._select_row()
        self._filling = False

    def _select_row(self) -> None:
        card = self._context.card
        row = next((n for n, entry in enumerate(self._entries) if card in entry.cards), -1)
        self._context.ui.modelList.setCurrentRow(row)

    def _on_row(self, row: int) -> None:
        if self._filling or not 0 <= row < len(self._entries):
            return
        self._choose(self._entries[row].preferred)

    def _on_variant(self, index: int) -> None:
        if self._filling or not 0 <= index < len(self._variants):
            return
        self._choose(self._variants[index][1])

    def _choose(self, card: ModelCard) -> None:
        if self._context.parameters is not None:
            self._context.parameters.model = card.id
        self._show(card)
        self._context.changed()

    def _show(self, card: ModelCard | None) -> None:
        self._context.card = card
        if card == self._shown and card is not None:
            return
        self._shown = card
        ui = self._context.ui
        was_filling, self._filling = self._filling, True
        self._select_row()
        self._variants = () if card is None else _variants_of(card, self._cards)
        ui.variantSelector.clear()
        ui.variantSelector.addItems([name for name, _card in self._variants])
        if card is not None:
            ui.variantSelector.setCurrentIndex([one for _name, one in self._variants].index(card))
        several = len(self._variants) > 1
        folds = card is not None and len(card.folds) > 1
        for widget, shown in (
            (ui.variantLabel, several),
            (ui.variantSelector, several),
            (ui.foldsLabel, folds),
            (ui.foldsLineEdit, folds),
        ):
            widget.setVisible(shown)
        if card is not None and folds:
            ui.foldsLineEdit.toolTip = _("Folds to average, with commas between them; empty for all ({names}).").format(
                names=", ".join(card.folds)
            )
        ui.modelCard.html = "" if card is None else card_html(card)
        ui.modelCard.setVisible(card is not None)
        self._filling = was_filling


def _variants_of(card: ModelCard, cards: Sequence[ModelCard]) -> tuple[tuple[str, ModelCard], ...]:
    """The networks to choose among for a card's task, itself always among them."""
    choice = [one for one in cards if one == card or (card.family and one.family == card.family)]
    return next(family.variants() for family in families(choice) if card in family.cards)


def _entry_text(entry: Family) -> str:
    states = {"to download": _(" (to download)"), "damaged": _(" (damaged)")}
    count = len(entry.cards)
    several = _(" - {count} variants").format(count=count) if count > 1 else ""
    return f"{entry.title}{states.get(entry.preferred.state, '')}{several}"


def chosen_folds(text: str) -> tuple[str, ...] | None:
    """Folds as typed, or None for all."""
    names = tuple(part.strip() for part in text.replace(";", ",").split(",") if part.strip())
    return None if not names or names == ("all",) else names
