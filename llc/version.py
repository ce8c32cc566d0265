"""The version of this library."""

from importlib import metadata


def library_version() -> str:
    """The installed version; `unknown` where it is run from a copy that is not installed."""
    try:
        return metadata.version("local-learning-coefficient")
    except metadata.PackageNotFoundError:
        return "unknown"


__version__ = library_version()
