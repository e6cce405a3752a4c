"""How long does generate take on the device, how much memory, and are its frames the library's?

TI2V-5B at full size with random weights in bfloat16, 832x480, 25 frames, 4 steps with guidance; the
embeddings of the prompts are random, so the text encoder is not part of it. "library" is diffusers'
pipeline, resident or with its model offload; "ours" takes steps with the same transformer and
decodes as a stream, at once and in 8 bands whose caches wait on the CPU. GB are what torch's
allocator allocated and reserved at most, weights included.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

from tests.gpu.shared import NETWORKS, Part, Report, Setup
from tests.gpu.speed import free_memory, is_out_of_memory

SIZE, FRAMES, STEPS, BANDS = (832, 480), 25, 4, 8
NEAR = 2 / 255  # largest mean difference: the library computes colours in 16 bits
WAYS = ("library resident", "library model offload", "ours", f"ours {BANDS} bands parked")


def list_parts() -> list[Part]:
    """Return the part."""
    needs = (*NETWORKS, "diffusers", "transformers")
    return [Part("speed generate", measure_generate, needs, 120)]


@dataclass
class Trial:
    """The library's pipeline, whose networks ours takes too, and what both are asked for."""

    pipeline: Any
    variant: Any
    image: Any
    embeddings: Any  # of the prompt, and of no prompt
    size: tuple[int, int]
    frames: int
    steps: int
    device: str

    def run_library(self) -> Any:
        """Return frames (N, 3, H, W) of the library's pipeline."""
        import torch

        width, height = self.size
        prompt, none = (part.to(self.device) for part in self.embeddings)
        return self.pipeline(
            image=self.image[None], prompt_embeds=prompt, negative_prompt_embeds=none,
            height=height, width=width, num_frames=self.frames, num_inference_steps=self.steps,
            guidance_scale=self.variant.guidance[0], generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).frames[0].float().cpu()  # fmt: skip

    def run_ours(self, bands: int, park: bool, figures: dict[str, Any]) -> Any:
        """Return frames (N, 3, H, W) of our steps and streamed decode."""
        import torch

        from filmgate.models.families.wan22.decoder import StreamDecoder
        from filmgate.models.families.wan22.encoder import encode_condition
        from filmgate.models.families.wan22.sampler import Sampler, draw_noise

        vae, width, height = self.pipeline.vae, *self.size
        condition = encode_condition(
            vae, self.variant, self.image, None, self.frames, bands=bands, park=park
        ).cpu()
        settings = {**self.variant.scheduler}
        sampler = Sampler(self.variant, settings, self.steps, self.variant.guidance)
        noise = draw_noise(0, self.variant.get_latent_shape(self.frames, height, width))
        state, start = sampler.start(noise), perf_counter()
        for _ in range(self.steps):
            state = sampler.step(state, self, condition, torch.cat(self.embeddings))
        figures["step_s"] = round((perf_counter() - start) / self.steps, 3)
        latents = sampler.finish(state, condition)
        decoder = StreamDecoder(vae, bands=bands, park=park)
        return torch.cat([frames.cpu() for frames in decoder.stream(latents)])

    def predict(self, latents: Any, timestep: Any, embeddings: Any, *, high_noise: bool) -> Any:
        """Return what the transformer predicts, as `Experts.predict` does."""
        del high_noise  # there is one transformer
        net = self.pipeline.transformer
        return net(
            hidden_states=latents.to(self.device, net.dtype), timestep=timestep.to(self.device),
            encoder_hidden_states=embeddings.to(self.device, net.dtype), return_dict=False,
        )[0].float()  # fmt: skip


def measure_generate(setup: Setup, report: Report) -> None:
    """Measure all ways, and compare their frames with those of the resident library."""
    import torch

    from filmgate.core.instrumentation.torch_settings import fix_torch_settings

    trial: Any = None
    wanted: Any = None
    if setup.dry:
        torch.set_num_threads(1)  # they wait for each other longer than this takes
    with torch.no_grad(), fix_torch_settings():
        with report.check("generate: the networks are built", "measured") as found:
            trial = build_trial(setup)
            nets = (trial.pipeline.transformer, trial.pipeline.vae)
            found["parameters"] = sum(p.numel() for net in nets for p in net.parameters())
        if trial is None:
            return
        for way in WAYS:
            if setup.dry and "offload" in way:
                continue  # it needs an accelerator
            with report.check(f"generate {way}", "measured") as found:
                free_memory()
                try:
                    frames = run_way(trial, way, setup, found)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    found["out_of_memory"] = str(error).partition(". GPU")[0][:200]
                    continue
                assert len(frames) == trial.frames, f"{len(frames)} frames came out"
                assert bool(torch.isfinite(frames).all()), "frames are not finite"
                wanted = frames if wanted is None else wanted
                apart = (frames - wanted).abs()
                found["most_apart"], found["mean_apart"] = float(apart.max()), float(apart.mean())
                near = 1e-5 if setup.dry else NEAR
                assert found["mean_apart"] <= near, "frames are not those of the library"


def run_way(trial: Trial, way: str, setup: Setup, figures: dict[str, Any]) -> Any:
    """Return the frames of one way; add its seconds and memory to `figures`."""
    import torch

    if "offload" in way:
        trial.pipeline.enable_model_cpu_offload()
    elif way.startswith("ours"):
        trial.pipeline.remove_all_hooks()
        for net in (trial.pipeline.transformer, trial.pipeline.vae):
            net.to(trial.device)
    free_memory()
    start = perf_counter()
    if way.startswith("library"):
        frames = trial.run_library()
    else:
        banded = "bands" in way
        frames = trial.run_ours(BANDS if banded else 1, banded, figures)
    figures["seconds"] = round(perf_counter() - start, 2)
    if not setup.dry:
        figures["gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        figures["reserved_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 2)
    return frames


def build_trial(setup: Setup) -> Trial:
    """Return the pipeline with random weights: full size on a GPU, else small."""
    import torch

    from filmgate.models.families.wan22.published import PROMPT_TOKENS, TI2V_5B
    from tests.models.tiny_wan22 import build_pipeline, shrink

    variant = shrink("ti2v-5b") if setup.dry else TI2V_5B
    pipeline = build_pipeline("ti2v-5b") if setup.dry else build_full(setup.device)
    torch.manual_seed(0)
    size, frames, steps = ((32, 64), 5, 2) if setup.dry else (SIZE, FRAMES, STEPS)
    embeddings = torch.randn(2, PROMPT_TOKENS, variant.transformer["text_dim"])
    image = torch.rand(3, size[1], size[0])
    return Trial(
        pipeline, variant, image, tuple(embeddings[:, None]), size, frames, steps, setup.device
    )


def build_full(device: str) -> Any:
    """Return the 5B's pipeline in bfloat16 without its text encoder."""
    import torch
    from diffusers import (
        AutoencoderKLWan,
        UniPCMultistepScheduler,
        WanImageToVideoPipeline,
        WanTransformer3DModel,
    )

    from filmgate.models.families.wan22.published import TI2V_5B, to_plain

    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            transformer = WanTransformer3DModel(**to_plain(TI2V_5B.transformer))
            vae = AutoencoderKLWan(**to_plain(TI2V_5B.vae))
    finally:
        torch.set_default_dtype(before)
    return WanImageToVideoPipeline(
        tokenizer=None, text_encoder=None, vae=vae.eval().requires_grad_(False),
        scheduler=UniPCMultistepScheduler.from_config(dict(TI2V_5B.scheduler)),
        transformer=transformer.eval().requires_grad_(False), expand_timesteps=True,
    )  # fmt: skip
