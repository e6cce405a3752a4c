"""The laws on every family that generates video, from an image to planes of frames.

Other samples read a video; these count frames. Their libraries take seconds to import.
"""

from dataclasses import dataclass
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.core.values import count_bytes
from filmgate.flow.constant_rate import SkipFrames
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.images.image_file import ImageFile
from filmgate.models import registry
from filmgate.tasks.generate import Generate
from filmgate.testing import SampleVideo, laws

FPS = F(16)
# By family: each small model of it. A family without one fails a test.
FAMILIES: dict[str, tuple[Any, ...]] = {"wan22": ("ti2v-5b", "i2v-a14b")}


@dataclass(frozen=True)
class Sample:
    """A task and the frames that it is given."""

    task: Generate

    def make_video(self, frames: int) -> SampleVideo:
        """Return frames without images."""
        with FrameCounter(frames=frames, fps=FPS).open() as counter:
            counted = tuple(Frame(n, n / FPS, 1 / FPS, ()) for n in range(frames))
            return SampleVideo(counter.spec, counted)

    def build(self, frames: int) -> Chain:
        return Chain(self.task.stages(self.make_video(frames).spec))


@pytest.fixture(scope="module", params=[(f, v) for f, names in FAMILIES.items() for v in names],
                ids=" ".join)  # fmt: skip
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    from PIL import Image

    from filmgate.models.families.wan22.request import Wan22Options
    from tests.models import tiny_wan22

    family, variant = request.param
    folder: Path = tmp_path_factory.mktemp("image")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "in.png")
    options = Wan22Options(weights=tiny_wan22.folder(variant))
    task = Generate(image=ImageFile(folder / "in.png"), prompt="a red ball", size="64x64",
                    model=family, options=options, steps=1, guidance=1,
                    device="cpu")  # fmt: skip
    return Sample(task)


def test_every_family_that_generates_has_samples() -> None:
    families = [one.name for one in registry.load_families() if one.build_generator]
    assert sorted(FAMILIES) == sorted(families)


@pytest.mark.slow
def test_laws_1_to_5_and_7(sample: Sample) -> None:
    """What the quick tests find with networks that count, here through all of the model."""
    chain, video = sample.build(13), sample.make_video(13)
    laws.check_time(chain, video)
    laws.check_output(chain, video)
    laws.check_memory(chain, video)
    laws.check_sleep(chain, video, [2, 7], {0, 1, 2})
    laws.check_retry(chain, video, 1, 2)
    laws.check_batch(chain, video, 4)
    laws.check_chain(chain, SkipFrames(2), SkipFrames(3), video)


@pytest.mark.slow
def test_law_6_bound(sample: Sample) -> None:
    """The state keeps its size while frames come; of a longer video its latents are more."""
    sizes = []
    for count in (13, 17):
        chain, video = sample.build(4 * count + 1), sample.make_video(count)
        laws.check_bound(chain, video)
        state = chain.start(video.spec, video.frames[0].position)
        state, _ = chain.step(state, video.frames[:1])
        sizes.append(count_bytes(state))
    variant = sample.task.options.find_variant()
    latents = [4 * np.prod(variant.get_latent_shape(4 * count + 1, 64, 64)) for count in (13, 17)]
    assert sizes[1] - sizes[0] == latents[1] - latents[0]
