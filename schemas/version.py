"""The version of this code, as it stands in manifests and certificates."""

VERSION = "0.1.0"
TOOL = f"sanolith {VERSION}"
