"""Stream-DiffVSR frame by frame: recorded values, the laws, dtypes, folders of weights."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import filmgate as fg
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.wrappers.model_stage import ModelStage
from filmgate.core.wrappers.tiled import Tile
from filmgate.errors import BadSetting, BadWeights, StageContractError, Unsupported
from filmgate.models import registry
from filmgate.models.families.diffvsr import DiffVsrOptions, loading
from filmgate.models.families.diffvsr.schedule import warp
from filmgate.models.families.diffvsr.stage import DiffVsr, Networks
from filmgate.models.families.diffvsr.vae import TinyVae
from filmgate.quality.verify import check
from filmgate.testing import SampleVideo, laws
from tests import videos
from tests.golden.fill import filled, like, noise, recorded, uni
from tests.laws import test_samples
from tests.models import tiny, tiny_diffvsr

GOLDEN = recorded("stream_diffvsr")
KEYS = recorded("keys_stream_diffvsr")
HIGH, WIDE = 6, 9  # neither is a multiple of 4
pytestmark = pytest.mark.usefixtures("no_gradients")


class Unet:
    """Predicts from everything that it is given; refuses what is of another dtype."""

    def __call__(
        self, x: Tensor, level: int, prompt: Tensor, *, return_dict: bool,
        mid_block_additional_residual: Tensor | None = None,
        down_block_additional_residuals: Iterator[Tensor] | None = None,
    ) -> tuple[Tensor]:  # fmt: skip
        assert x.dtype == prompt.dtype
        made = x[:, :4] - x[:, 4:].mean(1, keepdim=True) * (level / 1000) + prompt.mean()
        for residual in down_block_additional_residuals or ():
            made = made + 0.1 * residual.mean(1, keepdim=True)
        return (made,)


class Control(nn.Module):
    """Says what it was reported of the large image; counts how often that was looked at."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(3, 4, 4, 4)
        conv.load_state_dict(filled({"weight": (4, 3, 4, 4), "bias": (4,)}, "fake/"))
        self.controlnet_cond_embedding: nn.Module = conv
        self.looks: list[None] = []
        conv.register_forward_hook(lambda *_: self.looks.append(None))

    def forward(
        self, x: Tensor, level: int, prompt: Tensor, condition: Tensor, return_dict: bool
    ) -> tuple[list[Tensor], Tensor]:
        assert x.dtype == condition.dtype == prompt.dtype
        reported = self.controlnet_cond_embedding(condition) * (level / 1000)
        return [reported, reported / 2], reported


def upscale(**options: Any) -> fg.Upscale:
    """The task, with the smallest networks."""
    return fg.Upscale(scale=4, model="diffvsr",
                      options=DiffVsrOptions(weights=tiny_diffvsr.folder(), **options))  # fmt: skip


def stage(dtype: torch.dtype = torch.float32, **settings: Any) -> tuple[DiffVsr, Control]:
    """The loop around fakes and a real VAE, tiny."""
    vae, control = TinyVae(8), Control()
    vae.load_state_dict(filled({k: v.shape for k, v in vae.state_dict().items()}, "tvae/"))
    nets = Networks.of(Unet(), control.to(dtype), vae.to(dtype), uni("p", (1, 77, 8)).to(dtype))
    return DiffVsr(nets, **settings), control


def video(count: int = 12, cut: int = 5) -> SampleVideo:
    """Noisy images whose size is no multiple of 4, with flows, and a cut."""
    spec = StreamSpec(
        width=WIDE,
        height=HIGH,
        rate=Fraction(25),
        time_base=Fraction(1, 25),
        pixels="rgb",
        dtype="float32",
    )
    frames = []
    for i in range(count):
        extras: dict[str, object] = {"flow_prev": uni(f"flow/{i}", (2, HIGH, WIDE), -2, 2)}
        if i == cut:
            extras["cut"] = True
        sample = uni(f"image/{i}", (3, HIGH, WIDE), 0, 1)
        frames.append(Frame(i, Fraction(i, 25), Fraction(1, 25), sample, extras))
    return SampleVideo(spec, tuple(frames))


def played(made: DiffVsr, clip: SampleVideo) -> list[Frame]:
    state, frames = made.step(made.start(clip.spec, clip.frames[0].position), clip.frames)
    assert len(state) == 1
    return frames


def test_the_stage_passes_the_laws() -> None:
    laws.check_stage(stage(steps=2)[0], video(), tries=1)


def test_frames_are_four_times_as_large_and_in_range() -> None:
    made = played(stage()[0], video(3))
    for frame in made:
        assert isinstance(frame.image, Tensor)
        assert frame.image.shape == (3, 4 * HIGH, 4 * WIDE)
        assert 0 <= float(frame.image.min()) < float(frame.image.max()) <= 1
    assert stage()[0].output(video().spec).width == 4 * WIDE
    with pytest.raises(Unsupported, match="cannot take yuv420p: put convert_to_rgb"):
        stage()[0].output(replace(video().spec, pixels="yuv420p"))
    with pytest.raises(BadSetting, match="steps is 0"):
        stage(steps=0)[0].output(video().spec)


