"""Video files: every picture goes through a function, all else (sound, subtitles, times, tags) stays; over PyAV."""

import contextlib
import difflib
import errno
import io
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sr_keras.errors import InputError
from sr_keras.files import write_whole

if TYPE_CHECKING:  # PyAV is optional and imported inside the functions
    import av
    import av.container
    import av.stream

EXTENSIONS = frozenset(
    ".3g2 .3gp .asf .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .nut .ogv .ts .vob .webm .wmv".split()
)
_MOV = frozenset({".mp4", ".m4v", ".mov", ".3gp", ".3g2"})
_KEEP_ALL = _MOV | {".mkv", ".webm"}  # these hold a display matrix, chapters and any time between frames

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
_LOST_SIDE_DATA = {
    "MASTERING_DISPLAY_METADATA": "the HDR mastering data",
    "CONTENT_LIGHT_LEVEL": "the HDR light levels",
    "DYNAMIC_HDR_PLUS": "the HDR10+ data",
    "DOVI_METADATA": "the Dolby Vision data",
    "A53_CC": "the closed captions inside the pictures",
}
# From AVColorSpace, in which the tags count, to the tables of swscale; the rest (YCgCo, ICtCp) goes through BT.709 and
# back, which leaves the colours as they were.
_SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_RGB, _BT709, _UNSPECIFIED, _SMPTE170M = 0, 1, 2, 6
_LIMITED, _FULL = 1, 2
_FINE = 4 | 0x2000 | 0x4000 | 0x40000  # swscale: bicubic, whole chroma out and in, exact rounding
_AHEAD = 2  # decoded, and enlarged, pictures that may wait: an 8K one takes 100 MB
_PACKETS = 64  # copied packets between two pictures that may wait
_SLACK = 1.5  # seconds without a frame, or missing from the length in the header, before it is spoken of


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


def size(source: Path, target: Path | None = None) -> tuple[int, int]:
    """Returns height and width of the frames that `enlarge` hands to its function.

    A rotation tag isn't applied where it is kept; for a `target` whose container holds none, the frames are upright.
    """
    first = _first_frame(source, target or source.with_suffix(".mkv"))
    return first.height, first.width


