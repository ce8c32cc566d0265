"""Whether there is what `--compile` needs."""

import os
import platform
import shutil
import subprocess
import sysconfig

from llc.doctor.finding import Finding

_USUAL = {"Darwin": "clang++", "Windows": "cl"}
_INSTALL = {
    "Darwin": "xcode-select --install",
    "Windows": "install the Visual Studio Build Tools, and start from their command prompt",
}
# What PyTorch's generated code begins with.
_PROGRAM = "#include <Python.h>\n#include <vector>\nint main() { return 0; }\n"


def compiler() -> list[Finding]:
    """The C++ compiler that PyTorch would call, tried on a program of Python's; Windows' is only looked for."""
    system = platform.system()
    name = os.environ.get("CXX") or _USUAL.get(system, "g++")
    install = _INSTALL.get(system, "install g++ and the headers of Python, such as with apt install g++ python3-dev")
    advice = f"for --compile: {install}; or set CXX to a compiler that works"
    path = shutil.which(name)
    if path is None:
        return [Finding("compiler", "C++ compiler", f"no {name}", "missing", advice)]
    if system == "Windows":
        return [Finding("compiler", "C++ compiler", path)]
    headers = sysconfig.get_path("include")
    command = [path, "-fsyntax-only", "-x", "c++", "-I", headers, "-"]
    tried = subprocess.run(command, input=_PROGRAM, capture_output=True, text=True, check=False)
    if tried.returncode:
        wrong = [line for line in tried.stderr.splitlines() if "error" in line] or [f"exit code {tried.returncode}"]
        return [Finding("compiler", "C++ compiler", f"{path} fails ({wrong[0][:200]})", "missing", advice)]
    return [Finding("compiler", "C++ compiler", path)]
