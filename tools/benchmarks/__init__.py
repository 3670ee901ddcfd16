"""The measurements of tools/benchmark.py, one a file; none imports anything but NumPy before it is called.

So every file can be imported by the Python of a peer, which holds PyTorch and NumPy alone.
"""

SCALE = 2  # of every network that is measured, where nothing else is said
