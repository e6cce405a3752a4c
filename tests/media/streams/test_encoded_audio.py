"""Audio that a container cannot hold is encoded for it, complete and in sync, and reported."""

import io
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import filmgate as fg
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.probe import probe
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.media.streams.trial import REFUSALS, read_seconds
from filmgate.quality.verify import check
from tests.cases import mark_slow_cases, mark_slow_combinations
from tests.media.streams.copying import copy
from tests.media.streams.sources import CLICKS, find_clicks, hide_codec, make_video, read_samples

# Codec, container of the source, and the codecs in the containers that cannot hold it.
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "pcm_bluray": (".m2ts", {".mp4": "pcm_s16le", ".mov": "pcm_s16le", ".mkv": "pcm_s16le",
                             ".webm": "opus", ".nut": "pcm_s16le"}),
    "adpcm_ima_wav": (".avi", {".mp4": "aac", ".mov": "aac", ".mkv": "aac", ".webm": "opus",
                               ".nut": "aac"}),
    "wmav2": (".avi", {".mp4": "aac", ".mov": "aac", ".mkv": "aac", ".webm": "opus",
                       ".nut": "aac"}),
    "pcm_s16le": (".avi", {".webm": "opus"}),
    "pcm_mulaw": (".avi", {".mp4": "pcm_s16le", ".mkv": "pcm_s16le", ".webm": "opus"}),
    "flac": (".mkv", {".mov": "alac", ".webm": "opus"}),
    "alac": (".mov", {".webm": "opus", ".nut": "pcm_s24le"}),
    "tta": (".mkv", {".mp4": "flac", ".mov": "alac", ".webm": "opus", ".nut": "pcm_s16le"}),
    "aac": (".mp4", {".webm": "opus"}),
}  # fmt: skip
CONTAINERS = (".mp4", ".mov", ".mkv", ".webm", ".nut")
QUICK = [("pcm_bluray", ".mp4"), ("adpcm_ima_wav", ".mkv"), ("wmav2", ".webm"),
         ("pcm_s16le", ".mp4"), ("tta", ".mp4"), ("alac", ".nut"), ("flac", ".mov")]  # fmt: skip


@pytest.mark.parametrize(
    ("codec", "suffix"), mark_slow_combinations(QUICK, list(KINDS), CONTAINERS)
)
def test_audio_of_any_codec_reaches_any_container(codec: str, suffix: str, tmp_path: Path) -> None:
    origin, encoded = KINDS[codec]
    rate = 44_100 if codec == "wmav2" else 48_000
    video = make_video(tmp_path / f"in{origin}", [codec], rate=rate)
    out = tmp_path / f"out{suffix}"
    sink = copy(VideoFile(video), VideoOutput(out))
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == encoded.get(
            suffix, codec
        )
    delay = 2048 / rate if codec == "wmav2" else 0  # of its decoder
    assert find_clicks(out) == pytest.approx([click + delay for click in CLICKS], abs=3e-3)
    reported = f"is re-encoded as {encoded.get(suffix)}: {suffix} can't hold it as it is"
    assert [reported in message for message in sink.dropped] == (
        [True] if suffix in encoded else []
    )
    assert sink.is_complete


def test_container_without_audio_is_a_refusal() -> None:
    """A damaged wmv of which no audio could be decoded ended in a traceback."""
    for suffix in CONTAINERS:
        with pytest.raises(REFUSALS):
            read_seconds(io.BytesIO(), suffix)


def test_wrong_clock_of_an_avi_leaves_no_gaps(tmp_path: Path) -> None:
    video = make_video(tmp_path / "in.avi", ["g722"], rate=16_000, layout="mono")
    with av.open(str(video)) as container:
        first, second = islice(container.demux(audio=0), 2)
        assert (second.pts or 0) - (first.pts or 0) == first.size  # ticks, of 1 / 150 s
    copy(VideoFile(video), VideoOutput(tmp_path / "out.mp4"))
    assert find_clicks(tmp_path / "out.mp4") == pytest.approx(CLICKS, abs=5e-3)


