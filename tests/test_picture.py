"""Picture files as streams: pixels there and back, odd files made plain, metadata kept, and what is refused."""

import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps

from sr_keras import picture
from sr_keras.errors import InputError
from sr_keras.picture import Metadata
from sr_keras.rows import Rows

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 65536, (150, 150, 4), np.uint16)
SMOOTH = np.asarray(Image.fromarray(RANDOM.integers(0, 256, (6, 9, 3), np.uint8)).resize((72, 48), Image.BICUBIC))
PHOTO = Image.fromarray(SMOOTH)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    b"<rdf:Description xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation='6'/></rdf:RDF></x:xmpmeta>"
)
ENDINGS = ("png", "tif", "jpg", "webp", "bmp")
IFD, GPS = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo


def noise(height, width, channels, dtype):
    """Cuts values of the whole range of the type out of the noise."""
    pixels = np.resize(NOISE, (height, width, channels))
    return (pixels >> 8).astype(np.uint8) if dtype == np.uint8 else pixels


def rows(pixels, band=13):
    parts = (pixels[top : top + band] for top in range(0, len(pixels), band))
    return Rows(parts, *pixels.shape, pixels.dtype)


def through(path, pixels, quality=95, **options):
    picture.save(path, rows(pixels, **options), quality=quality)
    return whole(path)


def whole(source):
    return picture.load(source).rows.whole()


def exact(source, want):
    got = whole(source)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def saved(folder, name, content, **options):
    content.save(folder / name, **options)
    return folder / name


def tiff(folder, pixels, **options):
    tifffile.imwrite(folder / "a.tif", pixels, **options)
    return folder / "a.tif"


def refusal(source, **options):
    with pytest.raises(InputError) as error:
        picture.load(source, **options).rows.whole()
    assert "\n" not in str(error.value)
    return str(error.value)


def transferred(source, target):
    """Goes the way of an enlargement from file to file, and returns the output as Pillow opens it."""
    opened = picture.load(source)
    kind = picture.file_type(target, opened.rows.dtype)
    assert kind == opened.rows.dtype
    picture.save(target, opened.rows, opened.metadata)
    return Image.open(target)


# Pixels there and back


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 40), (40, 1), (16, 3), (17, 3), (150, 20)], ids=lambda s: "x".join(map(str, s))
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_what_is_written_is_read_again(tmp_path, ending, channels, dtype, size):
    pixels = noise(*size, channels, dtype)
    picture.save(tmp_path / f"a.{ending}", rows(pixels))
    exact(tmp_path / f"a.{ending}", pixels)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_any_size_in_any_bands_is_read_again(tmp_path_factory, data):
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    pixels = noise(height, width, data.draw(st.integers(1, 4)), data.draw(st.sampled_from([np.uint8, np.uint16])))
    path = tmp_path_factory.getbasetemp() / f"any.{data.draw(st.sampled_from(['png', 'tif']))}"
    picture.save(path, rows(pixels, band=data.draw(st.integers(1, 70))))
    exact(path, pixels)


def test_a_picture_higher_than_what_is_decoded_at_once_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "_BAND_BYTES", 1000)
    pixels = noise(150, 90, 3, np.uint8)
    picture.save(tmp_path / "a.png", rows(pixels))
    assert [len(band) for band in picture.load(tmp_path / "a.png").rows] == [16] * 9 + [6]
    exact(tmp_path / "a.png", pixels)


