"""Open the folder of weights of PersonaLive, in the layout of its authors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from filmgate.errors import BadSetting, BadWeights, FilmgateError
from filmgate.models.diffusion.weights_files import open_autoencoder
from filmgate.models.families.personalive.extractor import HeadExtractor, PoseGuider
from filmgate.models.families.personalive.layers import MODULE_GROUPS
from filmgate.models.families.personalive.motion import MotionEncoder
from filmgate.models.families.personalive.networks import (
    ImageEncoder,
    LatentDecoder,
    LatentEncoder,
    Networks,
)
from filmgate.models.families.personalive.published import (
    CLIP,
    OWN,
    UNET,
    VAE,
    explain_missing,
    find_file,
    find_files,
)
from filmgate.models.families.personalive.unet import DenoisingUnet, ReferenceUnet, Shape
from filmgate.weights.state_dict import fill, load_tensors

# Settings that the networks rely on; others of the file are those of Stable Diffusion 1.5.
_WANTED = {
    "in_channels": 4,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "use_linear_projection": False,
}
_MOST = 1 << 14  # of a size in a file of settings


def open_networks(folder: Path, dtype: torch.dtype, device: str) -> Networks:
    """Return the networks of a folder: `personalive`, the VAE and CLIP's image encoder.

    Sizes are read from its settings and tensors, so smaller networks of the same kind open too.
    What is used seldom stays on the CPU. Raises BadWeights, which names what differs, and
    BadSetting without transformers.
    """
    list(find_files(folder))
    shape = _read_shape(find_file(folder, UNET))
    own = {name: load_tensors(find_file(folder, paths)) for name, paths in OWN.items()}
    shape_names = DenoisingUnet(shape, "meta").state_dict()
    both = own["denoising_unet"] | own.pop("temporal_module")
    own["denoising_unet"] = {name: both[name] for name in shape_names if name in both}
    own["motion_extractor"].setdefault("idx_tensor", torch.arange(66, dtype=torch.float32))
    places = {name: find_file(folder, OWN[name]) for name in own}
    vae = open_autoencoder(find_file(folder, VAE), dtype, "cpu")
    clip = _open_clip(folder)

    def fill(net: nn.Module, name: str, to: str) -> Any:
        return _fill(net, own.pop(name), places[name]).to(to, dtype)

    try:
        motion = MotionEncoder(*_measure_motion(own["motion_encoder"]), device="meta")
        heads = HeadExtractor(*_measure_heads(own["motion_extractor"]), device="meta")
        guider = PoseGuider(*_measure_guider(own["pose_guider"]), device="meta")
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise BadWeights(f"{folder} holds tensors of another model ({error!s:.100}): download "
                         "those of PersonaLive again") from error  # fmt: skip
    return Networks(
        unet=fill(DenoisingUnet(shape, "meta"), "denoising_unet", device),
        motion=fill(motion, "motion_encoder", device),
        heads=fill(heads, "motion_extractor", device),
        guider=fill(guider, "pose_guider", device),
        decoder=_freeze(LatentDecoder(vae)).to(device, dtype),
        clip=_freeze(ImageEncoder(clip)).to(dtype),
        encoder=_freeze(LatentEncoder(vae)),
        reference=fill(ReferenceUnet(shape, "meta"), "reference_unet", "cpu"),
        device=device,
    )


def _fill(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Return a network, built on the meta device, with the tensors of a file."""
    return _freeze(fill(net, tensors, path))


def _freeze(net: nn.Module) -> nn.Module:
    return net.eval().requires_grad_(False)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadWeights(f"{path} cannot be read: {error!s:.100}; download it again") from error
    if not isinstance(contents, dict):
        raise BadWeights(f"{path} does not hold settings: download it again")
    return contents


def _read_shape(path: Path) -> Shape:
    """Return the sizes of the UNets. Raises BadWeights for settings of another kind of UNet."""
    settings = _read_settings(path)
    wrong = [f"{name} is {settings[name]!r:.40}, expected {wanted!r}"
             for name, wanted in _WANTED.items()
             if name in settings and settings[name] != wanted]  # fmt: skip
    sizes = {
        name: settings.get(name)
        for name in (
            "layers_per_block",
            "attention_head_dim",
            "norm_num_groups",
            "cross_attention_dim",
        )
    }
    channels = settings.get("block_out_channels")
    wrong += [f"{name} is {size!r:.40}, expected an integer" for name, size in sizes.items()
              if not (type(size) is int and 0 < size < _MOST)]  # fmt: skip
    if not _are_widths(channels):
        wrong.append(f"block_out_channels is {channels!r:.60}, expected 4 multiples of "
                     f"{MODULE_GROUPS}")  # fmt: skip
    if wrong:
        raise BadWeights(f"{path}: {'; '.join(wrong)}: these are settings of another network; get "
                         "those of PersonaLive")  # fmt: skip
    assert isinstance(channels, list)
    layers, heads, groups, context = (int(size or 0) for size in sizes.values())
    return Shape(tuple(channels), layers, heads, groups, context)


def _are_widths(found: object) -> bool:
    """Return whether these are the channels of four sizes."""
    return isinstance(found, list) and len(found) == 4 and all(
        type(one) is int and 0 < one < _MOST and one % MODULE_GROUPS == 0 for one in found
    )  # fmt: skip


def _measure_motion(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return the width of the hourglass and of the transformers."""
    last, patch = tensors["model.conv_last0.weight"], tensors["model.att_1.pos_embed.proj.weight"]
    return len(last), len(patch)


def _measure_heads(tensors: Mapping[str, Tensor]) -> tuple[list[int], list[int]]:
    """Return depths and widths of the stages of ConvNeXt."""
    depths, widths = list[int](), list[int]()
    while (first := f"detector.stages.{len(depths)}.0.dwconv.weight") in tensors:
        stage = first.removesuffix("0.dwconv.weight")
        depths.append(sum(name.startswith(stage) and name.endswith("dwconv.weight")
                          for name in tensors))  # fmt: skip
        widths.append(len(tensors[first]))
    return depths, widths


def _measure_guider(tensors: Mapping[str, Tensor]) -> tuple[int, list[int]]:
    """Return the width of the features, and those of the layers before."""
    inner = [len(tensors["conv_in.weight"])]
    while (name := f"blocks.{2 * len(inner) - 1}.weight") in tensors:
        inner.append(len(tensors[name]))
    return len(tensors["conv_out_modify.weight"]), inner


def _open_clip(folder: Path) -> Any:
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError as error:
        raise BadSetting(
            f"the model personalive needs transformers: {explain_missing()}"
        ) from error
    settings, weights = find_file(folder, CLIP[:1]), find_file(folder, CLIP[1:])
    with translate_settings(settings):
        clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**_read_settings(settings)))
    tensors = {name: tensor for name, tensor in load_tensors(weights).items()
               if not name.endswith("position_ids")}  # fmt: skip  # computed, and not always stored
    return _fill(clip, tensors, weights)


@contextmanager
def translate_settings(path: Path) -> Iterator[None]:
    """Raise BadWeights for settings that a library cannot build a network of."""
    try:
        yield
    except FilmgateError:
        raise
    except Exception as error:
        raise BadWeights(f"{path} holds settings of no such network ({error!s:.100}): download it "
                         "again") from error  # fmt: skip
