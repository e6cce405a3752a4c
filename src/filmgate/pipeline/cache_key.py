"""Name everything besides the frames that cached results depend on."""

from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filmgate.core.instrumentation.memory import get_loaded_cuda, list_used_devices
from filmgate.core.job import SourceFile
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.storage.fingerprint import cached_sha256
from filmgate.tasks.settings import list_settings

LIBRARIES = ("numpy", "opencv-contrib-python-headless", "torch", "diffusers", "spandrel")


def describe_source(source: SourceFile, memo_folder: Path) -> dict[str, object]:
    """Return the hashes of the source's files and its settings, such as the range.

    Hashes are remembered in `memo_folder`. A pipe has no files: only its frames identify it.
    """
    files = source.files if isinstance(source, VideoFile | ImageSequence) else ()
    return {
        "source": [cached_sha256(path, memo_folder) for path in files],
        "range": list_settings(source, paths=False),
    }


def hash_package() -> str:
    """Return a hash of this package's code and weights, library versions and the GPUs in use."""
    cuda = get_loaded_cuda()
    names = [cuda.get_device_name(k) for k in list_used_devices(cuda)] if cuda else []
    return sha256(" ".join([_hash_code(), *names]).encode()).hexdigest() if names else _hash_code()


@cache
def _hash_code() -> str:
    digest = sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.*")):
        if path.suffix in (".py", ".safetensors"):
            digest.update(path.read_bytes())
    for name in LIBRARIES:
        try:
            digest.update(f"{name} {version(name)}".encode())
        except PackageNotFoundError:
            continue
    return digest.hexdigest()
