"""The explorer in a browser: it draws what the package computes, and anybody can use it.

The browser is a Chromium with its driver (Debian's chromium and chromium-driver, say); without it,
most of this is skipped.
"""

import ast
import json
import os
import random
import re
import shutil

import numpy as np
import pytest
from helpers import ROOT

import clr_schedules as clr

DOCS = ROOT / "docs"
PAGE = DOCS / "explorer" / "explore" / "index.html"
POLICIES = ["Triangular", "Triangular2", "ExpRange", "Cyclical", "OneCycle", "CosineRestarts"]
# Steps that are visited, cycles that are drawn, and two bad arguments.
ODD = {
    "warm": "policy=Triangular&warmup_steps=700",
    "narrow": "policy=ExpRange&step_size=3&num_steps=30000",
    "one step": "policy=CosineRestarts&num_steps=1",
    "constant": "policy=Cyclical&base_lr=0.006",
    "bad": "policy=OneCycle&pct_start=2&div_factor=abc",
}
SETTINGS = {policy: f"policy={policy}" for policy in POLICIES} | ODD


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs Selenium")
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service

    names = ["chromium", "chromium-browser", "google-chrome"]
    binary = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("needs Chromium (found by its name or the variable CHROMIUM) and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # root has none
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        chromium = webdriver.Chrome(options=options, service=Service(driver))
    except WebDriverException as error:  # a driver of another version, a sandbox that forbids it
        pytest.skip(f"Chromium does not start: {error.msg.splitlines()[0]}")
    yield chromium
    chromium.quit()


class Explorer:
    """The page, and how to look at it."""

    def __init__(self, browser):
        self.browser = browser
        self.js = browser.execute_script
        self.resize(1280, 900)
        self.prefer()

    def open(self, setting=""):
        self.browser.get("about:blank")  # else only the hash would change
        self.browser.get(f"{PAGE.as_uri()}#{setting}")
        return self

    def resize(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme="light", motion="no-preference"):
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        media = {"features": [{"name": n, "value": v} for n, v in features.items()]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def find(self, css):
        return self.browser.find_element("css selector", css)

    def type(self, name, text):
        self.find(f"#{name}").clear()
        self.find(f"#{name}").send_keys(text)

    def press(self, *keys):
        """Presses keys, one after the other, where the focus is."""
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    @property
    def call(self):
        return self.find("#call").text

    @property
    def curve(self):
        """The corners of what is drawn, in pixels."""
        path = self.find("#chart .curve").get_attribute("d")
        return np.array([point.split() for point in path[1:].split("L")], float)


@pytest.fixture
def explorer(browser):
    yield Explorer(browser).open()
    assert browser.get_log("browser") == []  # neither errors nor warnings, in whatever it did
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    # The browser's own first page has others.
    urls = {r["request"]["url"] for r in requests if r["documentURL"].startswith(PAGE.as_uri())}
    assert len(urls) >= 3
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}


# --- What it draws


def rate(draw):
    return draw.choice([10 ** draw.uniform(-9, 1), 10 ** draw.uniform(-37, 38), 0.001])


def count(draw):
    return draw.randint(1, draw.choice([20, 10**5, 2**40, 2**52 - 1]))


def arguments(draw, policy):
    """Valid arguments of a policy."""
    low, high = sorted([rate(draw), rate(draw)])
    low = draw.choice([low, 0.0])
    if policy == "CosineRestarts":
        return {
            "max_lr": high,
            "first_cycle_steps": count(draw),
            "cycle_mult": draw.choice(
                [1.0, 2.0, 1.5, 0.5, 0.99, 1.01, draw.uniform(1.01, 4), 1e300, 1e-300]
            ),
            "peak_mult": draw.choice([1.0, 0.5, draw.uniform(0.01, 1)]),
            "min_lr": low,
        }
    if policy == "OneCycle":
        three_phase = draw.random() < 0.5
        total_steps = count(draw)
        longest = 0.5 if three_phase else 1.0
        div_factor = draw.choice([25.0, 1.0, draw.uniform(1, 1e6)])
        return {
            "max_lr": 10 ** draw.uniform(-9, 38),
            "total_steps": total_steps,
            "pct_start": draw.choice(
                [draw.uniform(0, longest), 0.0, 0.3, longest, 0.4 / total_steps]
            ),
            "div_factor": div_factor,
            "final_div_factor": draw.choice([1e4, draw.uniform(1, 1e8), 1 / div_factor]),
            "anneal": draw.choice(["cosine", "linear"]),
            "three_phase": three_phase,
        }
    cycle = {"base_lr": low, "max_lr": high, "step_size": count(draw)}
    if draw.random() < 0.5:
        cycle["step_size_down"] = count(draw)
    if policy == "ExpRange":
        cycle["gamma"] = draw.choice([1.0, 0.99994, 1 - 10 ** draw.uniform(-12, 0), 1 - 2.0**-53])
    if policy == "Cyclical":
        cycle["wave"] = draw.choice(["linear", "cosine"])
    return cycle


def corners(draw, policy, arguments):
    """A step where a policy turns, or begins anew."""
    if policy == "OneCycle":
        peak, end = int(arguments["pct_start"] * arguments["total_steps"]), arguments["total_steps"]
        return draw.choice([0, peak, 2 * peak, end])
    if policy == "CosineRestarts":
        first = arguments["first_cycle_steps"]
        if arguments["cycle_mult"] == 1:
            return first * draw.randint(0, draw.choice([5, 2**53 // first]))
        ends = [0, *clr.CosineRestarts(**arguments).cycle_ends(2**53 - 1).tolist()]
        return draw.choice(ends[: draw.choice([5, len(ends)])])
    up = arguments["step_size"]
    length = up + arguments.get("step_size_down", up)
    return draw.randint(0, draw.choice([3, 2**53 // length])) * length + draw.choice([0, up])


def settings(number=240):
    """(policy, arguments, those of a warm-up or none, steps), the same in every run."""
    draw = random.Random(0)
    for i in range(number):
        policy = POLICIES[i % len(POLICIES)]
        chosen = arguments(draw, policy)
        warmup = {}
        if draw.random() < 0.25:
            warmup = {"warmup_steps": count(draw), "start_lr": draw.choice([0.0, 1e-5])}
        turns = [corners(draw, policy, chosen) + draw.randint(-2, 2) for _ in range(24)]
        turns += [turn + warmup.get("warmup_steps", 0) for turn in turns]
        steps = [
            0,
            1,
            2**53 - 1,
            *turns,
            *(draw.randint(0, 10 ** draw.randint(1, 15)) for _ in range(24)),
        ]
        yield policy, chosen, warmup, [min(max(step, 0), 2**53 - 1) for step in steps]


def test_it_computes_what_the_package_computes_and_its_call_makes_that_schedule(explorer):
    for policy, chosen, warmup, steps in settings():
        texts = {name: repr(value).strip("'") for name, value in (chosen | warmup).items()}
        texts = {"step_size_down": ""} | texts
        errors, values, call = explorer.js(
            """const [policy, texts, steps] = arguments;
            const { args, errors } = clr.read(policy, texts);
            if (Object.keys(errors).length) return [errors, [], ""];
            return [errors, clr.values(policy, args, steps), clr.call(policy, args)]""",
            policy,
            texts,
            steps,
        )
        assert errors == {}, (policy, texts)
        schedule = eval(call, {"clr": clr})
        assert call.replace("clr.", "") == repr(schedule)
        # Both compute in doubles, in another order of operations and with sines and powers of their
        # own: they differ by a few last places (2e-16 each). What is next to nothing has fewer.
        np.testing.assert_allclose(
            values, schedule.values(steps), rtol=1e-14, atol=1e-300, err_msg=call
        )


def test_the_numbers_are_python_s(explorer):
    draw = random.Random(0)
    numbers = [0.0, 1.0, 25.0, 0.1 + 0.2, 1e16, 9999999999999998.0, 1e-4, 9.9e-5, 1.5e300, 5e-324]
    numbers += [10.0**n for n in range(-30, 30)]
    numbers += [draw.uniform(1, 10) * 10 ** draw.uniform(-300, 300) for _ in range(300)]
    assert explorer.js("return arguments[0].map(clr.float)", numbers) == [repr(x) for x in numbers]


@pytest.mark.parametrize("policy", POLICIES)
def test_it_draws_and_tabulates_the_values_of_its_call(explorer, policy):
    explorer.open(f"policy={policy}&num_steps=300")  # fewer than pixels: each is drawn
    schedule = eval(explorer.call, {"clr": clr})
    expected = schedule.values(range(300))
    x, y = explorer.curve.T
    np.testing.assert_allclose(np.diff(x), x[1] - x[0], atol=0.011)  # two decimals of a pixel
    scale = (y[0] - y[-1]) / (expected[-1] - expected[0])
    np.testing.assert_allclose(y[0] - y, (expected - expected[0]) * scale, atol=0.2)
    explorer.find("summary").click()
    rows = [row.text.split() for row in explorer.browser.find_elements("css selector", "tbody tr")]
    assert len(rows) >= 16
    shown = {int(step.replace(",", "")): float(value) for step, value in rows}
    np.testing.assert_allclose(list(shown.values()), schedule.values(list(shown)), rtol=1e-14)


def test_no_cycle_is_lost_between_two_pixels(explorer):
    explorer.open("policy=Triangular&base_lr=0.001&max_lr=0.006&step_size=500&num_steps=1000000")
    y = explorer.curve[:, 1]
    bounds = [
        float(line.get_attribute("y1"))
        for line in explorer.browser.find_elements("css selector", ".bound")
    ]
    assert (y.min(), y.max()) == pytest.approx(tuple(sorted(bounds)), abs=0.01)
    # Up and down within every pixel.
    assert np.sum(y < y.min() + 1) > 600
    assert np.sum(y > y.max() - 1) > 600


# --- What it refuses

BAD = ["-1", "0", "0.5", "abc", "", "1e39", "1e-40", "1e999", "2", "1_000", "1__0", "nan"]


def test_it_refuses_what_the_package_refuses_with_the_same_words(explorer):
    fields = explorer.js(
        """return Object.entries(clr.FIELDS).filter(([, f]) => f.kind !== "flag")
        .map(([name, f]) => [name, f.initial, !!f.none])"""
    )
    initial = {name: text for name, text, _ in fields} | {
        "warmup_steps": "10",
        "three_phase": "False",
    }
    optional = {name for name, _, none in fields if none}
    refused = 0
    for policy in POLICIES:
        for name in explorer.js("return clr.fieldsOf(arguments[0])", policy):
            if name in ("num_steps", "three_phase"):
                continue
            for text in ["sine"] if name in ("wave", "anneal") else BAD:
                if name in optional and not text:
                    continue
                texts = initial | {name: text}
                found = explorer.js("return clr.read(...arguments).errors", policy, texts)
                message = refusal(
                    policy, explorer.js("return clr.fieldsOf(arguments[0])", policy), texts
                )
                assert found.get(name) == message, (policy, name, text)
                assert len(found) == (message is not None)
                refused += bool(found)
    assert refused > 200


def refusal(policy, names, texts):
    """What the package says to these texts as arguments."""

    def value(text):
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            return text

    given = {name: value(texts[name]) for name in names if name != "num_steps" and texts[name]}
    given |= {name: "" for name in names if texts[name] == "" and name != "step_size_down"}
    warmup = {name: given.pop(name) for name in ("warmup_steps", "start_lr")}
    try:
        clr.Warmup(getattr(clr, policy)(**given), **warmup)
    except (TypeError, ValueError) as error:
        return str(error).replace(" and at most 2**53", " and, on this page, below 2**52")
    return None


@pytest.mark.parametrize(
    ("policy", "texts", "wrong"),
    [
        ("Triangular", {"base_lr": "0.5", "max_lr": "0.1"}, "base_lr"),
        ("CosineRestarts", {"min_lr": "0.5", "max_lr": "0.1"}, "min_lr"),
        ("OneCycle", {"pct_start": "0.6", "three_phase": "True"}, "pct_start"),
        ("OneCycle", {"final_div_factor": "0.01"}, "final_div_factor"),
        ("OneCycle", {"max_lr": "1e-37", "final_div_factor": "1"}, "div_factor"),
        ("OneCycle", {"max_lr": "1e-30", "final_div_factor": "1e10"}, "final_div_factor"),
    ],
)
def test_it_refuses_arguments_that_do_not_go_together(explorer, policy, texts, wrong):
    initial = explorer.js("return Object.entries(clr.FIELDS).map(([n, f]) => [n, f.initial])")
    texts = dict(initial) | {"warmup_steps": "10"} | texts
    found = explorer.js("return clr.read(...arguments).errors", policy, texts)
    names = explorer.js("return clr.fieldsOf(arguments[0])", policy)
    assert found == {wrong: refusal(policy, names, texts)}
    assert found[wrong]


def test_it_says_what_it_does_not_count(explorer):
    found = explorer.js("return clr.read('Triangular', {step_size: '4503599627370496'}).errors")
    assert found["step_size"] == (
        "Argument `step_size` must be a whole number of at least 1 and, on this page, below 2**52. "
        "Received: step_size=4503599627370496"
    )


def test_bad_input_is_said_beside_the_control_and_the_last_good_drawing_stays(explorer):
    def kept():
        table = explorer.find("#table").get_attribute("textContent")
        return explorer.curve.tolist(), explorer.call, table, explorer.browser.current_url

    before = kept()
    explorer.type("max_lr", "0.0001")
    error = explorer.find("#base_lr-error")
    assert error.text == (
        "Argument `base_lr` must not be above `max_lr`. Received: base_lr=0.001, max_lr=0.0001"
    )
    field = explorer.find("#base_lr")
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
    explorer.js("location.hash = 'policy=Triangular&step_size=7'")
    explorer.browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert "step_size=7)" in explorer.call


def test_the_links_of_the_docs_work(explorer):
    links = re.findall(r'href="(explore/.*?)"', (DOCS / "explorer.md").read_text(encoding="utf-8"))
    assert len(links) >= 5
    for link in links:
        file, _, setting = link.replace("&amp;", "&").partition("#")
        assert DOCS / "explorer" / file == PAGE
        explorer.open(setting)
        assert explorer.find("#status").text == ""
        for argument in setting.split("&"):
            name, _, value = argument.partition("=")
            assert (
                name in ("", "policy", "num_steps")
                or argument in explorer.call
                or (explorer.js("return clr.FIELDS[arguments[0]].usual", name) == float(value))
            )


def test_each_position_of_a_slider_is_another_value_at_that_position(explorer):
    lost = explorer.js(
        """const lost = [];
        for (const [name, { slider, kind }] of Object.entries(clr.FIELDS)) {
            const seen = new Set();
            for (let p = 0; slider && p <= slider.max; p++) {
                const text = slider.value(p);
                const whole = kind !== "count" || text.endsWith(".0");
                const found = slider.position(Number(text));
                if (!whole || found !== p || seen.has(text)) lost.push([name, p, text]);
                seen.add(text);
            }
        }
        return lost"""
    )
    assert lost == []


def test_a_slider_writes_into_its_field(explorer):
    from selenium.webdriver.common.keys import Keys

    explorer.find("[aria-label='step_size, slider']").send_keys(Keys.ARROW_RIGHT)
    assert explorer.find("#step_size").get_attribute("value") == "2100"
    assert explorer.call.endswith("step_size=2100)")
    explorer.type("step_size", "150")
    assert (
        explorer.find("[aria-label='step_size, slider']").get_attribute("aria-valuetext") == "150"
    )
    explorer.find("[aria-label='step_size, slider']").send_keys(Keys.ARROW_RIGHT)
    assert explorer.find("#step_size").get_attribute("value") == "160"


def test_pointing_at_the_curve_reads_it(explorer):
    from selenium.webdriver.common.action_chains import ActionChains

    x, y = explorer.curve[np.argmin(explorer.curve[:, 1])]
    chart = explorer.find("#chart")
    offset = round(x - chart.rect["width"] / 2), round(y - chart.rect["height"] / 2)
    ActionChains(explorer.browser).move_to_element_with_offset(chart, *offset).perform()
    step, value = re.fullmatch(
        r"step ([\d,]+): learning rate (\S+)", explorer.find("#readout").text
    ).groups()
    step = int(step.replace(",", ""))
    assert step == pytest.approx(2000, abs=8)  # a pixel is 11 steps
    expected = eval(explorer.call, {"clr": clr}).values(step)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_the_call_and_the_link_can_be_copied(explorer):
    from selenium.webdriver.common.keys import Keys

    for button, text in (("copy", explorer.call), ("copy-link", explorer.browser.current_url)):
        explorer.find(f"#{button}").click()
        assert explorer.find("#copied").text.startswith("Copied the ")
        field = explorer.find("#warmup_steps")
        field.clear()
        field.send_keys(Keys.CONTROL, "v")
        assert field.get_attribute("value") == text
        field.clear()


def test_everything_is_reached_and_used_by_keyboard(explorer):
    from selenium.webdriver.common.keys import Keys

    focus = """const e = document.activeElement;
        return e.id || e.getAttribute("aria-label") || e.value || e.textContent.trim()"""
    reached = []
    for _ in range(40):
        explorer.press(Keys.TAB)
        name = explorer.js(focus)
        if explorer.js("return document.activeElement === document.body") or name in reached:
            break
        reached.append(name)
        seen = explorer.js(
            """const e = document.activeElement;
            const shown = e.name === "policy" ? e.nextElementSibling : e;
            const { outlineStyle, outlineWidth } = getComputedStyle(shown);
            return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2"""
        )
        assert seen, f"the focus on {name} is not visible"
    fields = [
        "base_lr",
        "max_lr",
        "step_size",
        "step_size_down",
        "warmup_steps",
        "start_lr",
        "num_steps",
    ]
    controls = [name for field in fields for name in (field, f"{field}, slider")]
    links, table = ["clr-schedules", "About this page"], "Values as a table"
    assert reached == [*links, "Triangular2", "step", *controls, "copy", "copy-link", table]

    explorer.js("document.querySelector('summary').focus()")
    explorer.press(Keys.ENTER)
    assert explorer.find("table").is_displayed()
    explorer.js("document.querySelector('[value=Triangular2]').focus()")
    explorer.press(Keys.ARROW_RIGHT)
    assert explorer.call.startswith("clr.ExpRange(")
    explorer.press(Keys.TAB, Keys.HOME, Keys.ARROW_RIGHT)
    assert explorer.find("#readout").text.startswith("step 1: learning rate 0.0010025")
    assert explorer.js(focus) == "step"
    explorer.js("document.querySelector('#copy').focus()")
    explorer.press(Keys.ENTER)
    assert explorer.find("#copied").text == "Copied the call."


# --- How it looks

CONTRASTS = """
// Of every text that shows: the text, and its contrast to what is behind it (WCAG 2.2).
const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const parse = (color) => color.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (e) => {
    for (; e; e = e.parentElement) {
        const color = parse(getComputedStyle(e).backgroundColor);
        if (color[3] !== 0) return color;
    }
};
const found = [];
const add = (what, color, background) => {
    const [low, high] = [luminance(parse(color)), luminance(background)].sort((a, b) => a - b);
    found.push([what, (high + 0.05) / (low + 0.05)]);
};
for (const e of document.body.querySelectorAll("*")) {
    if (!e.checkVisibility() || e.matches("title, option, [type=range], [type=radio]")) continue;
    const style = getComputedStyle(e);
    const texts = [...e.childNodes].filter((node) => node.nodeType === 3);
    const text = e.value || texts.map((node) => node.data.trim()).join("");
    if (text) add(text, e instanceof SVGElement ? style.fill : style.color, behind(e));
    if (e.placeholder) add(e.placeholder, getComputedStyle(e, "::placeholder").color, behind(e));
}
return found
"""


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_text_has_contrast(explorer, scheme, setting):
    explorer.prefer(scheme, motion="reduce")  # no colours on their way to others
    explorer.open(SETTINGS[setting])
    explorer.js("document.querySelector('details').open = true")
    found = explorer.js(CONTRASTS)
    assert len(found) > 25
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


def brightness(explorer):
    color = explorer.js("return getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", color)[:3])) / 3


def test_it_is_dark_where_the_system_or_the_site_is(explorer):
    assert brightness(explorer) == 255
    explorer.prefer("dark")
    assert brightness(explorer) < 32
    # As furo, the site's theme, keeps what was chosen on another page.
    for theme, dark in (("light", False), ("dark", True), ("auto", True)):
        explorer.js("localStorage.setItem('theme', arguments[0])", theme)
        explorer.open()
        assert (brightness(explorer) < 32) == dark
    explorer.js("localStorage.setItem('theme', 'light'); dispatchEvent(new Event('storage'))")
    assert brightness(explorer) == 255
    explorer.js("localStorage.clear()")


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 360, 700, 1280])
@pytest.mark.parametrize("setting", SETTINGS)
def test_nothing_is_wider_than_the_window(explorer, setting, width):
    explorer.resize(width, 800)
    explorer.open(SETTINGS[setting])
    if width < 500:
        explorer.js("document.querySelector('details').open = true")
    wide = """return [...document.body.querySelectorAll("*")].filter((e) => e.checkVisibility()
        && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
        .map((e) => e.outerHTML.slice(0, 80))"""
    assert explorer.js(wide) == []
    assert explorer.js("return document.documentElement.scrollWidth") <= width


def test_where_there_is_no_room_nothing_is_drawn_and_nothing_breaks(explorer):
    """As in a frame that is not shown, or while a browser lays out anew to print."""
    expected = explorer.curve
    for width in ("0px", "40px", "116px"):
        explorer.js(
            "document.querySelector('#chart').parentElement.style.width = arguments[0]", width
        )
        explorer.browser.execute_async_script(
            "requestAnimationFrame(() => setTimeout(arguments[0]))"
        )
    explorer.js("document.querySelector('#chart').parentElement.style.width = null")
    explorer.browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0]))")
    np.testing.assert_array_equal(explorer.curve, expected)


