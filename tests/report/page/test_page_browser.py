"""The report in a real browser: every picture is there, nothing is fetched, nothing complains."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-sync", "--disable-component-update", "--no-first-run", "--mute-audio"),
    *("--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=500,900"),
]
# Runs before anything else in the page and writes what it saw into an element at the end.
WATCH = """<script>
const errors = [];
addEventListener(
  "error", e => errors.push(String(e.message || e.target.outerHTML.slice(0, 99))), true);
addEventListener("load", () => setTimeout(() => {
  const seen = {
    images: [...document.images].map(i => [i.alt, i.complete && i.naturalWidth]),
    audio: [...document.querySelectorAll("audio")].map(a => a.duration),
    fetched: performance.getEntriesByType("resource").map(r => r.name.slice(0, 20)),
    sideways: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    errors };
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
}, 1000));
</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here")


def look(page: Path, tmp_path: Path) -> dict:
    """Open a page and return what the watcher saw and what the browser wrote to its console."""
    watched = tmp_path / "watched.html"
    watched.write_text(page.read_text().replace("<head>", "<head>" + WATCH, 1))
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--dump-dom", watched.as_uri()]
    browser = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        dom, log = browser.communicate(timeout=300)
    finally:
        if browser.poll() is None:
            os.killpg(browser.pid, signal.SIGKILL)
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.S)
    assert found, f"the page did not load: {log[-2000:]}"
    seen = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return {**seen, "console": [line for line in log.splitlines() if "CONSOLE" in line]}


def test_every_picture_and_sound_is_present_and_nothing_is_fetched(report, tmp_path):
    seen = look(report / "index.html", tmp_path)
    # 1 ranking and 1 heat map of layers (one row makes none), 5 curves and 5 losses, 3 scatters,
    # 3 confusions and the one of fbank, 1 masked utterance, 1 reconstruction.
    assert len(seen["images"]) == 1 + 1 + 10 + 3 + 4 + 2
    assert [alt for alt, width in seen["images"] if not width or not alt] == []
    assert seen["audio"] == pytest.approx([2.0, 2.0], abs=0.05)  # Chromium rounds to its frames
    assert [name for name in seen["fetched"] if not name.startswith("data:")] == []
    assert seen["errors"] == [] and seen["console"] == []
    assert seen["sideways"] <= 0  # wide tables scroll by themselves, the page does not


def test_the_watcher_sees_a_broken_picture_and_an_error(tmp_path):
    page = tmp_path / "page.html"
    broken = '<img alt="x" src="data:image/svg+xml;base64,AAAA"><script>undefined_name()</script>'
    page.write_text(f"<!doctype html><html><head></head><body>{broken}</body></html>")
    seen = look(page, tmp_path)
    assert seen["images"] == [["x", 0]]
    assert any("undefined_name" in error for error in seen["errors"])
    assert any("undefined_name" in line for line in seen["console"])
