"""The card as HTML: everything there, everything escaped, readable in any theme; and sizes in words."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from UMambaSegmentLib.models import Channel, Figure, ModelCard, Structure, card_html, list_models
from UMambaSegmentLib.models.sizes import bytes_text, of_bytes_text, seconds_text, spacing_text, volume_text

BUNDLED = Path(__file__).resolve().parents[2] / "UMambaSegment" / "mambaseg" / "models" / "bundled"
FULL = ModelCard(
    "kidneys",
    version="1.2.0",
    title="Kidneys",
    text="First.\n\nSecond.",
    state="installed",
    family="Abdomen",
    variant="U-Mamba Bot",
    network="umamba_bot",
    spatial_dims=3,
    channels=(Channel("CT", "CT"), Channel("arterial", "CT")),
    structures=(
        Structure("left_kidney", 1, (200, 10, 20), "Kidney, Left"),
        Structure("spleen", 2, (0, 0, 255), "Spleen"),
    ),
    spacing=(2.5, 0.8, 0.8),
    patch=(64, 128, 128),
    folds=("0", "1"),
    input_mode="tiles",
    trained_on="40 scans",
    tested_on="10 scans",
    figures=(
        Figure("Dice", "left_kidney", 0.93, 0.02, 0.92, 10),
        Figure("Dice", "spleen", 0.95, None, 0.94, 10),
        Figure("Dice", "both", 0.94, None, 0.93, 10),
        Figure("Volume error", "spleen", 3.2, None, None, None, "ml"),
    ),
    licence="CC-BY-4.0",
    licence_url="https://creativecommons.org/licenses/by/4.0/",
    citation="A. Author,\nJournal",
    bytes=12_300_000,
    paired=True,
    mirror_axes=(0,),
    keep_largest=("left kidney",),
)


class Checker(HTMLParser):
    """Every tag that is opened is closed, in order; the text is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.open = []
        self.tags = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open.append(tag)
        assert all(value is not None for _name, value in attrs)

    def handle_startendtag(self, tag, attrs):
        assert not attrs or tag == "img"
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


def read(html):
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    text = " ".join(checker.text.split())
    return text, checker.tags


def test_everything_is_there():
    text, _ = read(card_html(FULL))
    for words in (
        "Kidneys", "First.", "Second.", "installed (12.3 MB)", "1.2.0", "arterial (CT)", "2.5 x 0.8 x 0.8 mm",
        "64 x 128 x 128 voxels", "U-Mamba Bot umamba_bot 3D", "0, 1", "tells left from right", "40 scans", "10 scans",
        "largest component of left kidney",
        "Structures (2)", "left kidney", "(Kidney, Left)", "0.93 ± 0.02", "0.92", "3.2 ml", "Control",
        "Mean Dice over 3 structures: 0.94 (control: 0.93)", "CC-BY-4.0", "A. Author,", "Not a medical device",
    ):  # fmt: skip
        assert words in text, words
    assert "(Spleen)" not in text  # says nothing that the name does not


def test_the_mean_that_a_card_was_given_is_no_further_structure():
    figures = [
        Figure("Dice", "all structures", 0.9, 0.1, 0.8, 10),
        *(Figure("Dice", name, value, None, None, 10) for name, value in (("left_kidney", 0.95), ("spleen", 0.84))),
        Figure("Dice", "all structures", 2.0, None, None, 10, "mm"),
    ]
    text, _ = read(card_html(replace(FULL, figures=tuple(figures))))
    assert "Mean Dice over 2 structures: 0.9 (control: 0.8)" in text
    assert text.count("Mean Dice over") == 1


def test_colours_are_cells_and_text_has_none():
    html = card_html(FULL)
    assert 'bgcolor="#c80a14"' in html
    assert not re.search(r"(?<!bg)color|style=", html)


def test_only_what_qts_rich_text_knows():
    _, tags = read(card_html(FULL))
    assert tags <= {"h3", "h4", "p", "b", "i", "small", "table", "tr", "td", "th", "br", "a"}


@pytest.mark.parametrize("model", ["ct-head-neck", "cells-nuclei", "mr-left-ventricle"])
def test_plots_that_come_with_the_extension_are_shown_as_they_were_drawn(model):
    """Made smaller, they are not smoothed; wider, they must be scrolled in the panel as it opens."""
    drawn = (BUNDLED / model / "figures.png").read_bytes()
    width = int.from_bytes(drawn[16:20], "big")  # of a PNG's header
    assert f'width="{width}"' in card_html(replace(FULL, plot_path=BUNDLED / model / "figures.png"))


