"""Other systems: what Linux and macOS have and Windows has not, taken away in a process of its own."""

import subprocess
import sys

# Other packages are loaded before, for they would take this for Windows; locks of files are one of theirs.
ALL = "import arviz_stats, cloudpickle, scipy.stats"
ELSEWHERE = """
import os, select, sys
import filelock, netCDF4, pandas, safetensors, torch, xarray

sys.modules |= dict.fromkeys(["fcntl", "resource", "pwd", "grp", "termios"])
for name in ("O_NOFOLLOW", "sched_getaffinity", "fork", "mkfifo", "getuid", "geteuid", "uname", "sysconf"):
    if hasattr(os, name):
        delattr(os, name)

del select.PIPE_BUF
import llc
from llc import store
from llc.errors import StoreError
"""


def python(code: str, **how) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **how
    )


def test_the_whole_package_loads_and_locks_its_folders_without_posix(tmp_path):
    hold = """
for name in llc.__all__:
    getattr(llc, name)
with store.folder_lock(__import__("pathlib").Path(".")):
    print("held", flush=True)
    input()
"""
    ask = """
from pathlib import Path
for _ in sys.stdin:
    try:
        with store.folder_lock(Path(".")):
            print("free", flush=True)
    except StoreError as error:
        print(error, flush=True)
"""
    with python(ALL + ELSEWHERE + hold, cwd=tmp_path) as holder, python(ELSEWHERE + ask, cwd=tmp_path) as other:
        assert holder.stdout.readline() == "held\n"
        other.stdin.write("\n")
        other.stdin.flush()
        said = other.stdout.readline()
        assert said == f". is in use by process {holder.pid}; wait for it to end, or stop it\n"
        holder.kill()
        holder.wait()
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "free\n"  # a lock that a dead process left is no lock
        other.stdin.close()
    assert other.returncode == 0
