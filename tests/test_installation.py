"""Advice that works: how to get an extra, and why a library cannot be loaded."""

import json
import re
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from filmgate.errors import Exit
from filmgate.installation import (
    advise_install,
    explain_system_error,
    quote_argument,
    read_version,
)


@pytest.mark.parametrize("name", ["filmgate", "av", "numpy", "pydantic", "torch", "safetensors"])
def test_version_is_that_of_the_metadata(name: str) -> None:
    assert read_version(name) == metadata.version(name)


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"url": "file:///a%20b/src", "dir_info": {}}, "pip install '/a b/src[image]'"),
        (
            {"url": "file:///src", "dir_info": {"editable": True}},
            "pip install -e '/src[image]'",
        ),
        ({"url": "file:///C:/src", "dir_info": {}}, "pip install 'C:/src[image]'"),
        (
            {"url": "https://host/gate.git", "vcs_info": {"vcs": "git", "commit_id": "12ab"}},
            "pip install 'filmgate[image] @ git+https://host/gate.git@12ab'",
        ),
        (
            {"url": "https://host/gate.whl", "archive_info": {}},
            "pip install 'filmgate[image] @ https://host/gate.whl'",
        ),
        (None, "pip install 'filmgate[image]'"),  # by its name, which is therefore published
    ],
)
def test_extra_is_installed_from_where_filmgate_came(
    origin: object, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pip install 'filmgate[image]'` was advised, and no index has that name."""
    text = json.dumps(origin) if origin else None
    fake = SimpleNamespace(read_text=lambda name: text if name == "direct_url.json" else None)
    monkeypatch.setattr(metadata, "distribution", lambda _: fake)
    if sys.platform == "win32":  # whose shell knows double quotes only
        command = re.sub("'.*'", lambda found: f'"{found[0][1:-1]}"', command)
        command = command.replace("/", "\\") if "://" not in command else command
    assert advise_install("image") == command


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("C:\\videos\\out-1.mp4", "C:\\videos\\out-1.mp4"),
        ("C:\\my videos\\a&b.mp4", '"C:\\my videos\\a&b.mp4"'),
        ("it's.mp4", '"it\'s.mp4"'),
    ],
)
def test_words_of_commands_are_quoted_for_windows(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert quote_argument(text) == shown


def test_source_that_is_not_installed_is_installed_in_its_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(name: str) -> object:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", fail)
    wanted = f"pip install {quote_argument('.[image]')} in the folder of its source"
    assert advise_install("image") == wanted


@pytest.mark.parametrize(
    ("module", "code", "message"),
    [
        ("av", "raise ImportError('libav.so: file too short')", "av: libav.so: file too short. "),
        ("av", "import no_such_library", "av: No module named 'no_such_library'. Install it"),
        ("av", "raise MemoryError", "av: there is no memory for it. "),
        ("cv2", "raise ImportError('libGL.so.1: cannot open')", "opencv-contrib-python-headless"),
        ("numpy", "raise OSError('openblas.so: failed to map segment')", "numpy: openblas.so"),
        ("cyclopts", "1 / 0", "cyclopts: division by zero"),
        ("psutil", "raise RuntimeError('x' * 9999)", "psutil: xxxx"),
    ],
)
def test_library_that_cannot_be_loaded_is_named_with_the_cause(
    module: str, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{module}.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, module, raising=False)
    try:
        import_module(module)
    except Exception as error:  # noqa: BLE001 - whatever the broken library raises
        text = str(explain_system_error(error))
    assert text.startswith("cannot load the library ")
    assert message in text
    assert len(text) < 600


def test_broken_library_is_a_message_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "av.py").write_text("raise ImportError('libav.so: file too short')\n")
    (tmp_path / "in.mp4").touch()
    script = ("import sys; sys.path.insert(0, 'broken'); from filmgate.cli.main import main;"
              "sys.exit(main(sys.argv[1:]))")  # fmt: skip
    result = subprocess.run([sys.executable, "-c", script, "probe", "in.mp4"], check=False,
                            capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert result.stderr.startswith("filmgate: cannot load the library av: libav.so: file too ")
    assert "Traceback" not in result.stderr
    assert result.returncode == Exit.OURS


@pytest.mark.skipif(sys.platform == "win32", reason="limits of memory are set with resource")
@pytest.mark.slow
@pytest.mark.parametrize("worker", [True, False])
def test_limit_of_memory_is_named(worker: bool, tmp_path: Path) -> None:
    """`ulimit -v` ended in a traceback of the dynamic linker."""
    (tmp_path / "in.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(99))
    script = ("import resource, sys; from filmgate.cli.main import main;"
              "resource.setrlimit(resource.RLIMIT_AS, (180 << 20, 180 << 20));"
              "sys.exit(main(sys.argv[1:]))")  # fmt: skip
    words = ["upscale", "in.mp4", "out.mp4", *([] if worker else ["--in-process"])]
    result = subprocess.run([sys.executable, "-c", script, *words], capture_output=True,
                            text=True, check=False, cwd=tmp_path)  # fmt: skip
    assert "Memory is limited to 0.2 GB of addresses here (ulimit -v)" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.returncode == Exit.OURS


def test_what_an_apple_gpu_lacks_is_no_bug() -> None:
    text = ("The operator 'aten::x' is not currently implemented for the MPS device. If you want "
            "this op to be considered for addition please comment")  # fmt: skip
    known = explain_system_error(NotImplementedError(text))
    assert known is not None
    assert known.exit_code == Exit.USER
    assert "for the MPS device. Pass --device cpu" in str(known)
    assert explain_system_error(NotImplementedError("of a stage")) is None


def test_bug_of_ours_is_not_explained_away() -> None:
    with pytest.raises(ImportError) as caught:
        import_module("filmgate.no_such_module")
    assert explain_system_error(caught.value) is None
    assert explain_system_error(ZeroDivisionError("deep down")) is None


def test_memory_that_runs_out_later_is_no_bug_either() -> None:
    assert "allocate memory" in str(explain_system_error(MemoryError()))
    thread = explain_system_error(RuntimeError("can't start new thread"))
    assert "start a thread" in str(thread)
