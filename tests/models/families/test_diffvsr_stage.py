"""Stream-DiffVSR frame after frame: the recorded roll, the laws, dtypes, folders of weights."""

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
from filmgate.models.contracts import Flow, Knobs
from filmgate.models.families import diffvsr
from filmgate.models.families.diffvsr import loading
from filmgate.models.families.diffvsr.schedule import warp
from filmgate.models.families.diffvsr.stage import DiffVsr, Nets
from filmgate.models.families.diffvsr.vae import TinyVae
from filmgate.quality.verify import check
from filmgate.testing import laws
from tests import videos
from tests.golden.fill import filled, like, noise, recorded, uni
from tests.laws import test_found
from tests.models import tiny, tiny_diffvsr

GOLDEN = recorded("stream_diffvsr")
KEYS = recorded("keys_stream_diffvsr")
HIGH, WIDE = 10, 13  # neither is a multiple of 4
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
    """Says what it was told of the large picture; counts how often that was looked at."""

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
        told = self.controlnet_cond_embedding(condition) * (level / 1000)
        return [told, told / 2], told


def stage(dtype: torch.dtype = torch.float32, **settings: Any) -> tuple[DiffVsr, Control]:
    """The loop around fakes and a real VAE, tiny."""
    vae, control = TinyVae(8), Control()
    vae.load_state_dict(filled({k: v.shape for k, v in vae.state_dict().items()}, "tvae/"))
    nets = Nets.of(Unet(), control.to(dtype), vae.to(dtype), uni("p", (1, 77, 8)).to(dtype))
    return DiffVsr(nets, **settings), control


def video(count: int = 12, cut: int = 5) -> laws.SampleVideo:
    """Noisy pictures whose size is no multiple of 4, with flows, and a cut."""
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
        picture = uni(f"picture/{i}", (3, HIGH, WIDE), 0, 1)
        frames.append(Frame(i, Fraction(i, 25), Fraction(1, 25), picture, extras))
    return laws.SampleVideo(spec, tuple(frames))


def played(made: DiffVsr, reel: laws.SampleVideo) -> list[Frame]:
    state, frames = made.step(made.start(reel.spec, reel.frames[0].position), reel.frames)
    assert len(state) == 1
    return frames


def test_it_keeps_the_laws() -> None:
    laws.check_stage(stage(steps=2)[0], video(), tries=2)


def test_frames_are_four_times_as_large_and_in_range() -> None:
    made = played(stage()[0], video(3))
    for frame in made:
        assert isinstance(frame.image, Tensor)
        assert frame.image.shape == (3, 4 * HIGH, 4 * WIDE)
        assert 0 <= float(frame.image.min()) < float(frame.image.max()) <= 1
    assert stage()[0].output(video().spec).width == 4 * WIDE
    with pytest.raises(Unsupported, match="was promised yuv420p: it wants tensors"):
        stage()[0].output(replace(video().spec, pixels="yuv420p"))
    with pytest.raises(BadSetting, match="steps is 0"):
        stage(steps=0)[0].output(video().spec)


def test_a_cut_begins_anew_and_everything_else_is_led_by_the_frame_before() -> None:
    made, control = stage()
    whole = played(made, video(8, cut=5))
    assert len(control.looks) == 6, "once a frame, and not on the first of a shot"
    later = played(made, replace(video(), frames=video(8, cut=5).frames[5:]))
    laws.same(later, whole[5:], "a cut")
    uncut = played(made, video(8, cut=-1))
    assert laws.distance(uncut[5].image, whole[5].image) > 0.01
    assert whole[5].extras == {"cut": True}
    bare = video(2).frames[1].made(video(2).frames[1].image)
    with pytest.raises(StageContractError, match="frame 1 at 1/25 s came without flow_prev"):
        played(made, replace(video(), frames=(video(2).frames[0], bare)))


@pytest.mark.slow
def test_the_seed_of_a_job_is_the_models() -> None:
    task = fg.Upscale(scale=4, model="diffvsr", weights=tiny_diffvsr.folder(), steps=1, flow="dis",
                      flow_scale=Fraction(1, 4))  # fmt: skip
    made = []
    for seed in (0, 1, 1):
        (costly,) = (part for part in task.stages(replace(test_found.SPEC, seed=seed))
                     if isinstance(part, ModelStage))  # fmt: skip
        reel = replace(test_found.video(), frames=test_found.video().frames[:2])
        made.append((costly.settings, laws.play(Chain((costly,)), reel)[0].image))
    assert made[0][0] != made[1][0] == made[2][0]
    assert laws.distance(made[0][1], made[1][1]) > 0.01
    assert laws.distance(made[1][1], made[2][1]) == 0


def test_another_seed_draws_another_film() -> None:
    one, other = (played(stage(seed=seed)[0], video(1))[0].image for seed in (0, 1))
    assert laws.distance(one, other) > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("flow", [torch.float32, torch.float16])
def test_no_mix_of_dtypes_raises(dtype: torch.dtype, flow: torch.dtype) -> None:
    reel = video(3)
    mixed = tuple(frame.learnt(flow_prev=uni("f", (2, 5, 6)).to(flow)) for frame in reel.frames)
    made, wanted = (played(stage(d)[0], replace(reel, frames=mixed))
                    for d in (dtype, torch.float32))  # fmt: skip
    for one, other in zip(made, wanted, strict=True):
        assert laws.distance(one.image, other.image) < 0.2


def test_a_state_that_was_read_from_disk_may_lie_on_another_device() -> None:
    made, control = stage()
    nets = made.nets
    there = replace(
        nets,
        prompt=nets.prompt.to("meta"),
        vae=nets.vae.to("meta"),
        control=control.to("meta"),
        condition=nets.condition.to("meta"),
    )
    here = (torch.zeros(1, 3, 48, 64),)
    state, frames = replace(made, nets=there).step(here, video(2).frames[1:])
    assert state[0].is_meta
    assert [frame.index for frame in frames] == [1]


