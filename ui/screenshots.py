"""Makes the pictures of docs/images: starts a service of its own, records the demo, and takes each page as it is.

scripts/screenshots          # takes about a minute; needs Chromium in PATH
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PROGRAM = (sys.executable, "-c", "from api.cli.main import main; main()")
ADDRESS = "http://127.0.0.1:8099"
TOKEN = "the-token-of-the-pictures"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def paths(api: httpx.Client) -> dict[str, str]:
    """The address of each picture, by its name."""
    ids = [each["$id"] for each in api.get("/executions").json()["data"]]

    def of(story: str) -> str:
        return next(f"/executions/{each}" for each in ids if each.startswith(story))

    return {
        "list": "/",
        "timeline": of("leads"),
        "replay": f"{of('enrich')}?version=7&tab=events&event=6",
        "cost": "/cost",
        "errors": "/errors",
        "inbox": "/inbox",
        "operations": "/operations",
        "audit": f"/audit?execution={of('leads').rpartition('/')[2]}",
        "compare": f"/compare{of('leads').removeprefix('/executions')}{of('enrich').removeprefix('/executions')}",
    }


def take(page: Page, name: str, path: str) -> None:
    page.goto(f"{ADDRESS}/ui{path}")
    page.wait_for_timeout(1_500)
    page.screenshot(path=IMAGES / f"{name}.png")


def main() -> None:
    """Take all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="executions-pictures-") as folder:
        Path(folder).chmod(0o711)  # where it is root's, PostgreSQL runs as another user
        settings = {
            "EXECUTIONS_DATA_DIR": folder,
            "EXECUTIONS_ADMIN_TOKEN": TOKEN,
            "EXECUTIONS_PORT": "8099",
        }
        environment = {**os.environ, **settings}
        serving = subprocess.Popen([*PROGRAM, "serve"], cwd=ROOT, env=environment)
        try:
            wait_until_ready()
            subprocess.run(
                [*PROGRAM, "demo", "--speed", "2"], cwd=ROOT, env=environment, check=True
            )
            headers = {"Authorization": f"Bearer {TOKEN}"}
            with (
                httpx.Client(base_url=f"{ADDRESS}/api", headers=headers) as api,
                sync_playwright() as playwright,
            ):
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=ARGUMENTS
                )
                page = browser.new_context(
                    viewport={"width": 1280, "height": 720}, extra_http_headers=headers
                ).new_page()
                for name, path in paths(api).items():
                    take(page, name, path)
                browser.close()
        finally:
            serving.terminate()
            serving.wait(60)


def wait_until_ready() -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if httpx.get(f"{ADDRESS}/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    sys.exit("the service has not become ready")


if __name__ == "__main__":
    main()
