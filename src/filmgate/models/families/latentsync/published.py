"""What is published of LatentSync, and of the networks around it."""

from __future__ import annotations

from types import MappingProxyType

from filmgate.weights.definitions import Weights

_HUB = "ByteDance/LatentSync-"
# The sizes are those of the tensors and some more: none of these files could be looked at.
UNETS = MappingProxyType(
    {
        version: Weights(
            name=f"latentsync-{version}",
            family="latentsync",
            file=f"{version}/latentsync_unet.pt",
            size_bytes=5_072_300_000,
            size_tolerance=2_000_000,
            licence=licence,
            commercial=None,
            hub=f"{_HUB}{version}",
            path="latentsync_unet.pt",
        )
        for version, licence in (
            ("1.5", "OpenRAIL++-M"), ("1.6", "not known here: read its page; 1.5 is OpenRAIL++-M")
        )
    }
)  # fmt: skip
WHISPER = Weights(
    name="latentsync-whisper",
    family="latentsync",
    file="tiny.pt",
    size_bytes=75_570_000,
    size_tolerance=200_000,
    licence="MIT",
    commercial=True,
    hub=f"{_HUB}1.5",
    path="whisper/tiny.pt",
    flag="--whisper",
)
VAE = Weights(
    name="sd-vae-ft-mse",
    family="latentsync",
    file="sd-vae-ft-mse.safetensors",
    size_bytes=334_640_000,
    size_tolerance=200_000,
    licence="MIT",
    commercial=True,
    hub="stabilityai/sd-vae-ft-mse",
    path="diffusion_pytorch_model.safetensors",
    flag="--vae",
)
SIDES = MappingProxyType({"1.5": 256, "1.6": 512})  # of faces, as in training
