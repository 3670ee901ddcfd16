"""ESRGAN's generator, spandrel's, by all four of the names that its weights go by."""

import re
from unittest import mock

from spandrel.architectures.__arch_helpers import block
from spandrel.architectures.ESRGAN import ESRGAN

from import_fixtures import Case

_PARTS = r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\."


def _later(steps: int, blocks: int, *, bsrgan: bool):
    """Renames a state dict as ESRGAN's later code and BasicSR do, or as BSRGAN does."""
    block = r"RRDB_trunk.\1.RDB\2.conv\3." if bsrgan else r"body.\1.rdb\2.conv\3."
    up = "upconv" if bsrgan else "conv_up"
    names = {0: "conv_first", 3 * steps + 2: "HRconv" if bsrgan else "conv_hr", 3 * steps + 4: "conv_last"}
    names |= {3 * k: f"{up}{k}" for k in range(1, steps + 1)}

    def rename(state):
        found = {}
        for name, tensor in state.items():
            new = re.sub(_PARTS, block, name)
            new = re.sub(rf"^model\.1\.sub\.{blocks}\.", "trunk_conv." if bsrgan else "conv_body.", new)
            new = re.sub(r"^model\.(\d+)\.", lambda match: f"{names[int(match[1])]}.", new)
            found[new] = tensor
        return {"params_ema": found} if not bsrgan else found

    return rename


def _small(**options) -> ESRGAN:
    """Builds it with a growth of 3, which spandrel fixes at 32."""
    whole = block.RRDB
    with mock.patch.object(block, "RRDB", lambda **given: whole(**{**given, "gc": 3})):
        return ESRGAN(num_filters=5, num_blocks=1, **options)


def cases():
    """The first names at x4, x2, x1 and x8; BasicSR's, with pixels put together too; BSRGAN's."""
    together = {"in_nc": 12, "scale": 4, "shuffle_factor": 2}
    return [
        Case("first-x4", _small(scale=4), size=(5, 7)),
        Case("first-x2", _small(scale=2), size=(5, 7)),
        Case("first-x1", _small(scale=1)),
        Case("first-x8", _small(scale=8), size=(3, 5)),
        Case("basicsr-x4", _small(scale=4), wrapped=_later(2, 1, bsrgan=False), size=(5, 7)),
        Case("basicsr-x2", _small(**together), wrapped=_later(2, 1, bsrgan=False), size=(7, 5)),
        Case("bsrgan-x4", _small(scale=4), wrapped=_later(2, 1, bsrgan=True), size=(5, 7)),
    ]
