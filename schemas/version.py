"""States the version of this code, as manifests and certificates carry it."""

VERSION = "0.1.0"
TOOL = f"sanolith {VERSION}"
