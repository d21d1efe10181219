"""Headless Chromium for tests, driven by Selenium: what was said on its console and what it asked the network for."""

import json
import shutil

import pytest

NAMES = "chromium", "chromium-browser", "google-chrome", "chrome"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


def missing() -> str:
    """What is not there to run a browser with, or nothing."""
    if not any(map(shutil.which, NAMES)):
        return "Chromium is not installed (Debian: chromium, chromium-driver)"
    if not shutil.which("chromedriver"):
        return "chromedriver is not installed (Debian: chromium-driver)"
    try:
        import selenium  # noqa: F401
    except ModuleNotFoundError:
        return "the package selenium is not installed"
    return ""


class Browser:
    """One window. `open` loads a page; `run` runs JavaScript in it; `problems` are what should not have been."""

    def __init__(self, profile, language="en", width=1600, height=1000, dark=False):
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = next(filter(None, map(shutil.which, NAMES)))
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--lang={language}", f"--accept-lang={language}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.run = self.driver.execute_script
        self.theme(dark)
        self.resize(width, height)

    def close(self) -> None:
        self.driver.quit()

    def theme(self, dark: bool) -> None:
        features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in features.items()]
        self.command("Emulation.setEmulatedMedia", features=features)

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", **size)

    def command(self, name: str, **arguments):
        return self.driver.execute_cdp_cmd(name, arguments)

    def open(self, path) -> None:
        """Load a file; comes back when the model has loaded and the first text has been looked at."""
        self.driver.get_log("browser"), self.driver.get_log("performance")
        self.driver.get(path.resolve().as_uri())
        self.wait("return window.nanograd !== undefined && document.getElementById('total-loss').textContent !== ''")

    def wait(self, script: str, seconds=60) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(lambda driver: driver.execute_script(script))

    def find(self, selector: str):
        from selenium.webdriver.common.by import By

        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def set(self, selector: str, value) -> None:
        """As a person would: a value, then the event that says so."""
        self.run(
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('input', {bubbles: true}))",
            selector, value,
        )  # fmt: skip

    def point(self, selector: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        ActionChains(self.driver, duration=20).move_to_element(element).perform()

    def problems(self) -> list[str]:
        """Lines of the console, and requests for anything but the file itself, since `open`."""
        lines = [entry["message"] for entry in self.driver.get_log("browser")]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if url != "data:," and not (url.startswith("file:") and url.endswith(".html")):
                    lines.append(f"request for {url}")
        return lines


def demand_browser() -> None:
    if problem := missing():
        pytest.skip(problem)
