"""Find or install the browser that the tests drive: one that is here, Playwright's own, or Debian's package."""

from __future__ import annotations

import shutil
import subprocess
import sys

from playwright.sync_api import sync_playwright


def find() -> str | None:
    """Path of a Chromium that is here, or None."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
        return path if shutil.which(path) else None


def main() -> int:
    if find():
        return 0
    attempts = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get"):
        attempts += [["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]]
    for command in attempts:
        print("$", " ".join(command), flush=True)
        subprocess.run(command, check=False, timeout=900)
        if find():
            return 0
    print("The browser tests need Chromium, and it could not be installed. Run: python -m playwright install chromium", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
