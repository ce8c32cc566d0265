"""Which packages are there, in which versions, and what those that are not would be for."""

import importlib
import platform
import re
import sys
from importlib import metadata
from typing import NamedTuple

from llc.doctor.finding import Finding
from llc.version import DISTRIBUTION, library_version

# What optional packages are for, by their extra in pyproject.toml. Those of `dev` and `docs` are for contributors.
EXTRAS = {
    "study": "boundaries of stages where slopes change, references of the literature and bars of progress",
    "plots": "figures",
    "report": "the page of a report",
    "cluster": "work spread over many machines (--scheduler)",
    "peers": "devinterp's samplers and llc validate --against",
    "notebooks": "running the notebooks",
}
_MODULES = {"netcdf4": "netCDF4", "scikit-learn": "sklearn"}  # whose names are not those of their packages


class Requirement(NamedTuple):
    """A line of the package's metadata.

    Attributes:
        name: of a package.
        at_least: its oldest version that llc works with; below: the first that it does not.
        extra: for which it is wanted, or "".
        python: from which version of Python on.
    """

    name: str
    at_least: str
    below: str
    extra: str
    python: str

    @classmethod
    def of(cls, line: str) -> "Requirement":
        """Of such a line as `dask>=2025.1; extra == "cluster"`."""
        wanted, _, marker = line.partition(";")
        found = re.match(r"[\w.-]+", wanted)
        return cls(
            found[0] if found else wanted,
            _first(r">=\s*([\d.]+)", wanted),
            _first(r"<\s*([\d.]+)", wanted),
            _first(r"""extra\s*==\s*['"]([\w-]+)""", marker),
            _first(r"""python_version\s*>=\s*['"]([\d.]+)""", marker),
        )

    @property
    def module(self) -> str:
        """As Python imports it."""
        return _MODULES.get(self.name.lower(), self.name.replace("-", "_"))

    def takes(self, version: str) -> bool:
        """Whether llc works with this version."""
        return _numbers(version) >= _numbers(self.at_least) and (
            not self.below or _numbers(version) < _numbers(self.below)
        )


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, without what follows them and zeros at the end: 2.13 of `2.13.0+cpu`."""
    numbers = [int(part) for part in _first(r"^(\d+(?:\.\d+)*)", version).split(".") if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def requirements() -> list[Requirement]:
    """What llc and its extras ask for; nothing where llc is run from a copy that is not installed."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    found = [Requirement.of(line) for line in lines]
    return [one for one in found if _numbers(one.python) <= sys.version_info[:2] and one.name != DISTRIBUTION]


def packages() -> list[Finding]:
    """Python, llc, what it cannot do without and what it can."""
    found = [Finding("packages", "Python", f"{platform.python_version()} on {platform.platform(terse=True)}"), _llc()]
    wanted = requirements()
    found += [_required(one) for one in wanted if not one.extra]
    return found + [_optional(one) for one in wanted if one.extra in EXTRAS]


def _llc() -> Finding:
    version = library_version()
    if version != "unknown":
        return Finding("packages", "llc", version)
    advice = "pip install . in its folder, so that versions of packages can be checked and `llc` is a command"
    return Finding("packages", "llc", "run from a copy that is not installed", "missing", advice)


def _required(wanted: Requirement) -> Finding:
    pip = f'pip install "{wanted.name}{_range(wanted)}"'
    version = _version(wanted.name)
    if version is None:
        return Finding("packages", wanted.name, "not installed", "unusable", pip)
    if not wanted.takes(version):
        return Finding("packages", wanted.name, f"{version}, expected {_range(wanted)}", "unusable", pip)
    try:
        module = importlib.import_module(wanted.module)
    except Exception as error:  # whatever a damaged package raises
        said = " ".join(str(error).split())[:200]
        again = f'pip install --force-reinstall "{wanted.name}{_range(wanted)}"'
        return Finding("packages", wanted.name, f"{version}, cannot be imported ({said})", "unusable", again)
    full = str(vars(module).get("__version__", ""))  # with a build's name, such as +cpu, which metadata may leave out
    return Finding("packages", wanted.name, full if full.startswith(version) else version)


def _optional(wanted: Requirement) -> Finding:
    version, use = _version(wanted.name), EXTRAS[wanted.extra]
    pip = f'for {use}: pip install "{DISTRIBUTION}[{wanted.extra}]"'
    if version is None:
        return Finding("packages", wanted.name, "not installed", "missing", pip)
    if not wanted.takes(version):
        return Finding("packages", wanted.name, f"{version}, expected {_range(wanted)}", "missing", pip)
    return Finding("packages", wanted.name, f"{version}, for {use}")


def _range(wanted: Requirement) -> str:
    ends = [f">={wanted.at_least}" if wanted.at_least else "", f"<{wanted.below}" if wanted.below else ""]
    return ",".join(end for end in ends if end)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
