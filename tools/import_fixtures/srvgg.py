"""Real-ESRGAN's compact network, spandrel's."""

from spandrel.architectures.Compact import Compact

from import_fixtures import Case


def cases():
    """x2 and x4 as BasicSR saves them, with averaged weights beside, and one of one channel."""

    def both(state):
        return {"params": {name: tensor * 0 for name, tensor in state.items()}, "params_ema": state}

    sizes = {"num_feat": 6, "num_conv": 2}
    return [
        Case("x2", Compact(num_in_ch=3, num_out_ch=3, upscale=2, **sizes)),
        Case("x4", Compact(num_in_ch=3, num_out_ch=3, upscale=4, **sizes), wrapped=both),
        Case("grey", Compact(num_in_ch=1, num_out_ch=1, upscale=3, **sizes), channels=1),
    ]
