"""The version, from the installed package's metadata."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("archgym")
except PackageNotFoundError:  # imported from a checkout that was never installed
    __version__ = "0+unknown"
