"""A progress bar on stderr for commands that go through cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Give a function that is told how many cases are done, of how many, and which is next."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=" cases", disable=None, leave=False) as bar:

        def told(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.set_postfix_str(name, refresh=False)
            bar.update(done - bar.n)

        yield told
