"""What is installed, how to get an optional part as a command, why a library cannot be loaded."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType, TracebackType
from urllib.parse import unquote, urlsplit

from filmgate.errors import FilmgateError, NotLoaded, Unsupported

# Libraries whose package has another name.
_PACKAGES: Mapping[str, str] = MappingProxyType(
    {"cv2": "opencv-contrib-python-headless", "PIL": "pillow"}
)
_OURS = frozenset(("filmgate", "__main__", *sys.stdlib_module_names))


def advise_install(extra: str = "") -> str:
    """Return the command that installs Filmgate again from where it came, with an `extra`.

    That is a folder, a repository, a file, or, if it was installed by its name, that name.
    """
    part = f"[{extra}]" if extra else ""
    try:
        from importlib.metadata import PackageNotFoundError, distribution

        origin = json.loads(distribution("filmgate").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):  # run from a folder without being installed
        return f"pip install {quote_argument(f'.{part}')} in the folder of its source"
    url = str(origin.get("url", ""))
    if "dir_info" in origin:
        folder = _to_path(url)
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return f"pip install {editable}{quote_argument(f'{folder}{part}')}"
    if version := origin.get("vcs_info"):
        commit = f"@{version['commit_id']}" if version.get("commit_id") else ""
        url = f"{version['vcs']}+{url}{commit}"
    source = f" @ {url}" if url else ""
    return f"pip install {quote_argument(f'filmgate{part}{source}')}"


def quote_argument(text: str) -> str:
    """Return a word of a command to show, as the shells of this system read it.

    cmd.exe knows double quotes only.
    """
    if sys.platform == "win32":
        return text if re.fullmatch(r"[\w.:\\/-]+", text) else f'"{text}"'
    return shlex.quote(text)


@cache
def read_version(name: str) -> str:
    """Return the version of an installed library, without parsing all that its metadata say.

    Raises importlib.metadata.PackageNotFoundError.
    """
    from importlib.metadata import distribution

    installed = distribution(name)
    found = re.match(r"(?:[^\n]+\n)*?Version: *(\S+)", installed.read_text("METADATA") or "")
    return found[1] if found else installed.version


def explain_system_error(error: BaseException) -> FilmgateError | None:
    """Return an error for the user if a library cannot be loaded, or memory or threads ran out.

    Also if torch has no code for Apple's GPU. None for any other error, such as a bug of Filmgate.
    Reads the error's traceback.
    """
    if isinstance(error, FilmgateError):
        return None
    if library := _find_library(error):
        return NotLoaded(f"cannot load the library {library}: {_find_reason(error)}. "
                         f"{_advise_library(library, error)}")  # fmt: skip
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):
        what = "start a thread" if isinstance(error, RuntimeError) else "allocate memory"
        return NotLoaded(f"cannot {what}: the system refused it. {_advise_memory()}")
    if isinstance(error, NotImplementedError | TypeError) and re.search(r"\bMPS\b", str(error)):
        reason = _find_reason(error).partition(". ")[0]
        return Unsupported(f"torch cannot compute this on an Apple GPU: {reason}. "
                           "Pass --device cpu, or set PYTORCH_ENABLE_MPS_FALLBACK=1 to compute on "
                           "the CPU what is missing")  # fmt: skip
    return None


def _to_path(url: str) -> Path:
    """Return the path of a file:// address; on Windows it has a slash before the drive."""
    path = unquote(urlsplit(url).path)
    return Path(path[1:] if path[2:3] == ":" else path)


def _find_library(error: BaseException) -> str:
    """Return the top package of the library that was being imported, "" if none was.

    Code that runs at the top level of a module runs because the module is imported.
    """
    found, trace = "", error.__traceback__
    while isinstance(trace, TracebackType):
        name = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if trace.tb_frame.f_code.co_name == "<module>" and name not in _OURS:
            found = name
        trace = trace.tb_next
    missing = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    return found or ("" if missing in _OURS else missing)


def _find_reason(error: BaseException) -> str:
    """Return the first line of the first cause: libraries wrap it in pages of advice."""
    while error.__cause__ is not None and str(error.__cause__):
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return (lines[0].rstrip(".") if lines else _describe_kind(error))[:300]


def _describe_kind(error: BaseException) -> str:
    return "there is no memory for it" if isinstance(error, MemoryError) else type(error).__name__


def _advise_library(library: str, error: BaseException) -> str:
    if read_memory_limit() or isinstance(error, MemoryError) or " map " in str(error):
        return _advise_memory()
    package = _PACKAGES.get(library, library)
    if isinstance(error, ModuleNotFoundError) and error.name == library:
        return f"Run {advise_install()}, which installs it"
    return f"Install it again: pip install --force-reinstall {package}, and see filmgate doctor"


def _advise_memory() -> str:
    if limit := read_memory_limit():
        return (f"Memory is limited to {limit / 1e9:.1f} GB of addresses here (ulimit -v): raise "
                "the limit, libraries need several GB of addresses")  # fmt: skip
    return "Close other programs, or raise the limits of this shell or container (ulimit -a)"


def read_memory_limit() -> int:
    """Return the limit of this process's address space in bytes, 0 if there is none."""
    if sys.platform == "win32":
        return 0
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return 0 if soft == resource.RLIM_INFINITY else soft
