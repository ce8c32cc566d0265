"""Named random streams: the library never touches a global generator."""

import hashlib
import numbers

import torch


def generator(*key: object) -> torch.Generator:
    """A CPU generator that is a pure function of its key, such as `(seed, "train", num_tasks, step)`.

    The seed is the first 8 bytes of SHA-256 over the key's printed parts, so that streams of different purpose never
    overlap by accident (seeds 0, 1, 2… added to one another would) and do not depend on how work is split over
    processes or devices. Numbers are always drawn on the CPU and moved, so that devices agree too.
    """
    key = tuple(int(part) if isinstance(part, numbers.Integral) else part for part in key)  # NumPy's print otherwise
    digest = hashlib.sha256(repr(key).encode()).digest()
    # torch takes seeds below 2^63
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
