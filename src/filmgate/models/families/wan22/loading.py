"""Open the parts of Wan 2.2: a folder of a pipeline of diffusers, and files in place of parts.

Everything that is read is untrusted: settings are checked against those that were published, in
names, types and ranges, and tensors against the shapes that the settings give. Only JSON,
safetensors and GGUF are read; no code is run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from filmgate.errors import BadSetting, BadWeights
from filmgate.installation import advise_install
from filmgate.models.families.wan22.published import (
    REPOSITORIES,
    TI2V_5B,
    VARIANTS,
    Name,
    Settings,
    Variant,
    explain_missing,
    explain_settings,
    to_plain,
)

if TYPE_CHECKING:
    import torch

    from filmgate.device.placement import Placement
    from filmgate.models.families.wan22.placement import WeightPlacement
    from filmgate.models.families.wan22.text import TextEncoder
    from filmgate.models.families.wan22.transformer import Expert, Experts

INDEX = "model_index.json"
_TRANSFORMERS = ("transformer", "transformer_2")
_STEMS = {"text_encoder": "model"}  # of files of weights; else diffusion_pytorch_model
_TOKENIZER = "tokenizer/tokenizer.json"
_MOST_JSON = 8 << 20  # bytes
_MOST_CHANNELS = 1024  # of latents
# Settings that may differ from those published, and how large they may be.
_SIZES: Mapping[str, int] = MappingProxyType({
    "num_layers": 256, "num_attention_heads": 256, "attention_head_dim": 1024, "ffn_dim": 1 << 17,
    "text_dim": 1 << 15, "freq_dim": 1 << 13, "rope_max_seq_len": 1 << 14, "in_channels": 4096,
    "out_channels": 4096, "base_dim": 1024, "decoder_base_dim": 1024, "z_dim": _MOST_CHANNELS,
    "vocab_size": 1 << 20, "d_model": 1 << 15, "d_kv": 1024, "d_ff": 1 << 17, "num_heads": 256,
    "relative_attention_num_buckets": 1024, "relative_attention_max_distance": 1 << 16,
})  # fmt: skip
_OPTIONAL = "decoder_base_dim"
_STREAMED = (".safetensors", ".gguf")  # files whose tensors are read one by one
_LOADED = (".safetensors", ".pth", ".pt", ".ckpt")
_SCHEDULERS = ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler",
               "DPMSolverMultistepScheduler")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFiles:
    """Where the parts of a model are.

    `folder`: that of a pipeline, as diffusers writes it. `high`, `low`, `vae` and `text_encoder`
    are files in place of its parts: transformers (`high` is the only one of ti2v-5b) and text
    encoder in safetensors or GGUF, the autoencoder in safetensors. `lora` is added to the
    transformer, of two to that of high noise, `low_lora` to that of low noise.
    """

    folder: Path
    high: Path | None = None
    low: Path | None = None
    vae: Path | None = None
    text_encoder: Path | None = None
    lora: Path | None = None
    low_lora: Path | None = None
    lora_strength: float = 1.0


class Parts:
    """The parts of a model; each is opened when it is asked for."""

    def __init__(
        self,
        variant: Variant,
        files: PartFiles,
        placement: WeightPlacement,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        self.variant, self.files, self.device, self.dtype = variant, files, device, dtype
        self.placement = placement
        self._experts: Experts | None = None

    @property
    def scheduler_config(self) -> Settings:
        """The settings of the scheduler; "_class_name" is its class in diffusers."""
        return self.variant.scheduler

    @property
    def experts(self) -> Experts:
        """The transformers; weights are loaded by their first prediction."""
        from filmgate.models.families.wan22.transformer import Experts

        if self._experts is None:
            self._experts = Experts(self.variant.transformer, tuple(self._list_experts()),
                                    self.placement, self.device, self.dtype)  # fmt: skip
        return self._experts

    def open_vae(self, dtype: torch.dtype | None = None) -> Any:
        """Return the autoencoder, an `AutoencoderKLWan`, on the device. Raises BadWeights."""
        from torch import nn

        from filmgate.models.families.wan22.names import find_vae_names
        from filmgate.weights.state_dict import fill, load_tensors

        paths = self.list_vae_files()
        tensors = {name: one for path in paths for name, one in load_tensors(path).items()}
        names = find_vae_names(tensors, paths[0])
        renamed = {name: tensors[old] for name, old in names.items()}
        net = fill(build_vae_on_meta(self.variant.vae), renamed, paths[0])
        nn.Module.to(net, self.device, dtype or self.dtype)  # avoids a warning of diffusers
        return net.eval().requires_grad_(False)

    def list_vae_files(self) -> list[Path]:
        """Return the files of the autoencoder's weights."""
        return [self.files.vae] if self.files.vae else list_part(self.files.folder, "vae")

    def open_text_encoder(self) -> TextEncoder:
        """Return what turns prompts into embeddings; it holds no weights itself."""
        from filmgate.models.families.wan22.text import TextEncoder

        folder, own = self.files.folder, self.files.text_encoder
        paths = [own] if own else list_part(folder, "text_encoder")
        return TextEncoder(paths, folder / _TOKENIZER, self.variant.text, self.device,
                           self.dtype)  # fmt: skip

    def release(self) -> None:
        """Free the weights of the transformers; they are loaded again when they are used."""
        if self._experts is not None:
            self._experts.release()

    def _list_experts(self) -> Iterator[Expert]:
        from filmgate.models.families.wan22.transformer import Expert

        files = self.files
        own = ((files.high, files.lora), (files.low, files.low_lora))[: self.variant.experts]
        for part, (path, lora) in zip(_TRANSFORMERS, own, strict=False):
            paths = [path] if path else list_part(files.folder, part)
            yield Expert(tuple(paths), lora, files.lora_strength)


