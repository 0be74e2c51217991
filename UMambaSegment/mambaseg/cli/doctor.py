"""``mambaseg doctor``."""

from __future__ import annotations

import click

from mambaseg.cli.output import json_text
from mambaseg.cli.parameters import command

_AMISS = 1


@command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Give it as JSON instead of text.")
def doctor(*, as_json: bool) -> int:
    """Say what this computer has and whether mambaseg works on it; the text is made to be copied.

    The exit code is 1 where something needs a look.
    """
    from mambaseg.doctor import diagnose

    found = diagnose()
    click.echo(json_text(found.to_json()) if as_json else found.text())
    return 0 if found.ok else _AMISS
