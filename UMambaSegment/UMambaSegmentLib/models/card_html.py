"""A model's card as HTML for a ``QTextBrowser``.

Qt's rich text knows tables with attributes and little else. No text colour is set anywhere, so that the card can be
read in a light and in a dark theme; a structure's colour is the background of an empty cell. Everything that comes from
a model is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import zip_longest

from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.models.card import Figure, ModelCard, Structure
from UMambaSegmentLib.models.sizes import bytes_text, spacing_text, times

_SHORT = 8  # structures up to here stand in one column
_LONG = 40  # above this in three
_PLOT_WIDTH = 320  # pixels, as mambaseg-train draws it
_WHOLE = "all structures"  # what mambaseg-train calls the mean over them


def card_html(card: ModelCard) -> str:
    """Give the card: what it is, state, structures, training, accuracy, licence; never for diagnosis.

    Parameters
    ----------
    card
        From `list_models`.
    """
    parts = [
        f"<h3>{escape(card.name)}</h3>",
        _warning(card),
        _paragraphs(card.text),
        _facts(card),
        _structures(card.structures),
        _figures(card.figures),
        _plot(card),
        _licence(card),
        f"<p><i>{escape(_('Not a medical device: for research only, not for diagnosis or treatment.'))}</i></p>",
    ]
    return "\n".join(part for part in parts if part)


def _warning(card: ModelCard) -> str:
    lines = []
    if card.problem:
        lines.append(_("This model cannot be used: {problem}").format(problem=card.problem))
    if card.superseded_by:
        lines.append(_("Superseded by the model '{id}'.").format(id=card.superseded_by))
    if card.update:
        lines.append(_("Version {version} can be downloaded.").format(version=card.update))
    return "".join(f"<p><b>{escape(line)}</b></p>" for line in lines)


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part.strip())}</p>" for part in text.split("\n\n") if part.strip())


def _state(card: ModelCard) -> str:
    size = bytes_text(card.bytes) if card.bytes else ""
    words = {
        "bundled": _("part of this extension"),
        "installed": _("installed"),
        "to download": _("not installed; to download"),
        "damaged": _("damaged"),
    }[card.state]
    return f"{words} ({size})" if size else words


def _input(card: ModelCard) -> str:
    names = [
        one.modality if one.role in {"", one.modality} else f"{one.role} ({one.modality})" for one in card.channels
    ]
    whole = _("whole slices, resized") if card.input_mode == "resize" else ""
    return ", ".join([*names, *([whole] if whole else [])])


def _mirroring(card: ModelCard) -> str:
    if not card.runnable:
        return ""
    sides = _("tells left from right") if card.paired else ""
    allowed = _("mirroring possible") if card.mirror_axes else _("no mirroring")
    return ", ".join(part for part in (sides, allowed) if part)


def _pieces(card: ModelCard) -> str:
    if not card.keep_largest:
        return ""
    names = [each.name for each in card.structures]
    if set(card.keep_largest) == set(names):
        return _("the largest component of each structure, unless told otherwise in Advanced")
    return _("the largest component of {names}, unless told otherwise in Advanced").format(
        names=", ".join(card.keep_largest)
    )


def _facts(card: ModelCard) -> str:
    dims = _("{count}D").format(count=card.spatial_dims) if card.spatial_dims else ""
    patch = _("{size} voxels").format(size=times(card.patch)) if card.patch else ""
    rows = (
        (_("State"), _state(card)),
        (_("Version"), card.version),
        (_("Input"), _input(card)),
        (_("Voxel size"), spacing_text(card.spacing)),
        (_("Patch"), patch),
        (_("Network"), " ".join(part for part in (card.variant, card.network, dims) if part)),
        (_("Folds"), ", ".join(card.folds)),
        (_("Sides"), _mirroring(card)),
        (_("Keeps"), _pieces(card)),
        (_("Trained on"), card.trained_on),
        (_("Tested on"), card.tested_on),
    )
    cells = "".join(
        f"<tr><td><b>{escape(name)}</b>&nbsp;&nbsp;</td><td>{_lines(value)}</td></tr>" for name, value in rows if value
    )
    return f'<table cellspacing="0" cellpadding="2">{cells}</table>'


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br/>")


def _columns(count: int) -> int:
    return 1 if count <= _SHORT else 2 if count <= _LONG else 3


def _structure(one: Structure | None) -> str:
    if one is None:
        return "<td></td><td></td>"
    swatch = "" if one.color is None else ' bgcolor="#{:02x}{:02x}{:02x}"'.format(*one.color)
    name = escape(one.name.replace("_", " "))
    known = one.meaning and one.meaning.casefold() != one.name.replace("_", " ").casefold()
    meaning = f" <small>({escape(one.meaning)})</small>" if known else ""
    return f'<td width="14"{swatch}>&nbsp;&nbsp;&nbsp;</td><td>&nbsp;{name}{meaning}&nbsp;</td>'


def _structures(structures: Sequence[Structure]) -> str:
    if not structures:
        return ""
    columns = _columns(len(structures))
    height = -(-len(structures) // columns)
    split = [structures[start : start + height] for start in range(0, len(structures), height)]
    rows = "".join(f"<tr>{''.join(_structure(one) for one in row)}</tr>" for row in zip_longest(*split))
    title = _("Structures ({count})").format(count=len(structures))
    return f'<h4>{escape(title)}</h4>\n<table cellspacing="2" cellpadding="1">{rows}</table>'


def _value(value: float | None, spread: float | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if spread is None else f"{value:.3g} ± {spread:.2g}"


def _figures(figures: Sequence[Figure]) -> str:
    """Give what was measured; the control's column and that of the cases only where somebody filled them."""
    title = f"<h4>{escape(_('Measured accuracy'))}</h4>\n"
    if not figures:
        return title + f"<p>{escape(_('Not stated.'))}</p>"
    control = any(one.control is not None for one in figures)
    cases = any(one.cases is not None for one in figures)
    head = [_("Measure"), _("Structure"), _("This model")]
    head += [_("Control")] if control else []
    head += [_("Cases")] if cases else []
    rows = [_row("th", head)]
    for one in figures:
        unit = f" {one.unit}" if one.unit else ""
        cells = [one.metric, one.structure.replace("_", " "), _value(one.value, one.spread) + unit]
        cells += [_value(one.control) + (unit if one.control is not None else "")] if control else []
        cells += ["" if one.cases is None else str(one.cases)] if cases else []
        rows.append(_row("td", cells))
    return title + _means(figures) + f'<table cellspacing="0" cellpadding="1">{"".join(rows)}</table>'


