"""A headless Chromium, driven over a pipe by its DevTools protocol: no driver, no port."""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking"),
    *("--hide-scrollbars", "--remote-debugging-pipe"),
)
# Keys by name: code of the key and of the character.
KEYS = {"Enter": (13, "\r"), "ArrowLeft": (37, ""), "ArrowRight": (39, ""), "Tab": (9, ""),
        " ": (32, " ")}  # fmt: skip


class PageFault(Exception):
    """What a page threw."""


def _out_of_the_way(descriptor):
    """The same file under a number that the shell below does not use."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class Browser:
    """A browser; what it keeps between pages lies in a folder."""

    def __init__(self, folder):
        to_browser, from_us = map(_out_of_the_way, os.pipe())
        to_us, from_browser = map(_out_of_the_way, os.pipe())
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        # The browser reads descriptor 3 and writes descriptor 4.
        script = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "browser", *command],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._out, self._in = os.fdopen(from_us, "wb"), os.fdopen(to_us, "rb")
        self._number, self._rest, self._events = 0, b"", []

    def call(self, method, session=None, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            said = self._next()
            if said.get("id") == self._number:
                if "error" in said:
                    raise PageFault(f"{method}: {said['error']}")
                return said["result"]
            self._events.append(said)

    def await_event(self, method, session):
        while True:
            for place, said in enumerate(self._events):
                if said.get("method") == method and said.get("sessionId") == session:
                    return self._events.pop(place)["params"]
            self._events.append(self._next())

    def _next(self):
        while b"\0" not in self._rest:
            piece = os.read(self._in.fileno(), 1 << 16)
            if not piece:
                raise PageFault("the browser has ended")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, url, width=1280, height=800, context=None):
        return Tab(self, url, width, height, context)

    def new_context(self):
        """A profile of its own, as of another person's device."""
        return self.call("Target.createBrowserContext")["browserContextId"]

    def close(self):
        with contextlib.suppress(PageFault, OSError):
            self.call("Browser.close")
        self._process.wait(20)
        self._out.close()
        self._in.close()


class Tab:
    """A tab."""

    def __init__(self, browser, url, width, height, context):
        extra = {} if context is None else {"browserContextId": context}
        self._browser = browser
        self.target = browser.call("Target.createTarget", url="about:blank", **extra)["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)[
            "sessionId"
        ]
        self.call("Page.enable")
        self.call("Runtime.enable")
        self.size(width, height)
        self.go(url)

    def call(self, method, **parameters):
        return self._browser.call(method, self._session, **parameters)

    def size(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def go(self, url):
        self.call("Page.navigate", url=url)
        self._browser.await_event("Page.loadEventFired", self._session)

    def run(self, script):
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise PageFault(found["exceptionDetails"]["exception"].get("description", script))
        return found["result"].get("value")

    def text(self, css):
        return self.run(f"document.querySelector({json.dumps(css)}).innerText")

    def click(self, css):
        """A real click in the middle of an element."""
        place = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(css)}); "
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); "
            "const r = e.getBoundingClientRect(); "
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind, x=place[0], y=place[1], button="left", clickCount=1,
            )  # fmt: skip

    def press(self, key):
        code, text = KEYS[key] if key in KEYS else (ord(key.upper()), key)
        common = {"key": key, "windowsVirtualKeyCode": code, "code": key}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text,
                  **common)  # fmt: skip
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def media(self, **features):
        pairs = [{"name": name.replace("_", "-"), "value": value}
                 for name, value in features.items()]  # fmt: skip
        self.call("Emulation.setEmulatedMedia", features=pairs)

    def picture(self, file, *, whole=False):
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    def close(self):
        self._browser.call("Target.closeTarget", targetId=self.target)
