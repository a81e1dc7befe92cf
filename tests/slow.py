"""A slow and uneven machine for the tests of servers and browsers: `pytest --slow 5`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time

FACTOR = "DREAMAUDIO_TEST_SLOW"
STRETCH = 0.03  # seconds that a process runs at a time, on average
PAUSE, PAUSES = 1.0, 0.02  # now and then a long pause, which changes the order in which things end


def factor() -> float:
    """How many times slower servers and browsers are to be."""
    return float(os.environ.get(FACTOR, 1))


def slow_down(process: subprocess.Popen) -> None:
    """Hold a process up for most of the time, in stretches of random length, until it ends."""
    if factor() > 1:
        threading.Thread(target=_stutter, args=(process, factor()), daemon=True).start()


def _stutter(process: subprocess.Popen, times: float) -> None:
    chance = random.Random()
    while process.poll() is None:
        time.sleep(chance.expovariate(1 / STRETCH))
        rest = PAUSE if chance.random() < PAUSES else 0
        try:
            process.send_signal(signal.SIGSTOP)
            time.sleep((times - 1) * chance.expovariate(1 / STRETCH) + rest)
        finally:
            process.send_signal(signal.SIGCONT)


# Counts the requests of a page that wait for their answers, and delays each of them by times of
# its own, so that they end in another order than they were made in.
_REQUESTS = """
  const plain = window.fetch, factor = %s;
  window.requestsInFlight = 0;
  const delay = () => {
    const long = Math.random() < 0.1 ? 1500 : 0;
    return factor > 1 && new Promise(done => setTimeout(done, factor * 20 * Math.random() + long));
  };
  window.fetch = async function (...given) {
    window.requestsInFlight++;
    try {
      await delay();
      const answer = await plain.apply(this, given);
      await delay();
      return answer;
    } finally {
      window.requestsInFlight--;
    }
  };
"""


def watch_page(driver) -> None:
    """From the next page on count the requests in flight; throttle and delay a slow page."""
    source = {"source": _REQUESTS % factor()}
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    if factor() > 1:
        driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": factor()})