def test_on_a_phone_the_drawing_does_not_cover_what_has_the_focus(explorer):
    from selenium.webdriver.common.keys import Keys

    explorer.resize(360, 800)
    explorer.open("policy=OneCycle")
    explorer.js("document.querySelector('#copy').focus()")
    for _ in range(18):
        explorer.browser.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB)
        covered = explorer.js(
            """const e = document.activeElement;
            if (!e.closest("#controls")) return false;
            const bottom = document.querySelector("#drawing").getBoundingClientRect().bottom;
            return e.getBoundingClientRect().top < bottom"""
        )
        assert not covered


def test_nothing_moves_where_motion_is_not_wanted(explorer):
    explorer.prefer(motion="reduce")
    moving = """return [...document.querySelectorAll("*")].filter((e) => {
        const { transitionDuration, animationName } = getComputedStyle(e);
        return animationName !== "none" || /[1-9]/.test(transitionDuration)
    }).length"""
    assert explorer.js(moving) == 0


def test_everything_has_a_name(explorer):
    assert explorer.js("return document.documentElement.lang") == "en"
    assert explorer.browser.title == "Schedule explorer - clr-schedules"
    assert explorer.js("return document.querySelectorAll('h1').length") == 1
    for policy in POLICIES:
        explorer.open(f"policy={policy}")
        operated = explorer.browser.find_elements(
            "css selector", "input, select, button, a, summary"
        )
        names = [
            e.accessible_name
            for e in operated
            if e.is_displayed() or e.get_attribute("name") == "policy"
        ]
        assert all(names)
        assert explorer.find("#chart").accessible_name.startswith(f"{policy}: learning rates from ")
        assert explorer.find("#max_lr").accessible_name == "max_lr"
    ids = explorer.js("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    named = explorer.js(
        """return ["aria-describedby", "aria-labelledby", "for"].flatMap((attribute) =>
            [...document.querySelectorAll(`[${attribute}]`)].flatMap((e) =>
                e.getAttribute(attribute).split(" ")))"""
    )
    assert set(named) <= set(ids)


def test_it_asks_for_nothing_but_its_own_files():
    """Without a browser: its files name no other place."""
    for file in PAGE.parent.iterdir():
        text = file.read_text(encoding="utf-8")
        addresses = re.findall(r"(?:src|href)=\"([^\"#]+)|url\(([^)]*)\)|(\w+://[^\s'\"]+)", text)
        for address in map("".join, addresses):
            inside = address.startswith(("data:", "../")) or (PAGE.parent / address).exists()
            assert inside or address.startswith("http://www.w3.org/2000/svg"), (file.name, address)