def open_parts(
    files: PartFiles,
    placement: Placement,
    weights: WeightPlacement,
    dtype: torch.dtype | None = None,
    name: Name | None = None,
) -> Parts:
    """Return the parts of a model; nothing but settings is read yet.

    `dtype`: default bfloat16 on a GPU, float32 on the CPU. Raises BadWeights, and BadSetting
    without diffusers.
    """
    import torch

    from filmgate.weights.repository import verify_folder
    from filmgate.weights.store import WeightsStore

    if find_spec("diffusers") is None or find_spec("transformers") is None:
        raise BadSetting(f"the model wan22 needs diffusers: {explain_missing()}")
    variant = find_variant(files, name)
    verify_folder(REPOSITORIES[variant.name], WeightsStore.open_default(), files.folder)
    list(list_weight_files(files, variant))
    default = torch.float32 if placement.device == "cpu" else torch.bfloat16
    return Parts(variant, files, weights, placement.device, dtype or default)


def build_vae_on_meta(settings: Settings) -> Any:
    """Return the autoencoder without weights. Raises BadWeights for settings of none."""
    import torch
    from diffusers import AutoencoderKLWan

    with torch.device("meta"), explain_settings("autoencoder"):
        return AutoencoderKLWan(**to_plain(settings))


def find_variant(files: PartFiles, name: Name | None = None) -> Variant:
    """Return the model that a folder holds, with the folder's own settings.

    Imports no torch. Raises BadWeights for a folder that is missing, of another model or damaged,
    and BadSetting if it is not the model of this name.
    """
    folder = files.folder
    index = _read_json(folder / INDEX, name)
    published = _recognise(folder, index)
    if name not in (None, published.name):
        raise BadSetting(f"variant is {name}, and {folder} holds {published.name}: pass a folder "
                         f"of {name}, or omit --variant")  # fmt: skip
    if published.experts == 1 and (files.low or files.low_lora):
        raise BadSetting(f"low is {files.low or files.low_lora}, and {published.name} has one "
                         "transformer: pass its file as --high, its LoRA as --lora")  # fmt: skip
    variant = replace(
        published,
        transformer=_read_transformer(folder, files, published),
        vae=_read_part(folder, "vae", published.vae, files.vae),
        text=_read_part(folder, "text_encoder", published.text, files.text_encoder),
        scheduler=_read_scheduler(folder),
        boundary=_read_boundary(folder, index, published),
    )
    _check_together(folder, variant)
    return variant


