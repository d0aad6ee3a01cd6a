"""Provides the base image: pulls it, or makes it from Debian's packages where it cannot be pulled."""

import os
import re
import shutil
import subprocess
import tempfile

PULLED = "debian:bookworm-slim"
MADE = "trunkline-base:bookworm"
RELEASE = "bookworm"
PULL_SECONDS = 300
# A base image needs none of these, and they are half of its size.
LEFT_OUT = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/info",
            "usr/share/locale")


class BaseImageError(Exception):
    pass


def ensure():
    """Returns the name of a base image that this engine has; pulls or makes one if necessary."""
    named = os.environ.get("TRUNKLINE_BASE")
    if named:
        return named
    for image in (PULLED, MADE):
        if quiet("docker", "image", "inspect", image):
            return image
    print(f"pulling {PULLED} ...", flush=True)
    if quiet("docker", "pull", PULLED, timeout=PULL_SECONDS):
        return PULLED
    print(f"cannot be pulled; making {MADE} from Debian's packages ...", flush=True)
    make()
    return MADE


def make():
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        raise BaseImageError(f"{PULLED} cannot be pulled, and only root can make one (apt-get install debootstrap)")
    sources = package_sources()
    # A machine of another release leaves the choice of a mirror to debootstrap.
    site = [sources[RELEASE]] if RELEASE in sources else []
    with tempfile.TemporaryDirectory(prefix="trunkline-base-") as root:
        os.chmod(root, 0o755)  # it becomes the image's /
        # Its mounts below root are in a mount namespace of their own, so they vanish however it ends.
        result = subprocess.run(
            ["unshare", "--mount", "debootstrap", "--variant=minbase", RELEASE, root, *site],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode != 0:
            raise BaseImageError("debootstrap failed:\n" + result.stdout[-2000:])
        if sources:
            write(root, "etc/apt/sources.list", [f"deb {url} {suite} main" for suite, url in sources.items()])
        write(root, "etc/apt/apt.conf.d/80host", package_settings())
        for path in LEFT_OUT:
            empty(os.path.join(root, path))
        archive = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
        imported = subprocess.run(["docker", "import", "-", MADE], stdin=archive.stdout, stdout=subprocess.DEVNULL)
        if archive.wait() != 0 or imported.returncode != 0:
            raise BaseImageError(f"docker import of {root} failed")


def package_sources():
    """Returns {suite: site} of this machine's own package sources, if it runs the same release."""
    sources = {}
    listing = subprocess.run(["apt-get", "indextargets", "--format", "$(CODENAME) $(SITE)",
                              "Created-By: Packages", "Origin: Debian"], stdout=subprocess.PIPE, text=True).stdout
    for line in listing.splitlines():
        suite, _, site = line.partition(" ")
        if suite in (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security"):
            sources[suite] = site
    return sources


def package_settings():
    """Returns this machine's apt settings for its mirror: proxies, and the accepted age of indexes."""
    settings = subprocess.run(["apt-config", "dump"], stdout=subprocess.PIPE, text=True).stdout
    return [line for line in settings.splitlines() if re.match(r"Acquire::(https?|Check-\w[\w-]*)\b.*\".+\"", line)]


def write(root, path, lines):
    with open(os.path.join(root, path), "w") as file:
        file.write("".join(line + "\n" for line in lines))


def empty(folder):
    for entry in os.scandir(folder) if os.path.isdir(folder) else ():
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def quiet(*command, timeout=None):
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=timeout).returncode == 0
    except subprocess.TimeoutExpired:
        return False
