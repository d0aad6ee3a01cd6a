"""Provides the base image: pulled, or made from Debian's packages if nothing can be pulled.

TRUNKLINE_BASE names an image to use instead; TRUNKLINE_DEBIAN names the release, bookworm (the default) or trixie.
"""

import os
import pathlib
import subprocess
import tempfile

RELEASES = ("bookworm", "trixie")
DEFAULT = f"debian:{RELEASES[0]}-slim"
PULL_SECONDS = 300
DEBIAN_ROOT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "debian_root"


class BaseImageError(Exception):
    """Says why there is no base image."""


def ensure() -> str:
    """Returns the name of a base image that this engine has, after pulling or making one if need be."""
    named = os.environ.get("TRUNKLINE_BASE")
    if named:
        return named
    release = os.environ.get("TRUNKLINE_DEBIAN") or RELEASES[0]
    if release not in RELEASES:
        raise BaseImageError(f'TRUNKLINE_DEBIAN is "{release}"; it can be {" or ".join(RELEASES)}')
    pulled, made = f"debian:{release}-slim", f"trunkline-base:{release}"
    for image in (pulled, made):
        if succeeds("docker", "image", "inspect", image):
            return image
    print(f"pulling {pulled} ...", flush=True)
    if succeeds("docker", "pull", pulled, timeout=PULL_SECONDS):
        return pulled
    print(f"{pulled} cannot be pulled; making {made} from Debian's packages ...", flush=True)
    make(release, made)
    return made


def make(release: str, image: str) -> None:
    with tempfile.TemporaryDirectory(prefix="trunkline-base-") as root:
        os.chmod(root, 0o755)  # it becomes the image's /
        result = subprocess.run([DEBIAN_ROOT, release, root], stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode != 0:
            raise BaseImageError(result.stderr.strip())
        archive = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
        imported = subprocess.run(
            ["docker", "import", "-", image], stdin=archive.stdout, stdout=subprocess.DEVNULL, check=False
        )
        if archive.wait() != 0 or imported.returncode != 0:
            raise BaseImageError(f"docker import of {root} failed")


def succeeds(*command: str, timeout: float | None = None) -> bool:
    try:
        return (
            subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=timeout, check=False
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False