def list_weight_files(files: PartFiles, variant: Variant) -> Iterator[Path]:
    """Return the files that affect results. Raises BadWeights for one that is missing."""
    for name in ("high", "low", "text_encoder", "vae", "lora", "low_lora"):
        if path := getattr(files, name):
            _check_file(name, path)
    parts = (*_TRANSFORMERS[: variant.experts], "vae", "text_encoder")
    given = (*(files.high, files.low)[: variant.experts], files.vae, files.text_encoder)
    wanted = [files.folder / INDEX, files.folder / "scheduler" / "scheduler_config.json",
              files.folder / _TOKENIZER]  # fmt: skip
    for part, path in zip(parts, given, strict=True):
        if (files.folder / part / "config.json").is_file():
            wanted.append(files.folder / part / "config.json")
        wanted += [path] if path is not None else list_part(files.folder, part)
    wanted += [path for path in (files.lora, files.low_lora) if path is not None]
    for path in wanted:
        if not path.is_file():
            raise BadWeights(explain_absent(path, variant.name))
        yield path


def _check_file(name: str, path: Path) -> None:
    """Raise BadWeights if it is missing or of another kind, BadSetting if it needs a library."""
    suffixes = _STREAMED if name in ("high", "low", "text_encoder") else _LOADED
    if path.suffix not in suffixes:
        raise BadWeights(f"{name} is {path}, which ends with {path.suffix!r}: pass the same "
                         f"weights in a file that ends with {' or '.join(suffixes)}")  # fmt: skip
    if not path.is_file():
        raise BadWeights(f"{name} is {path}, which is no file: check its name")
    if path.suffix == ".gguf" and find_spec("gguf") is None:
        raise BadSetting(f"{path} needs the library gguf, which is not installed. Run "
                         f"{advise_install('gguf')}")  # fmt: skip


def count_stored(files: PartFiles) -> int | None:
    """Return the bytes of a transformer in GGUF, which stays so, else None. Raises BadWeights."""
    if files.high is None or files.high.suffix != ".gguf":
        return None
    try:
        return files.high.stat().st_size
    except OSError as error:
        raise BadWeights(f"{files.high}: {error.strerror}; check its name") from error


def list_part(folder: Path, part: str) -> list[Path]:
    """Return the files of weights of a part, in parts or in one. Raises BadWeights."""
    stem = _STEMS.get(part, "diffusion_pytorch_model")
    index = folder / part / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return [folder / part / f"{stem}.safetensors"]
    names = _read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise BadWeights(f"{index} lists no files: download it again")
    paths = []
    for name in sorted({str(name) for name in names.values()}):
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise BadWeights(f"{index} names {name!r}, which is no safetensors file next to it: "
                             "download it again")  # fmt: skip
        paths.append(folder / part / name)
    return paths


def explain_absent(path: Path, name: Name | None) -> str:
    """Return what is missing, and how to get it."""
    repository = REPOSITORIES[name or TI2V_5B.name]
    return (f"{path} is missing: the folder {repository.description} is needed, as diffusers "
            f"writes it. Run filmgate models pull {repository.name}, or pass --weights "
            "FOLDER")  # fmt: skip


def _recognise(folder: Path, index: Mapping[str, Any]) -> Variant:
    two = index.get("transformer_2")
    has_two = isinstance(two, list) and len(two) == 2 and two[0] is not None
    if index.get("expand_timesteps") is True and not has_two:
        return TI2V_5B
    if has_two and index.get("boundary_ratio") is not None:
        return VARIANTS["i2v-a14b"]
    raise BadWeights(f"{folder / INDEX} is of {index.get('_class_name')!s:.60}, neither of Wan 2.2 "
                     "TI2V-5B nor of I2V-A14B: pass a folder of one of them")  # fmt: skip


def _read_boundary(folder: Path, index: Mapping[str, Any], published: Variant) -> float | None:
    if published.boundary is None:
        return None
    boundary = index["boundary_ratio"]
    if not _is_number(boundary) or not 0 < boundary < 1:
        raise BadWeights(f"{folder / INDEX}: boundary_ratio is {boundary!r:.40}, expected a number "
                         "from 0 to 1; download it again")  # fmt: skip
    return float(boundary)


