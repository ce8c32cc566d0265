"""Memory that is freed stays with the process: gradients ask for the same sizes again at once.

glibc gives large blocks back to the system when they are freed and asks for fresh, zeroed pages when they are needed
again. A gradient's activations are freed at its end, so that every gradient pays for hundreds of page faults: some 5 %
of the time on a CPU, for small models and for large ones.
"""

import ctypes
import sys
from functools import cache

# Parameters of `mallopt(3)`: how much free memory at the end of the heap is kept, …
_TRIM_THRESHOLD, _KEEP = -1, 2**30
# … and from how many bytes on an array gets pages of its own, which go back when it is freed.
_MMAP_THRESHOLD, _LARGE = -3, 2**25


@cache
def keep_freed_memory() -> bool:
    """Ask glibc to; the whole process is concerned. False, and nothing done, under another C library."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_TRIM_THRESHOLD, _KEEP))
