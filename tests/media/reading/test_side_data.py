"""Side data: every kind that PyAV shows is kept or reported, once, when it first appears."""

import struct
from pathlib import Path

import pytest
from av.sidedata.sidedata import Type

from filmgate.errors import Unsupported
from filmgate.media.reading.decoded_frame import DecodedFrame
from filmgate.media.reading.side_data import (
    FRAME_KINDS,
    UNKNOWN,
    SideDataWatch,
    check_dolby_vision,
    describe_header,
    read_side_data,
    report_side_data,
)
from filmgate.media.reading.stream_header import DolbyVision, StreamHeader
from tests.media.reading.side_data import KINDS, make_frame

# What a packet's side data becomes: the kind of the frame, or why there is nothing to report.
HEADER, OTHERS, INSIDE = "in the stream's header", "of other streams", "of the decoder or demuxer"
PACKET_KINDS = {
    "palette": INSIDE, "new_extradata": INSIDE, "param_change": INSIDE, "h263_mb_info": INSIDE,
    "replay_gain": "REPLAYGAIN", "display_matrix": "DISPLAYMATRIX", "stereo_3d": "STEREO3D",
    "audio_service_type": "AUDIO_SERVICE_TYPE", "quality_stats": INSIDE,
    "fallback_track": OTHERS, "cpb_properties": INSIDE, "skip_samples": "SKIP_SAMPLES",
    "jp_dual_mono": OTHERS, "strings_metadata": INSIDE, "subtitle_position": OTHERS,
    "matroska_block_additional": "decoded as alpha", "webvtt_identifier": OTHERS,
    "webvtt_settings": OTHERS, "metadata_update": INSIDE, "mpegts_stream_id": INSIDE,
    "mastering_display_metadata": "MASTERING_DISPLAY_METADATA", "spherical": "SPHERICAL",
    "content_light_level": "CONTENT_LIGHT_LEVEL", "a53_cc": "A53_CC",
    "encryption_init_info": INSIDE, "encryption_info": INSIDE, "afd": "AFD", "prft": INSIDE,
    "icc_profile": "ICC_PROFILE", "dovi_conf": HEADER, "s12m_timecode": "S12M_TIMECODE",
    "dynamic_hdr10_plus": "DYNAMIC_HDR_PLUS", "iamf_mix_gain_param": OTHERS,
    "iamf_info_param": OTHERS, "iamf_recon_gain_info_param": OTHERS,
    "ambient_viewing_environment": "AMBIENT_VIEWING_ENVIRONMENT", "frame_cropping": HEADER,
    "lcevc": "LCEVC", "3d_reference_displays": "REFERENCE_DISPLAYS", "rtcp_sr": INSIDE,
}  # fmt: skip
X264 = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef") + b"x264 - core 164"


def fill(kind: str) -> bytes:
    """Return data of a kind that says something."""
    return bytes(range(1, 133)) if kind != "display_matrix" else struct.pack("=9i", *range(9))


@pytest.mark.parametrize("kind", [kind.name for kind in Type])
def test_every_kind_that_pyav_shows_is_in_the_table(kind: str) -> None:
    assert FRAME_KINDS[kind].text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_a_packet_is_kept_reported_or_no_content(kind: str) -> None:
    frame = make_frame({kind: fill(kind)})
    named, found = PACKET_KINDS[kind], read_side_data(frame)
    assert list(found) == ([named] if named in FRAME_KINDS else [])
    messages, captions = SideDataWatch().check(frame)
    assert bool(captions) == (kind == "a53_cc")
    assert bool(messages) == (named in FRAME_KINDS and not FRAME_KINDS[named].kept)
    if messages:
        assert FRAME_KINDS[named].text in messages[0]
        assert "left out" in messages[0]


def test_each_kind_is_reported_once_when_it_first_appears() -> None:
    level, code = {"dynamic_hdr10_plus": bytes(9)}, {"s12m_timecode": bytes(range(16))}
    frames = [make_frame(side, n) for n, side in enumerate(({}, level, level | code, code))]
    decoded = iter([DecodedFrame(frame, n) for n, frame in enumerate(frames)])
    notices = [frame.notice for frame in report_side_data(decoded, frozenset())]
    assert ["HDR10+" in text for text in notices] == [False, True, False, False]
    assert ["time codes" in text for text in notices] == [False, False, True, False]
    moved = DecodedFrame(frames[1], 1, notice="moved")
    assert next(report_side_data(iter([moved]), frozenset({"DYNAMIC_HDR_PLUS"}))).notice == "moved"
    both = next(report_side_data(iter([moved]), frozenset())).notice
    assert both.startswith("moved; HDR10+")


@pytest.mark.parametrize(
    ("kind", "data"), [("afd", b"\x08"), ("stereo_3d", bytes(36)), ("icc_profile", b"")]
)
def test_what_says_nothing_is_not_reported(kind: str, data: bytes) -> None:
    assert read_side_data(make_frame({kind: data} if data else {})) == {}


def test_settings_of_encoders_are_no_content_and_pan_scan_at_rest_neither() -> None:
    for name, trivial, content in (
        ("SEI_UNREGISTERED", X264, b"MISPmicrosectime" + bytes(12)),
        ("PANSCAN", struct.pack("=3i6h", 1, 1920, 1080, *[0] * 6), struct.pack("=3i6h", *range(9))),
    ):
        assert not FRAME_KINDS[name].is_content(trivial)
        assert FRAME_KINDS[name].is_content(content)


def test_a_kind_without_a_name_in_pyav_is_reported_and_no_error() -> None:
    # 3D reference displays: PyAV 18.1 raises ValueError for the frame
    frame = make_frame({"3d_reference_displays": bytes(9), "a53_cc": b"\xfc\x94\x20"})
    with pytest.raises(ValueError, match="not a valid"):
        list(frame.side_data)
    assert set(read_side_data(frame)) <= {"REFERENCE_DISPLAYS", UNKNOWN}
    assert SideDataWatch().check(frame)[0]


def test_dolby_vision_without_a_base_layer_of_its_own_is_refused() -> None:
    for profile in (5, 10, 20):
        header = StreamHeader(dolby_vision=DolbyVision(profile, 0))
        with pytest.raises(Unsupported, match=f"profile {profile}.*Convert it"):
            check_dolby_vision(Path("in.mp4"), header, {})
    for profile, compatibility, base in ((8, 1, "HDR10"), (8, 4, "HLG"), (7, 6, "HDR10")):
        header = StreamHeader(dolby_vision=DolbyVision(profile, compatibility))
        check_dolby_vision(Path("in.mp4"), header, {})
        (message,) = describe_header(header)
        assert f"profile {profile}" in message
        assert base in message


def test_dolby_vision_is_recognised_by_its_metadata_too() -> None:
    def rpu(profile: int, full_range: int) -> bytes:
        header = struct.pack("=BxH7B", 2, 18, profile, 1, 0, 0, 23, 1, full_range)
        return struct.pack("=5Qi4x", 48, 80, 96, 112, 0, 0) + header

    with pytest.raises(Unsupported, match="profile 5"):
        check_dolby_vision(Path("in.ts"), StreamHeader(), {"DOVI_METADATA": rpu(0, 1)})
    check_dolby_vision(Path("in.ts"), StreamHeader(), {"DOVI_METADATA": rpu(1, 0)})
    check_dolby_vision(Path("in.ts"), StreamHeader(), {"DOVI_METADATA": b"short"})
