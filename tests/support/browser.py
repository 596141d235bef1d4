"""A headless Chromium, driven by the protocol of its developer tools. Debian's package `chromium` is enough."""

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on this machine")


class Browser:
    """One page of a browser.

    Args:
        port: Port of the browser's developer tools on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        import aiohttp

        self._loop = asyncio.new_event_loop()
        self._count = 0

        async def connect() -> None:
            self._session = aiohttp.ClientSession()
            async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
                page = next(target for target in await answer.json() if target["type"] == "page")
            self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

        self._loop.run_until_complete(connect())

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return its result."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, parameters), 60))

    async def _call(self, method: str, parameters: dict[str, Any]) -> Any:
        self._count += 1
        await self._socket.send_str(json.dumps({"id": self._count, "method": method, "params": parameters}))
        async for message in self._socket:
            answer = json.loads(message.data)
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError("the browser has ended")

    def open(self, url: str, width: int, height: int) -> None:
        """Show a page in a window of some size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in JavaScript."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 60.0) -> Any:
        """Return the value of an expression as soon as it is true."""
        until = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < until, f"{script} did not become true: {self.evaluate('document.body.innerText')}"
            time.sleep(0.2)
        return value

    def save(self, path: Path) -> None:
        """Save what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the connection."""

        async def end() -> None:
            await self._socket.close()
            await self._session.close()

        self._loop.run_until_complete(end())
        self._loop.close()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser whose files lie in a folder, and end it afterwards."""
    assert PROGRAM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
    arguments = [PROGRAM, *options, "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            told, until = folder / "profile" / "DevToolsActivePort", time.monotonic() + 60
            while not (told.is_file() and (lines := told.read_text().splitlines())):
                assert time.monotonic() < until, "the browser has not started"
                time.sleep(0.1)
            page = Browser(int(lines[0]))
            yield page
            page.close()
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