def enlarge(
    source: Path,
    target: Path,
    upscale: Callable[[np.ndarray], np.ndarray],
    *,
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Summary:
    """Writes the video `source` to `target`, its frames through `upscale`, whole or not at all.

    `upscale` maps `[H, W, 3]` RGB uint8 (uint16 if the source has more than 8 bits) to a new array of the same type
    and any size; it is called in the caller's thread, once for a run of equal frames. `progress` gets the frames done
    and their number (the container's, or an estimate, or None). Raises `InputError` for what the user can mend.
    """
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise InputError(f"{target}: is the source itself, which is never overwritten; give another name.")
    first = _first_frame(source, target)
    encoder = _encoder(target, codec, crf, preset, first)
    made: list[Summary] = []

    def write(beside: Path) -> None:
        with contextlib.ExitStack() as stack:
            container = stack.enter_context(_open(source))
            stack.enter_context(_writing(target))
            output = stack.enter_context(_create(beside))
            plan = _plan(source, target, container, output, first)
            writer = _Writer(container, output, encoder, first, plan)
            made.append(_run(_steps(source, container, first, plan), upscale, writer, first.frames, progress))

    write_whole(target, write)
    return made[0]


@dataclass(frozen=True)
class _Step:
    packets: "list[av.Packet]"  # to copy
    pixels: np.ndarray | None = None  # None: the frame equals the one before
    pts: int | None = None  # in the time base of the source; None: no frame, packets alone
    duration: int = 0


def _run(
    steps: Iterator[_Step],
    upscale: Callable[[np.ndarray], np.ndarray],
    writer: "_Writer",
    total: int | None,
    progress: Callable[[int, int | None], None] | None,
) -> Summary:
    """Reads, decodes and converts in one thread, computes in the caller's, converts, encodes and writes in another."""

    def done(frames: int | None) -> None:
        if frames and progress:
            progress(frames, total and max(total, frames))

    with _thread() as reading, _thread() as writing:
        coming = deque(reading.submit(next, steps, None) for _ in range(_AHEAD))
        going = deque()
        while (step := coming.popleft().result()) is not None:
            coming.append(reading.submit(next, steps, None))
            enlarged = None if step.pixels is None else _checked(upscale(step.pixels), step.pixels.dtype)
            going.append(writing.submit(writer.write, step, enlarged))
            if len(going) > _AHEAD:
                done(going.popleft().result())
        for written in going:
            done(written.result())
        return writing.submit(writer.finish).result()


@contextlib.contextmanager
def _thread() -> Iterator[ThreadPoolExecutor]:
    """Gives a thread that has ended when the block has: a container closed under it would end the process."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _checked(enlarged: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if enlarged.ndim != 3 or enlarged.shape[2] != 3 or enlarged.dtype != dtype:
        raise ValueError(f"upscale must return [H, W, 3] {dtype}, got {enlarged.shape} {enlarged.dtype}.")
    return enlarged


# What the first frame tells.


@dataclass(frozen=True)
class _First:
    stream: int
    height: int
    width: int
    format: str
    deep: bool
    tags: dict[str, int]  # the colour attributes that frames and encoders share
    display: tuple[int, ...] | None  # the display matrix, 16.16
    applied: bool  # to the pixels, since the target can't hold it
    aspect: Fraction  # of a sample
    rate: Fraction
    base: Fraction
    frames: int | None
    notes: tuple[str, ...]


def _first_frame(source: Path, target: Path) -> _First:
    with _open(source) as container, _reading(source):
        stream = _pictures(source, container)
        frame = next((f for packet in container.demux(stream) for f in _decoded(packet, strict=False)), None)
        if frame is None:
            raise InputError(f"{source}: no frame of it can be decoded; copy it again from its source.")
        display = _display_matrix(frame)
        applied = display is not None and target.suffix.lower() not in _KEEP_ALL
        height, width, aspect = frame.height, frame.width, stream.sample_aspect_ratio or Fraction(1)
        if display and applied and _transposes(display):
            height, width, aspect = width, height, 1 / aspect
        rate, base = Fraction(stream.average_rate or stream.guessed_rate or 25), Fraction(str(stream.time_base))
        seconds = stream.duration * base if stream.duration else Fraction(container.duration or 0, 10**6)
        return _First(
            stream=stream.index,
            height=height,
            width=width,
            format=frame.format.name,
            deep=max(component.bits for component in frame.format.components) > 8,
            tags=_tags(frame),
            display=display,
            applied=applied,
            aspect=aspect,
            rate=rate,
            base=base,
            frames=stream.frames or round(seconds * rate) or None,
            notes=tuple(_losses(frame, applied)),
        )


@contextlib.contextmanager
def _reading(source: Path) -> Iterator[None]:
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        advice = "check the path, or copy it again from its source"
        raise InputError(f"{source}: can't be read as a video ({error.strerror}); {advice}.") from error


def _open(source: Path) -> "av.container.InputContainer":
    try:
        import av
    except ImportError as error:
        raise InputError("video needs PyAV; pip install 'sr_keras[video]'.") from error
    # Absolute, for "a:b.mp4" would be taken for a protocol. Old files have tags in any encoding; they pass unread.
    with _reading(source):
        return av.open(str(source.absolute()), metadata_errors="surrogateescape")


def _pictures(source: Path, container: "av.container.InputContainer") -> "av.VideoStream":
    for stream in container.streams.video:
        if stream.codec_context is not None and not _is_cover(stream):
            return stream
    raise InputError(f"{source}: has no video stream that can be decoded; give a video file.")


def _is_cover(stream: "av.stream.Stream") -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _decoded(packet: "av.Packet", *, strict: bool) -> "list[av.VideoFrame]":
    """Returns the packet's frames; unless `strict`, passes over what precedes the first key frame of a recording."""
    from av.error import FFmpegError, InvalidDataError

    try:
        frames = packet.decode()
    except FFmpegError:
        if strict:
            raise
        return []
    damaged = packet.is_corrupt or any(frame.is_corrupt for frame in frames)
    if damaged and strict:
        raise InvalidDataError(errno.EIO, f"damaged at {float((packet.pts or 0) * packet.time_base):.1f} seconds")
    return [frame for frame in frames if not frame.is_corrupt]


def _side_data(frame: "av.VideoFrame") -> "dict[str, Any]":
    try:
        return {data.type.name: data for data in frame.side_data}
    except ValueError:  # PyAV 18 has no name for some of FFmpeg's kinds (EXIF, stereo views) and then lists none
        return {}


def _display_matrix(frame: "av.VideoFrame") -> tuple[int, ...] | None:
    data = _side_data(frame).get("DISPLAYMATRIX")
    if data is not None:
        matrix = tuple(np.frombuffer(data, np.int32).tolist())
    else:
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[round(frame.rotation / 90) % 4]
        matrix = tuple(part << 16 for part in (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 14))
    return matrix if matrix[:5] != (1 << 16, 0, 0, 0, 1 << 16) else None


def _transposes(display: tuple[int, ...]) -> bool:
    return abs(display[0]) < abs(display[1])


def _turned(pixels: np.ndarray, display: tuple[int, ...]) -> np.ndarray:
    """Applies a display matrix, which maps (x, y) to (ax + cy, bx + dy), to the nearest of the eight positions."""
    a, b, _, c, d = display[:5]
    if _transposes(display):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _tags(frame: "av.VideoFrame") -> dict[str, int]:
    """Returns the colour tags, with the matrix filled in: a player's guess would change with the height."""
    rgb = _is_rgb(frame.format)
    matrix = frame.colorspace
    if rgb or matrix in (_RGB, _UNSPECIFIED):
        matrix = _SMPTE170M if frame.height < 720 and not rgb else _BT709
    full = not rgb and (frame.color_range == _FULL or frame.format.name.startswith("yuvj"))
    return {
        "colorspace": matrix,
        "color_range": _FULL if full else _LIMITED,
        "color_primaries": frame.color_primaries,
        "color_trc": frame.color_trc,
    }


def _is_rgb(format: "av.VideoFormat") -> bool:
    return format.is_rgb or format.has_palette


def _losses(frame: "av.VideoFrame", applied: bool) -> Iterator[str]:
    if frame.interlaced_frame:
        yield "the frames are interlaced and were enlarged as they are; deinterlace first for a better picture"
    if any(component.is_alpha for component in frame.format.components):
        yield "the transparency is not kept"
    if applied:
        yield "the rotation was applied to the pixels, since the container holds no rotation tag"
    yield from (f"{_LOST_SIDE_DATA[kind]} is not kept" for kind in _side_data(frame) if kind in _LOST_SIDE_DATA)


# Reading.


def _steps(source: Path, container: "av.container.InputContainer", first: _First, plan: "_Plan") -> Iterator[_Step]:
    container.streams[first.stream].thread_type = "AUTO"
    last, seen = None, Fraction(0)
    packets, previous = [], None
    with _reading(source):
        for packet in container.demux():
            if packet.pts is not None:
                seen = max(seen, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
            if packet.stream.index in plan.copied and packet.size and not _is_gap(packet):
                packets.append(packet)
            for frame in _decoded(packet, strict=last is not None) if packet.stream.index == first.stream else ():
                pixels = _rgb(frame, first)
                fresh = previous is None or not np.array_equal(pixels, previous)
                last = _Step(packets, pixels if fresh else None, _time(frame, last, first), frame.duration)
                yield last
                packets, previous = [], pixels
            if last is not None and len(packets) >= _PACKETS:
                yield _Step(packets)
                packets = []
    # Matroska and AVI just end where a cut file does; only the header tells.
    stated = Fraction((container.duration or 0) + (container.start_time or 0), 10**6)
    if seen < stated - _SLACK:
        raise InputError(f"{source}: ends at {float(seen):.1f} of {float(stated):.1f} seconds; copy it again.")
    yield _Step(packets)


def _is_gap(packet: "av.Packet") -> bool:
    """MP4 keeps the time without a subtitle as empty ones, which its muxer makes anew."""
    return packet.size == 2 and packet.stream.name == "mov_text" and bytes(packet) == bytes(2)


def _time(frame: "av.VideoFrame", last: _Step | None, first: _First) -> int:
    """Returns the frame's own time, in the time base of its stream, or what follows the frame before."""
    stated = frame.dts if frame.pts is None else frame.pts
    if last is None:
        return stated or 0
    if stated is None:
        return last.pts + (last.duration or max(1, round(1 / (first.rate * first.base))))
    return max(stated, last.pts + 1)


def _rgb(frame: "av.VideoFrame", first: _First) -> np.ndarray:
    yuv = {} if _is_rgb(frame.format) else _yuv("src", first.tags)
    picture = frame.reformat(format=_rgb_format(first), interpolation=_FINE, **yuv, dst_color_range=_FULL)
    pixels = picture.to_ndarray()
    return _turned(pixels, first.display) if first.applied else np.ascontiguousarray(pixels)


def _rgb_format(first: _First) -> str:
    return "rgb48le" if first.deep else "rgb24"


def _yuv(side: str, tags: dict[str, int]) -> dict[str, int]:
    matrix = _SWSCALE_MATRIX.get(tags["colorspace"], _BT709)
    return {f"{side}_colorspace": matrix, f"{side}_color_range": tags["color_range"]}


# Writing.


@dataclass(frozen=True)
class _Encoder:
    name: str
    options: dict[str, str]


def _encoder(target: Path, codec: str | None, crf: int | None, preset: str | None, first: _First) -> _Encoder:
    import av

    ending = target.suffix.lower()
    default = "libsvtav1" if ending == ".webm" and first.deep else _ENCODERS.get(ending, "libx264")  # VP9 here: 8 bits
    name = codec or default
    if not _encodes_video(name):
        known = sorted(name for name in av.codecs_available if _encodes_video(name))
        close = [k for k in known if name in k] + difflib.get_close_matches(name, known, n=1) + [default]
        raise InputError(f"codec '{name}' is no video encoder (did you mean '{close[0]}'?).")
    name = av.Codec(name, "w").name  # 'h264' means libx264
    with _create(target) as probe:
        try:
            probe.add_stream(name)
        except ValueError as error:
            raise InputError(f"{target}: {ending} can't hold {name}; use {default}, or write to .mkv.") from error
    has = {option.name for option in av.CodecContext.create(name, "w").supported_options.private}
    given = {option: value for option, value in (("crf", crf), ("preset", preset)) if value is not None}
    for option in given:
        if option not in has:
            raise InputError(f"{name} has no {option}; leave it out, or use libx264, libx265 or libsvtav1.")
    return _Encoder(name, {**_OPTIONS.get(name, {}), **{option: str(value) for option, value in given.items()}})


def _encodes_video(name: str) -> bool:
    import av

    try:
        return av.Codec(name, "w").type == "video"
    except ValueError:
        return False


def _create(path: Path) -> "av.container.OutputContainer":
    import av

    try:  # makes no file before the header is written
        return av.open(str(path.absolute()), "w", metadata_errors="surrogateescape")
    except ValueError as error:
        raise InputError(f"{path}: '{path.suffix}' is no video container; use .mp4, .mkv, .mov or .webm.") from error


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        if isinstance(error, OSError):  # the disk: `write_whole` says what to do
            raise
        raise InputError(f"{target}: can't be written ({error.strerror}); try .mkv or another codec.") from error


@dataclass(frozen=True)
class _Plan:
    copied: frozenset[int]  # streams of the source
    covers: "tuple[av.stream.Stream, ...]"  # pictures that Matroska holds as attachments
    notes: tuple[str, ...]


def _plan(
    source: Path,
    target: Path,
    container: "av.container.InputContainer",
    output: "av.container.OutputContainer",
    first: _First,
) -> _Plan:
    from av.stream import Discard

    ending, copied, covers, notes = target.suffix.lower(), [], [], list(first.notes)
    other = ".mov" if ending == ".mkv" else ".mkv"
    for stream in container.streams:
        what = f"{stream.type} stream {stream.index} ({_codec_name(stream)})"
        if stream.index == first.stream or stream.discard == Discard.all:  # such as QuickTime's track of chapters
            continue
        if stream.type == "video" and not _is_cover(stream):
            notes.append(f"{what} is not kept, only the first video stream is enlarged")
        elif stream.type == "video" and ending == ".mkv":
            covers.append(stream)
        elif (stream.type != "video" or ending in _MOV) and _holds(output, stream):
            copied.append(stream.index)
        elif stream.type == "audio":
            raise InputError(f"{target}: {ending} can't hold {what} of {source.name}; write to {other}.")
        else:
            notes.append(f"{what} is not kept, {ending} can't hold it" + ("" if ending == ".mkv" else "; .mkv may"))
    if container.chapters() and ending not in _KEEP_ALL:
        notes.append(f"the chapters are not kept, {ending} can't hold them")
    return _Plan(frozenset(copied), tuple(covers), tuple(notes))


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


class _Writer:
    """Encodes and copies, all in one thread; the encoder is opened by the first frame, which tells the size."""

    def __init__(
        self,
        container: "av.container.InputContainer",
        output: "av.container.OutputContainer",
        encoder: _Encoder,
        first: _First,
        plan: _Plan,
    ) -> None:
        self._container, self._output, self._encoder, self._first, self._plan = container, output, encoder, first, plan
        self._streams: dict[int, av.stream.Stream] = {}
        self._video: av.VideoStream | None = None
        self._picture: av.VideoFrame | None = None
        self._frames = self._repeated = 0
        self._start, self._end, self._last = None, 0, None
        self._notes = list(plan.notes)

    def write(self, step: _Step, enlarged: np.ndarray | None) -> int | None:
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

    def _keep_time(self, step: _Step) -> None:
        if self._start is None:
            self._start = self._end = step.pts
        begin, end = (float((time - self._start) * self._first.base) for time in (self._end, step.pts))
        if end - begin > _SLACK:  # Matroska's demuxer passes over what is damaged without a word
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
        if Path(self._output.name).suffix.lower() in _KEEP_ALL:
            self._output.set_chapters(self._container.chapters())

    def _opened(self, height: int, width: int) -> "av.VideoStream":
        import av

        first, encoder = self._first, self._encoder
        mov = Path(self._output.name).suffix.lower() in _MOV
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
        suits = any_time or Path(self._output.name).suffix.lower() in _KEEP_ALL
        return [self._first.base, constant] if suits else [constant]

    def _converted(self, pixels: np.ndarray) -> "av.VideoFrame":
        import av

        context, first = self._video.codec_context, self._first
        picture = av.VideoFrame.from_ndarray(pixels, format=_rgb_format(first))
        yuv = {} if _is_rgb(context.format) else _yuv("dst", first.tags)
        picture = picture.reformat(format=context.pix_fmt, interpolation=_FINE, src_color_range=_FULL, **yuv)
        for tag in first.tags:
            setattr(picture, tag, getattr(context, tag))
        return picture


def _accepted(encoder: _Encoder, first: _First, height: int, width: int, bases: list[Fraction]) -> tuple[str, Fraction]:
    """Returns the pixel format nearest to the source's, and the time base, with which the encoder opens.

    An odd side takes another than 4:2:0 for some encoders, MPEG-2 and MPEG-4 take few time bases.
    """
    import av
    from av.codec.codec import find_best_pix_fmt_of_list
    from av.error import FFmpegError

    offered = [f for f in av.Codec(encoder.name, "w").video_formats or [av.VideoFormat(first.format)] if f.components]
    offered = [f.name for f in offered if not any(part.is_alpha for part in f.components) and f.name[:4] != "yuvj"]
    source, reason = av.VideoFormat(first.format), None
    wanted = first.format.replace("yuvj", "yuv") if not _is_rgb(source) else "yuv444p10le" if first.deep else "yuv444p"
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


def _configure(context: "av.VideoCodecContext", first: _First, height: int, width: int, format: str) -> None:
    import av
    from av.codec.context import Flags

    context.width, context.height, context.pix_fmt = width, height, format
    context.sample_aspect_ratio = first.aspect
    context.thread_type = "AUTO"  # PyAV's default makes x264 cut every frame into slices
    context.flags |= Flags.frame_duration.value
    for tag, value in first.tags.items():
        setattr(context, tag, value)
    if _is_rgb(av.VideoFormat(format)):
        context.colorspace, context.color_range = _RGB, _FULL


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in metadata.items() if k.lower() not in _MADE_ANEW and not k.startswith("_STATISTICS")}


def _only_packet(name: str, stream: "av.stream.Stream") -> bytes:
    with _open(Path(name)) as container:
        return bytes(next(container.demux(container.streams[stream.index])))
