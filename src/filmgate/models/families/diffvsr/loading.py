"""Opens the published folder of Stream-DiffVSR and checks what is in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from filmgate.errors import BadSetting, BadWeights
from filmgate.models.families.diffvsr.schedule import Schedule
from filmgate.models.families.diffvsr.stage import WORDS, Nets
from filmgate.models.families.diffvsr.vae import TinyVae
from filmgate.weights.definitions import WeightsRepository
from filmgate.weights.repository import believed
from filmgate.weights.state_dict import fitting, tensors
from filmgate.weights.store import WeightsStore

HUB = "Jamichsu/Stream-DiffVSR"
PROMPT = "no_words.safetensors"  # what the text encoder makes of no words: (1, 77, C), "prompt"
_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
FOLDER = WeightsRepository(
    name="diffvsr",
    family="diffvsr",
    hub=HUB,
    licence="OpenRAIL++-M, Apache-2.0",
    commercial=None,
    wanted=(
        "scheduler/scheduler_config.json",
        *(f"{part}/config.json" for part in ("unet", "controlnet", "vae")),
        *("|".join(f"{part}/{file}" for file in _FILES) for part in ("unet", "controlnet", "vae")),
        # wanted once, for what it makes of no words; who has that does without
        "text_encoder/config.json|",
        "text_encoder/model.safetensors|text_encoder/model.fp16.safetensors|",
        "tokenizer/*|",
    ),
)
EXTRA = "it is not installed, and pip install 'filmgate[diffusion]' does that"
# What the loop relies on, by the part of the published layout.
_WANTED = MappingProxyType[str, Mapping[str, object]]({
    "unet": {"in_channels": 7, "out_channels": 4, "num_class_embeds": None,
             "class_embed_type": None, "addition_embed_type": None},
    "controlnet": {"in_channels": 7, "conditioning_channels": 3, "num_class_embeds": None,
                   "class_embed_type": None, "addition_embed_type": None,
                   "controlnet_conditioning_channel_order": "rgb",
                   "global_pool_conditions": False},
    "vae": {"scaling_factor": 1.0, "latent_channels": 4},
})  # fmt: skip


def opened(folder: Path, dtype: torch.dtype, device: str) -> tuple[Nets, Schedule]:
    """The networks and noise levels of a folder in the published layout (diffusers').

    Sizes are those that its settings say, so smaller networks of the same kind open too. Raises
    BadWeights, which tells what differs, and BadSetting where diffusers is not installed.
    """
    believed(FOLDER, WeightsStore.here(), folder)
    noise = folder / "scheduler" / "scheduler_config.json"
    schedule = Schedule.of(_settings(noise), noise)
    settings = {name: _checked(folder / name / "config.json", name) for name in _WANTED}
    prompt, asked = _prompt(folder), settings["unet"].get("cross_attention_dim")
    if prompt.ndim != 3 or prompt.shape[0] != 1 or prompt.shape[2] != asked:
        raise BadWeights(f"{folder / PROMPT} is {tuple(prompt.shape)}: wanted (1, {WORDS}, {asked})"
                         ", what the text encoder of this model makes of no words")  # fmt: skip
    built = kinds()
    unet, control, vae = (_filled(folder / name, built[name], settings[name]) for name in _WANTED)
    for net in (unet, control, vae):
        nn.Module.to(net, device, dtype)  # the class of diffusers warns of nothing here
        net.eval().requires_grad_(False)
    return Nets.of(unet, control, vae, prompt.to(device, dtype)), schedule


def parts(place: Path) -> Iterator[Path]:
    """What in a folder of weights moves bits of a film.

    The text encoder is asked first, if it was not yet: its word counts, and it may go then.
    """
    with suppress(BadWeights):
        _prompt(place)
    for part in ("controlnet", "scheduler", "unet", "vae"):
        yield from (path for path in sorted((place / part).glob("*"))
                    if path.suffix in (".json", ".safetensors"))  # fmt: skip
    if (place / PROMPT).is_file():
        yield place / PROMPT


def kinds() -> Mapping[str, Callable[[Mapping[str, Any]], nn.Module]]:
    """What builds a network from its settings, by part. Raises BadSetting without diffusers."""
    try:
        from diffusers import ControlNetModel, UNet2DConditionModel
    except ImportError as error:
        raise BadSetting(f"the model diffvsr wants diffusers: {EXTRA}") from error
    return {
        "unet": UNet2DConditionModel.from_config,
        "controlnet": ControlNetModel.from_config,
        "vae": lambda settings: TinyVae(max(settings.get("decoder_block_out_channels", (64,)))),
    }


def _checked(path: Path, part: str) -> dict[str, Any]:
    """The settings of a network. Raises BadWeights where the loop could not work with them."""
    settings = _settings(path)
    wrong = [f"{name} is {settings[name]!r}, wanted {wanted!r}"
             for name, wanted in _WANTED[part].items()
             if name in settings and settings[name] != wanted]  # fmt: skip
    large = settings.get("conditioning_embedding_out_channels", ())
    if part == "controlnet" and len(large) != 3:  # each but the last halves the large picture
        wrong.append(f"conditioning_embedding_out_channels is {large}, wanted three")
    if wrong:
        raise BadWeights(f"{path}: {'; '.join(wrong)}: another model or version than this "
                         "was written for")  # fmt: skip
    return settings


def _filled(
    folder: Path, build: Callable[[Mapping[str, Any]], nn.Module], settings: Mapping[str, Any]
) -> Any:
    """The network of a folder: built of nothing from its settings, its tensors put in."""
    file = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if file is None:
        raise BadWeights(_absent(folder / _FILES[0]))
    with torch.device("meta"):
        net = build(settings)
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    net.load_state_dict(fitting(tensors(file), shapes, file), assign=True)
    return net


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadWeights(_absent(path)) from error
    except (OSError, ValueError) as error:
        raise BadWeights(f"{path} can't be read: {error}; fetch it again") from error
    if not isinstance(found, dict):
        raise BadWeights(f"{path} holds no settings: fetch it again")
    return found


def _prompt(folder: Path) -> Tensor:
    """The stored constant; without it the text encoder makes it once, and it is stored."""
    file = folder / PROMPT
    if file.is_file():
        found = tensors(file)
        if "prompt" not in found:
            raise BadWeights(f"{file} holds {', '.join(found) or 'nothing'}: wanted 'prompt'")
        return found["prompt"]
    if not (folder / "text_encoder" / "config.json").is_file():
        raise BadWeights(f"{_absent(folder / 'text_encoder' / 'config.json')}. Where the hub has "
                         "none, put the text encoder and the tokenizer that the model was made "
                         f"with there, or {PROMPT}, what they make of no words")  # fmt: skip
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise BadSetting(f"{file} is not there; to make it wants transformers: {EXTRA}") from error
    tokens = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    full = (folder / "text_encoder" / "model.safetensors").is_file()
    encoder = CLIPTextModel.from_pretrained(
        folder / "text_encoder", local_files_only=True, use_safetensors=True,
        variant=None if full else "fp16",
    )  # fmt: skip
    words = tokens("", padding="max_length", max_length=WORDS, return_tensors="pt")
    with torch.no_grad():
        made: Tensor = encoder(words.input_ids)[0].float().contiguous()
    with suppress(OSError):  # a folder that can't be written: it is made again next time
        aside = file.with_suffix(f".{os.getpid()}")
        save_file({"prompt": made}, aside)
        os.replace(aside, file)
    return made


def _absent(path: Path) -> str:
    return (f"{path} is not there: wanted a folder in the layout of {HUB}: filmgate models pull "
            "diffvsr fetches it, or name where it lies with --weights FOLDER")  # fmt: skip
