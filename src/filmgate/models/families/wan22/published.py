"""What is published of Wan 2.2: two models from image to video, their parts and their settings.

Settings of parts are those of the classes of diffusers and transformers. A folder of weights holds
its own, so smaller models of the same kind open too; these are for files that hold tensors alone,
and for predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Literal

from filmgate.errors import BadWeights
from filmgate.installation import advise_install
from filmgate.weights.definitions import WeightsRepository

Name = Literal["ti2v-5b", "i2v-a14b"]
Settings = Mapping[str, Any]
LICENCE = "Apache-2.0"
PROMPT_TOKENS = 512  # of a prompt, padded; nothing masks the padding
TRAIN_STEPS = 1000  # timesteps are 0 to this
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，"
    "低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，"
    "毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)  # the published negative prompt: too bright, overexposed, static, blurred, subtitles ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variant:
    """A model from image to video: its parts, and the settings that it was published with.

    `transformer`, `vae`, `text` and `scheduler` are the settings of `WanTransformer3DModel`,
    `AutoencoderKLWan`, `UMT5EncoderModel` and the scheduler. Sizes in pixels must be multiples of
    `multiple`, frames 1 more than a multiple of `temporal`.
    """

    name: Name
    hub: str
    transformer: Settings
    vae: Settings
    text: Settings
    scheduler: Settings

    replaces_first: bool
    """The encoded image is the first latent frame at every step, with timestep 0 for its tokens;
    else mask and encoded video are channels next to the noisy ones."""

    steps: int

    guidance: tuple[float, float]
    """Of high noise and of low."""

    boundary: float | None
    """From this part of TRAIN_STEPS on the expert of high noise predicts, below the one of low
    noise; None: there is one transformer."""

    fps: Fraction

    window: int
    """Frames at a time that it was trained on."""

    negative: str = NEGATIVE

    @property
    def experts(self) -> int:
        """How many transformers it has: 2 if one is for high noise and one for low."""
        return 1 if self.boundary is None else 2

    @property
    def spatial(self) -> int:
        """Pixels of a side of a latent position."""
        return int(self.vae["scale_factor_spatial"])

    @property
    def temporal(self) -> int:
        """Frames of a latent frame; the first latent frame is one frame."""
        return int(self.vae["scale_factor_temporal"])

    @property
    def multiple(self) -> int:
        """Width and height in pixels must be multiples of this."""
        return self.spatial * int(self.transformer["patch_size"][1])

    @property
    def channels(self) -> int:
        """Channels of latents."""
        return int(self.vae["z_dim"])

    @property
    def condition_channels(self) -> int:
        """Channels that are put next to the noisy ones: mask and latents; 0 if none are."""
        return int(self.transformer["in_channels"]) - self.channels

    @property
    def shift(self) -> float:
        """How far the scheduler shifts steps to high noise."""
        return float(self.scheduler.get("flow_shift", self.scheduler.get("shift", 1.0)))

    def count_latent_frames(self, frames: int) -> int:
        """Return how many latent frames a video of so many frames has."""
        return (frames - 1) // self.temporal + 1

    def get_latent_shape(self, frames: int, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of the latents of a video: (1, channels, latent frames, h, w)."""
        return (1, self.channels, self.count_latent_frames(frames),
                height // self.spatial, width // self.spatial)  # fmt: skip

    def count_tokens(self, frames: int, height: int, width: int) -> int:
        """Return how many tokens of a video the transformer sees."""
        _, _, count, rows, columns = self.get_latent_shape(frames, height, width)
        t, h, w = self.transformer["patch_size"]
        return int((count // t) * (rows // h) * (columns // w))


def _transformer(**sizes: int) -> Settings:
    return MappingProxyType({"patch_size": (1, 2, 2), "attention_head_dim": 128, "text_dim": 4096,
                             "freq_dim": 256, "cross_attn_norm": True,
                             "qk_norm": "rms_norm_across_heads", "eps": 1e-6, "image_dim": None,
                             "added_kv_proj_dim": None, "rope_max_seq_len": 1024,
                             "pos_embed_seq_len": None, **sizes})  # fmt: skip


_VAE = {
    "dim_mult": (1, 2, 4, 4), "num_res_blocks": 2, "attn_scales": (), "dropout": 0.0,
    "temperal_downsample": (False, True, True), "scale_factor_temporal": 4,
}  # fmt: skip
_VAE_5B: Settings = MappingProxyType({
    **_VAE, "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True,
    "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16,
    "latents_mean": (
        -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542,
        0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109,
        0.2665, -0.2108, -0.2158, 0.2502, -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899,
        -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748,
        0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
    ),
    "latents_std": (
        0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894,
        1.0901, 0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146,
        0.8986, 0.5659, 0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709,
        0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537,
        0.5444, 0.4089, 0.7468, 0.7744,
    ),
})  # fmt: skip
_VAE_A14B: Settings = MappingProxyType({
    **_VAE, "base_dim": 96, "decoder_base_dim": None, "z_dim": 16, "is_residual": False,
    "in_channels": 3, "out_channels": 3, "patch_size": None, "scale_factor_spatial": 8,
    "latents_mean": (
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715,
        0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    ),
    "latents_std": (
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652,
        1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    ),
})  # fmt: skip
_TEXT: Settings = MappingProxyType({
    "vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24,
    "num_heads": 64, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
    "feed_forward_proj": "gated-gelu", "layer_norm_epsilon": 1e-6,
})  # fmt: skip
_SCHEDULER: Settings = MappingProxyType({
    "_class_name": "UniPCMultistepScheduler", "num_train_timesteps": TRAIN_STEPS,
    "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 5.0,
    "solver_order": 2, "solver_type": "bh2", "predict_x0": True, "final_sigmas_type": "zero",
})  # fmt: skip

TI2V_5B = Variant(
    name="ti2v-5b",
    hub="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
    transformer=_transformer(
        num_layers=30, num_attention_heads=24, ffn_dim=14336, in_channels=48, out_channels=48
    ),
    vae=_VAE_5B,
    text=_TEXT,
    scheduler=_SCHEDULER,
    replaces_first=True,
    steps=50,
    guidance=(5.0, 5.0),
    boundary=None,
    fps=Fraction(24),
    window=121,
)
I2V_A14B = Variant(
    name="i2v-a14b",
    hub="Wan-AI/Wan2.2-I2V-A14B-Diffusers",
    transformer=_transformer(
        num_layers=40, num_attention_heads=40, ffn_dim=13824, in_channels=36, out_channels=16
    ),
    vae=_VAE_A14B,
    text=_TEXT,
    scheduler=_SCHEDULER,
    replaces_first=False,
    steps=40,
    guidance=(3.5, 3.5),
    boundary=0.9,
    fps=Fraction(16),
    window=81,
)
VARIANTS: Mapping[str, Variant] = MappingProxyType({one.name: one for one in (TI2V_5B, I2V_A14B)})


def _repository(
    variant: Variant, experts: tuple[str, ...], predicted_bytes: int
) -> WeightsRepository:
    parts = (*experts, "vae", "text_encoder")
    return WeightsRepository(
        name=f"wan22-{variant.name}",
        family="wan22",
        folder=variant.name,
        predicted_bytes=predicted_bytes,
        hub=variant.hub,
        licence=LICENCE,
        commercial=True,
        wanted=(
            "model_index.json",
            "scheduler/scheduler_config.json",
            *(f"{part}/config.json" for part in parts),
            *(f"{part}/*.safetensors" for part in parts),
            *(f"{part}/*.safetensors.index.json|" for part in parts),
            "tokenizer/tokenizer.json",
            "tokenizer/*.json",
        ),
    )


# Bytes of all parts in bfloat16: none of the files could be looked at.
REPOSITORIES: Mapping[str, WeightsRepository] = MappingProxyType({
    TI2V_5B.name: _repository(TI2V_5B, ("transformer",), 22_770_000_000),
    I2V_A14B.name: _repository(I2V_A14B, ("transformer", "transformer_2"), 68_770_000_000),
})  # fmt: skip


def to_plain(settings: Settings) -> dict[str, Any]:
    """Return settings as the classes of the libraries take them: with lists."""
    return {name: list(value) if isinstance(value, tuple) else value
            for name, value in settings.items()}  # fmt: skip


@contextmanager
def explain_settings(part: str) -> Iterator[None]:
    """Raise BadWeights where the class of a part cannot make a network of its settings."""
    try:
        yield
    except Exception as error:  # libraries raise anything for sizes that do not fit together
        raise BadWeights(f"the settings of the {part} make no network ({error!s:.120}): the "
                         "folder is damaged, or of another model; download it "
                         "again") from error  # fmt: skip


def explain_missing() -> str:
    """Return how to get the libraries of the family."""
    return f"it is not installed. Run {advise_install('diffusion')}"
