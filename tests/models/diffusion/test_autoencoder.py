"""The autoencoder is diffusers' own: tensors and results."""

import pytest
import torch

from filmgate.models.diffusion.autoencoder import SCALE, WIDTHS, Autoencoder


def test_names_and_sizes_at_full_size() -> None:
    with torch.device("meta"):
        net = Autoencoder()
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert len(shapes) == 248
    assert sum(parameter.numel() for parameter in net.parameters()) == 83_653_863
    assert sum(p.numel() for p in net.encoder.parameters()) == 34_163_592
    assert shapes["decoder.up_blocks.2.resnets.0.conv_shortcut.weight"] == (256, 512, 1, 1)
    assert shapes["encoder.mid_block.attentions.0.to_out.0.bias"] == (512,)


@pytest.mark.slow
def test_tensors_and_results_are_those_of_diffusers() -> None:
    from diffusers import AutoencoderKL

    for widths, layers in ((WIDTHS, 2), ((32, 64), 1)):
        count = len(widths)
        with torch.device("meta"):
            ours = Autoencoder(widths, layers)
            theirs = AutoencoderKL(
                block_out_channels=widths, layers_per_block=layers, latent_channels=4,
                down_block_types=("DownEncoderBlock2D",) * count,
                up_block_types=("UpDecoderBlock2D",) * count,
            )  # fmt: skip
        one, other = ({name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
                      for net in (ours, theirs))  # fmt: skip
        assert one == other
    ours = Autoencoder(widths, layers).eval()
    theirs.to_empty(device="cpu").load_state_dict(ours.state_dict())
    theirs.eval()
    with torch.inference_mode():
        images = torch.randn(2, 3, 32, 48)
        latents = ours.encode(images)
        wanted = theirs.encode(images).latent_dist.mode() * SCALE
        assert torch.allclose(latents, wanted, atol=1e-6)
        shown = theirs.decode(latents / SCALE).sample
        assert torch.allclose(ours.decode(latents), shown, atol=1e-5)
