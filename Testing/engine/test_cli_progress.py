"""Progress in a log: lines now and then, none when quiet."""

from __future__ import annotations

import io

import pytest

from mambaseg.cli.output import size_text, table
from mambaseg.cli.progress import Bar, duration
from mambaseg.inference.progress import Reporter


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _walk(bar: Bar, clock: list[float], seconds_a_tile: float) -> None:
    reporter = Reporter(bar, None, lambda: clock[0])
    for stage, total in (("prepare", 2), ("network", 60), ("export", 3)):
        reporter.begin(stage, total)
        for done in range(1, total + 1):
            clock[0] += seconds_a_tile
            reporter.step(done)


def test_a_log_gets_a_line_every_ten_seconds():
    clock = [0.0]
    stream = io.StringIO()
    _walk(Bar(stream, clock=lambda: clock[0]), clock, 1.0)
    lines = stream.getvalue().splitlines()
    network = [line for line in lines if line.startswith("Network: ")]
    assert network[0] == "Network: 0 of 60 tiles, 0:00 so far"
    assert network[1] == "Network: 10 of 60 tiles, 0:10 so far, about 0:50 left"
    assert network[-1] == "Network: 60 of 60 tiles, 1:00 so far"
    assert len(network) == 7
    assert lines[0] == "Preparing: 2 of 2 steps, 0:02 so far"


def test_a_terminal_gets_a_bar_and_quiet_gets_nothing():
    clock = [0.0]
    stream = _Terminal()
    with Bar(stream) as bar:
        _walk(bar, clock, 0.0)
    drawn = stream.getvalue().split("\r")
    assert any("60 of 60 tiles" in line for line in drawn)
    assert max(len(line.rstrip()) for line in drawn) <= 80
    silent = _Terminal()
    _walk(Bar(silent, quiet=True), clock, 1.0)
    assert silent.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00"), (67, "1:07"), (3723, "1:02:03")])
def test_duration(seconds: float, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(12, "12 bytes"), (8_400_000, "8.4 MB"), (250_000_000, "250 MB")])
def test_sizes(count: int, text: str):
    assert size_text(count) == text


def test_columns_line_up():
    assert table([("a", "1.5"), ("long", "22.0")], right=(1,)) == "a      1.5\nlong  22.0"