def _plot(card: ModelCard) -> str:
    """Every case as a point; never wider than a panel that nobody has widened, nor blown up."""
    if card.plot_path is None:
        return ""
    place = escape(card.plot_path.resolve().as_uri(), quote=True)
    return f'<p><img src="{place}" width="{_PLOT_WIDTH}"/></p>'


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<{tag} align="left">{escape(cell)}&nbsp;&nbsp;</{tag}>' for cell in cells) + "</tr>"


def _means(figures: Sequence[Figure]) -> str:
    """A line for each measure over several structures: the mean, and the control's over the same structures.

    Where the card was given the mean it is taken, as it was measured; it is no further structure.
    """
    lines = []
    for metric, unit in dict.fromkeys((one.metric, one.unit) for one in figures):
        same = [one for one in figures if (one.metric, one.unit) == (metric, unit) and one.structure != _WHOLE]
        whole = next((one for one in figures if (one.metric, one.unit, one.structure) == (metric, unit, _WHOLE)), None)
        if len(same) < (3 if whole is None else 2):
            continue
        value = sum(one.value for one in same) / len(same) if whole is None else whole.value
        text = _("Mean {metric} over {count} structures: {value}").format(
            metric=metric, count=len(same), value=f"{value:.3g} {unit}".strip()
        )
        controls = [one.control for one in (same if whole is None else [whole]) if one.control is not None]
        if len(controls) == (len(same) if whole is None else 1):
            mean = f"{sum(controls) / len(controls):.3g} {unit}".strip()
            text += " " + _("(control: {value})").format(value=mean)
        lines.append(f"<p>{escape(text)}</p>")
    return "".join(lines)


def _licence(card: ModelCard) -> str:
    name = escape(card.licence or _("not stated"))
    if card.licence_url.startswith("https://"):
        name = f'<a href="{escape(card.licence_url, quote=True)}">{name}</a>'
    parts = [f"<p><b>{escape(_('Licence'))}</b>&nbsp;&nbsp;{name}</p>"]
    if card.citation:
        parts.append(f"<p><b>{escape(_('Please cite'))}</b>&nbsp;&nbsp;{_lines(card.citation)}</p>")
    return "\n".join(parts)
