"""What the site takes from npm, into docs/vendor, once: formulas (KaTeX), and search in pages from the disk (iframe-worker).

Whoever reads the site asks nothing of anybody: these files lie beside the pages.
"""

import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parents[1] / "vendor"
PACKAGES = {  # package: {file or folder in it: where it goes}
    "katex@0.16.22": {
        "dist/katex.min.js": "katex/katex.min.js",
        "dist/katex.min.css": "katex/katex.min.css",
        "dist/contrib/auto-render.min.js": "katex/auto-render.min.js",
        "dist/fonts/": "katex/fonts/",
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
            raise RuntimeError(
                f"the site needs {package} from npm, once (got {error}); install npm, or unpack the package into {VENDOR}"
            ) from error
        (archive,) = Path(folder).glob("*.tgz")
        return archive.read_bytes()


def vendor() -> None:
    """Fetches what is missing."""
    for package, files in PACKAGES.items():
        if all((VENDOR / place).exists() for place in files.values()):
            continue
        with tarfile.open(fileobj=io.BytesIO(fetch(package))) as archive:
            for member in archive.getmembers():
                for name, place in files.items():
                    inside = member.name.removeprefix("package/")
                    if member.isfile() and (inside == name or (name.endswith("/") and inside.startswith(name))):
                        target = VENDOR / place / inside.removeprefix(name) if name.endswith("/") else VENDOR / place
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(archive.extractfile(member).read())


if __name__ == "__main__":
    vendor()