def test_a_shot_boundary_starts_without_a_guide() -> None:
    made, control = stage()
    full = played(made, video(8, cut=5))
    assert len(control.looks) == 6, "once a frame, and not on the first of a shot"
    later = played(made, replace(video(), frames=video(8, cut=5).frames[5:]))
    laws.assert_same_frames(later, full[5:], "a cut")
    uncut = played(made, video(8, cut=-1))
    assert laws.max_difference(uncut[5].image, full[5].image) > 0.01
    assert full[5].extras == {"cut": True}
    bare = video(2).frames[1].with_image(video(2).frames[1].image)
    with pytest.raises(StageContractError, match="frame 1 at 1/25 s came without flow_prev"):
        played(made, replace(video(), frames=(video(2).frames[0], bare)))


@pytest.mark.slow
def test_the_seed_of_a_job_reaches_the_model() -> None:
    task = upscale(steps=1, flow="dis", flow_scale=Fraction(1, 4))
    made = []
    for seed in (0, 1, 1):
        (model_stage,) = (part for part in task.stages(replace(test_samples.SPEC, seed=seed))
                     if isinstance(part, ModelStage))  # fmt: skip
        clip = replace(test_samples.video(), frames=test_samples.video().frames[:2])
        made.append((model_stage.settings, laws.run_chain(Chain((model_stage,)), clip)[0].image))
    assert made[0][0] != made[1][0] == made[2][0]
    assert laws.max_difference(made[0][1], made[1][1]) > 0.01
    assert laws.max_difference(made[1][1], made[2][1]) == 0


def test_another_seed_gives_another_result() -> None:
    one, other = (played(stage(seed=seed)[0], video(1))[0].image for seed in (0, 1))
    assert laws.max_difference(one, other) > 0.01


@pytest.mark.parametrize(
    ("dtype", "flow"), [(torch.float16, torch.float32), (torch.bfloat16, torch.float16)]
)
def test_no_mix_of_dtypes_raises(dtype: torch.dtype, flow: torch.dtype) -> None:
    clip = video(2)
    mixed = tuple(
        frame.with_extras(flow_prev=uni("f", (2, 5, 6)).to(flow)) for frame in clip.frames
    )
    made, wanted = (played(stage(d)[0], replace(clip, frames=mixed))
                    for d in (dtype, torch.float32))  # fmt: skip
    for one, other in zip(made, wanted, strict=True):
        assert laws.max_difference(one.image, other.image) < 0.2


@pytest.mark.slow
def test_a_state_may_come_from_another_device() -> None:
    made, control = stage()
    nets = made.nets
    there = replace(
        nets,
        prompt=nets.prompt.to("meta"),
        vae=nets.vae.to("meta"),
        control=control.to("meta"),
        condition=nets.condition.to("meta"),
    )
    here = (torch.zeros(1, 3, 32, 48),)
    state, frames = replace(made, nets=there).step(here, video(2).frames[1:])
    assert state[0].is_meta
    assert [frame.index for frame in frames] == [1]


def test_tiles_change_nothing() -> None:
    clip = video(3)
    full, tiles = (played(stage(tile=tile)[0], clip) for tile in (None, Tile(16, 32)))
    laws.assert_same_frames(tiles, full, "tiles", 1e-5)


def test_invalid_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="diffvsr has 4 only: pass --scale 4"):
        registry.build_upscaler("diffvsr", test_samples.SPEC, 2, DiffVsrOptions(weights=tmp_path))
    for scale in (Fraction(1, 17), 2):
        with pytest.raises(BadSetting, match=f"flow_scale is {scale}: pass 1 to 1/16"):
            DiffVsrOptions(flow_scale=scale)
    with pytest.raises(BadSetting, match=r"flow_weights is a\.pth, and dis has none: omit it"):
        DiffVsrOptions(flow="dis", flow_weights=Path("a.pth"))
    options = DiffVsrOptions(weights=tmp_path, flow="dis")
    with pytest.raises(BadWeights, match=r"scheduler_config\.json is missing"):
        fg.Upscale(scale=4, model="diffvsr", options=options).stages(test_samples.SPEC)
    with pytest.raises(BadSetting, match="options is DiffVsrOptions, and the model is compact"):
        fg.Upscale(options=DiffVsrOptions())


# --- with diffusers, whose import alone takes ten seconds of the CPU ---------------------------