@pytest.mark.parametrize(
    ("codec", "origin", "suffix", "sample_format"),
    [("pcm_bluray", ".m2ts", ".mkv", "s32"), ("pcm_bluray", ".m2ts", ".mp4", "s16"),
     ("tta", ".mkv", ".mov", "s32"), ("flac", ".mkv", ".mov", "s16"),
     *(pytest.param("tta", ".mkv", suffix, depth, marks=pytest.mark.slow)
       for suffix, depth in ((".mov", "s16"), (".mp4", "s32")))],
)  # fmt: skip
def test_every_sample_of_lossless_audio_is_kept(
    codec: str, origin: str, suffix: str, sample_format: str, tmp_path: Path
) -> None:
    video = make_video(tmp_path / f"in{origin}", [codec], sample_format=sample_format)
    copy(VideoFile(video), VideoOutput(tmp_path / f"out{suffix}"))
    old, new = read_samples(video), read_samples(tmp_path / f"out{suffix}")
    assert np.array_equal(old, new[: len(old)])
    assert not new[len(old) :].any()  # alac fills its last packet


@pytest.mark.parametrize(
    ("layout", "channels"),
    mark_slow_cases([("5.1(side)", 6), ("4.0", 4)], [("5.1(side)", 6), ("4.0", 4), ("7.1", 8)]),
)
def test_many_channels_are_encoded_in_a_layout_that_players_know(
    layout: str, channels: int, tmp_path: Path
) -> None:
    video = make_video(tmp_path / "in.mkv", ["pcm_s16le"], layout=layout)
    for suffix in (".webm", ".mp4"):
        copy(VideoFile(video), VideoOutput(tmp_path / f"out{suffix}", audio="encode"))
        audio = next(s for s in probe(tmp_path / f"out{suffix}").streams if s.kind == "audio")
        assert audio.channels == channels
        assert find_clicks(tmp_path / f"out{suffix}") == pytest.approx(CLICKS, abs=3e-3)


@pytest.mark.parametrize(
    ("channels", "name"),
    mark_slow_cases(
        [(1, "mono"), (6, "5.1")], [(1, "mono"), (2, "stereo"), (6, "5.1"), (8, "7.1")]
    ),
)
def test_channels_without_names_get_the_usual_ones(
    channels: int, name: str, tmp_path: Path
) -> None:
    video = make_video(tmp_path / "in.avi", ["pcm_s16le"], layout=name)
    with av.open(str(video)) as container:
        assert container.streams.audio[0].layout.name in (f"{channels} channels", name)
    for suffix in (".mp4", ".mov"):
        copy(VideoFile(video), VideoOutput(tmp_path / f"out{suffix}"))
        with av.open(str(tmp_path / f"out{suffix}")) as container:
            found = container.streams.audio[0].layout.name
            assert found == name or (channels == 1 and found == "1 channels")
        assert np.array_equal(read_samples(video), read_samples(tmp_path / f"out{suffix}"))


@pytest.mark.parametrize(
    ("codec", "suffix"),
    mark_slow_combinations(
        [("pcm_bluray", ".mp4"), ("adpcm_ima_wav", ".webm")],
        ["pcm_bluray", "adpcm_ima_wav", "pcm_s16le"],
        [".mp4", ".webm"],
    ),
)
def test_audio_of_any_codec_is_slowed(codec: str, suffix: str, tmp_path: Path) -> None:
    video = make_video(tmp_path / f"in{KINDS[codec][0]}", [codec])
    out = tmp_path / f"out{suffix}"
    sink = copy(VideoFile(video), VideoOutput(out), time_scale=Fraction(2))
    assert find_clicks(out) == pytest.approx([2 * click for click in CLICKS], abs=0.04)
    assert sink.dropped == []


