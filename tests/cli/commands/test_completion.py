"""`filmgate completion`: the scripts, and bash completing with its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from filmgate.cli import commands
from filmgate.cli.main import main
from filmgate.errors import Exit


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_has_every_command_and_the_flags_of_tasks(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == Exit.DONE
    script = capsys.readouterr().out
    for word in ("upscale", "models", "completion", "scale", "deinterlace", "h264_nvenc"):
        assert word in script


def test_bash_completes_commands_flags_choices_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a few commands: the script of all takes four times as long."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    few = {name: summary for name, summary in commands.list_commands().items()
           if name in ("upscale", "convert", "models")}  # fmt: skip
    monkeypatch.setattr(commands, "list_commands", lambda: few)
    assert main(["completion", "bash"]) == Exit.DONE
    script = capsys.readouterr().out
    assert "complete -o default -F _filmgate" in script
    (tmp_path / "script").write_text(script)
    (tmp_path / "in.mp4").touch()
    words = {
        "up": "upscale",
        "upscale --sc": "--scale",
        "convert in": "in.mp4",
        "convert --codec hevc_n": "hevc_nvenc",
        "models pu": "pull",
    }
    tries = "\n".join(f"try filmgate {word}" for word in words)
    program = (
        "source ./script\n"
        'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _filmgate; '
        'echo "${COMPREPLY[*]}"; }\n' + tries
    )
    result = subprocess.run([bash, "-c", program], cwd=tmp_path, capture_output=True, text=True,
                            check=True)  # fmt: skip
    assert result.stdout.splitlines() == list(words.values())
    assert result.stderr == ""
