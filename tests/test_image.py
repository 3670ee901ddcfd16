"""Picture files against Pillow, damaged files, and the conversions between pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage.color import rgb2ycbcr

from sr_keras import image
from sr_keras.errors import InputError

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (12, 17, 3), np.uint8)
GREY = RGB[..., :1]
SMOOTH = np.asarray(Image.fromarray(RGB).resize((136, 96), Image.Resampling.BICUBIC))


def saved(folder: Path, name: str, picture: Image.Image, **options) -> Path:
    picture.save(folder / name, **options)
    return folder / name


def refusal(path):
    with pytest.raises(InputError) as error:
        image.read(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_channels_come_in_rgb_order(tmp_path):
    np.testing.assert_array_equal(image.read(saved(tmp_path, "a.png", Image.fromarray(RGB))), RGB)


def test_a_grey_picture_has_one_channel(tmp_path):
    np.testing.assert_array_equal(image.read(saved(tmp_path, "a.png", Image.fromarray(GREY[..., 0]))), GREY)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_palette_becomes_rgb(tmp_path, ending):
    palette = Image.fromarray(RGB).quantize(8)
    path = saved(tmp_path, f"a.{ending}", palette)
    np.testing.assert_array_equal(image.read(path), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("ending", ["png", "webp"])
def test_alpha_is_dropped(tmp_path, ending):
    alpha = np.full((*RGB.shape[:2], 1), 200, np.uint8)
    options = {"lossless": True} if ending == "webp" else {}
    path = saved(tmp_path, f"a.{ending}", Image.fromarray(np.concatenate([RGB, alpha], 2)), **options)
    np.testing.assert_array_equal(image.read(path), RGB)


def test_a_grey_picture_of_16_bits_keeps_them(tmp_path):
    deep = RANDOM.integers(0, 65536, (5, 7), np.uint16)
    path = saved(tmp_path, "a.png", Image.fromarray(deep))
    np.testing.assert_array_equal(image.read(path), deep[..., None])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_what_is_written_is_read_again(tmp_path, dtype, channels, ending):
    pixels = RANDOM.integers(0, np.iinfo(dtype).max + 1, (5, 7, channels), dtype)
    image.write(tmp_path / f"a.{ending}", pixels)
    again = image.read(tmp_path / f"a.{ending}")
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, pixels)


def test_16_bits_become_8_where_the_format_holds_no_more(tmp_path):
    image.write(tmp_path / "a.bmp", RGB.astype(np.uint16) * 257)
    np.testing.assert_array_equal(image.read(tmp_path / "a.bmp"), RGB)


def test_pillow_reads_what_is_written(tmp_path):
    image.write(tmp_path / "a.png", RGB)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), RGB)


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, f"a.{ending}", Image.fromarray(SMOOTH), exif=exif)
    want = np.asarray(ImageOps.exif_transpose(Image.open(path))).astype(int)
    np.testing.assert_allclose(image.read(path), want, atol=3)  # two JPEG decoders


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif"])
def test_a_truncated_picture_is_refused(tmp_path, ending, part):
    path = saved(tmp_path, f"cut.{ending}", Image.fromarray(SMOOTH))
    data = path.read_bytes()
    path.write_bytes(data[: int((len(data) - 1) * part)])
    assert refusal(path).startswith(f"{path}: is ")


def test_a_truncated_picture_is_called_damaged(tmp_path):
    path = saved(tmp_path, "cut.jpg", Image.fromarray(SMOOTH))
    path.write_bytes(path.read_bytes()[:-40])
    assert "is damaged (image file is truncated" in refusal(path)


def test_a_text_file_called_png_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    assert refusal(tmp_path / "a.png").endswith("is not a picture that can be read; use PNG, JPEG, WebP, BMP or TIFF.")


def test_a_missing_file_is_refused(tmp_path):
    assert "can't be read (No such file or directory); check the path." in refusal(tmp_path / "a.png")


def test_a_listing_is_sorted_recursive_and_of_pictures_only(tmp_path):
    for name in ("b/c.JPG", "a.png", "b/a.tiff", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in image.listing(tmp_path)]
    assert names == ["a.png", "b/a.tiff", "b/c.JPG"]


def test_an_empty_folder_is_one_line(tmp_path):
    with pytest.raises(InputError, match="holds no pictures; put PNG"):
        image.listing(tmp_path)


def test_a_folder_that_is_none_is_one_line(tmp_path):
    with pytest.raises(InputError, match="is not a folder; check the path"):
        image.listing(tmp_path / "nowhere")


def test_an_unknown_ending_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"no encoder for '\.xyz'; use one of \.bmp"):
        image.write(tmp_path / "a.xyz", RGB)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    image.write(tmp_path / "a.png", RGB)

    def half(self, data):
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(InputError, match=r"can't be written \(No space left on device\)"):
        image.write(tmp_path / "a.png", 255 - RGB)
    np.testing.assert_array_equal(image.read(tmp_path / "a.png"), RGB)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("towards", "offset"), [(2.0, 1), (-1.0, 0)], ids=["above", "below"])
def test_the_number_next_to_a_half_goes_its_way(dtype, towards, offset):
    halves = (np.arange(255) + 0.5) / 255.0
    beside = np.nextafter(np.nextafter(halves.astype(dtype), dtype(towards)), dtype(towards))
    np.testing.assert_array_equal(image.from_float(beside, np.dtype(np.uint8)), np.arange(255) + offset)


def test_an_exact_half_rounds_up():
    assert image.from_float(np.array([0.5 / 255.0, 2.5 / 255.0]), np.dtype(np.uint8)).tolist() == [1, 3]


def test_values_outside_the_range_are_clipped():
    assert image.from_float(np.array([-0.5, 1.5]), np.dtype(np.uint16)).tolist() == [0, 65535]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_survives_the_way_through_float(dtype):
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    np.testing.assert_array_equal(image.from_float(image.to_float(levels), np.dtype(dtype)), levels)


def test_16_bits_are_brought_to_8():
    assert image.to_uint8(np.array([0, 128, 129, 257, 65535], np.uint16)).tolist() == [0, 0, 1, 1, 255]


def test_luma_is_scikit_images():
    np.testing.assert_allclose(image.rgb_to_y(RGB / 255.0)[..., 0] * 255.0, rgb2ycbcr(RGB)[..., 0], atol=1e-9)


def test_ycbcr_is_scikit_images():
    np.testing.assert_allclose(image.rgb_to_ycbcr(RGB / 255.0) * 255.0, rgb2ycbcr(RGB), atol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-12)])
def test_ycbcr_is_inverted(dtype, tolerance):
    rgb = (RGB / 255.0).astype(dtype)
    again = image.ycbcr_to_rgb(image.rgb_to_ycbcr(rgb))
    assert again.dtype == dtype
    np.testing.assert_allclose(again, rgb, atol=tolerance)


def test_grey_is_repeated_to_rgb():
    np.testing.assert_array_equal(image.with_channels(GREY, 3), np.repeat(GREY, 3, 2))


def test_rgb_becomes_luma_where_one_channel_is_wanted():
    np.testing.assert_array_equal(image.with_channels(RGB, 1), image.rgb_to_y(image.to_float(RGB)))


def test_shave_cuts_every_side():
    np.testing.assert_array_equal(image.shave(RGB, 2), RGB[2:10, 2:15])


def test_shave_by_nothing_is_the_picture():
    np.testing.assert_array_equal(image.shave(RGB, 0), RGB)


def test_a_crop_to_a_multiple_keeps_the_top_left():
    np.testing.assert_array_equal(image.crop_to_multiple(RGB, 5), RGB[:10, :15])


def test_a_picture_is_cut_or_mirrored_to_a_size():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    assert image.fitted(pixels, 2, 6)[..., 0].tolist() == [[0, 1, 2, 3, 3, 2], [4, 5, 6, 7, 7, 6]]
