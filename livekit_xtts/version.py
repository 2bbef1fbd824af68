"""The version of the package, read by the build and by LiveKit's plugin registry."""

__version__ = "0.1.0"
