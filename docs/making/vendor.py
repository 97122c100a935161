"""What the site takes from npm, kept in docs/vendor: formulas (KaTeX), and search in pages from the disk (iframe-worker).

Whoever reads the site asks nothing of anybody, and whoever builds it needs no npm: these files lie beside the pages.
"""

import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parents[1] / "vendor"
PACKAGES = {  # package: {file in it, or the end of its name: where it goes}
    "katex@0.16.22": {
        "dist/katex.min.js": "katex/katex.min.js",
        "dist/katex.min.css": "katex/katex.min.css",
        "dist/contrib/auto-render.min.js": "katex/auto-render.min.js",
        ".woff2": "katex/fonts/",  # the form that every browser takes first
        "LICENSE": "katex/LICENSE",
    },
    "iframe-worker@1.0.4": {"shim/index.js": "iframe-worker.js", "LICENSE": "iframe-worker.LICENSE"},
}


def fetch(package: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(
                ["npm", "pack", package, "--silent"], cwd=folder, check=True, capture_output=True, timeout=120
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise RuntimeError(f"{package} cannot be had from npm (got {error}); install npm, or go online") from error
        (archive,) = Path(folder).glob("*.tgz")
        return archive.read_bytes()


def write() -> None:
    archives = {package: fetch(package) for package in PACKAGES}
    shutil.rmtree(VENDOR, ignore_errors=True)
    for package, files in PACKAGES.items():
        with tarfile.open(fileobj=io.BytesIO(archives[package])) as archive:
            for member in archive.getmembers():
                inside = member.name.removeprefix("package/")
                for name, place in files.items():
                    if member.isfile() and (inside == name or (name.startswith(".") and inside.endswith(name))):
                        target = VENDOR / place / Path(inside).name if place.endswith("/") else VENDOR / place
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(archive.extractfile(member).read())
