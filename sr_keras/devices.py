"""Which number format and which devices a training uses."""

from pathlib import Path

import tensorflow as tf

_NATIVE_BFLOAT16 = ("amx_bf16", "avx512_bf16")


def precision(wanted: str) -> str:
    """Turns `auto` into a Keras dtype policy for this machine; other names pass.

    GPU: mixed_bfloat16 from compute capability 8.0 on, mixed_float16 from 7.0. CPU: mixed_bfloat16 where the
    processor multiplies it natively (AMX or AVX512-BF16, about twice the speed of float32), else float32; float16 is
    about 100 times slower than float32 on a CPU.
    """
    if wanted != "auto":
        return wanted
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = min(tf.config.experimental.get_device_details(g).get("compute_capability", (0, 0)) for g in gpus)
        return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16" if capability >= (7, 0) else "float32"
    return "mixed_bfloat16" if _processor_has(_NATIVE_BFLOAT16) else "float32"


def _processor_has(flags: tuple[str, ...]) -> bool:
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").split()
    except OSError:
        return False
    return not set(flags).isdisjoint(words)


def strategy() -> tf.distribute.Strategy:
    """Returns MirroredStrategy over all visible GPUs where there are several, else the default strategy."""
    gpus = tf.config.list_logical_devices("GPU")
    return tf.distribute.MirroredStrategy(gpus) if len(gpus) > 1 else tf.distribute.get_strategy()
