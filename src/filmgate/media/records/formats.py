"""The formats of records by the suffix of their file."""

from __future__ import annotations

from filmgate.core.frame import StreamSpec
from filmgate.errors import BadSetting
from filmgate.media.records.record_format import RecordFormat

SUFFIXES = (".jsonl", ".parquet", ".txt", ".json", ".pkl", ".html")


def make_format(suffix: str, spec: StreamSpec, title: str) -> RecordFormat:
    """Return the format of a suffix in lower case, for records of frames of `spec`.

    `title` is the heading of a page. Raises BadSetting for another suffix, and if a library that
    the format needs is missing.
    """
    if suffix == ".parquet":
        from filmgate.media.records.parquet import Parquet

        return Parquet()
    if suffix == ".json":
        from filmgate.media.records.coco import CocoJson

        return CocoJson(spec)
    if suffix == ".pkl":
        from filmgate.media.records.phalp import PhalpPickle

        return PhalpPickle(spec)
    if suffix == ".html":
        from filmgate.media.records.track_report import TrackReport

        return TrackReport(spec, title)
    from filmgate.media.records.text import JsonLines, MotText

    if suffix == ".txt":
        return MotText()
    if suffix == ".jsonl":
        return JsonLines()
    raise BadSetting(f"records are written to {', '.join(SUFFIXES)}, and the suffix is "
                     f"{suffix!r}: name the output so")  # fmt: skip
