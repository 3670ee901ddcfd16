"""Does something with damaged files in a process of its own, whose memory and time are bounded."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
SECONDS = 60  # until the process counts as hanging

# Tells the name of a file before it works on it, so that the culprit of a crash or a hang is known.
_LOOP = """
import pathlib, resource, sys, warnings
from sr_keras.errors import InputError
used = 1024 * int(pathlib.Path("/proc/self/status").read_text().split("VmSize:")[1].split()[0])
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]) * 2**20,) * 2)
warnings.simplefilter("error")
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    print(path.name, end=" ", flush=True)
    try:
        print(work(path), flush=True)
    except InputError as error:
        print("refused", ascii(str(error)), flush=True)
"""


def run(work: str, folder: Path, *, megabytes: int) -> dict[str, str]:
    """Runs the program `work`, then its function `work(path)` for every file of a folder; returns what came of each.

    `megabytes` may be taken beyond what there is by then. That is `refused '<line>'` for an `InputError`; any other
    exception, a crash or a hang fails the test.
    """
    command = [sys.executable, "-X", "faulthandler", "-c", work + _LOOP, str(folder), str(megabytes)]
    ran = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=SECONDS)
    assert ran.returncode == 0, f"{ran.stdout.splitlines()[-1:]}\n{ran.stderr[-3000:]}"
    return dict(line.split(" ", 1) for line in ran.stdout.splitlines())
