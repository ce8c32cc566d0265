import sys

import pytest
import torch

from llc.heap import keep_freed_memory

resource = pytest.importorskip("resource")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap")
def test_memory_that_is_freed_is_used_again():
    """Thirty arrays of 8 MiB that come and go cost the page faults of fewer than one (2048 pages of 4 KiB)."""
    if not keep_freed_memory():
        pytest.skip("another C library than glibc")

    def come_and_go() -> None:
        _several = [torch.ones(2**21) for _ in range(6)]

    for _ in range(5):
        come_and_go()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        come_and_go()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2048