@pytest.mark.parametrize("band", [1, 7, 50])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", range(1, 6))
def test_bmp_of_every_line_length_is_read_again_by_us_and_by_pillow(tmp_path, width, channels, band):
    pixels = noise(9, width, channels, np.uint8)
    np.testing.assert_array_equal(through(tmp_path / "a.bmp", pixels, band=band), pixels)
    np.testing.assert_array_equal(np.atleast_3d(np.asarray(Image.open(tmp_path / "a.bmp"))), pixels)


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "webp"])
def test_lossy_formats_are_near(tmp_path, ending):
    got = through(tmp_path / f"a.{ending}", SMOOTH)
    assert np.abs(got.astype(int) - SMOOTH).mean() < 4.0


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_of_quality_100_is_exact_even_where_it_is_transparent(tmp_path, channels):
    pixels = noise(20, 30, channels, np.uint8).copy()
    pixels[:9, :, 3:] = 0
    np.testing.assert_array_equal(through(tmp_path / "a.webp", pixels, quality=100), pixels)


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_quality_counts(tmp_path, ending):
    for quality in (30, 95):
        picture.save(tmp_path / f"{quality}.{ending}", rows(SMOOTH), quality=quality)
    assert (tmp_path / f"30.{ending}").stat().st_size < (tmp_path / f"95.{ending}").stat().st_size


def test_grey_stays_grey_in_jpeg(tmp_path):
    assert through(tmp_path / "a.jpg", SMOOTH[..., :1]).shape == (48, 72, 1)


@pytest.mark.parametrize("ending", ["jpg", "webp", "bmp"])
def test_16_bits_become_8_where_the_format_holds_no_more(tmp_path, ending):
    got = through(tmp_path / f"a.{ending}", SMOOTH.astype(np.uint16) * 257 ^ 64)  # rounds to SMOOTH
    np.testing.assert_array_equal(got, through(tmp_path / f"b.{ending}", SMOOTH))
    assert picture.file_type(tmp_path / f"a.{ending}", np.dtype(np.uint16)) == np.uint8


@pytest.mark.parametrize("ending", ["jpg", "bmp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_laid_on_white_where_the_format_has_none(tmp_path, channels, dtype, ending):
    pixels = np.zeros((16, 48, channels), dtype)
    peak = np.iinfo(dtype).max
    pixels[..., :-1] = peak // 5
    pixels[:, 16:32, -1], pixels[:, 32:, -1] = peak // 5 * 2, peak
    got = through(tmp_path / f"a.{ending}", pixels).astype(int)
    assert got.shape[2] == channels - 1
    want = (255, 255 - 204 * 2 / 5, 51)
    np.testing.assert_allclose(
        got[4:12, [8, 24, 40]], np.broadcast_to(np.reshape(want, (3, 1)), (8, 3, channels - 1)), atol=1
    )


def test_a_background_shows_through_as_far_as_alpha_lets_it():
    pixels = np.array([[[10, 0], [10, 255], [10, 128]]], np.uint8)
    assert picture.on_background(pixels, 210)[0, :, 0].tolist() == [210, 10, 110]


# Files that others made


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_are_known_by_the_file_and_not_by_its_brightness(tmp_path, ending):
    dark = noise(9, 9, 1, np.uint16)[..., 0] % 200
    exact(saved(tmp_path, f"a.{ending}", Image.fromarray(dark)), dark[..., None])


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "gif"])
def test_a_palette_becomes_rgb(tmp_path, ending):
    palette = PHOTO.quantize(8)
    exact(saved(tmp_path, f"a.{ending}", palette), np.asarray(palette.convert("RGB")))


def test_a_palette_with_a_transparent_colour_becomes_rgba(tmp_path):
    palette = PHOTO.quantize(8)
    palette.info["transparency"] = 2
    exact(saved(tmp_path, "a.png", palette), np.asarray(palette.convert("RGBA")))


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_one_bit_becomes_black_and_white(tmp_path, ending):
    bits = PHOTO.convert("1")
    exact(saved(tmp_path, f"a.{ending}", bits), np.asarray(bits.convert("L"))[..., None])


def test_white_that_is_zero_is_white(tmp_path):
    exact(tiff(tmp_path, SMOOTH[..., 0], photometric="miniswhite"), 255 - SMOOTH[..., :1])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_grey_rgb_and_alpha_keep_their_channels(tmp_path, mode):
    content = PHOTO.convert(mode)
    opened = picture.load(saved(tmp_path, "a.png", content))
    assert opened.rows.channels == len(mode) and opened.has_alpha == mode.endswith("A")
    np.testing.assert_array_equal(opened.rows.whole(), np.atleast_3d(np.asarray(content)))


