"""What is published of PersonaLive: the folder of weights, and what is needed to open it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from filmgate.errors import BadWeights
from filmgate.installation import advise_install
from filmgate.models.contracts import ByHand

HUB = "huaichang/PersonaLive"
LICENCE = ("Apache-2.0 with \"academic research only\" in its README; sd-image-variations "
           "CreativeML OpenRAIL-M, sd-vae-ft-mse MIT")  # fmt: skip
SIZE = "3.0 billion numbers, 6.1 GB in float16"
_TFLOP = 8.7  # of one frame, predicted
_CPU = 0.05  # TFLOP/s of a usual desktop processor in float32
_LAYOUT = ("personalive/", "pretrained_weights/personalive/", "")
_VAE = ("sd-vae-ft-mse/", "pretrained_weights/sd-vae-ft-mse/")
_VARIATIONS = tuple(f"{one}sd-image-variations-diffusers/" for one in ("", "pretrained_weights/"))

Paths = Sequence[Sequence[str]]  # of each file, the first that exists


def _own(name: str) -> tuple[tuple[str, ...]]:
    return (tuple(f"{at}{name}{end}" for at in _LAYOUT for end in (".pth", ".safetensors")),)


OWN: Mapping[str, Paths] = MappingProxyType(
    {name: _own(name) for name in ("denoising_unet", "temporal_module", "reference_unet",
                                   "motion_encoder", "motion_extractor", "pose_guider")}
)  # fmt: skip
UNET: Paths = (tuple(f"{at}unet/config.json" for at in _VARIATIONS),)
VAE: Paths = (
    tuple(f"{at}diffusion_pytorch_model.{end}" for at in _VAE for end in ("safetensors", "bin")),
)
CLIP: Paths = (
    tuple(f"{at}image_encoder/config.json" for at in _VARIATIONS),
    tuple(f"{at}image_encoder/{name}" for at in _VARIATIONS
          for name in ("model.safetensors", "pytorch_model.bin")),
)  # fmt: skip
BY_HAND = ByHand(
    f"--weights FOLDER, with the folders personalive of huaichang/PersonaLive, sd-vae-ft-mse of "
    f"stabilityai, and sd-image-variations-diffusers of lambdalabs, of which unet/config.json and "
    f"image_encoder are enough ({SIZE}); all are on huggingface.co",
    LICENCE,
)


def find_files(folder: Path) -> Iterator[Path]:
    """Return every file of a folder of weights. Raises BadWeights for one that is missing."""
    for files in (*OWN.values(), UNET, VAE, CLIP):
        for names in files:
            yield find_file(folder, (names,))


def find_file(folder: Path, names: Paths) -> Path:
    """Return the first of the names that is a file of the folder. Raises BadWeights."""
    for name in names[0]:
        if (folder / name).is_file():
            return folder / name
    seconds = _TFLOP / _CPU
    raise BadWeights(f"{folder / names[0][0]} is missing, wanted the weights of PersonaLive: pass "
                     f"{BY_HAND.how}. Licence: {LICENCE}. A frame takes {_TFLOP} TFLOP "
                     f"(predicted): on a processor of {_CPU} TFLOP/s {seconds / 60:.0f} minutes, "
                     f"an hour of video {seconds * 25 / 24:.0f} days")  # fmt: skip


def explain_missing() -> str:
    """Return how to get the libraries of the family."""
    return f"it is not installed. Run {advise_install('diffusion')}"
