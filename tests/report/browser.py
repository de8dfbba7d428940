"""A headless Chromium, driven through a pipe: no other package is needed.

The pipe carries JSON messages of the DevTools protocol that end in a zero byte.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60  # after which it is taken to hang


def found_browser():
    """The path of a Chromium on this machine, or None."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    cache = Path.home() / ".cache" / "ms-playwright"
    kept = sorted(cache.glob("chromium-*/chrome-linux*/chrome"))
    return path or (str(kept[-1]) if kept else None)


class Tab:
    """One page in the browser; `complaints` are its errors and warnings."""

    def __init__(self, write, read):
        self._write, self._read = write, read
        self._number, self._session = 0, None
        self.complaints, self.requests, self._events = [], [], set()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """The result of a command; events on the way are taken in."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (reply := self._next()).get("id") != self._number:
            self._take(reply)
        assert "error" not in reply, reply
        return reply["result"]

    def open(self, url, width, height=900):
        """Load a page in a window of this width."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)
        self._events.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            self._take(self._next())

    def value(self, expression):
        """The value of an expression, awaited, as JSON gives it."""
        made = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in made, made
        return made["result"].get("value")

    def screenshot(self, path, top=0, height=None):
        """A picture of the whole page, or of a part of it."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": top, "width": size["width"], "scale": 1}
        clip["height"] = height or size["height"] - top
        made = self.call(
            "Page.captureScreenshot", clip=clip, captureBeyondViewport=True
        )
        Path(path).write_bytes(base64.b64decode(made["data"]))

    def _next(self):
        message = self._read.readline_to_zero()
        return json.loads(message)

    def _take(self, event):
        self._events.add(event.get("method"))
        told = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled":
            if told["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(told["args"]))
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])


class _Pipe:
    def __init__(self, descriptor):
        self._descriptor, self._rest = descriptor, b""

    def readline_to_zero(self):
        while b"\0" not in self._rest:
            more = os.read(self._descriptor, 1 << 20)
            assert more, "the browser ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return message


@contextmanager
def opened_tab(browser):
    """A tab of a browser of its own, which is ended with its folder at the end."""
    to_read, to_write = os.pipe(), os.pipe()

    def place():  # the browser reads from descriptor 3 and writes to 4
        ends = [os.dup(to_read[0]), os.dup(to_write[1])]
        for descriptor, end in zip((3, 4), ends, strict=True):
            os.dup2(end, descriptor)

    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [
                *(browser, "--headless=new", "--no-sandbox", "--disable-gpu"),
                *("--remote-debugging-pipe", f"--user-data-dir={folder}"),
                *("--no-first-run", "--disable-background-networking"),
                *("--disable-dev-shm-usage", "--hide-scrollbars"),
            ],
            pass_fds=(3, 4),
            preexec_fn=place,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Tab(to_read[1], _Pipe(to_write[0]))
        finally:
            process.terminate()
            try:
                process.wait(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for descriptor in (*to_read, *to_write):
                os.close(descriptor)
