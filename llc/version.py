"""The version of this library."""

from importlib import metadata

# What it is called where packages are installed from.
DISTRIBUTION = "local-learning-coefficient"


def library_version() -> str:
    """The installed version; `unknown` where it is run from a copy that is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


__version__ = library_version()
