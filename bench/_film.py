"""FILM with random weights, frames of a sliding texture, and the usual loop around the network."""

from collections.abc import Callable, Iterator

import torch

from filmgate.core.frame import ColorTags
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_planes, to_rgb
from filmgate.models.families.film.net import Film, Shape

Interpolator = Callable[[Planes, Planes], Planes]


def make_frames(size: tuple[int, int], count: int) -> Iterator[Planes]:
    """Yield frames (width, height) of a smooth sliding texture, as 4:2:0."""
    width, height = size
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, height // 16, width // 8, generator=rng)
    wide = torch.nn.functional.interpolate(coarse, (height, 2 * width), mode="bilinear")[0]
    for n in range(count):
        moved = wide[:, :, 4 * n : 4 * n + width].contiguous()
        yield to_planes(moved, "yuv420p", ColorTags(matrix="bt709", range="tv"))


def make_network(device: str, dtype: torch.dtype, shape: Shape | None = None) -> Film:
    """Return FILM with random weights that keep activations in range, and a mid-grey output."""
    torch.manual_seed(0)
    net = (Film(shape) if shape else Film()).requires_grad_(False)
    for weights in net.parameters():
        if weights.ndim > 1:
            weights.normal_(0, weights[0].numel() ** -0.5)
        else:
            weights.zero_()
    net.fuse.output_conv.bias.fill_(0.5)
    return net.to(device, dtype).eval()


def make_plain_loop(net: Film, device: str, dtype: torch.dtype) -> Interpolator:
    """Return a careful hand-written loop around the network: two frames in, one out."""

    @torch.inference_mode()
    def interpolate(a: Planes, b: Planes) -> Planes:
        width, height = a.size
        across, down = (-n % net.shape.align for n in a.size)
        left, top = across // 2, down // 2
        around = (left, across - left, top, down - top)
        ends = []
        for image in (a, b):
            rgb = to_rgb(image, dtype, device)[None]
            images = net.build_pyramid(torch.nn.functional.pad(rgb, around))
            ends.append((images, net.extract_features(images)))
        first, second = ends
        forward = net.estimate_flows(first[1], second[1])[0]
        backward = net.estimate_flows(second[1], first[1])[0]
        output = net.fuse_images(first, second, forward, backward, 0.5)[0]
        output = output[:, top : top + height, left : left + width]
        return to_planes(output.float(), a.pixels, a.colour)

    return interpolate
