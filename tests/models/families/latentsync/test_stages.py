"""The stages: the laws, clips and runs, frames without a face, what a clip is made of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest
import torch

from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.core.wrappers.attached import AttachedStage
from filmgate.errors import BadOutput, BadSetting, Unsupported
from filmgate.flow.constant_rate import ConstantRate, SkipFrames
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.box_reader import BoxTable
from filmgate.models.families.latentsync.alignment import Crop, find_height
from filmgate.models.families.latentsync.faces import (
    LANDMARKS,
    ChooseFace,
    FollowBox,
    ReadFaces,
    find_in_box,
    find_in_mesh,
)
from filmgate.models.families.latentsync.sampler import Sampler
from filmgate.models.families.latentsync.speech import SECONDS, Listen, Speech
from filmgate.models.families.latentsync.stages import FACE, Prepare, PreparedFace, SyncLips
from filmgate.testing import SampleVideo, laws, make_sample_video
from tests.models.families.latentsync import tiny

COUNT, SAMPLES = 40, 21_000
CROP = Crop(32)
FACE_BOX = (20.0, 8.0, 50.0, 55.0)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_video(count: int = COUNT) -> SampleVideo:
    """Return frames with the seconds of a tone, and a new shot in the middle."""
    tone = np.sin(np.arange(SAMPLES) / 9).astype(np.float32) * 0.3
    seconds = tuple(Frame(n, F(n), F(len(part), 16_000), part)
                    for n, part in enumerate((tone[:16_000], tone[16_000:])))  # fmt: skip
    video = make_sample_video(count, pixels="yuv420p", width=96, height=80)
    frames = tuple(frame.with_extras(**{SECONDS: seconds}) for frame in video.frames)
    return SampleVideo(video.spec, frames)


def make_table(shown: Sequence[int]) -> BoxTable:
    """Return a box of a face in some frames, and a smaller one with another number."""
    boxes = [(20 + k % 3, 8, 50, 55) for k in shown] + [(5, 5, 12, 12) for _ in shown]
    return BoxTable(
        np.repeat(shown, 2), np.tile([7, 8], len(shown)),
        np.array(boxes, np.float32)[np.arange(2 * len(shown)).reshape(2, -1).T.ravel()],
        np.ones(2 * len(shown), np.float32),
    )  # fmt: skip


def build(
    shown: Sequence[int] = (*range(27), *range(30, COUNT)),
    sampler: Sampler | None = None,
    skip: int = 0,
    **own: Any,
) -> Chain:
    """Return the stages of the task, with tiny networks."""
    vae = tiny.Average()
    prepare = Chain((each(ReadFaces(make_table(shown)), name="boxes"), Prepare(vae, CROP, skip)))
    return Chain(
        (
            ConstantRate(F(25), Speech(SAMPLES, 1.0).frames),
            AttachedStage(prepare, attaches=(FACE,), sees=("cut", "source.index")),
            SkipFrames(skip),
            Listen(tiny.build_whisper(), Speech(SAMPLES, 1.0)),
            SyncLips(sampler or tiny.build_sampler(), vae, CROP, **own),
        )
    )


def test_cuts_and_sleeps_change_nothing() -> None:
    chain, video = build(overlap=4, sampler=tiny.build_sampler(steps=1)), make_video()
    laws.check_sleep(chain, video, [3, 17, 18, 30], {0, 2, 4})


@pytest.mark.slow
@pytest.mark.parametrize(("overlap", "skip"), [(0, 0), (4, 0), (4, 7)])
def test_laws(overlap: int, skip: int) -> None:
    assert Speech(SAMPLES, 1.0).frames == 34
    chain = build(overlap=overlap, skip=skip)
    laws.check_stage(chain, make_video(), total=F(34 - skip, 25), tries=1)


def test_frames_before_the_begin_are_followed_and_not_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The place of the nose is smoothed from the first frame on, wherever the result begins."""
    video, encoded = make_video(24), list[int]()
    complete = laws.run_chain(Chain(build().stages[:2]), video)
    encode = tiny.Average.encode

    def count(self: tiny.Average, images: torch.Tensor) -> torch.Tensor:
        encoded.append(1)
        return encode(self, images)

    monkeypatch.setattr(tiny.Average, "encode", count)
    skipped = laws.run_chain(Chain(build(skip=9).stages[:3]), video)
    assert len(encoded) == 24 - 9
    assert [frame.index for frame in skipped] == [*range(15)]
    assert [frame.time for frame in skipped] == [F(n, 25) for n in range(15)]
    for old, new in zip(complete[9:], skipped, strict=True):
        assert old.extras[FACE].matrix == new.extras[FACE].matrix  # type: ignore[attr-defined]


