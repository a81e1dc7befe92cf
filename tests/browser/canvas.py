"""A headless Chromium on ComfyUI's canvas."""

import json
import time
from pathlib import Path

from chromium import open_browser
from slow import watch_page

READY_SECONDS = 120


class Canvas:
    """One page with the ComfyUI frontend."""

    def __init__(self, url: str, profile: Path):
        self.driver = open_browser(profile, "--window-size=1600,1000")
        self.driver.set_script_timeout(120)
        watch_page(self.driver)
        self.url = url
        self.open()

    def open(self) -> None:
        """Load the page and wait for the frontend with all node types."""
        self.driver.get(self.url)
        self.until(
            "return !!(window.app && window.app.graph && window.LiteGraph?.registered_node_types"
            "?.DreamAudioSaveAudio && window.app.extensionManager?.workflow?.activeWorkflow)"
        )
        self.settle()

    def settle(self) -> None:
        """Wait until no request has been on its way, and nothing has moved, for some frames."""
        self.run("""
            const place = () => JSON.stringify([app.canvas.ds.scale, [...app.canvas.ds.offset]]);
            let calm = 0, before = '';
            while (calm < 8) {
              await new Promise(done => requestAnimationFrame(done));
              const now = place();
              calm = window.requestsInFlight || now !== before ? 0 : calm + 1;
              before = now;
            }
        """)

    def wait(self, condition, seconds: float = READY_SECONDS):
        """Call a function until it returns something true."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not in {seconds} s\n{self.errors()}"
            time.sleep(0.1)
        return found

    def until(self, script: str, seconds: float = READY_SECONDS):
        """Run a script until it returns something true."""
        try:
            return self.wait(lambda: self.driver.execute_script(script), seconds)
        except AssertionError as error:
            raise AssertionError(f"still not true: {script}: {error}") from error

    def run(self, script: str, *values):
        """Result of an async function's body, with `args`."""
        wrapped = f"""
            const done = arguments[arguments.length - 1], args = Array.from(arguments).slice(0, -1);
            (async () => {{ {script} }})().then(r => done({{ok: r}}), e => done({{error: String(e.stack || e)}}));
        """
        found = self.driver.execute_async_script(wrapped, *values)
        assert "error" not in found, found.get("error")
        return found.get("ok")

    def errors(self) -> list[str]:
        """Errors on the console since the last call."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE"
        ]

    def load(self, workflow: dict) -> None:
        """Open a workflow."""
        self.run("await app.loadGraphData(args[0], true, true, 'test');", workflow)
        self.settle()

    def prompt(self) -> dict:
        """The graph on the canvas in API format."""
        return json.loads(self.run("return JSON.stringify((await app.graphToPrompt()).output);"))

    def workflow(self) -> dict:
        """The graph on the canvas as it would be saved."""
        return json.loads(self.run("return JSON.stringify((await app.graphToPrompt()).workflow);"))

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()