def test_tiles_change_nothing() -> None:
    reel = video(3)
    whole, tiles = (played(stage(tile=tile)[0], reel) for tile in (None, Tile(16, 32)))
    laws.same(tiles, whole, "tiles", 1e-5)


def test_settings_that_can_not_be_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="diffvsr has 4 and no other: pass --scale 4"):
        diffvsr.upscaler(test_found.SPEC, 2, Knobs(tmp_path))
    with pytest.raises(BadSetting, match="flow_scale is 1/17: wanted 1 to 1/16"):
        Knobs(tmp_path, flow_scale=Fraction(1, 17))
    with pytest.raises(BadWeights, match=r"scheduler_config\.json is not there: wanted"):
        fg.Upscale(scale=4, model="diffvsr", weights=tmp_path, flow="dis").stages(test_found.SPEC)
    with pytest.raises(BadSetting, match="steps is 4 and the model compact has no such thing"):
        fg.Upscale(steps=4).stages(test_found.SPEC)
    with pytest.raises(BadSetting, match=r"flow_weights is a\.pth, and dis has none"):
        fg.Upscale(flow="dis", flow_weights=Path("a.pth")).stages(test_found.SPEC)
    with pytest.raises(BadSetting, match="flow is dis and the model compact has no such thing"):
        fg.Upscale(flow="dis").stages(test_found.SPEC)
    with pytest.raises(BadSetting, match="flow_scale is 2: wanted 1 to 1/16"):
        fg.Upscale(flow_scale=2)


# --- with diffusers, whose import alone takes ten seconds of the CPU ---------------------------


@pytest.mark.slow
def test_four_frames_give_the_recorded_numbers() -> None:
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
    loop, before = DiffVsr(Nets.of(unet, control, vae, uni("in/prompt", (1, 77, 32)))), None
    for n in range(4):
        small = uni(f"in/roll_lr/{n}", (1, 3, 32, 40))
        picture = loop.drawn(small, noise(f"noise/{n}", (1, 4, 32, 40)), before)
        like(picture, GOLDEN[f"roll.hr_{n}"])
        flow = uni(f"in/roll_flow/{n + 1}", (1, 128, 160, 2), -4, 4)
        before = warp(picture, flow.permute(0, 3, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_folder_of_the_published_layout_opens_and_draws(dtype: torch.dtype) -> None:
    nets, schedule = loading.opened(tiny_diffvsr.folder(), dtype, "cpu")
    assert len(played(DiffVsr(nets, schedule), video(2))) == 2


@pytest.mark.slow
def test_a_line_from_planes_to_planes_keeps_the_laws() -> None:
    task = fg.Upscale(scale=4, model="diffvsr", weights=tiny_diffvsr.folder(), steps=1,
                      flow="dis", flow_scale=Fraction(1, 2))  # fmt: skip
    laws.check_stage(Chain(task.stages(test_found.SPEC)), test_found.video(), tries=1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flow"), [("sound", "raft_small"), ("uneven", "dis")])
def test_from_file_to_file(name: str, flow: Flow, tmp_path: Path) -> None:
    source = videos.make(videos.VIDEOS[name], tmp_path / "in.mp4")
    task = fg.Upscale(scale=4, model="diffvsr", weights=tiny_diffvsr.folder(), flow=flow,
                      flow_weights=None if flow == "dis" else tiny.weights(flow),
                      flow_scale=Fraction(1, 4))  # fmt: skip
    # numbers drawn by rule draw what no right picture can be
    sink, limits = fg.VideoOutput(tmp_path / "out.mp4", preset="ultrafast"), fg.Limits(guard=False)
    done = fg.run(task, source, sink, limits=limits)
    assert done.written == done.read
    report = check(tmp_path / "out.mp4", source)
    assert report.ok, report


@pytest.mark.slow
def test_other_weights_and_settings_are_told(
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

    def told(folder: Path, said: str) -> None:
        with pytest.raises(BadWeights, match=said):
            loading.opened(folder, torch.float32, "cpu")

    told(spoilt("scheduler", timestep_spacing="leading"), r"are \[751, 501, 251, 1\]")
    told(spoilt("unet", num_class_embeds=1000), "num_class_embeds is 1000, wanted None")
    told(spoilt("controlnet", in_channels=4), "in_channels is 4, wanted 7")
    shutil.rmtree(tmp_path / "controlnet")
    told(spoilt("controlnet", conditioning_embedding_out_channels=[4, 4, 4, 8]), "wanted three")
    told(spoilt("vae", decoder_block_out_channels=[16, 16, 16]), "8x4x3x3, wanted 16x4x3x3")
    (spoilt("text") / loading.PROMPT).unlink()
    told(tmp_path / "text", "text_encoder/config.json is not there")
    told(tmp_path / "nowhere", "scheduler_config.json is not there: wanted a folder in the layout")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "diffusers", None)
        with pytest.raises(BadSetting, match=r"wants diffusers: .* 'filmgate\[diffusion\]' does"):
            loading.opened(tiny_diffvsr.folder(), torch.float32, "cpu")


@pytest.mark.slow
def test_the_text_encoder_is_asked_once_and_its_word_is_stored(tmp_path: Path) -> None:
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
    made, _ = loading.opened(tmp_path, torch.float32, "cpu")
    assert float((made.prompt - wanted).abs().max()) < 1e-5
    shutil.rmtree(tmp_path / "text_encoder")
    again, _ = loading.opened(tmp_path, torch.float32, "cpu")
    assert torch.equal(made.prompt, again.prompt)
