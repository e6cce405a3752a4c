"""What is published of PersonaLive: the folder of weights, and what is needed to open it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from filmgate.device.host_speed import measure_host_speed
from filmgate.errors import BadWeights
from filmgate.installation import advise_install
from filmgate.weights.definitions import SAFE_SUFFIXES, WeightsRepository

HUB = "huaichang/PersonaLive"
LICENCE = ("Apache-2.0 with \"academic research only\" in its README; sd-image-variations "
           "CreativeML OpenRAIL-M, sd-vae-ft-mse MIT")  # fmt: skip
SIZE = "3.0 billion numbers, 6.1 GB in float16"
_TFLOP = 8.7  # of one frame, predicted
_MINUTE = 60 * 25  # frames
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
_SUFFIXES = (*SAFE_SUFFIXES, ".pth", ".bin")  # opened without running code in them
# Sizes of the files are what the hub answers: none could be looked at.
REPOSITORIES = (
    WeightsRepository(
        name="personalive-networks",
        family="personalive",
        hub=HUB,
        licence="Apache-2.0, and \"academic research only\" in its README",
        commercial=False,
        wanted=tuple("|".join(f"pretrained_weights/personalive/{name}.{end}"
                              for end in ("safetensors", "pth")) for name in OWN),
        suffixes=_SUFFIXES,
    ),
    WeightsRepository(
        name="personalive-vae",
        family="personalive",
        hub="stabilityai/sd-vae-ft-mse",
        licence="MIT",
        commercial=True,
        wanted=("diffusion_pytorch_model.safetensors|diffusion_pytorch_model.bin",),
        folder="sd-vae-ft-mse",
        suffixes=_SUFFIXES,
    ),
    WeightsRepository(
        name="personalive-clip",
        family="personalive",
        hub="lambdalabs/sd-image-variations-diffusers",
        licence="CreativeML OpenRAIL-M",
        commercial=None,
        wanted=("unet/config.json", "image_encoder/config.json",
                "image_encoder/model.safetensors|image_encoder/pytorch_model.bin"),
        folder="sd-image-variations-diffusers",
        suffixes=_SUFFIXES,
    ),
)  # fmt: skip
HOW = f"run filmgate models pull personalive ({SIZE}), or pass --weights FOLDER"


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
    time = describe_time(measure_host_speed())
    raise BadWeights(f"{folder / names[0][0]} is missing, wanted the weights of PersonaLive: "
                     f"{HOW}. Licence: {LICENCE}. {time}")  # fmt: skip


def describe_time(speed: float) -> str:
    """Return how long a video takes on a processor of so many operations a second."""
    seconds = _TFLOP * 1e12 / speed
    return (f"A frame takes {_TFLOP} TFLOP (predicted), and this machine's processor computes "
            f"{speed / 1e12:.2f} TFLOP/s (measured): without a GPU it takes about "
            f"{seconds:.0f} s a frame, {seconds * _MINUTE / 3600:.0f} hours for a minute of 25 "
            "frames a second")  # fmt: skip


def explain_missing() -> str:
    """Return how to get the libraries of the family."""
    return f"it is not installed. Run {advise_install('diffusion')}"