def count_clips(sizes: list[int]) -> Sampler:
    """Return a sampler of one step that appends the length of each clip."""

    class Counted(Sampler):
        def denoise(self, clip: Any, *rest: Any) -> Any:
            sizes.append(clip.frames)
            return super().denoise(clip, *rest)

    return Counted(tiny.build_sampler().net, 1)


def test_frames_without_a_face_pass_untouched_and_others_change_in_their_face() -> None:
    """Runs are cut into clips of 16; one that is shorter stays so."""
    video, sizes = make_video(), list[int]()
    outputs = laws.run_chain(build(sampler=count_clips(sizes)), video)
    assert sizes == [16, 16, 7, 4]  # 0-15, 16-19 reaches back; a new shot at 20-26; 30-33
    assert len(outputs) == 34
    for old, new in zip(video.frames, outputs, strict=False):
        old_luma, new_luma = old.image.arrays[0], new.image.arrays[0]  # type: ignore[attr-defined]
        changed = np.argwhere(old_luma != new_luma)
        if old.index in (27, 28, 29):
            assert new.image is old.image
        else:
            assert len(changed) > 100
            assert changed.min(0).tolist() >= [24, 20]  # below the eyes
        assert SECONDS not in new.extras


def test_as_upstream_no_clip_reaches_back() -> None:
    sizes = list[int]()
    laws.run_chain(build(sampler=count_clips(sizes), as_upstream=True), make_video())
    assert sizes == [16, 4, 7, 4]


def test_overlapping_clips_follow_the_one_before() -> None:
    """The first shared frame stays nearly what it was, the last one is nearly free."""
    stage = SyncLips(tiny.build_sampler(), tiny.Average(), CROP, overlap=4)
    chain = build(shown=range(COUNT))
    head = Chain(chain.stages[:-1])
    frames = laws.run_chain(head, make_video())[:19]
    frames = [replace(f, extras={k: v for k, v in f.extras.items() if k != "cut"}) for f in frames]
    state, out = stage.step(stage.start(head.output(make_video().spec), frames[0].position), frames)
    assert [frame.index for frame in out] == list(range(12))
    assert len(state.latents) == 4
    assert len(state.path) == 3
    assert torch.equal(state.path[-1], state.latents)
    shared = state.latents
    clip = stage._run_clip(replace(state, frames=state.frames), 0)
    assert [frame.index for frame in clip[1]] == list(range(12, 19))
    assert len(state.past) == 12
    assert shared.isfinite().all()


@pytest.mark.slow
def test_guidance_of_one_runs_without_silence_and_seeds_differ() -> None:
    plain = laws.run_chain(build(sampler=tiny.build_sampler(guidance=1.0)), make_video(20))
    other = laws.run_chain(build(sampler=tiny.build_sampler(guidance=1.0), seed=1), make_video(20))
    guided = laws.run_chain(build(), make_video(20))
    for frames in (other, guided):
        assert any((a.image.arrays[0] != b.image.arrays[0]).any()  # type: ignore[attr-defined]
                   for a, b in zip(plain, frames, strict=True))  # fmt: skip


@pytest.mark.slow
def test_low_memory_gives_the_same_within_rounding() -> None:
    chain, video = build(), make_video(20)
    stage = chain.stages[-1]
    assert isinstance(stage, SyncLips)
    small = Chain((*chain.stages[:-1], stage.low_memory()))
    laws.assert_same_frames(
        laws.run_chain(small, video), laws.run_chain(chain, video), "low memory", 1
    )


