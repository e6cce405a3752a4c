"""What is published of InsightFace: two networks of the pack buffalo_l, and what runs them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from filmgate.errors import BadSetting
from filmgate.installation import advise_install
from filmgate.weights.definitions import Weights
from filmgate.weights.store import WeightsStore

_LICENCE = "non-commercial research only"
_TERMS = ("InsightFace gives its models for non-commercial research purposes only: see "
          "https://github.com/deepinsight/insightface#license")  # fmt: skip
_HUB = "public-data/insightface"
DETECTOR = Weights(
    name="insightface-detector",
    family="insightface",
    file="det_10g.onnx",
    size_bytes=16_923_827,
    sha256="5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
    licence=_LICENCE,
    commercial=False,
    terms=_TERMS,
    hub=_HUB,
    path="models/buffalo_l/det_10g.onnx",
)
POINTS = Weights(
    name="insightface-points",
    family="insightface",
    file="2d106det.onnx",
    size_bytes=5_030_888,
    sha256="f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf",
    licence=_LICENCE,
    commercial=False,
    terms=_TERMS,
    hub=_HUB,
    path="models/buffalo_l/2d106det.onnx",
)


def verify_files(place: Path | None) -> list[Path]:
    """Return both files, in the folder `place` or the models folder.

    Raises BadSetting without ONNX Runtime, BadWeights if a file is missing or damaged.
    """
    require_onnx()
    store = WeightsStore.open_default()
    return [store.verify(one, place) for one in (DETECTOR, POINTS)]


def require_onnx() -> None:
    """Raise BadSetting, with the command that installs it, if ONNX Runtime is not installed."""
    if find_spec("onnxruntime") is None:
        raise BadSetting("insightface needs ONNX Runtime, which is not installed: run "
                         f"{advise_install('insightface')}")  # fmt: skip