def _read_transformer(folder: Path, files: PartFiles, published: Variant) -> Settings:
    """Return the settings of the transformers, which must be the same for both."""
    given = zip(_TRANSFORMERS[: published.experts], (files.high, files.low), strict=False)
    read = [_read_part(folder, part, published.transformer, file) for part, file in given]
    if read[0] != read[-1]:
        raise BadWeights(f"{folder} holds two transformers of different sizes: download it again")
    return read[0]


def _read_part(folder: Path, part: str, published: Settings, file: Path | None) -> Settings:
    """Return the settings of a part, as published if there is only a `file` of it."""
    path = folder / part / "config.json"
    if file is not None and not path.is_file():
        return dict(published)
    contents = _read_json(path)
    settings = dict(published)
    for name, wanted in published.items():
        if name in contents:
            settings[name] = _check(path, name, contents[name], wanted)
    return settings


def _check(path: Path, name: str, value: Any, wanted: Any) -> Any:
    """Return a setting; sizes may differ from the published ones. Raises BadWeights."""
    if isinstance(value, list):
        value = tuple(value)
    if name.startswith("latents_"):
        if (
            isinstance(value, tuple)
            and len(value) <= _MOST_CHANNELS
            and all(map(_is_number, value))
        ):
            return tuple(map(float, value))
    elif isinstance(wanted, float):
        if _is_number(value):
            return float(value)
    elif name in _SIZES and isinstance(value, int) and not isinstance(value, bool):
        if 1 <= value <= _SIZES[name]:
            return value
    elif repr(value) == repr(wanted) or (name == _OPTIONAL and value is None):
        return value
    most = f", at most {_SIZES[name]}" if name in _SIZES else ""
    raise BadWeights(f"{path}: {name} is {value!r:.60}, expected as in {wanted!r:.60}{most}: the "
                     "weights are of another model, or damaged")  # fmt: skip


def _read_scheduler(folder: Path) -> Settings:
    path = folder / "scheduler" / "scheduler_config.json"
    settings = _read_json(path)
    if settings.get("_class_name") not in _SCHEDULERS:
        raise BadWeights(f"{path} is of {settings.get('_class_name')!r:.60}, expected one of "
                         f"{', '.join(_SCHEDULERS)}")  # fmt: skip
    for name, value in settings.items():
        if not (value is None or isinstance(value, bool | int | float | str) or value == []):
            raise BadWeights(f"{path}: {name} is {value!r:.60}, expected a plain value")
    return settings


def _check_together(folder: Path, variant: Variant) -> None:
    """Raise BadWeights unless the parts belong together."""
    transformer, vae = variant.transformer, variant.vae
    inputs = variant.channels * (1 if variant.replaces_first else 2)
    inputs += 0 if variant.replaces_first else variant.temporal
    wanted = {
        "in_channels of transformer": (transformer["in_channels"], inputs),
        "out_channels of transformer": (transformer["out_channels"], variant.channels),
        "text_dim of transformer": (transformer["text_dim"], variant.text["d_model"]),
        "length of latents_mean of vae": (len(vae["latents_mean"]), variant.channels),
        "length of latents_std of vae": (len(vae["latents_std"]), variant.channels),
    }
    for what, (found, expected) in wanted.items():
        if found != expected:
            raise BadWeights(f"{folder}: {what} is {found}, expected {expected}: the parts are not "
                             f"those of {variant.name}; download it again")  # fmt: skip
    if not all(vae["latents_std"]):
        raise BadWeights(f"{folder}: latents_std of vae holds 0; download it again")


def _read_json(path: Path, name: Name | None = None) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            contents = json.loads(file.read(_MOST_JSON + 1)[:_MOST_JSON])
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadWeights(explain_absent(path, name)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadWeights(f"{path} cannot be read: {error!s:.200}; download it again") from error
    if not isinstance(contents, dict):
        raise BadWeights(f"{path} does not hold settings: download it again")
    return contents


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
