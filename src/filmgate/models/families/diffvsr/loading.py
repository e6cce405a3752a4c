"""Open the published folder of Stream-DiffVSR and check its contents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from filmgate.errors import BadSetting, BadWeights
from filmgate.models.families.diffvsr.published import (
    FILES,
    HUB,
    REPOSITORY,
    explain_missing,
)
from filmgate.models.families.diffvsr.schedule import Schedule
from filmgate.models.families.diffvsr.stage import PROMPT_TOKENS, Networks
from filmgate.models.families.diffvsr.vae import TinyVae
from filmgate.storage.atomic import write_atomic
from filmgate.weights.repository import verify_folder
from filmgate.weights.state_dict import fill, load_tensors
from filmgate.weights.store import WeightsStore

PROMPT = "no_words.safetensors"  # embedding of the empty prompt: "prompt", (1, 77, C)
# Settings that the stage relies on, by part of the published layout.
_WANTED = MappingProxyType[str, Mapping[str, object]]({
    "unet": {"in_channels": 7, "out_channels": 4, "num_class_embeds": None,
             "class_embed_type": None, "addition_embed_type": None},
    "controlnet": {"in_channels": 7, "conditioning_channels": 3, "num_class_embeds": None,
                   "class_embed_type": None, "addition_embed_type": None,
                   "controlnet_conditioning_channel_order": "rgb",
                   "global_pool_conditions": False},
    "vae": {"scaling_factor": 1.0, "latent_channels": 4},
})  # fmt: skip


def open_networks(folder: Path, dtype: torch.dtype, device: str) -> tuple[Networks, Schedule]:
    """Return the networks and noise levels of a folder in the published layout (diffusers').

    Sizes are read from its settings, so smaller networks of the same kind open too. Raises
    BadWeights, which names what differs, and BadSetting without diffusers.
    """
    verify_folder(REPOSITORY, WeightsStore.open_default(), folder)
    noise = folder / "scheduler" / "scheduler_config.json"
    schedule = Schedule.of(_read_json(noise), noise)
    settings = {name: _read_settings(folder / name / "config.json", name) for name in _WANTED}
    prompt, width = _load_prompt(folder), settings["unet"].get("cross_attention_dim")
    if prompt.ndim != 3 or prompt.shape[0] != 1 or prompt.shape[2] != width:
        raise BadWeights(f"{folder / PROMPT} is {tuple(prompt.shape)}, expected "
                         f"(1, {PROMPT_TOKENS}, {width}): delete it, and this model's text encoder "
                         "makes it again")  # fmt: skip
    builders = get_network_builders()
    unet, control, vae = (
        _load_network(folder / name, builders[name], settings[name]) for name in _WANTED
    )
    for net in (unet, control, vae):
        nn.Module.to(net, device, dtype)  # avoids a warning of the class of diffusers
        net.eval().requires_grad_(False)
    return Networks.of(unet, control, vae, prompt.to(device, dtype)), schedule


def find_files(folder: Path) -> Iterator[Path]:
    """Return the files of a folder of weights that affect results.

    The embedding of the empty prompt is made first if it is not stored yet: it is one of them.
    """
    with suppress(BadWeights):
        _load_prompt(folder)
    yield from list_files(folder)


def list_files(folder: Path) -> Iterator[Path]:
    """Return the files of a folder of weights that affect results and exist."""
    for part in ("controlnet", "scheduler", "unet", "vae"):
        yield from (path for path in sorted((folder / part).glob("*"))
                    if path.suffix in (".json", ".safetensors"))  # fmt: skip
    if (folder / PROMPT).is_file():
        yield folder / PROMPT


def get_network_builders() -> Mapping[str, Callable[[Mapping[str, Any]], nn.Module]]:
    """Return what builds each network from its settings. Raises BadSetting without diffusers."""
    try:
        from diffusers import ControlNetModel, UNet2DConditionModel
    except ImportError as error:
        raise BadSetting(f"the model diffvsr needs diffusers: {explain_missing()}") from error
    return {
        "unet": UNet2DConditionModel.from_config,
        "controlnet": ControlNetModel.from_config,
        "vae": lambda settings: TinyVae(max(settings.get("decoder_block_out_channels", (64,)))),
    }


def _read_settings(path: Path, part: str) -> dict[str, Any]:
    """Return the settings of a network. Raises BadWeights if the stage does not support them."""
    settings = _read_json(path)
    wrong = [f"{name} is {settings[name]!r}, expected {wanted!r}"
             for name, wanted in _WANTED[part].items()
             if name in settings and settings[name] != wanted]  # fmt: skip
    large = settings.get("conditioning_embedding_out_channels", ())
    if part == "controlnet" and len(large) != 3:  # each but the last halves the image
        wrong.append(f"conditioning_embedding_out_channels is {large}, expected three")
    if wrong:
        raise BadWeights(f"{path}: {'; '.join(wrong)}: the weights are of another "
                         "model or version; download those of diffvsr")  # fmt: skip
    return settings


def _load_network(
    folder: Path, build: Callable[[Mapping[str, Any]], nn.Module], settings: Mapping[str, Any]
) -> Any:
    """Return the network of a folder, built from its settings, with its tensors."""
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise BadWeights(_describe_missing(folder / FILES[0]))
    with torch.device("meta"):
        net = build(settings)
    return fill(net, load_tensors(file), file)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadWeights(_describe_missing(path)) from error
    except (OSError, ValueError) as error:
        raise BadWeights(f"{path} cannot be read: {error}; download it again") from error
    if not isinstance(contents, dict):
        raise BadWeights(f"{path} does not hold settings: download it again")
    return contents


def _load_prompt(folder: Path) -> Tensor:
    """Return the stored embedding; if there is none, the text encoder makes it, once."""
    file = folder / PROMPT
    if file.is_file():
        contents = load_tensors(file)
        if "prompt" not in contents:
            raise BadWeights(
                f"{file} holds {', '.join(contents) or 'nothing'}, expected 'prompt': delete it"
            )
        return contents["prompt"]
    if not (folder / "text_encoder" / "config.json").is_file():
        missing = _describe_missing(folder / "text_encoder" / "config.json")
        raise BadWeights(f"{missing}. If the hub has "
                         "none, add the text encoder and tokenizer that the model was trained "
                         f"with, or {PROMPT}, their embedding of the empty prompt")  # fmt: skip
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise BadSetting(
            f"{file} is missing, and making it needs transformers: {explain_missing()}"
        ) from error
    tokens = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    full = (folder / "text_encoder" / "model.safetensors").is_file()
    encoder = CLIPTextModel.from_pretrained(
        folder / "text_encoder", local_files_only=True, use_safetensors=True,
        variant=None if full else "fp16",
    )  # fmt: skip
    words = tokens("", padding="max_length", max_length=PROMPT_TOKENS, return_tensors="pt")
    with torch.no_grad():
        embedding: Tensor = encoder(words.input_ids)[0].float().contiguous()
    with suppress(OSError):  # in a read-only folder it is made again next time
        write_atomic(file, save({"prompt": embedding}))
    return embedding


def _describe_missing(path: Path) -> str:
    return (f"{path} is missing: a folder in the layout of {HUB} is needed. Run filmgate models "
            "pull diffvsr, or pass --weights FOLDER")  # fmt: skip