def test_encoded_audio_starts_with_a_trimmed_video(tmp_path: Path) -> None:
    video, out = make_video(tmp_path / "in.m2ts", ["pcm_bluray"]), tmp_path / "out.mp4"
    copy(VideoFile(video, start=Fraction(1, 2), end=Fraction(9, 10)), VideoOutput(out))
    assert find_clicks(out) == pytest.approx([0.75 - 0.52], abs=3e-3)  # a frame is at 0.52 s
    assert len(read_samples(out)) == pytest.approx(0.4 * 48_000, abs=48)


@pytest.mark.parametrize(
    ("suffix", "time_scale"),
    mark_slow_combinations(
        [(".mov", Fraction(1)), (".mov", Fraction(2)), (".mkv", Fraction(1))],
        [".mov", ".mp4", ".mkv", ".webm"],
        [Fraction(1), Fraction(2)],
    ),
)
def test_audio_without_a_decoder_is_left_out_and_the_rest_kept(
    suffix: str, time_scale: Fraction, tmp_path: Path
) -> None:
    video = hide_codec(make_video(tmp_path / "in.mov", ["aac", "aac"]))
    shown = [stream.codec for stream in probe(video).streams if stream.kind == "audio"]
    assert shown == ["aac", "unknown"]
    sink = copy(VideoFile(video), VideoOutput(tmp_path / f"out{suffix}"), time_scale)
    assert len([t for t in probe(sink.path).streams if t.kind == "audio"]) == 1
    reported = f"stream 2 (unknown audio) is left out: {suffix} can't hold it as it is"
    assert f"{reported}, and FFmpeg has no decoder for it" in sink.dropped


def test_audio_is_encoded_or_refused_on_request(tmp_path: Path) -> None:
    video = make_video(tmp_path / "in.mkv", ["flac"])
    sink = copy(VideoFile(video), VideoOutput(tmp_path / "out.mp4", audio="encode"))
    assert sink.dropped == ["stream 1 (flac audio) is re-encoded as aac"]
    with pytest.raises(Unsupported, match=r"\.webm can't hold stream 1 \(flac audio\): name the "
                       r"output \.mkv or \.mp4, or pass --audio encode, or pass "
                       r"--drop audio:0"):  # fmt: skip
        copy(VideoFile(video), VideoOutput(tmp_path / "out.webm", audio="copy"))
    assert not (tmp_path / "out.webm").exists()


@pytest.mark.parametrize(
    ("settings", "kept"),
    [({"drop": ("audio:1",)}, "video aac, subtitle, attachment"),
     ({"drop": ("audio",)}, "video subtitle, attachment"),
     ({"drop": ("1", "subtitle:0")}, "video opus, attachment"),
     ({"drop": ("attachment", "audio:0")}, "video opus, subtitle"),
     ({"audio": "drop", "subtitles": "drop"}, "video attachment"),
     ({"audio": "drop", "drop": ("attachment",)}, "video subtitle")],
)  # fmt: skip
def test_streams_are_dropped_on_request(
    settings: dict[str, Any], kept: str, find_video: Any, tmp_path: Path
) -> None:
    sink = copy(VideoFile(find_video("rich")), VideoOutput(tmp_path / "out.mkv", **settings))
    streams = probe(tmp_path / "out.mkv").streams
    found = ", ".join(s.codec if s.kind == "audio" else s.kind for s in streams)
    assert found == kept.replace("video ", "video, ")
    assert sink.dropped == []


