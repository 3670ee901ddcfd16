"""Writing a video for `video.py`: the encoder, what is copied and what is lost, and the file."""

import contextlib
import difflib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from sr_keras._video_reading import (
    FINE,
    FULL,
    KEEP_ALL,
    MOV,
    RGB,
    SLACK,
    First,
    Step,
    is_cover,
    is_rgb,
    opened,
    rgb_format,
    yuv_options,
)
from sr_keras.errors import InputError

if TYPE_CHECKING:  # PyAV is optional and imported inside the functions
    import av
    import av.container
    import av.stream

_MPEG2 = dict.fromkeys((".mpg", ".mpeg", ".vob"), "mpeg2video")
_ENCODERS = {".webm": "libvpx-vp9", ".avi": "mpeg4", ".wmv": "wmv2", ".asf": "wmv2", **_MPEG2}
_FINE_QUANTISER = {"flags": "+qscale", "global_quality": str(2 * 118)}  # 118: FFmpeg's lambda for a quantiser of 1
_OPTIONS = {
    "libx264": {"crf": "18"},
    "libx265": {"crf": "20", "x265-params": "log-level=error"},
    "libsvtav1": {"crf": "24"},
    "libvpx-vp9": {"crf": "24", "b": "0", "cpu-used": "2", "row-mt": "1"},
    **dict.fromkeys(("mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "wmv2"), _FINE_QUANTISER),
}
_MADE_ANEW = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "bps", "number_of_frames"}


@dataclass(frozen=True)
class Summary:
    """What `enlarge` wrote; `repeated` frames equalled the one before; `notes` says what couldn't be kept."""

    frames: int
    repeated: int
    seconds: float
    height: int
    width: int
    codec: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Encoder:
    name: str
    options: dict[str, str]


def encoder_of(target: Path, codec: str | None, crf: int | None, preset: str | None, first: First) -> Encoder:
    import av

    ending = target.suffix.lower()
    default = "libsvtav1" if ending == ".webm" and first.deep else _ENCODERS.get(ending, "libx264")  # VP9 here: 8 bits
    name = codec or default
    if not _encodes_video(name):
        known = sorted(name for name in av.codecs_available if _encodes_video(name))
        close = [k for k in known if name in k] + difflib.get_close_matches(name, known, n=1) + [default]
        raise InputError(f"codec '{name}' is no video encoder (did you mean '{close[0]}'?).")
    name = av.Codec(name, "w").name  # 'h264' means libx264
    with create(target) as probe:
        try:
            probe.add_stream(name)
        except ValueError as error:
            raise InputError(f"{target}: {ending} can't hold {name}; use {default}, or write to .mkv.") from error
    has = {option.name for option in av.CodecContext.create(name, "w").supported_options.private}
    given = {option: value for option, value in (("crf", crf), ("preset", preset)) if value is not None}
    for option in given:
        if option not in has:
            raise InputError(f"{name} has no {option}; leave it out, or use libx264, libx265 or libsvtav1.")
    return Encoder(name, {**_OPTIONS.get(name, {}), **{option: str(value) for option, value in given.items()}})


def _encodes_video(name: str) -> bool:
    import av

    try:
        return av.Codec(name, "w").type == "video"
    except ValueError:
        return False


def create(path: Path) -> "av.container.OutputContainer":
    import av

    try:  # makes no file before the header is written
        return av.open(str(path.absolute()), "w", metadata_errors="surrogateescape")
    except ValueError as error:
        raise InputError(f"{path}: '{path.suffix}' is no video container; use .mp4, .mkv, .mov or .webm.") from error


@contextlib.contextmanager
def writing_errors(target: Path) -> Iterator[None]:
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        if isinstance(error, OSError):  # the disk: `write_whole` says what to do
            raise
        raise InputError(f"{target}: can't be written ({error.strerror}); try .mkv or another codec.") from error


@dataclass(frozen=True)
class Plan:
    copied: frozenset[int]  # streams of the source
    covers: "tuple[av.stream.Stream, ...]"  # pictures that Matroska holds as attachments
    notes: tuple[str, ...]


def plan(
    source: Path,
    target: Path,
    container: "av.container.InputContainer",
    output: "av.container.OutputContainer",
    first: First,
) -> Plan:
    from av.stream import Discard

    ending, copied, covers, notes = target.suffix.lower(), [], [], list(first.notes)
    other = ".mov" if ending == ".mkv" else ".mkv"
    for stream in container.streams:
        what = f"{stream.type} stream {stream.index} ({_codec_name(stream)})"
        if stream.index == first.stream or stream.discard == Discard.all:  # such as QuickTime's track of chapters
            continue
        if stream.type == "video" and not is_cover(stream):
            notes.append(f"{what} is not kept, only the first video stream is enlarged")
        elif stream.type == "video" and ending == ".mkv":
            covers.append(stream)
        elif (stream.type != "video" or ending in MOV) and _holds(output, stream):
            copied.append(stream.index)
        elif stream.type == "audio":
            raise InputError(f"{target}: {ending} can't hold {what} of {source.name}; write to {other}.")
        else:
            notes.append(f"{what} is not kept, {ending} can't hold it" + ("" if ending == ".mkv" else "; .mkv may"))
    if container.chapters() and ending not in KEEP_ALL:
        notes.append(f"the chapters are not kept, {ending} can't hold them")
    return Plan(frozenset(copied), tuple(covers), tuple(notes))


def _codec_name(stream: "av.stream.Stream") -> str:
    context = stream.codec_context  # names its decoder, as 'mp3float'
    return context.codec.canonical_name if context else getattr(stream, "name", None) or "unknown"


def _holds(output: "av.container.OutputContainer", stream: "av.stream.Stream") -> bool:
    """Writes the header of a container with this stream alone, in memory."""
    import av

    with av.open(io.BytesIO(), "w", format=output.format.name) as probe:
        try:
            probe.add_stream_from_template(stream, opaque=True)
            probe.start_encoding()
        except ValueError:  # PyAV's own, or FFmpeg's for what is invalid
            return False
    return True


class Writer:
    """Encodes and copies, all in one thread; the encoder is opened by the first frame, which tells the size."""

    def __init__(
        self,
        container: "av.container.InputContainer",
        output: "av.container.OutputContainer",
        encoder: Encoder,
        first: First,
        plan: Plan,
    ) -> None:
        self._container, self._output, self._encoder, self._first, self._plan = container, output, encoder, first, plan
        self._streams: dict[int, av.stream.Stream] = {}
        self._video: av.VideoStream | None = None
        self._picture: av.VideoFrame | None = None
        self._frames = self._repeated = 0
        self._start, self._end, self._last = None, 0, None
        self._notes = list(plan.notes)

    def write(self, step: Step, enlarged: np.ndarray | None) -> int | None:
        """Writes the packets and the frame of a step; returns the number of frames so far, None without a frame."""
        if enlarged is not None:
            self._begin(*enlarged.shape[:2])
            self._picture = self._converted(enlarged)
        for packet in step.packets:
            packet.stream = self._streams[packet.stream.index]
            self._output.mux_one(packet)
        if step.pts is None:
            return None
        base = self._video.codec_context.time_base
        picture, ratio = self._picture, self._first.base / base
        picture.pts = round(step.pts * ratio) if self._last is None else max(round(step.pts * ratio), self._last + 1)
        picture.time_base, picture.duration = base, round(step.duration * ratio)
        self._last = picture.pts
        self._output.mux(self._video.encode(picture))
        self._frames, self._repeated = self._frames + 1, self._repeated + (enlarged is None)
        self._keep_time(step)
        return self._frames

    def _keep_time(self, step: Step) -> None:
        if self._start is None:
            self._start = self._end = step.pts
        begin, end = (float((time - self._start) * self._first.base) for time in (self._end, step.pts))
        if end - begin > SLACK:  # Matroska's demuxer passes over what is damaged without a word
            self._notes.append(f"no frames come between {begin:.1f} and {end:.1f} seconds; check the source there")
        self._end = step.pts + step.duration

    def finish(self) -> Summary:
        """Writes what the encoder still holds."""
        if self._video is None:
            raise InputError(f"{self._container.name}: no frame of it can be decoded; copy it again from its source.")
        self._output.mux(self._video.encode(None))
        context = self._video.codec_context
        seconds = float((self._end - self._start) * self._first.base)
        size = (context.height, context.width)
        return Summary(self._frames, self._repeated, seconds, *size, self._encoder.name, tuple(self._notes))

    def _begin(self, height: int, width: int) -> None:
        if self._video is not None:
            return
        for stream in self._container.streams:
            if stream.index == self._first.stream:
                made = self._video = self._opened(height, width)
            elif stream.index in self._plan.copied:
                made = self._output.add_stream_from_template(stream, opaque=True)
            else:
                continue
            self._streams[stream.index] = made
            made.metadata.update(_kept(stream.metadata))
            made.disposition = stream.disposition
        for stream in self._plan.covers:
            name, kind = stream.metadata.get("filename"), "image/png" if stream.name == "png" else "image/jpeg"
            self._output.add_attachment(name or f"cover.{kind[6:]}", kind, _only_packet(self._container.name, stream))
        self._output.metadata.update(_kept(self._container.metadata))
        if Path(self._output.name).suffix.lower() in KEEP_ALL:
            self._output.set_chapters(self._container.chapters())

    def _opened(self, height: int, width: int) -> "av.VideoStream":
        import av

        first, encoder = self._first, self._encoder
        mov = Path(self._output.name).suffix.lower() in MOV
        format, base = _accepted(encoder, first, height, width, self._bases())
        if first.deep and max(part.bits for part in av.VideoFormat(format).components) <= 8:
            self._notes.append(f"more than 8 bits became 8, as {encoder.name} takes no more")
        if "420" in first.format and "420" not in format and height % 2 + width % 2:
            self._notes.append(f"{width}x{height} has an odd side, so chroma is {format}; many players need even sides")
        if base != first.base:
            self._notes.append(f"times are rounded to {base} s: the container or the encoder needs a constant rate")
        stream = cast(
            "av.VideoStream", self._output.add_stream(encoder.name, first.rate, encoder.options, time_base=base)
        )
        _configure(stream.codec_context, first, height, width, format)
        if mov and encoder.name == "libx265":
            stream.codec_context.codec_tag = "hvc1"  # QuickTime plays no hev1
        if first.display and not first.applied:
            ratio = width / first.width  # the matrix moves the picture by pixels
            stream.set_display_matrix([round(v * ratio) if k in (6, 7) else v for k, v in enumerate(first.display)])
        return stream

    def _bases(self) -> list[Fraction]:
        from av.format import Flags

        any_time = self._output.format.flags & Flags.variable_fps.value
        constant = 1 / self._first.rate
        suits = any_time or Path(self._output.name).suffix.lower() in KEEP_ALL
        return [self._first.base, constant] if suits else [constant]

    def _converted(self, pixels: np.ndarray) -> "av.VideoFrame":
        import av

        context, first = self._video.codec_context, self._first
        picture = av.VideoFrame.from_ndarray(pixels, format=rgb_format(first))
        yuv = {} if is_rgb(context.format) else yuv_options("dst", first.tags)
        picture = picture.reformat(format=context.pix_fmt, interpolation=FINE, src_color_range=FULL, **yuv)
        for tag in first.tags:
            setattr(picture, tag, getattr(context, tag))
        return picture


def _accepted(encoder: Encoder, first: First, height: int, width: int, bases: list[Fraction]) -> tuple[str, Fraction]:
    """Returns the pixel format nearest to the source's, and the time base, with which the encoder opens.

    An odd side takes another than 4:2:0 for some encoders, MPEG-2 and MPEG-4 take few time bases.
    """
    import av
    from av.codec.codec import find_best_pix_fmt_of_list
    from av.error import FFmpegError

    offered = [f for f in av.Codec(encoder.name, "w").video_formats or [av.VideoFormat(first.format)] if f.components]
    offered = [f.name for f in offered if not any(part.is_alpha for part in f.components) and f.name[:4] != "yuvj"]
    source, reason = av.VideoFormat(first.format), None
    wanted = first.format.replace("yuvj", "yuv") if not is_rgb(source) else "yuv444p10le" if first.deep else "yuv444p"
    while offered:
        format, _ = find_best_pix_fmt_of_list(offered, wanted)
        for base in bases:
            context = av.CodecContext.create(encoder.name, "w")
            context.time_base, context.framerate, context.options = base, first.rate, dict(encoder.options)
            _configure(context, first, height, width, format.name)
            try:
                context.open()
                return format.name, base
            except FFmpegError as error:
                reason = error
        offered.remove(format.name)
    settings = " ".join(f"{key}={value}" for key, value in encoder.options.items()) or "its defaults"
    raise InputError(
        f"{encoder.name} can't encode {width}x{height} with {settings}; change them or the codec."
    ) from reason


def _configure(context: "av.VideoCodecContext", first: First, height: int, width: int, format: str) -> None:
    import av
    from av.codec.context import Flags

    context.width, context.height, context.pix_fmt = width, height, format
    context.sample_aspect_ratio = first.aspect
    context.thread_type = "AUTO"  # PyAV's default makes x264 cut every frame into slices
    context.flags |= Flags.frame_duration.value
    for tag, value in first.tags.items():
        setattr(context, tag, value)
    if is_rgb(av.VideoFormat(format)):
        context.colorspace, context.color_range = RGB, FULL


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in metadata.items() if k.lower() not in _MADE_ANEW and not k.startswith("_STATISTICS")}


def _only_packet(name: str, stream: "av.stream.Stream") -> bytes:
    with opened(Path(name)) as container:
        return bytes(next(container.demux(container.streams[stream.index])))
