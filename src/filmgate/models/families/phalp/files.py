"""Find the files of PHALP in the user's folder. Nothing is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from filmgate.errors import BadSetting, BadWeights

ENCODER, PREDICTOR, STATISTICS = "hmar_v2_weights", "pose_predictor_40006", "mean_std.npy"
FACES, FACE_OF_TEXEL, PLACE_IN_FACE = "texture.npz", "fmap_256.npy", "bmap_256.npy"
ATLAS = (FACES, FACE_OF_TEXEL, PLACE_IN_FACE)
_SUFFIXES = (".safetensors", ".pth", ".ckpt", ".pt")


def find_networks(folder: Path) -> tuple[Path | None, Path | None]:
    """Return the files of the texture encoder and of the pose predictor, each if it is there.

    Raises BadSetting if `folder` is no folder, BadWeights if it has neither, or no statistics.
    """
    if not folder.is_dir():
        raise BadSetting(f"weights is {folder}, which is no folder: pass one with {ENCODER}.pth or "
                         f"{PREDICTOR}.ckpt")  # fmt: skip
    encoder, predictor = (_find(folder, stem) for stem in (ENCODER, PREDICTOR))
    if encoder is None and predictor is None:
        raise BadWeights(f"{folder} holds neither {ENCODER} nor {PREDICTOR} as "
                         f"{', '.join(_SUFFIXES)}: put one there, or omit the weights to track by "
                         "location")  # fmt: skip
    if predictor is not None and not (folder / STATISTICS).is_file():
        raise BadWeights(f"{folder} holds {predictor.name} and no {STATISTICS}, by which poses are "
                         "normalised: put it there")  # fmt: skip
    return encoder, predictor


def list_missing(folder: Path) -> list[str]:
    """Return which files of the atlas are not in a folder."""
    return [name for name in ATLAS if not (folder / name).is_file()]


def list_files(folder: Path) -> Iterator[Path]:
    """Return the files that affect results. Raises as `find_networks`."""
    encoder, predictor = find_networks(folder)
    if encoder:
        yield encoder
        yield from () if list_missing(folder) else (folder / name for name in ATLAS)
    yield from [predictor, folder / STATISTICS] if predictor else []


def _find(folder: Path, stem: str) -> Path | None:
    paths = (folder / f"{stem}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in paths if path.is_file()), None)