def test_the_plot_of_the_figures_is_shown_where_it_is(tmp_path):
    gui = pytest.importorskip("PySide6.QtGui", reason="PySide6 is not installed here", exc_type=ImportError)
    core = pytest.importorskip("PySide6.QtCore", reason="PySide6 is not installed here", exc_type=ImportError)
    place = tmp_path / "a plot & more.png"
    picture = gui.QImage(800, 400, gui.QImage.Format.Format_RGB32)
    picture.fill(0x336699)
    assert picture.save(str(place))
    html = card_html(replace(FULL, plot_path=place))
    _, tags = read(html)
    assert "img" in tags
    found = []
    document = gui.QTextDocument()
    document.setHtml(html)
    block = document.begin()
    while block.isValid():
        for fragment in block:
            image = fragment.fragment().charFormat().toImageFormat()
            if image.isValid():
                found.append((gui.QImage(core.QUrl(image.name()).toLocalFile()).size().width(), image.width()))
        block = block.next()
    assert found == [(800, 320)]
    assert "<img" not in card_html(FULL)


def test_everything_from_a_model_is_escaped():
    evil = "<img src=x>&\"'</td>"
    names = "id version title text problem variant network trained_on tested_on licence citation update superseded_by"
    texts = dict.fromkeys(names.split(), evil)
    card = replace(
        FULL,
        **texts,
        licence_url='https://x"><img src=x>',
        channels=(Channel(evil, evil),),
        structures=(Structure(evil, 1, (1, 2, 3), evil + "x"),),
        figures=(Figure(evil, evil, 1.0, unit=evil),) * 3,
        folds=(evil,),
    )
    html = card_html(card)
    assert "<img" not in html
    text, _ = read(html)
    assert evil in text


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "http://x"])
def test_only_secure_addresses_become_links(url):
    assert "<a" not in card_html(replace(FULL, licence_url=url))


def test_problem_successor_and_update_come_first():
    text, _ = read(
        card_html(replace(FULL, state="damaged", problem="Its file is gone.", superseded_by="k2", update="2"))
    )
    assert text.index("Its file is gone.") < text.index("First.")
    assert "Superseded by the model 'k2'" in text
    assert "Version 2 can be downloaded" in text


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (8, 1), (9, 2), (40, 2), (61, 3)])
def test_long_lists_stand_in_columns(count, columns):
    names = [f"structure_{number}" for number in range(count)]
    html = card_html(replace(FULL, structures=tuple(Structure(name, 1, (1, 2, 3)) for name in names), figures=()))
    table = html.split("Structures (")[1].split("<table")[1].split("</table>")[0]
    rows = table.split("<tr>")[1:]
    assert len(rows) == -(-count // columns)
    assert rows[0].count("structure ") == columns
    shown = re.findall(r"structure \d+", table)
    assert sorted(shown) == sorted(name.replace("_", " ") for name in names)


def test_without_figures_it_says_so_and_without_control_there_is_no_column():
    text, _ = read(card_html(replace(FULL, figures=())))
    assert "Measured accuracy Not stated." in text
    text, _ = read(card_html(replace(FULL, figures=(Figure("Dice", "spleen", 0.9),))))
    assert "Control" not in text
    assert "Cases" not in text


def test_every_listed_model_has_a_card():
    for card in list_models():
        text, _ = read(card_html(card))
        assert card.title in text


def test_qt_reads_it():
    gui = pytest.importorskip("PySide6.QtGui", reason="PySide6 is not installed here", exc_type=ImportError)
    document = gui.QTextDocument()
    document.setHtml(card_html(FULL))
    assert "left kidney" in document.toPlainText()
    assert "0.93 ± 0.02" in document.toPlainText()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (999_600, "1.0 MB"), (12_345_678, "12.3 MB"),
     (123_456_789, "123 MB"), (3.1e9, "3.1 GB"), (8e11, "800 GB")],
)  # fmt: skip
def test_bytes(count, text):
    assert bytes_text(count) == text


def test_bytes_of_bytes():
    assert of_bytes_text(3.1e9, 8e9) == "3.1 of 8.0 GB"
    assert of_bytes_text(3.1e6, 8e9) == "3.1 MB of 8.0 GB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "less than a second"), (1, "1 s"), (39.6, "40 s"), (59.7, "1 min"), (60, "1 min"), (200, "3 min 20 s"),
     (720, "12 min"), (3599, "1 h"), (4800, "1 h 20 min"), (7200, "2 h")],
)  # fmt: skip
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("volume", "text"),
    [(0, "0 ml"), (0.0001, "less than 0.001 ml"), (0.042, "0.042 ml"), (3.14159, "3.14 ml"), (9.999, "10.0 ml"),
     (42, "42.0 ml"), (1520.4, "1520 ml")],
)  # fmt: skip
def test_volumes(volume, text):
    assert volume_text(volume) == text


def test_spacing():
    assert spacing_text((1.5, 0.8, 0.8)) == "1.5 x 0.8 x 0.8 mm"
    assert spacing_text(()) == ""
