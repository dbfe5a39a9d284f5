"""The explorer in a browser: it draws what the package computes, and needs no mouse.

The browser is a Chromium with its driver (Debian's chromium and chromium-driver, say); without it,
most of this is skipped.
"""

import ast
import inspect
import os
import re
import shutil

import numpy as np
import pytest
from helpers import ROOT, strategies
from hypothesis import given, settings
from hypothesis import strategies as st

import clr_schedules as clr

DOCS = ROOT / "docs"
PAGE = DOCS / "explorer" / "explore" / "index.html"
POLICIES = ["Triangular", "Triangular2", "ExpRange", "Cyclical", "OneCycle", "CosineRestarts"]
WARMUP = ["warmup_steps", "start_lr"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs Selenium")
    from selenium.common.exceptions import WebDriverException

    names = ["chromium", "chromium-browser", "google-chrome"]
    binary = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("needs Chromium (found by its name or the variable CHROMIUM) and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # root has none
    try:
        chromium = webdriver.Chrome(options, webdriver.ChromeService(driver))
    except WebDriverException as error:  # a driver of another version, a sandbox that forbids it
        pytest.skip(f"Chromium does not start: {error.msg.splitlines()[0]}")
    yield chromium
    chromium.quit()


class Explorer:
    """The page, and how to look at it."""

    def __init__(self, browser):
        self.browser = browser
        self.js = browser.execute_script

    def open(self, setting=""):
        self.browser.get("about:blank")  # else only the hash would change
        self.browser.get(f"{PAGE.as_uri()}#{setting}")
        return self

    def find(self, css):
        return self.browser.find_element("css selector", css)

    def find_all(self, css):
        return self.browser.find_elements("css selector", css)

    def type(self, name, text):
        self.find(f"#{name}").clear()
        self.find(f"#{name}").send_keys(text)

    def press(self, *keys):
        """Presses keys, one after the other, where the focus is."""
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    def focus(self, css):
        self.js("document.querySelector(arguments[0]).focus()", css)

    @property
    def call(self):
        return self.find("#call").text

    @property
    def schedule(self):
        """The schedule that the call makes."""
        return eval(self.call, {"clr": clr})

    @property
    def curve(self):
        """The corners of what is drawn, in pixels."""
        path = self.find("#chart .curve").get_attribute("d")
        return np.array([point.split() for point in path[1:].split("L")], float)

    def fields(self, policy):
        return self.js("return clr.fieldsOf(arguments[0])", policy)


@pytest.fixture
def explorer(browser):
    yield Explorer(browser).open()
    assert browser.get_log("browser") == []  # neither errors nor warnings, in whatever it did


# --- What it draws


@pytest.mark.parametrize("policy", POLICIES)
def test_it_computes_what_the_package_computes_and_its_call_makes_that_schedule(explorer, policy):
    fields = explorer.fields(policy)
    kind = getattr(clr, policy)

    @settings(derandomize=True)
    @given(st.data())
    def check(data):
        drawn = data.draw(strategies.arguments_of(kind))
        chosen = {name: value for name, value in drawn.items() if name in fields}
        chosen = {k: min(v, 2**52 - 1) if isinstance(v, int) else v for k, v in chosen.items()}
        schedule = kind(**chosen)
        if data.draw(st.booleans()):
            steps, start = data.draw(st.integers(1, 10**6)), data.draw(st.sampled_from([0.0, 1e-5]))
            schedule = clr.Warmup(schedule, steps, start)
            chosen |= {"warmup_steps": steps, "start_lr": start}
        texts = {name: "" if value is None else str(value) for name, value in chosen.items()}
        steps = data.draw(strategies.steps_of(schedule)).tolist()
        errors, values, call = explorer.js(
            """const [policy, texts, steps] = arguments;
            const { args, errors } = clr.read(policy, texts);
            if (Object.keys(errors).length) return [errors, [], ""];
            return [errors, clr.values(policy, args, steps), clr.call(policy, args)]""",
            policy,
            texts,
            steps,
        )
        assert errors == {}, texts
        assert eval(call, {"clr": clr}) == schedule
        assert call.replace("clr.", "") == repr(schedule)
        # Both compute in doubles, in another order of operations and with sines and powers of their
        # own: they differ by a few last places (2e-16 each). A scale that is a subnormal number has
        # few digits, far below what float32 can show.
        expected = schedule.values(steps)
        np.testing.assert_allclose(values, expected, rtol=1e-14, atol=2.0**-900, err_msg=call)

    check()


@pytest.mark.parametrize("policy", POLICIES)
def test_it_draws_and_tabulates_the_values_of_its_call(explorer, policy):
    explorer.open(f"policy={policy}&num_steps=300")  # fewer than pixels: each is drawn
    expected = explorer.schedule.values(range(300))
    x, y = explorer.curve.T
    np.testing.assert_allclose(np.diff(x), x[1] - x[0], atol=0.011)  # two decimals of a pixel
    scale = (y[0] - y[-1]) / (expected[-1] - expected[0])
    np.testing.assert_allclose(y[0] - y, (expected - expected[0]) * scale, atol=0.2)
    explorer.find("summary").click()
    rows = [row.text.split() for row in explorer.find_all("tbody tr")]
    assert len(rows) >= 16
    shown = {int(step.replace(",", "")): float(value) for step, value in rows}
    expected = explorer.schedule.values(list(shown))
    np.testing.assert_allclose(list(shown.values()), expected, rtol=1e-14)


def test_no_cycle_is_lost_between_two_pixels(explorer):
    explorer.open("policy=Triangular&step_size=500&num_steps=1000000")
    y = explorer.curve[:, 1]
    bounds = sorted(float(line.get_attribute("y1")) for line in explorer.find_all(".bound"))
    assert [y.min(), y.max()] == pytest.approx(bounds, abs=0.01)
    # Up and down within every pixel.
    assert np.sum(y < y.min() + 1) > 600
    assert np.sum(y > y.max() - 1) > 600


# --- What it refuses

BAD = ["-1", "0", "0.5", "abc", "", "1e39", "1e-40", "1e999", "2", "1_000", "1__0", "nan"]
NOT_TOGETHER = [
    ("Triangular", {"base_lr": "0.5", "max_lr": "0.1"}),
    ("CosineRestarts", {"min_lr": "0.5", "max_lr": "0.1"}),
    ("OneCycle", {"pct_start": "0.6", "three_phase": "True"}),
    ("OneCycle", {"final_div_factor": "0.01"}),
    ("OneCycle", {"max_lr": "1e-37", "final_div_factor": "1"}),
    ("OneCycle", {"max_lr": "1e-30", "final_div_factor": "1e10"}),
]


def refusal(policy, texts):
    """What the package says to these texts as arguments."""

    def value(name, text):
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            return None if name == "step_size_down" and not text else text

    names = {*inspect.signature(getattr(clr, policy)).parameters, *WARMUP}
    given = {name: value(name, text) for name, text in texts.items() if name in names}
    warmup = {name: given.pop(name) for name in WARMUP}
    try:
        clr.Warmup(getattr(clr, policy)(**given), **warmup)
    except (TypeError, ValueError) as error:
        return str(error).replace(" and at most 2**53", " and, on this page, below 2**52")
    return None


def test_it_refuses_what_the_package_refuses_with_the_same_words(explorer):
    initial = explorer.js("return Object.entries(clr.FIELDS).map(([n, f]) => [n, f.initial])")
    cases = [*NOT_TOGETHER]
    for policy in POLICIES:
        for name in explorer.fields(policy):
            if name not in ("num_steps", "three_phase"):
                bad = ["sine"] if name in ("wave", "anneal") else BAD
                may_be_empty = name in ("step_size_down", "warmup_steps")
                cases += [(policy, {name: text}) for text in bad if text or not may_be_empty]
    refused = 0
    for policy, changed in cases:
        texts = dict(initial) | {"warmup_steps": "10"} | changed
        used = {name: texts[name] for name in explorer.fields(policy)}
        found = list(explorer.js("return clr.read(...arguments).errors", policy, used).values())
        message = refusal(policy, used)
        assert found == ([] if message is None else [message]), (policy, changed)
        refused += bool(found)
    assert refused > 200


def test_bad_input_is_said_beside_the_control_and_the_last_good_drawing_stays(explorer):
    def kept():
        table = explorer.find("#table").get_attribute("textContent")
        return explorer.curve.tolist(), explorer.call, table, explorer.browser.current_url

    before = kept()
    explorer.type("max_lr", "0.0001")
    error, field = explorer.find("#base_lr-error"), explorer.find("#base_lr")
    assert error.text == (
        "Argument `base_lr` must not be above `max_lr`. Received: base_lr=0.001, max_lr=0.0001"
    )
    assert field.get_attribute("aria-invalid") == "true"
    assert "base_lr-error" in field.get_attribute("aria-describedby").split()
    assert "base_lr" in explorer.find("#status").text
    # While it was typed, "0.0" and then "0.00..." were wrong, and "" too.
    assert kept() == before
    explorer.type("max_lr", "0.01")
    assert not error.is_displayed()
    assert field.get_attribute("aria-invalid") == "false"
    assert explorer.find("#status").text == ""
    assert explorer.call == "clr.Triangular2(base_lr=0.001, max_lr=0.01, step_size=2000)"


def test_a_bad_link_draws_nothing(explorer):
    explorer.open("policy=Triangular&step_size=0")
    assert "Received: step_size=0" in explorer.find("#step_size-error").text
    assert not explorer.find("#chart").is_displayed()
    assert not explorer.find("#call").is_displayed()
    explorer.open("policy=Cosine")
    assert "Cosine" in explorer.find("#status").text
    assert explorer.call.startswith("clr.Triangular2(")


# --- How it is used


def test_a_link_draws_the_same_again(explorer):
    explorer.find("[value=OneCycle] + span").click()
    explorer.type("total_steps", "1_000")
    explorer.find("#three_phase").click()
    explorer.type("warmup_steps", "100")
    link, call, curve = explorer.browser.current_url, explorer.call, explorer.curve
    assert call == (
        "clr.Warmup(schedule=clr.OneCycle(max_lr=0.006, total_steps=1000, three_phase=True), "
        "warmup_steps=100)"
    )
    explorer.open(link.partition("#")[2])
    assert explorer.call == call
    np.testing.assert_array_equal(explorer.curve, curve)


def test_the_links_of_the_docs_work(explorer):
    links = re.findall(r'href="(explore/.*?)"', (DOCS / "explorer.md").read_text(encoding="utf-8"))
    assert len(links) >= 5
    for link in links:
        file, _, setting = link.replace("&amp;", "&").partition("#")
        assert DOCS / "explorer" / file == PAGE
        explorer.open(setting)
        assert explorer.find("#status").text == ""
        policy, *arguments = setting.removeprefix("policy=").split("&")
        assert f"clr.{policy or 'Triangular2'}(" in explorer.call
        for name, value in (argument.split("=") for argument in arguments):
            usual = explorer.js("return clr.FIELDS[arguments[0]].usual", name)
            assert (
                name == "num_steps" or f"{name}={value}" in explorer.call or float(value) == usual
            )


def test_everything_is_reached_and_used_by_keyboard(explorer):
    from selenium.webdriver.common.keys import Keys

    fields = [name for name in explorer.fields("Triangular2") if name != "policy"]
    controls = [name for field in fields for name in (field, f"{field}, slider")]
    links, table = ["clr-schedules", "About this page"], "Values as a table"
    reached = []
    for _ in range(len(controls) + 7):
        explorer.press(Keys.TAB)
        name, outline = explorer.js(
            """const e = document.activeElement;
            const shown = e.name === "policy" ? e.nextElementSibling : e;
            const { outlineStyle, outlineWidth } = getComputedStyle(shown);
            const name = e.id || e.getAttribute("aria-label") || e.value || e.textContent.trim();
            return [name, outlineStyle !== "none" && parseFloat(outlineWidth) >= 2]"""
        )
        assert outline, f"the focus on {name} is not visible"
        reached.append(name)
    assert reached == [*links, "Triangular2", "step", *controls, "copy", "copy-link", table]

    explorer.press(Keys.ENTER)
    assert explorer.find("table").is_displayed()
    explorer.focus("[aria-label='step_size, slider']")
    explorer.press(Keys.ARROW_RIGHT)
    assert explorer.find("#step_size").get_attribute("value") == "2100"
    explorer.focus("[value=Triangular2]")
    explorer.press(Keys.ARROW_RIGHT)
    assert explorer.call.startswith("clr.ExpRange(")
    assert "step_size=2100" in explorer.call
    explorer.press(Keys.TAB, Keys.HOME, Keys.ARROW_RIGHT)
    readout = explorer.find("#readout").text.split("step 1: learning rate ")
    assert float(readout[1]) == pytest.approx(float(explorer.schedule.values(1)), rel=1e-5)
    for button, text in (("copy", explorer.call), ("copy-link", explorer.browser.current_url)):
        explorer.focus(f"#{button}")
        explorer.press(Keys.ENTER)
        assert explorer.find("#copied").text.startswith("Copied the ")
        explorer.find("#warmup_steps").clear()
        explorer.find("#warmup_steps").send_keys(Keys.CONTROL, "v")
        assert explorer.find("#warmup_steps").get_attribute("value") == text
        explorer.find("#warmup_steps").clear()


def test_it_asks_for_nothing_but_its_own_files():
    """Without a browser: its files name no other place."""
    for file in PAGE.parent.iterdir():
        text = file.read_text(encoding="utf-8")
        addresses = re.findall(r"(?:src|href)=\"([^\"#]+)|url\(([^)]*)\)|(\w+://[^\s'\"]+)", text)
        for address in map("".join, addresses):
            inside = address.startswith(("data:", "../")) or (PAGE.parent / address).exists()
            assert inside or address.startswith("http://www.w3.org/2000/svg"), (file.name, address)