@pytest.mark.slow
def test_four_frames_give_the_recorded_values() -> None:
    from diffusers import ControlNetModel, UNet2DConditionModel

    unet: Any = UNet2DConditionModel.from_config({
        "in_channels": 7, "out_channels": 4, "block_out_channels": (32, 32, 32, 64),
        "cross_attention_dim": 32, "attention_head_dim": 4, "norm_num_groups": 8,
        "use_linear_projection": True, "only_cross_attention": (True, True, True, False),
        "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
        "up_block_types": (*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
    })  # fmt: skip
    control: Any = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16))
    found = {name: list(tensor.shape) for name, tensor in control.state_dict().items()}
    assert found == KEYS["controlnet_tiny"]
    vae = TinyVae(8)
    for net, prefix in ((unet, "unet/"), (control, "controlnet/"), (vae, "tvae/")):
        shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
        net.load_state_dict(filled(shapes, prefix))
        net.eval()
    loop, before = DiffVsr(Networks.of(unet, control, vae, uni("in/prompt", (1, 77, 32)))), None
    for n in range(4):
        small = uni(f"in/roll_lr/{n}", (1, 3, 32, 40))
        sample = loop.denoise(small, noise(f"noise/{n}", (1, 4, 32, 40)), before)
        like(sample, GOLDEN[f"roll.hr_{n}"])
        flow = uni(f"in/roll_flow/{n + 1}", (1, 128, 160, 2), -4, 4)
        before = warp(sample, flow.permute(0, 3, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_folder_in_the_published_layout_runs(dtype: torch.dtype) -> None:
    nets, schedule = loading.open_networks(tiny_diffvsr.folder(), dtype, "cpu")
    assert len(played(DiffVsr(nets, schedule), video(2))) == 2


@pytest.mark.slow
def test_the_chain_from_planes_to_planes_passes_the_laws() -> None:
    task = upscale(steps=1, flow="dis", flow_scale=Fraction(1, 2))
    laws.check_stage(Chain(task.stages(test_samples.SPEC)), test_samples.video(), tries=1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flow"), [("sound", "raft_small"), ("uneven", "dis")])
def test_from_file_to_file(name: str, flow: str, tmp_path: Path) -> None:
    source = videos.make(videos.VIDEOS[name], tmp_path / "in.mp4")
    task = upscale(flow=flow, flow_weights=None if flow == "dis" else tiny.weights(flow),
                   flow_scale=Fraction(1, 4))  # fmt: skip
    # weights by rule make invalid images
    sink, limits = fg.VideoOutput(tmp_path / "out.mp4", preset="ultrafast"), fg.Limits(guard=False)
    done = fg.run(task, source, sink, limits=limits)
    assert done.written == done.read
    report = check(tmp_path / "out.mp4", source)
    assert report.ok, report


@pytest.mark.slow
def test_other_weights_and_settings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(part: str, **changes: object) -> Path:
        folder = tmp_path / part
        shutil.copytree(tiny_diffvsr.folder(), folder)
        if part == "text":
            return folder
        path = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return folder

    def reported(folder: Path, said: str) -> None:
        with pytest.raises(BadWeights, match=said):
            loading.open_networks(folder, torch.float32, "cpu")

    reported(spoilt("scheduler", timestep_spacing="leading"), r"are \[751, 501, 251, 1\]")
    reported(spoilt("unet", num_class_embeds=1000), "num_class_embeds is 1000, expected None")
    reported(spoilt("controlnet", in_channels=4), "in_channels is 4, expected 7")
    shutil.rmtree(tmp_path / "controlnet")
    reported(
        spoilt("controlnet", conditioning_embedding_out_channels=[4, 4, 4, 8]), "expected three"
    )
    reported(spoilt("vae", decoder_block_out_channels=[16, 16, 16]), "8x4x3x3, expected 16x4x3x3")
    (spoilt("text") / loading.PROMPT).unlink()
    reported(tmp_path / "text", "text_encoder/config.json is missing")
    reported(tmp_path / "nowhere", "scheduler_config.json is missing: a folder in the layout")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "diffusers", None)
        with pytest.raises(BadSetting, match=r"needs diffusers: .*\[diffusion\]'"):
            loading.open_networks(tiny_diffvsr.folder(), torch.float32, "cpu")


@pytest.mark.slow
def test_the_text_encoder_runs_once(tmp_path: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    shutil.copytree(tiny_diffvsr.folder(), tmp_path, dirs_exist_ok=True)
    (tmp_path / loading.PROMPT).unlink()
    words = ["!", "<|startoftext|>", "<|endoftext|>"]
    files = {"vocab.json": json.dumps({word: n for n, word in enumerate(words)}),
             "merges.txt": "#version: 0.2\n",
             "tokenizer_config.json": json.dumps({"tokenizer_class": "CLIPTokenizer",
                                                  "pad_token": "!"})}  # fmt: skip
    (tmp_path / "tokenizer").mkdir()
    for name, text in files.items():
        (tmp_path / "tokenizer" / name).write_text(text)
    encoder: Any = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=3,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            bos_token_id=1,
            num_attention_heads=2,
            max_position_embeddings=77,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    encoder.save_pretrained(tmp_path / "text_encoder")
    wanted = encoder.eval()(torch.tensor([[1, 2, *[0] * 75]]))[0]
    made, _ = loading.open_networks(tmp_path, torch.float32, "cpu")
    assert float((made.prompt - wanted).abs().max()) < 1e-5
    shutil.rmtree(tmp_path / "text_encoder")
    again, _ = loading.open_networks(tmp_path, torch.float32, "cpu")
    assert torch.equal(made.prompt, again.prompt)