def test_a_result_that_is_not_finite_is_an_error_with_its_time() -> None:
    chain = build(sampler=tiny.build_sampler(guidance=float("nan")))
    broken = Sampler(tiny.build_sampler().net, 1, float("inf"))
    with pytest.raises(BadOutput, match=r"from 0\.000 s.*--dtype"):
        laws.run_chain(build(sampler=broken), make_video(20))
    assert chain


def test_a_box_by_hand_is_followed() -> None:
    texture = np.kron(np.random.default_rng(1).integers(40, 220, (20, 24)), np.ones((4, 4)))
    video, stage = make_video(6), FollowBox((30, 20, 30, 30))
    state, frames = stage.start(video.spec, video.frames[0].position), list[Frame]()
    for frame in video.frames:
        assert isinstance(frame.image, Planes)
        moved = np.roll(texture, (frame.index, -2 * frame.index), (0, 1)).astype(np.uint8)
        image = frame.image.with_arrays((moved, *frame.image.arrays[1:]))
        extras = {"cut": True} if frame.index == 5 else {}
        state, out = stage.step(state, [replace(frame, image=image, extras=extras)])
        frames += out
    first, last = (frame.extras[LANDMARKS] for frame in (frames[0], frames[4]))
    assert first == find_in_box((30, 20, 30, 30))
    assert last.nose[0] - first.nose[0] == pytest.approx(-8, abs=0.5)  # type: ignore[attr-defined]
    assert last.nose[1] - first.nose[1] == pytest.approx(4, abs=0.5)  # type: ignore[attr-defined]
    assert LANDMARKS not in frames[5].extras  # a new shot
    with pytest.raises(BadSetting, match="96x80"):
        FollowBox((100, 0, 30, 30)).output(video.spec)


def test_the_largest_face_or_the_named_one_is_chosen() -> None:
    video = make_video(4)
    for id, box in ((None, (20, 8, 50, 55)), (7, (20, 8, 50, 55)), (8, (5, 5, 12, 12))):
        (frame,) = ReadFaces(make_table([0, 1]), id)([video.frames[0]])
        assert frame.extras[LANDMARKS] == find_in_box(box)
    (none,) = ReadFaces(make_table([0, 1]))([video.frames[2]])
    assert LANDMARKS not in none.extras
    points = [(float(k), 2.0 * k, 0.0) for k in range(468)]
    records = tuple({"kind": "face", "id": id, "box": (0, 0, side, side),
                     "points": [(x * side, y, z) for x, y, z in points]}
                    for id, side in ((1, 10), (2, 20)))  # fmt: skip
    seen = video.frames[0].with_extras(records=records)
    choose: Callable[[int | None], Any] = lambda id: ChooseFace(id)([seen])[0].extras.get(LANDMARKS)  # noqa: E731
    assert choose(None) == choose(2)
    assert choose(1) != choose(2)
    assert choose(3) is None


def test_a_mouth_that_is_open_wider_than_what_is_generated_is_reported_once() -> None:
    video, image = make_video(6), make_video(1).frames[0].image
    stage = SyncLips(tiny.build_sampler(), tiny.Average(), CROP)
    state, low = stage.start(video.spec, video.frames[0].position), (0.9, 0.95, 0.97, 0.9, 0.96, 0)
    for frame, chin in zip(video.frames, low, strict=True):
        face = PreparedFace((1, 0, 0, 0, 1, 0), 1.0, torch.zeros(8, 8, 8), chin)
        state, _ = stage.step(state, [replace(frame, image=image, extras={FACE: face})])
    remarks = [frame.extras.get("remark") for frame in state.frames]
    assert [bool(remark) for remark in remarks] == [False, True, False, False, True, False]
    assert str(remarks[1]).startswith("the mouth is open wider than what is generated from 0.040 s")
    points = [(0.0, 0.0)] * 152 + [(31.0, 100.5)] + [(0.0, 0.0)] * 315
    assert find_in_mesh(points).chin == (30.5, 100)
    assert find_height((0, 55.5), (1, 0, 0, 0, 1, 0), Crop(128)) == 56 / Crop(128).height


def test_images_that_are_no_planes_are_refused() -> None:
    spec = make_sample_video(4).spec
    with pytest.raises(Unsupported, match="planes"):
        build().output(spec)
