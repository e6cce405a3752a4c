"""`filmgate completion`: print the script that lets a shell complete commands and flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import App, Parameter

from filmgate.errors import Exit

Shell = Annotated[Literal["bash", "zsh", "fish"], Parameter(name="SHELL", help="The shell.")]


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    return App(name="completion", default_command=run)


def run(shell: Shell, /) -> Exit:
    """Print the completion script of a shell: bash, zsh or fish.

    For bash and zsh, add to ~/.bashrc or ~/.zshrc: eval "$(filmgate completion bash)". For fish:
    filmgate completion fish > ~/.config/fish/completions/filmgate.fish
    """
    from filmgate.cli import app as program
    from filmgate.cli.commands import find_command, list_commands

    app = program.build_app(*(find_command(name)([name, "--help"]) for name in list_commands()))
    script = app.generate_completion(shell=shell, prog_name="filmgate")
    # files are completed wherever the script has no suggestion
    print(script.replace("complete -F _filmgate", "complete -o default -F _filmgate"))
    return Exit.DONE