@pytest.mark.parametrize("peak", [255, 65535])
def test_premultiplied_alpha_is_divided_out(tmp_path, peak):
    dtype = np.uint8 if peak == 255 else np.uint16
    pixels = np.full((8, 8, 4), peak // 4, dtype)
    pixels[..., 3] = peak // 2
    got = whole(tiff(tmp_path, pixels, photometric="rgb", extrasamples=["assocalpha"]))
    np.testing.assert_allclose(got[0, 0], [peak // 4 * peak / (peak // 2)] * 3 + [peak // 2], atol=1)


@pytest.mark.parametrize("profile", [None, b"no profile" * 30], ids=["none", "broken"])
@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_cmyk_becomes_rgb_with_a_note(tmp_path, ending, profile):
    inks = np.zeros((16, 64, 4), np.uint8)
    for column, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]):
        inks[:, column * 16 : column * 16 + 16] = ink
    options = {"icc_profile": profile} if profile else {}
    opened = picture.load(saved(tmp_path, f"a.{ending}", Image.fromarray(inks, "CMYK"), **options))
    white, cyan, red, black = opened.rows.whole()[8, 8::16].astype(int)
    assert white.min() > 250 and black.max() < 60
    assert cyan[0] < 60 < 140 < cyan[2] and red[0] > 200 > 80 > red[1:].max()
    assert opened.notes == ("cmyk became sRGB",)
    assert "icc-profile-data" not in opened.metadata.blobs


def test_a_profile_of_cmyk_is_used_and_does_not_stay(tmp_path):
    import pyvips

    made = pyvips.Image.new_from_array(SMOOTH).copy(interpretation="srgb").icc_transform("cmyk", input_profile="srgb")
    made.write_to_file(str(tmp_path / "a.tif"))
    assert len(Image.open(tmp_path / "a.tif").info["icc_profile"]) > 1000
    opened = picture.load(tmp_path / "a.tif")
    assert np.abs(opened.rows.whole().astype(int) - SMOOTH).mean() < 16
    assert "icc-profile-data" not in opened.metadata.blobs


@pytest.mark.parametrize("options", [
    {"tile": (16, 16)}, {"compression": "lzw", "predictor": True}, {"byteorder": ">"}, {"bigtiff": True},
    {"compression": "packbits"}, {"compression": "deflate", "rowsperstrip": 5},
], ids=str)  # fmt: skip
def test_tiff_of_every_layout_is_read(tmp_path, options):
    exact(tiff(tmp_path, SMOOTH, photometric="rgb", **options), SMOOTH)


def test_planes_one_after_another_become_channels(tmp_path):
    exact(tiff(tmp_path, np.moveaxis(SMOOTH, 2, 0), photometric="rgb", planarconfig="separate"), SMOOTH)


def test_big_endian_16_bits_are_read(tmp_path):
    exact(tiff(tmp_path, NOISE[..., :3], photometric="rgb", byteorder=">"), NOISE[..., :3])


def test_a_progressive_jpeg_is_read(tmp_path):
    path = saved(tmp_path, "a.jpg", PHOTO, progressive=True)
    np.testing.assert_allclose(whole(path), np.asarray(Image.open(path)).astype(int), atol=3)


def test_an_interlaced_png_is_read(tmp_path):
    import pyvips

    pyvips.Image.new_from_array(SMOOTH).copy(interpretation="srgb").pngsave(str(tmp_path / "a.png"), interlace=True)
    assert (tmp_path / "a.png").read_bytes()[28] == 1
    exact(tmp_path / "a.png", SMOOTH)


def test_the_content_counts_and_not_the_ending(tmp_path):
    path = saved(tmp_path, "a.png", PHOTO, format="JPEG")
    np.testing.assert_allclose(whole(path), np.asarray(Image.open(path)).astype(int), atol=3)


@pytest.mark.parametrize("name", ["a [1].png", "a.png[1]", "ü\udcff.png"])
def test_a_name_is_only_a_name(tmp_path, name):
    pixels = noise(5, 5, 3, np.uint8)
    picture.save(tmp_path / "a.png", rows(pixels))
    exact((tmp_path / "a.png").rename(tmp_path / name), pixels)


def test_bytes_are_read_like_a_file(tmp_path):
    exact(saved(tmp_path, "a.png", PHOTO).read_bytes(), SMOOTH)


@pytest.mark.parametrize("ending", ["webp", "gif", "tif"])
def test_only_the_first_frame_or_page_is_taken_and_a_note_says_so(tmp_path, ending):
    palette = PHOTO.quantize(8).convert("RGB")
    more = {"save_all": True, "append_images": [ImageOps.invert(palette), ImageOps.mirror(palette)]}
    more |= {"lossless": True} if ending == "webp" else {}
    opened = picture.load(saved(tmp_path, f"a.{ending}", palette, **more))
    assert opened.notes == ("only the first of 3 pages or frames",)
    np.testing.assert_array_equal(opened.rows.whole()[..., :3], np.asarray(palette))  # animated GIF has alpha


# Turned pictures


def turned(folder, ending, orientation, **options):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    options |= {"lossless": True} if ending == "webp" else {}
    return saved(folder, f"in.{ending}", PHOTO, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_the_orientation_is_applied_to_the_pixels_and_reset(tmp_path, ending, orientation):
    source = turned(tmp_path, ending, orientation)
    want = np.asarray(ImageOps.exif_transpose(Image.open(source)))
    out = transferred(source, tmp_path / ("out.png" if ending != "tif" else "out.tif"))
    assert out.getexif().get(0x0112, 1) == 1
    np.testing.assert_allclose(np.asarray(out), want.astype(int), atol=3)  # two JPEG decoders


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_a_turned_picture_is_upright_in_every_format(tmp_path, ending):
    source = turned(tmp_path, "png", 6)
    out = transferred(source, tmp_path / f"out.{ending}")
    assert out.getexif().get(0x0112, 1) == 1 and out.getexif()[0x010F] == "Maker"
    assert ImageOps.exif_transpose(out).size == (48, 72)


def test_xmp_does_not_turn_the_picture_once_more(tmp_path):
    out = transferred(turned(tmp_path, "jpg", 6, xmp=XMP), tmp_path / "out.jpg")
    assert b"tiff:Orientation='1'" in out.info["xmp"]


def test_xmp_keeps_its_orientation_where_nothing_was_turned(tmp_path):
    out = transferred(saved(tmp_path, "in.jpg", PHOTO, xmp=XMP), tmp_path / "out.jpg")
    assert out.info["xmp"] == XMP


def test_the_thumbnail_of_exif_goes(tmp_path):
    small = io.BytesIO()
    PHOTO.resize((16, 12)).save(small, "JPEG")
    directory = struct.pack(">H HHII HHII I", 2, 0x0201, 4, 1, 70, 0x0202, 4, 1, small.tell(), 0)
    head = b"MM\0*" + struct.pack(">I H HHI4s HHI4s I", 8, 2, 0x010F, 2, 4, b"Cam\0", 0x0112, 3, 1, b"\0\6\0\0", 38)
    block = (head + directory).ljust(70, b"\0") + small.getvalue()
    source = saved(tmp_path, "in.jpg", PHOTO, exif=b"Exif\0\0" + block)
    assert 0x0201 in Image.open(source).getexif().get_ifd(ExifTags.IFD.IFD1)
    for ending in ("jpg", "png", "webp", "tif"):
        out = transferred(source, tmp_path / f"out.{ending}")
        assert out.getexif()[0x010F] == "Cam"
        assert 0x0201 not in out.getexif().get_ifd(ExifTags.IFD.IFD1)
        assert small.getvalue()[20:] not in (tmp_path / f"out.{ending}").read_bytes()


# Metadata


@pytest.fixture
def described(tmp_path):
    """A JPEG with a camera's EXIF, GPS, a profile, XMP and 300 dots an inch."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x013B], exif[0x8298] = "Maker", "Model", "Artist", "Copyright"
    exif.get_ifd(IFD).update(
        {0x9003: "2024:05:06 07:08:09", 0xA434: "Lens", 0x829A: 0.004, 0xA002: 72, 0x927C: b"private" * 9}
    )
    exif.get_ifd(GPS).update({1: "N", 2: (50.0, 10.0, 3.5), 3: "E", 4: (8.0, 1.0, 2.0)})
    return saved(tmp_path, "in.jpg", PHOTO, exif=exif, icc_profile=ICC, xmp=XMP, dpi=(300, 300))


def described_in(opened):
    exif = opened.getexif()
    details, place = exif.get_ifd(IFD), exif.get_ifd(GPS)
    opened.load()  # PNG has what follows the pixels
    names = [exif.get(tag) for tag in (0x010F, 0x0110, 0x013B, 0x8298)]
    times = [details.get(tag) for tag in (0x9003, 0xA434, 0x927C)]
    dots = [round(float(exif.get(tag, 0))) for tag in (0x011A, 0x011B)]
    return names, times, float(details.get(0x829A, 0)), dict(place), dots, opened.info.get("icc_profile")


@pytest.mark.parametrize("way", [
    ("jpg",), ("png",), ("webp",), ("tif",), ("png", "png"), ("webp", "webp"), ("webp", "jpg"), ("tif", "tif"),
    ("tif", "jpg"), ("tif", "png"), ("tif", "webp"),
], ids="-".join)  # fmt: skip
def test_metadata_is_kept_on_the_way(tmp_path, described, way):
    path = described
    for number, ending in enumerate(way):
        out = transferred(path, tmp_path / f"{number}.{ending}")
        path = tmp_path / f"{number}.{ending}"
    want = (
        ["Maker", "Model", "Artist", "Copyright"], ["2024:05:06 07:08:09", "Lens", b"private" * 9], 0.004,
        {1: "N", 2: (50.0, 10.0, 3.5), 3: "E", 4: (8.0, 1.0, 2.0)}, [300, 300], ICC,
    )  # fmt: skip
    assert described_in(out) == want
    assert (out.info.get("xmp") or out.info["XML:com.adobe.xmp"].encode()) == XMP  # libvips's PNG has it in a zTXt


def test_the_size_in_exif_is_that_of_the_output(tmp_path, described):
    picture.save(tmp_path / "out.jpg", rows(noise(30, 50, 3, np.uint8)), picture.load(described).metadata)
    details = Image.open(tmp_path / "out.jpg").getexif().get_ifd(IFD)
    assert (details[0xA002], details[0xA003]) == (50, 30)


def test_exif_of_a_big_endian_tiff_is_read(tmp_path):
    plain = tiff(tmp_path, SMOOTH, photometric="rgb", byteorder=">", metadata=None, software=False,
                 extratags=[(0x010F, 2, 0, "Maker", True), (0x013B, 2, 0, "Name", True)])  # fmt: skip
    exif = transferred(plain, tmp_path / "out.jpg").getexif()
    assert (exif[0x010F], exif[0x013B]) == ("Maker", "Name")


@pytest.mark.parametrize("text", ['{"shape": [48, 72, 3]}', "ImageJ=1.11a\nimages=1\n", "<?xml version='1.0'?><OME/>"])
def test_a_description_of_the_array_does_not_go_to_another_array(tmp_path, text):
    source = tiff(tmp_path, SMOOTH, photometric="rgb", metadata=None, description=text)
    assert 270 not in transferred(source, tmp_path / "out.tif").getexif()


def test_a_description_of_the_picture_is_kept(tmp_path):
    source = tiff(tmp_path, SMOOTH, photometric="rgb", metadata=None, description="a cat")
    assert transferred(source, tmp_path / "out.tif").getexif()[270] == "a cat"


@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
def test_a_tiff_with_exif_is_right_to_another_reader(tmp_path, described, monkeypatch, big):
    if big:
        tiff_format = picture.FORMATS[".tif"]
        options = lambda quality, size: {**tiff_format.options(quality, size), "bigtiff": True}  # noqa: E731
        monkeypatch.setattr(picture, "_TIFF", picture.Format(options, deep=True))
        monkeypatch.setitem(picture.FORMATS, ".tif", picture._TIFF)
    opened = picture.load(described)
    pixels = noise(150, 70, 3, np.uint16)
    picture.save(tmp_path / "out.tif", rows(pixels), opened.metadata)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.is_bigtiff == big and len(file.pages) == 1
        tags = file.pages[0].tags
        np.testing.assert_array_equal(file.asarray(), pixels)
        assert (tags["Make"].value, tags["ExifTag"].value["DateTimeOriginal"]) == ("Maker", "2024:05:06 07:08:09")
        assert "PixelXDimension" not in tags["ExifTag"].value  # not allowed there
        assert tags["GPSTag"].value["GPSLatitude"] == (50, 1, 10, 1, 7, 2)
    exact(tmp_path / "out.tif", pixels)


def test_a_value_too_large_for_exif_is_left_out_alone(tmp_path):
    tags = [(0x010F, 2, 0, "Maker", True), (0x010E, 2, 0, "A" * 70_000, True)]
    source = tiff(tmp_path, SMOOTH, photometric="rgb", metadata=None, extratags=tags)
    exif = transferred(source, tmp_path / "out.jpg").getexif()
    assert exif[0x010F] == "Maker" and 0x010E not in exif


IPTC = b"\x1c\x02\x19\x00\x05hello"


def test_iptc_goes_between_jpeg_and_tiff(tmp_path):
    framed = b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\2\0\1" + b"8BIM\4\4\0\0" + struct.pack(">I", 10) + IPTC
    data = saved(tmp_path, "in.jpg", PHOTO).read_bytes()
    (tmp_path / "in.jpg").write_bytes(data[:2] + b"\xff\xed" + struct.pack(">H", len(framed) + 2) + framed + data[2:])
    assert picture.load(tmp_path / "in.jpg").metadata.blobs["iptc-data"] == IPTC
    transferred(tmp_path / "in.jpg", tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].tags[33723].value == IPTC + b"\0\0"
    out = transferred(tmp_path / "a.tif", tmp_path / "b.jpg")
    assert out.info["photoshop"][0x0404].rstrip(b"\0") == IPTC


@pytest.mark.parametrize("profile", [ICC + b"\0" * 7, ICC[:-9], b"no profile", b"abc"])
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_a_broken_profile_does_not_stop_the_output(tmp_path, ending, profile):
    source = saved(tmp_path, "in.jpg", PHOTO, icc_profile=profile)
    assert transferred(source, tmp_path / f"out.{ending}").info.get("icc_profile") in (ICC, None)


def test_no_resolution_is_72_dots_an_inch(tmp_path):
    out = transferred(tiff(tmp_path, SMOOTH, photometric="rgb", metadata=None), tmp_path / "out.jpg")
    assert out.info["dpi"] == (72, 72)


@pytest.mark.parametrize("dots", [(4_000_000_000, 1), (1, 4_000_000_000), (0, 1)], ids=str)
def test_a_resolution_out_of_all_reason_is_left_out(tmp_path, dots, capfd):
    source = tiff(tmp_path, SMOOTH, photometric="rgb", metadata=None, resolution=(dots, dots), resolutionunit=3)
    assert transferred(source, tmp_path / "out.jpg").info["dpi"] == (72, 72)
    assert "CRITICAL" not in capfd.readouterr().err


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_exif_that_is_damaged_does_no_harm(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    exif = Image.Exif()
    exif[0x010F] = "A maker of cameras"
    exif.get_ifd(IFD)[0x9003] = "2024:05:06 07:08:09"
    block = bytearray(exif.tobytes())
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(st.integers(6, len(block) - 1))] = data.draw(st.integers(0, 255))
    pixels = noise(4, 4, 3, np.uint8)
    picture.save(folder / "exif.tif", rows(pixels), Metadata({"exif-data": bytes(block)}))
    exact(folder / "exif.tif", pixels)
    picture.load(folder / "exif.tif")


# What is refused


@pytest.mark.parametrize("part", [0.01, 0.3, 0.95])
@pytest.mark.parametrize("ending", [*ENDINGS, "gif"])
def test_a_truncated_picture_is_refused_and_nothing_is_written(tmp_path, ending, part):
    path = saved(tmp_path, f"cut.{ending}", PHOTO)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert re.search(r"is (damaged, or of a kind .* \(.+\)|not a picture .*); (copy|use)", refusal(path))
    with pytest.raises(InputError):
        transferred(path, tmp_path / "out.png")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_picture_damaged_far_down_leaves_no_output(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(picture, "_BAND_BYTES", 4000)
    picture.save(tmp_path / "in.png", rows(noise(400, 100, 3, np.uint8)))
    data = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(data[: len(data) * 9 // 10])
    opened, lines = picture.load(tmp_path / "in.png"), []
    stream = opened.rows.mapped(lambda band: lines.append(len(band)) or band, 3, np.uint8)
    with pytest.raises(InputError, match=r"in\.png: is damaged"):
        picture.save(tmp_path / f"out.{ending}", stream, opened.metadata)
    assert 200 < sum(lines) < 400
    assert [file.name for file in tmp_path.iterdir()] == ["in.png"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError("no room"), InputError("x: is damaged.")], ids=repr)
def test_what_stops_the_rows_comes_through_and_the_old_file_stays(tmp_path, ending, error):
    def stopping():
        yield SMOOTH[:20]
        raise error

    (tmp_path / f"a.{ending}").write_bytes(b"old")
    with pytest.raises(error if isinstance(error, type) else type(error)) as raised:
        picture.save(tmp_path / f"a.{ending}", Rows(stopping(), *SMOOTH.shape, np.uint8))
    assert isinstance(error, type) or raised.value is error
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(f"a.{ending}", b"old")]


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_that_end_early_are_no_picture(tmp_path, ending):
    with pytest.raises(ValueError, match="the bands end at row 20, the height is 48"):
        picture.save(tmp_path / f"a.{ending}", Rows([SMOOTH[:20]], *SMOOTH.shape, np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_text_file_called_png_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    assert re.fullmatch(
        r"a: is not a picture that can be read.*; use one of \.bmp .*\.webp\.", refusal(tmp_path / "a.png", name="a")
    )


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.png").touch()
    assert refusal(tmp_path / "a.png") == f"{tmp_path / 'a.png'}: is empty; copy it again from its source."
    assert refusal(b"") == "the input: is empty; copy it again from its source."


def test_a_missing_file_is_refused(tmp_path):
    assert refusal(tmp_path / "a.png").endswith("a.png: can't be read (No such file or directory); check the path.")


def test_a_folder_is_refused(tmp_path):
    assert "can't be read (Is a directory); check the path." in refusal(tmp_path)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_pixels_of_other_types_are_refused(tmp_path, dtype):
    path = tiff(tmp_path, SMOOTH.astype(dtype), photometric="rgb")
    assert re.search(r"has pixels of type \w+; save it with 8 or 16 bits a channel first\.", refusal(path))


def test_more_than_four_channels_are_refused(tmp_path):
    path = tiff(tmp_path, np.repeat(SMOOTH[..., :1], 5, 2), photometric="minisblack", planarconfig="contig")
    assert "has 5 channels; save it as grey or RGB" in refusal(path)


def test_ycbcr_that_libvips_would_take_for_rgb_is_refused(tmp_path):
    path = saved(tmp_path, "a.tif", PHOTO.convert("YCbCr"))
    assert refusal(path).endswith("has YCbCr pixels that are no JPEG; save it as RGB first.")


def test_ycbcr_of_jpeg_inside_tiff_is_read(tmp_path):
    path = tiff(tmp_path, SMOOTH, compression="jpeg", compressionargs={"level": 95})
    assert tifffile.TiffFile(path).pages[0].photometric == tifffile.PHOTOMETRIC.YCBCR
    assert np.abs(whole(path).astype(int) - SMOOTH).mean() < 4.0


def png_of(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def bmp_of(width, height):
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + sizes


def test_a_png_that_would_be_huge_is_refused_by_its_header():
    assert refusal(png_of(30_000, 30_000)) == (
        "the input: has 30000x30000 pixels, more than 268 megapixels; if that is meant, --max-pixels 900."
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest undoes the filter of `picture`
def test_a_bmp_that_would_be_huge_is_refused_by_its_header():
    assert (
        refusal(bmp_of(30_000, 30_000)) == "the input: has over 179 megapixels, the most of its format; save it as PNG."
    )
    assert "has 12000x12000 pixels, more than 100 megapixels" in refusal(bmp_of(12_000, 12_000), most_pixels=10**8)


def test_a_picture_within_the_limit_is_read(tmp_path):
    path = saved(tmp_path, "a.png", PHOTO)
    picture.load(path, most_pixels=72 * 48)
    assert "has 72x48 pixels, more than 0.003455 megapixels; if that is meant, --max-pixels 1." in refusal(
        path, most_pixels=72 * 48 - 1
    )


def test_an_ending_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no encoder for '\.xyz'; use one of \.bmp"):
        picture.save(tmp_path / "a.xyz", rows(SMOOTH))


@pytest.mark.parametrize(
    ("ending", "most", "advice"),
    [("jpg", 65_535, "--format png"), ("webp", 16_383, "--format png"), ("bmp", 32_767, "--format png"),
     ("png", 100_000_000, "a smaller size"), ("tif", 100_000_000, "a smaller size")],
)  # fmt: skip
def test_a_side_that_the_format_cannot_hold_is_refused(tmp_path, ending, most, advice):
    picture.check_target(tmp_path / f"a.{ending}", most, 1)
    with pytest.raises(
        InputError, match=f"would be 1x{most + 1}, and .{ending} holds {most} pixels a side; take {advice}"
    ):
        picture.check_target(tmp_path / f"a.{ending}", most + 1, 1)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_one_line_and_the_old_file_stays(small_disk, ending):
    path = small_disk / f"a.{ending}"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=r"can't be written \(No space left on device\); .*; free some space") as error:
        picture.save(path, rows(RANDOM.integers(0, 256, (400, 400, 3), np.uint8)), quality=100)
    assert "\n" not in str(error.value)
    assert [(file.name, file.read_bytes()) for file in small_disk.iterdir()] == [(path.name, b"old")]


class FullFile(io.BytesIO):
    def write(self, data):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("ending", ENDINGS[:4])
def test_an_encoder_that_does_not_tell_of_a_full_disk_is_not_believed(ending):
    with pytest.raises(OSError, match="No space left"):
        picture._write(FullFile(), f".{ending}", rows(SMOOTH), Metadata(), 95)


def test_a_place_that_is_no_folder_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"can't be written \((File exists|Not a directory)\)"):
        picture.save(tmp_path / "file" / "a.png", rows(SMOOTH))


MEASURE = """
import sys
from pathlib import Path
import numpy as np
from sr_keras import picture
from sr_keras.rows import Rows

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) >> 10

line = (np.arange(10_000) % 251).astype(np.uint8)[:, None] * np.ones(3, np.uint8)
before = peak()
for ending in ("tif", "jpg"):
    bands = (np.repeat(line[None], 100, 0) for _ in range(100))
    path = Path(sys.argv[1]) / f"a.{ending}"
    picture.save(path, Rows(bands, 10_000, 10_000, 3, np.uint8))
    path.unlink()
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_hundred_megapixels_are_never_whole_in_memory(tmp_path):
    done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150  # MiB; the pixels have 286


def test_a_bmp_is_known_while_another_thread_takes_the_text_of_the_error(tmp_path, monkeypatch):
    import pyvips

    picture.save(tmp_path / "a.bmp", Rows.of(np.full((4, 5, 3), 7, np.uint8)))
    monkeypatch.setattr(pyvips.Error, "__str__", lambda error: error.message)  # libvips's text is gone
    assert (picture.load(tmp_path / "a.bmp").rows.whole() == 7).all()
