"""The program `filmgate`, made of commands."""

from __future__ import annotations

from cyclopts import App, Parameter

from filmgate import __version__
from filmgate.cli import SUMMARY


def build_app(*commands: App) -> App:
    """Return `filmgate` with these commands."""
    app = App(
        name="filmgate",
        help=SUMMARY,
        version=__version__,
        default_parameter=Parameter(negative=(), show_default=False),
        result_action="return_value",
    )
    for command in commands:
        app.command(command)
    return app
