"""What cached results depend on besides their frames."""

from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filmgate.core.instrumentation.memory import cuda_in_use
from filmgate.storage.fingerprint import cached_sha256
from filmgate.tasks.job_config import settings

# Whose bits count.
LIBRARIES = ("numpy", "opencv-contrib-python-headless", "torch", "diffusers", "spandrel")
_RANGE = ("from_", "to", "frames")  # fields of a source that say what of it is shown


def source_key(source: Any, notes: Path) -> dict[str, object]:
    """Which film, and what of it; one that has no files (a pipe) is known by its frames alone."""
    told = settings(source)
    return {
        "source": [cached_sha256(path, notes) for path in getattr(source, "files", ())],
        "range": {name.rstrip("_"): told.get(name.rstrip("_")) for name in _RANGE},
    }


@cache
def package_digest() -> str:
    """Of this package every line and number, the libraries' versions, and the device."""
    digest = sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.*")):
        if path.suffix in (".py", ".safetensors"):
            digest.update(path.read_bytes())
    for name in LIBRARIES:
        try:
            digest.update(f"{name} {version(name)}".encode())
        except PackageNotFoundError:
            continue
    if cuda := cuda_in_use():
        digest.update(cuda.get_device_name().encode())
    return digest.hexdigest()