def test_streams_to_drop_that_do_not_exist_are_reported(find_video: Any, tmp_path: Path) -> None:
    sink = copy(
        VideoFile(find_video("rich")), VideoOutput(tmp_path / "a.mkv", drop=("audio:7", "data"))
    )
    assert sink.dropped == ["drop audio:7: the input has no such stream",
                            "drop data: the input has no such stream"]  # fmt: skip
    for name in ("0", "video:0"):
        with pytest.raises(BadSetting, match="the video that is processed"):
            copy(VideoFile(find_video("rich")), VideoOutput(tmp_path / "b.mkv", drop=(name,)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"drop": ("sound",)}, "drop is 'sound', wanted audio, video, subtitle"),
     ({"drop": ("audio:x",)}, "drop is 'audio:x'"), ({"drop": ("-1",)}, "drop is '-1'"),
     ({"audio": "mp3"}, "audio is 'mp3', wanted one of copy, encode, drop"),
     ({"subtitles": "encode"}, "subtitles is 'encode', wanted one of copy, drop")],
)  # fmt: skip
def test_settings_of_streams_are_checked_when_constructed(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadSetting, match=message):
        VideoOutput(tmp_path / "out.mkv", **settings)


def test_subtitles_of_images_are_left_out_with_a_message(tmp_path: Path) -> None:
    video = tmp_path / "in.mkv"
    with av.open(str(make_video(tmp_path / "plain.mkv"))) as given, av.open(str(video), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in given.streams}
        images = out.add_mux_stream("dvd_subtitle")
        images.time_base = Fraction(1, 1000)
        packet: Any = av.Packet(b"\0\x10\0\x0c" + bytes(12))
        packet.pts = packet.dts = 0
        packet.stream, packet.duration, packet.time_base = images, 500, Fraction(1, 1000)
        out.mux(packet)
        for part in given.demux():
            if part.size:
                part.stream = streams[part.stream.index]
                out.mux(part)
    sink = copy(VideoFile(video), VideoOutput(tmp_path / "out.webm"))
    assert sink.dropped[-1].endswith(
        "left out: .webm can't hold it; name the output .mkv to keep it"
    )
    assert [s.kind for s in probe(tmp_path / "out.webm").streams] == ["video", "audio"]


def test_a_run_slows_audio_that_no_container_holds(tmp_path: Path) -> None:
    video, out = make_video(tmp_path / "in.m2ts", ["pcm_bluray"]), tmp_path / "out.mp4"
    fg.run(fg.Interpolate(slow=2, factor=1), video, VideoOutput(out, preset="ultrafast"))
    assert find_clicks(out) == pytest.approx([2 * click for click in CLICKS], abs=0.04)


@pytest.mark.parametrize(
    ("codecs", "origin", "suffix", "settings"),
    [(["pcm_bluray"], ".m2ts", ".mp4", {}), (["aac", "flac"], ".mkv", ".mkv", {"drop": ("1",)}),
     (["aac", "flac"], ".mkv", ".webm", {}),
     pytest.param(["aac", "aac"], ".mov", ".mov", {"audio": "encode"}, marks=pytest.mark.slow)],
)  # fmt: skip
def test_check_knows_what_was_encoded_and_dropped(
    codecs: list[str], origin: str, suffix: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    video, out = make_video(tmp_path / f"in{origin}", codecs), tmp_path / f"out{suffix}"
    fg.run((), VideoFile(video), VideoOutput(out, **settings))
    report = check(out, video)
    wrong = [finding for finding in report.findings if not finding.ok]
    assert [finding for finding in wrong if finding.name != "side data"] == []  # of MPEG-2
    assert len([f for f in report.findings if f.name.startswith("sync")]) == len(codecs) - len(
        settings.get("drop", ())
    )


def test_pcm_of_floating_point_becomes_flac_of_24_bits_in_an_mp4(tmp_path: Path) -> None:
    """FFmpeg writes it there, and FFmpeg 5 and most players cannot read it."""
    video = make_video(tmp_path / "in.mkv", ["pcm_f32le"])
    sink = copy(VideoFile(video), VideoOutput(tmp_path / "out.mp4"))
    assert "is re-encoded as flac" in str(sink.dropped)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.audio[0].codec_context
        assert (context.codec.name, context.format.name) == ("flac", "s32")
    assert find_clicks(tmp_path / "out.mp4") == pytest.approx(CLICKS, abs=3e-3)
