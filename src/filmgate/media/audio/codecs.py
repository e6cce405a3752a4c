"""Choose encoders, channels and sample rates for audio that is re-encoded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer

# From the best on; a container takes the first one that it can hold. At least one of the last two
# fits in every container that holds audio.
_LOSSY = ("aac", "libopus")
_LOSSLESS = ("flac", "alac")
_PCM: Mapping[str, str] = MappingProxyType(
    {"u8": "pcm_s16le", "s16": "pcm_s16le", "s32": "pcm_s24le", "s64": "pcm_s32le",
     "flt": "pcm_f32le", "dbl": "pcm_f64le"}
)  # fmt: skip
_UNCOMPRESSED = ("pcm_", "s302m")
_LAYOUTS: Mapping[int, str] = MappingProxyType({1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"})
# The layouts that encoders with loss take and players know, by number of channels.
_PLAIN_LAYOUTS: Mapping[int, str] = MappingProxyType(
    {**_LAYOUTS, 3: "3.0", 4: "quad", 5: "5.0", 7: "6.1"}
)


def list_encoders(stream: AudioStream, *, lossless: bool) -> tuple[str, ...]:
    """Return the encoders for the audio of `stream`, from the best on.

    With `lossless` the first ones keep every sample of a lossless source. Empty if FFmpeg cannot
    decode it.
    """
    context = stream.codec_context
    if not context or not context.sample_rate or not stream.layout.nb_channels:
        return ()
    if not lossless:
        return _LOSSY
    name = context.codec.canonical_name
    sample = context.format.name.removesuffix("p") if context.format else "s16"
    pcm = "pcm_s32le" if sample == "s32" and "32" in name else _PCM.get(sample, "pcm_s16le")
    if name.startswith(_UNCOMPRESSED):
        return (pcm, *_LOSSLESS, *_LOSSY)
    if context.codec.lossless and name != "dts":  # which is lossy nearly always
        return (*_LOSSLESS, pcm, *_LOSSY)
    return _LOSSY


def add_audio_stream(container: OutputContainer, source: AudioStream, encoder: str) -> AudioStream:
    """Add a stream for audio of `source` that is re-encoded: its channels, 96 kbit/s for each.

    Encoders with loss get the usual layout of as many channels. The sample rate is the source's if
    the encoder takes it, else 48 kHz.
    """
    known = av.Codec(encoder, "w").audio_rates or []
    rate = source.codec_context.sample_rate
    output = container.add_stream(encoder, rate if not known or rate in known else 48_000)
    assert isinstance(output, AudioStream)
    layout = choose_layout(source)
    if encoder in _LOSSY and layout not in _PLAIN_LAYOUTS.values():
        layout = _PLAIN_LAYOUTS.get(source.layout.nb_channels, "stereo")
    output.layout = layout
    output.bit_rate = 96_000 * max(1, output.layout.nb_channels)
    if encoder in _LOSSLESS:  # 24 bits, or 16
        wide = (source.format.name if source.format else "").startswith(("s32", "flt", "dbl"))
        planar = "p" if encoder == "alac" else ""
        output.format = f"s{32 if wide else 16}{planar}"
    return output


def name_channels(output: AudioStream, source: AudioStream) -> None:
    """Name the channels of a copy whose source does not: an mp4 of PCM needs names."""
    if (layout := choose_layout(source)) != source.layout.name:
        output.layout = layout


def choose_layout(source: AudioStream) -> str:
    """Return the source's channel layout; 1, 2, 6 and 8 channels without names get the usual."""
    layout = source.layout
    usual = _LAYOUTS.get(layout.nb_channels)
    return usual if usual and "channels" in layout.name else layout.name
