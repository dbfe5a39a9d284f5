/* The explorer: draws a schedule from its arguments, and writes the call that makes it.
 *
 * Three parts, each of which uses the one above it alone: the formulas of the schedules; the
 * arguments, with the checks of the package and its errors; the page. `window.clr` has what the tests compare with the package.
 */
"use strict";

window.clr = (() => {
  // --- The formulas -------------------------------------------------------------------------
  //
  // In doubles, which count every step below 2^53. A curve is what its rate is at a step, and
  // which steps at or after a step a drawing must not miss.

  const clip = (x, low, high) => Math.min(Math.max(x, low), high);

  function waveOf(kind, t) {
    const sine = Math.sin((Math.PI / 2) * t);
    return kind === "cosine" ? sine * sine : t;
  }

  // low + (high - low) need not be high in doubles; at the top, say so.
  function between(low, high, amplitude) {
    return amplitude === 1 ? high : clip(low + (high - low) * amplitude, low, high);
  }

  function cyclical({ base_lr, max_lr, step_size, step_size_down, wave }, scale = () => 1) {
    const up = step_size;
    const down = step_size_down ?? up;
    const length = up + down;
    return {
      rate(step) {
        const position = step % length;
        const cycle = (step - position) / length;
        const triangle = position <= up ? position / up : (length - position) / down;
        return between(base_lr, max_lr, waveOf(wave, triangle) * scale(cycle, step));
      },
      corners(step) {
        const start = step - (step % length);
        return [start + up, start + length, start + length + up];
      },
    };
  }

  function oneCycle(args) {
    const { max_lr, total_steps, pct_start, div_factor, final_div_factor, anneal } = args;
    const initial = max_lr / div_factor;
    const final = Math.min(initial / final_div_factor, max_lr);
    const rates = [initial, max_lr, ...(args.three_phase ? [initial] : []), final];
    const peak = pct_start * total_steps - 1;
    const end = total_steps - 1;
    const places = [0, peak, ...(args.three_phase ? [2 * peak] : []), end];
    const phases = [];
    for (let i = 0; i + 1 < places.length; i++) {
      const [start, stop, first, last] = [places[i], places[i + 1], rates[i], rates[i + 1]];
      if (start >= stop) continue; // it takes no time
      const rising = first <= last;
      phases.push({
        begin: Math.ceil(start),
        bottom: rising ? start : stop,
        top: rising ? stop : start,
        low: Math.min(first, last),
        high: Math.max(first, last),
      });
    }
    // A single iteration, all of it rising: the peak.
    if (!phases.length)
      phases.push({ begin: 0, bottom: end - 1, top: end, low: max_lr, high: max_lr });
    return {
      rate(step) {
        const at = Math.min(step, end);
        const { bottom, top, low, high } = phases.findLast((phase) => phase.begin <= at);
        const whole = Math.floor(bottom);
        const ramp = clip((at - whole - (bottom - whole)) / (top - bottom), 0, 1);
        return between(low, high, waveOf(anneal, ramp));
      },
      corners: () => [...phases.flatMap(({ begin }) => [begin - 1, begin]), end],
    };
  }

  // Lengths and starts of cycles are integers, with 128 bits after the point: in doubles a start
  // would soon be off by steps.
  const ONE = 1n << 128n;
  const MOST = ONE << 150n; // of longer cycles, doubles show what is drawn as their peak

  // A double as a fraction of two integers.
  function fraction(x) {
    let denominator = 1n;
    for (; !Number.isInteger(x); x *= 2) denominator *= 2n;
    return [BigInt(x), denominator];
  }

  // The cycles that begin below 2^53 steps and take a step or more. If they shrink, a last row
  // stands for all steps after them, of which nothing is left.
  function restartTable(first, mult) {
    const [numerator, denominator] = fraction(mult);
    const ceiling = (start) => Number((start + ONE - 1n) / ONE);
    const rows = [];
    let [start, length] = [0n, BigInt(first) * ONE];
    while (start < ONE << 53n && length >= ONE) {
      rows.push({ begin: ceiling(start), end: start + length, length });
      start += length;
      length = (length * numerator) / denominator;
      if (length > MOST) length = MOST;
    }
    if (length < ONE) rows.push({ begin: ceiling(start), end: null });
    return rows;
  }

  // In which cycle a step is, what is left of it, from 1 down to 0, and where the next ones begin.
  function restarts(first, mult) {
    if (mult === 1) {
      return (step) => {
        const position = step % first;
        const next = (n) => step - position + n * first;
        return { cycle: (step - position) / first, left: (first - position) / first, next };
      };
    }
    const rows = restartTable(first, mult);
    return (step) => {
      let [cycle, beyond] = [0, rows.length];
      while (beyond - cycle > 1) {
        const middle = (cycle + beyond) >> 1;
        if (rows[middle].begin <= step) cycle = middle;
        else beyond = middle;
      }
      const { end, length } = rows[cycle];
      const left = end === null ? 0 : Number(end - BigInt(step) * ONE) / Number(length);
      return { cycle, left, next: (n) => rows[cycle + n]?.begin ?? Infinity };
    };
  }

  function cosineRestarts({ max_lr, first_cycle_steps, cycle_mult, peak_mult, min_lr }) {
    const at = restarts(first_cycle_steps, cycle_mult);
    return {
      rate(step) {
        const { cycle, left } = at(step);
        return between(min_lr, max_lr, waveOf("cosine", left) * peak_mult ** cycle);
      },
      corners(step) {
        const { next } = at(step);
        return [next(1) - 1, next(1), next(2) - 1, next(2)];
      },
    };
  }

  function warmup(curve, steps, start_lr) {
    const first = curve.rate(0);
    return {
      rate(step) {
        if (step >= steps) return curve.rate(step - steps);
        return start_lr * ((steps - step) / steps) + first * (step / steps);
      },
      corners: (step) => [steps, ...curve.corners(Math.max(step - steps, 0)).map((s) => s + steps)],
    };
  }

  // --- The arguments ------------------------------------------------------------------------

  const CYCLE = ["base_lr", "max_lr", "step_size", "step_size_down"];

  // In the order of the policies' signatures.
  const POLICIES = {
    Triangular: {
      fields: CYCLE,
      about: "A triangle wave: every cycle climbs to max_lr, and back.",
      curve: (args) => cyclical(args),
    },
    Triangular2: {
      fields: CYCLE,
      about: "A triangle wave whose amplitude halves every cycle.",
      curve: (args) => cyclical(args, (cycle) => 2 ** -cycle),
    },
    ExpRange: {
      fields: [...CYCLE, "gamma"],
      about: "A triangle wave whose amplitude is scaled by gamma ** iteration.",
      curve: (args) => cyclical(args, (cycle, step) => args.gamma ** step),
    },
    Cyclical: {
      fields: [...CYCLE, "wave"],
      about: "The general cycle, here with a wave that turns smoothly at both bounds.",
      curve: (args) => cyclical(args),
    },
    OneCycle: {
      fields: [
        "max_lr",
        "total_steps",
        "pct_start",
        "div_factor",
        "final_div_factor",
        "anneal",
        "three_phase",
      ],
      about: "One cycle over the whole training: up to max_lr, and down to next to nothing.",
      curve: oneCycle,
    },
    CosineRestarts: {
      fields: ["max_lr", "first_cycle_steps", "cycle_mult", "peak_mult", "min_lr"],
      about: "SGDR: cosines from a peak down to min_lr, one after the other.",
      curve: cosineRestarts,
    },
  };
  const WARMUP = ["warmup_steps", "start_lr"];

  // `kind` checks and prints the argument; `initial` is what the page begins with; `usual` is the
  // default of the signature, which a call leaves out.
  const FIELDS = {
    base_lr: { kind: "rate", initial: "0.001", slider: log(-6, 0), hint: "lowest rate" },
    max_lr: {
      kind: "rate",
      above: true,
      initial: "0.006",
      slider: log(-6, 1),
      hint: "highest rate",
    },
    step_size: { kind: "count", initial: "2000", slider: log(1, 6), hint: "iterations up" },
    step_size_down: {
      kind: "count",
      initial: "",
      none: "as step_size",
      slider: log(1, 6),
      hint: "iterations down",
    },
    gamma: {
      kind: "factor",
      initial: "0.99994",
      slider: belowOne(),
      hint: "decay per iteration",
    },
    wave: { kind: "choice", choices: ["linear", "cosine"], initial: "cosine", usual: "linear" },
    total_steps: {
      kind: "count",
      initial: "8000",
      slider: log(1, 6),
      hint: "iterations of the training",
    },
    pct_start: {
      kind: "share",
      initial: "0.3",
      usual: 0.3,
      slider: linear(0, 1, 0.01),
      hint: "fraction that rises",
    },
    div_factor: {
      kind: "real",
      rule: "a finite number of at least 1",
      fits: (x) => x >= 1,
      initial: "25.0",
      usual: 25,
      slider: log(0, 4),
      hint: "max_lr / first rate",
    },
    final_div_factor: {
      kind: "real",
      rule: "a finite number above 0",
      fits: (x) => x > 0,
      initial: "10000.0",
      usual: 1e4,
      slider: log(0, 6),
      hint: "first rate / last rate",
    },
    anneal: { kind: "choice", choices: ["cosine", "linear"], initial: "cosine", usual: "cosine" },
    three_phase: {
      kind: "flag",
      initial: "False",
      usual: false,
      hint: "back to the first rate, then down",
    },
    first_cycle_steps: {
      kind: "count",
      initial: "1000",
      slider: log(1, 6),
      hint: "iterations of the first cycle",
    },
    cycle_mult: {
      kind: "real",
      rule: "1, at least 1.01 (growing cycles), or above 0 and at most 0.99 (shrinking cycles)",
      fits: (x) => x === 1 || x >= 1.01 || (x > 0 && x <= 0.99),
      initial: "2.0",
      usual: 1,
      slider: linear(0.5, 3, 0.05),
      hint: "length of a cycle / the one before",
    },
    peak_mult: {
      kind: "factor",
      initial: "1.0",
      usual: 1,
      slider: linear(0.05, 1, 0.05),
      hint: "peak / the one before",
    },
    min_lr: { kind: "rate", initial: "0.0", usual: 0, slider: log(-6, 0), hint: "lowest rate" },
    warmup_steps: {
      kind: "count",
      least: 0,
      initial: "",
      none: "no warm-up",
      slider: log(1, 6),
      hint: "iterations of the rise",
    },
    start_lr: { kind: "rate", initial: "0.0", usual: 0, slider: log(-6, 0), hint: "first rate" },
    num_steps: { kind: "count", initial: "8000", slider: log(1, 6), hint: "iterations to draw" },
  };

  // What the positions of a slider stand for, and where it stands for a value.

  // Numbers of two digits, over the powers of ten: each press of a key is another one.
  function log(from, to) {
    return {
      max: 90 * (to - from),
      value: (p) => float(Number(`${10 + (p % 90)}e${from + Math.floor(p / 90) - 1}`)),
      position(x) {
        const decade = Math.floor(Math.log10(x));
        return (decade - from) * 90 + Math.round((x / 10 ** decade - 1) * 10);
      },
    };
  }

  function belowOne() {
    const { max, value, position } = log(-7, -1);
    return {
      max,
      value: (p) => float(Number((1 - Number(value(max - p))).toFixed(9))),
      position: (x) => (x < 1 ? max - position(1 - x) : max),
    };
  }

  function linear(from, to, step) {
    return {
      max: Math.round((to - from) / step),
      value: (p) => float(Number((from + p * step).toFixed(2))),
      position: (x) => Math.round((x - from) / step),
    };
  }

  // A double as Python prints it: the same digits, with another taste for exponents.
  function float(x) {
    if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf";
    const [digits, exponent] = x.toExponential().split("e");
    if (x !== 0 && (exponent < -4 || exponent >= 16)) {
      const [sign, size] = [exponent[0], exponent.slice(1).padStart(2, "0")];
      return `${digits}e${sign}${size}`;
    }
    const text = String(x); // decimals, for these
    return text.includes(".") ? text : `${text}.0`;
  }

  // The format "g" of Python, of numbers from 0 to 1.
  const general = (x) => (x === 1 ? "1" : float(Number(x.toPrecision(6))));

  function fail(name, rule, received) {
    throw new Error(`Argument \`${name}\` must be ${rule}. Received: ${name}=${received}`);
  }

  const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;

  // A text as the number that Python reads, and as Python prints it.
  function number(name, text, rule) {
    const plain = text.trim().replace(/(?<=\d)_(?=\d)/g, "");
    if (!NUMBER.test(plain)) fail(name, rule, `'${text.trim()}'`);
    const value = Number(plain) + 0; // -0 is 0
    const shown = /^[-+]?\d+$/.test(plain)
      ? String(BigInt(plain.replace("+", "")))
      : float(Number(plain));
    if (!Number.isFinite(value)) fail(name, rule, shown);
    return { value, shown };
  }

  const [TINY, HUGE] = [2 ** -126, (2 - 2 ** -23) * 2 ** 127]; // of float32
  const RANGE = "from 1.2e-38 to 3.4e+38, the range of float32";

  function float32(name, value, shown, above) {
    const rule = `a finite number ${above ? "above" : "of at least"} 0`;
    if (value < 0 || (value === 0 && above)) fail(name, rule, shown);
    if (value && !(TINY <= value && value <= HUGE)) {
      fail(name, `${above ? "" : "0, or "}a finite number ${RANGE}`, shown);
    }
    return value;
  }

  // A rate that follows from the arguments.
  function derived(name, formula, value) {
    if (!(TINY <= value && value <= HUGE)) {
      const received = `Received: ${formula} = ${float(value)}`;
      throw new Error(`The ${name} rate, \`${formula}\`, must be ${RANGE}. ${received}`);
    }
  }

  // As Python rounds: from half way between two whole numbers to the even one.
  function nearest(x) {
    const below = Math.floor(x);
    const rest = x - below;
    return rest > 0.5 || (rest === 0.5 && below % 2) ? below + 1 : below;
  }

  const CHECKS = {
    rate(name, text, { above }) {
      const { value, shown } = number(
        name,
        text,
        `a finite number ${above ? "above" : "of at least"} 0`,
      );
      return float32(name, value, shown, above);
    },
    count(name, text, { least = 1 }) {
      const rule = `a whole number of at least ${least}`;
      const { value, shown } = number(name, text, rule);
      if (!Number.isInteger(value)) {
        fail(name, rule, `${shown}. The nearest is ${Math.max(nearest(value), least)}`);
      }
      if (value < 0) {
        const why = "A negative number may be the `cardinality()` of a dataset of unknown or";
        fail(name, rule, `${shown}. ${why} infinite length: pass the number of its batches`);
      }
      if (value < least) fail(name, rule, shown);
      // The sum of two is then a step that doubles count.
      if (value >= 2 ** 52) fail(name, `${rule} and, on this page, below 2**52`, shown);
      return value;
    },
    factor(name, text) {
      const rule = "above 0 and at most 1";
      const { value, shown } = number(name, text, rule);
      if (!(value > 0 && value <= 1)) fail(name, rule, shown);
      return value;
    },
    real(name, text, { rule, fits }) {
      const { value, shown } = number(name, text, rule);
      if (!fits(value)) fail(name, rule, shown);
      return value;
    },
    share(name, text, field, texts) {
      const [most, phases] = texts.three_phase === "True" ? [0.5, " with three phases"] : [1, ""];
      const { value, shown } = number(name, text, `from 0 to ${most}${phases}`);
      if (!(value >= 0 && value <= most)) fail(name, `from 0 to ${most}${phases}`, shown);
      return value;
    },
    choice(name, text, { choices }) {
      if (!choices.includes(text))
        fail(name, `one of ${choices.map((c) => `'${c}'`).join(", ")}`, `'${text}'`);
      return text;
    },
    flag(name, text) {
      if (text !== "True" && text !== "False") fail(name, "True or False", `'${text}'`);
      return text === "True";
    },
  };

  // What is wrong with arguments of which each is right by itself.
  function together(policy, args) {
    const low = "min_lr" in args ? "min_lr" : "base_lr";
    if (args[low] > args.max_lr) {
      const received = `${low}=${float(args[low])}, max_lr=${float(args.max_lr)}`;
      return { [low]: `Argument \`${low}\` must not be above \`max_lr\`. Received: ${received}` };
    }
    if (policy !== "OneCycle") return {};
    const { max_lr, div_factor, final_div_factor } = args;
    const initial = max_lr / div_factor;
    let name = "div_factor";
    try {
      derived("initial", "max_lr / div_factor", initial);
      name = "final_div_factor";
      const final = initial / final_div_factor;
      if (final > max_lr * (1 + 2 ** -24)) {
        const bound = `at least 1 / div_factor (here ${general(1 / div_factor)})`;
        fail(name, `${bound}: no rate is above \`max_lr\``, float(final_div_factor));
      }
      derived("final", "max_lr / div_factor / final_div_factor", final);
    } catch (error) {
      return { [name]: error.message };
    }
    return {};
  }

  const fieldsOf = (policy) => [...POLICIES[policy].fields, ...WARMUP, "num_steps"];

  /* Reads the arguments of a policy from texts, by name: {args, errors}, errors by name too. */
  function read(policy, texts) {
    const [args, errors] = [{}, {}];
    for (const name of fieldsOf(policy)) {
      const field = FIELDS[name];
      const text = texts[name] ?? field.initial;
      if (field.none && text.trim() === "") continue;
      try {
        args[name] = CHECKS[field.kind](name, text, field, texts);
      } catch (error) {
        errors[name] = error.message;
      }
    }
    if (!Object.keys(errors).length) Object.assign(errors, together(policy, args));
    return { args, errors };
  }

  function curveOf(policy, args) {
    const curve = POLICIES[policy].curve(args);
    return args.warmup_steps ? warmup(curve, args.warmup_steps, args.start_lr) : curve;
  }

  /* The learning rates of steps below 2**53; `args` as `read` returns them. */
  function values(policy, args, steps) {
    const curve = curveOf(policy, args);
    return steps.map((step) => curve.rate(step));
  }

  /* The call that makes the schedule, as the package prints it. */
  function call(policy, args) {
    const print = (name) => {
      const value = args[name];
      if (FIELDS[name].kind === "count") return `${name}=${value}`;
      if (typeof value === "number") return `${name}=${float(value)}`;
      return typeof value === "boolean"
        ? `${name}=${value ? "True" : "False"}`
        : `${name}='${value}'`;
    };
    const given = (names) =>
      names.filter((name) => name in args && args[name] !== FIELDS[name].usual).map(print);
    const inner = `clr.${policy}(${given(POLICIES[policy].fields).join(", ")})`;
    if (!args.warmup_steps) return inner;
    return `clr.Warmup(${[`schedule=${inner}`, ...given(WARMUP)].join(", ")})`;
  }

  return { POLICIES, WARMUP, FIELDS, fieldsOf, float, read, curveOf, values, call };
})();

// --- The page -------------------------------------------------------------------------------

(() => {
  const { POLICIES, WARMUP, FIELDS, fieldsOf, float, read, curveOf, call } = window.clr;
  const find = (id) => document.getElementById(id);

  function element(tag, attributes = {}, ...children) {
    const svg = ["path", "line", "text", "circle", "g"].includes(tag);
    const made = svg
      ? document.createElementNS("http://www.w3.org/2000/svg", tag)
      : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // The theme that was chosen on the site's other pages, kept there by this name.
  function followTheme() {
    let theme = null;
    try {
      theme = localStorage.getItem("theme");
    } catch {
      // Storage is blocked: the system's theme is as good.
    }
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  }

  // --- Controls: a text for each argument, and a slider beside it that writes into it

  const controls = {};

  function addPolicies() {
    for (const policy of Object.keys(POLICIES)) {
      const input = element("input", { type: "radio", name: "policy", value: policy });
      input.addEventListener("change", update);
      find("policies").append(element("label", {}, input, element("span", {}, policy)));
    }
  }

  function addControl(name, parent) {
    const field = FIELDS[name];
    const described = { id: name, "aria-describedby": `${name}-hint ${name}-error` };
    let input;
    if (field.kind === "choice") {
      input = element("select", described, ...field.choices.map((c) => element("option", {}, c)));
    } else if (field.kind === "flag") {
      input = element("input", { ...described, type: "checkbox" });
    } else {
      const free = { type: "text", inputmode: "decimal", spellcheck: "false" };
      input = element("input", { ...described, ...free, placeholder: field.none ?? "" });
    }
    const hint = element("span", { id: `${name}-hint`, class: "hint" }, field.hint ?? "");
    const error = element("p", { id: `${name}-error`, class: "error", "aria-live": "polite" });
    const label = element("label", { for: name }, name);
    const box = element("div", { class: `control ${field.kind}` }, label, hint, input);
    let slider = null;
    if (field.slider) {
      slider = element("input", {
        type: "range",
        min: 0,
        max: field.slider.max,
        step: 1,
        "aria-label": `${name}, slider`,
      });
      slider.addEventListener("input", () => {
        const text = field.slider.value(Number(slider.value));
        input.value = field.kind === "count" ? text.replace(".0", "") : text;
        update();
      });
      box.append(slider);
    }
    box.append(error);
    input.addEventListener("input", update);
    parent.append(box);
    controls[name] = {
      box,
      input,
      slider,
      error,
      get text() {
        return field.kind === "flag" ? (input.checked ? "True" : "False") : input.value;
      },
      set text(text) {
        if (field.kind === "flag") input.checked = text === "True";
        else input.value = text;
      },
    };
  }

  function addControls() {
    const group = (title, names) => {
      const fieldset = element("fieldset", {}, element("legend", {}, title));
      for (const name of names) addControl(name, fieldset);
      find("controls").append(fieldset);
    };
    const ofPolicies = Object.values(POLICIES).flatMap(({ fields }) => fields);
    group("Arguments", [...new Set(ofPolicies)]);
    group("Warm-up before it", WARMUP);
    group("Drawing", ["num_steps"]);
    find("controls").addEventListener("submit", (event) => event.preventDefault());
  }

  function placeSlider(name, args) {
    const { slider, input } = controls[name];
    if (!slider) return;
    // An argument that is not given is where it takes its value from.
    const value = args[name] ?? (name === "step_size_down" ? args.step_size : 0);
    const position = value > 0 ? FIELDS[name].slider.position(value) : 0;
    slider.value = position; // the browser keeps it within the slider
    slider.setAttribute("aria-valuetext", input.value || FIELDS[name].none);
  }

  // --- The URL's hash: what is needed to draw the same again

  const chosen = () => document.querySelector("[name=policy]:checked").value;

  function fromHash() {
    const state = new URLSearchParams(location.hash.slice(1));
    const asked = state.get("policy") ?? "Triangular2";
    const policy = Object.hasOwn(POLICIES, asked) ? asked : "Triangular2";
    document.querySelector(`[name=policy][value=${policy}]`).checked = true;
    for (const [name, control] of Object.entries(controls)) {
      control.text = state.get(name) ?? FIELDS[name].initial;
    }
    update();
    if (asked !== policy) say(`The link asks for the policy “${asked}”, which there is not.`);
  }

  function toHash(policy, texts) {
    const state = new URLSearchParams({ policy });
    for (const name of fieldsOf(policy)) if (texts[name] !== "") state.set(name, texts[name]);
    history.replaceState(null, "", `#${state}`);
  }

  // --- The drawing

  let drawn = null; // what is drawn: the last setting without an error

  function say(text) {
    find("status").textContent = text;
  }

  function update() {
    const policy = chosen();
    const names = fieldsOf(policy);
    const texts = Object.fromEntries(names.map((name) => [name, controls[name].text]));
    const { args, errors } = read(policy, texts);
    find("about").textContent = POLICIES[policy].about;
    for (const [name, { box, input, error }] of Object.entries(controls)) {
      box.hidden = !names.includes(name);
      input.setAttribute("aria-invalid", String(name in errors));
      error.textContent = errors[name] ?? "";
      if (names.includes(name)) placeSlider(name, args);
    }
    const wrong = Object.keys(errors);
    document.body.classList.toggle("stale", wrong.length > 0);
    document.body.classList.toggle("empty", wrong.length > 0 && !drawn);
    if (wrong.length) {
      const rest = drawn ? "The drawing is the last one that was right." : "Nothing is drawn yet.";
      say(`Not drawn: see ${wrong.join(", ")}. ${rest}`);
      return;
    }
    say("");
    drawn = { policy, args, curve: curveOf(policy, args), last: args.num_steps - 1 };
    find("call").textContent = call(policy, args);
    find("copied").textContent = "";
    toHash(policy, texts);
    fillTable();
    draw();
  }

  // So many steps as show, and the corners between them: without these, cycles shorter than what
  // lies between two steps would be drawn as others, longer ones.
  function stepsToDraw({ curve, last }, parts) {
    const width = Math.max(last / parts, 1);
    const steps = new Set([last]);
    for (let part = 0; part < parts && part * width <= last; part++) {
      const [from, to] = [Math.floor(part * width), Math.min((part + 1) * width, last)];
      steps.add(from);
      for (const corner of curve.corners(from)) if (corner > from && corner < to) steps.add(corner);
    }
    return [...steps].sort((a, b) => a - b);
  }

  function ticks(low, high, count, least = 0) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const nice = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
    const step = Math.max(nice, least);
    const from = Math.ceil(low / step - 1e-9);
    const to = Math.floor(high / step + 1e-9);
    return Array.from({ length: to - from + 1 }, (_, i) =>
      Number(((from + i) * step).toPrecision(12)),
    );
  }

  // Digits that a reader reads; the table has all of them.
  const shortRate = (x) => float(Number(x.toPrecision(6))).replace(/\.0$/, "");
  const shortStep = (x) => (x < 1e8 ? x.toLocaleString("en-US") : String(Number(x.toPrecision(6))));
  // On an axis, powers of ten at once.
  const tickLabel = (x) =>
    x && Math.abs(x) < 1e-3 ? x.toExponential().replace("+", "") : shortRate(x);

  let place = null; // from steps and rates to pixels, for what is drawn

  function draw() {
    if (!drawn) return;
    const chart = find("chart");
    const width = chart.parentElement.clientWidth;
    const height = Math.round(Math.min(Math.max(width * 0.5, 200), 400));
    const [left, right, top, bottom] = [width < 500 ? 58 : 70, 58, 12, 46];
    if (width <= left + right) return; // not shown, or being laid out: what was drawn stays
    const { args, curve, policy, last } = drawn;

    const steps = stepsToDraw(drawn, Math.max(width - left - right, 1));
    const rates = steps.map(curve.rate);
    const bounds = ["max_lr", "base_lr", "min_lr"].filter((name) => name in args);
    const shown = [...rates, ...bounds.map((name) => args[name])];
    const lowest = Math.min(...shown);
    const highest = Math.max(...shown);
    // From 0, so that heights compare, unless that leaves no height to compare.
    const from = lowest > highest / 2 && lowest < highest ? lowest - (highest - lowest) / 10 : 0;
    const to = highest + (highest - from) / 20;
    const x = (step) => left + (step / (last + 1)) * (width - left - right);
    const y = (rate) => height - bottom - ((rate - from) / (to - from)) * (height - top - bottom);
    const step = (px) => Math.round(((px - left) / (width - left - right)) * (last + 1));
    place = { x, y, step, top, bottom: height - bottom };

    const parts = [];
    const text = (label, attributes) => parts.push(element("text", attributes, label));
    const line = (x1, y1, x2, y2, kind) =>
      parts.push(element("line", { x1, y1, x2, y2, class: kind }));
    for (const tick of ticks(from, to, height / 60)) {
      line(left, y(tick), width - right, y(tick), "grid");
      text(tickLabel(tick), { x: left - 8, y: y(tick) + 4, class: "tick y" });
    }
    for (const tick of ticks(0, last + 1, width / 110, 1)) {
      line(x(tick), height - bottom, x(tick), height - bottom + 5, "axis");
      text(shortStep(tick), { x: x(tick), y: height - bottom + 19, class: "tick x" });
    }
    line(left, height - bottom, width - right, height - bottom, "axis");
    text("step (iterations)", { x: (left + width - right) / 2, y: height - 8, class: "title x" });
    const middle = (top + height - bottom) / 2;
    text("learning rate", {
      x: 0,
      y: 0,
      class: "title x",
      transform: `translate(13 ${middle}) rotate(-90)`,
    });
    for (const name of bounds) {
      line(left, y(args[name]), width - right, y(args[name]), "bound");
    }
    const points = steps.map((step, i) => `${x(step).toFixed(2)} ${y(rates[i]).toFixed(2)}`);
    parts.push(element("path", { d: `M${points.join("L")}`, class: "curve" }));
    if (steps.length === 1)
      parts.push(element("circle", { cx: x(0), cy: y(rates[0]), r: 2.5, class: "dot" }));
    // After the end of the curve; bounds that are close to each other push their names apart.
    const apart = bounds.length > 1 && y(args[bounds[1]]) - y(args[bounds[0]]) < 14 ? 7 : 0;
    bounds.forEach((name, i) => {
      const middle = y(args[name]) + 4 + (i ? apart : -apart);
      text(name, { x: width - right + 6, y: middle, class: "bound-name" });
    });
    parts.push(element("g", { id: "cursor" }));

    const title = find("chart-title");
    const range = `from ${shortRate(Math.min(...rates))} to ${shortRate(Math.max(...rates))}`;
    const warm = args.warmup_steps ? ", after a warm-up" : "";
    const over = `over ${shortStep(last + 1)} steps`;
    title.textContent = `${policy}${warm}: learning rates ${range} ${over}`;
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    chart.setAttribute("height", height);
    chart.replaceChildren(title, ...parts);
    find("step").style.marginLeft = `${left - 8}px`; // half of its thumb
    find("step").style.width = `${x(last) - left + 16}px`;
    find("step").max = last;
    showStep();
  }

  // --- Reading single values: by the slider below the drawing, or by pointing at it

  function showStep() {
    if (!drawn || !place) return;
    const step = Math.min(Number(find("step").value), drawn.last);
    const rate = drawn.curve.rate(step);
    const text = `step ${shortStep(step)}: learning rate ${shortRate(rate)}`;
    find("readout").textContent = text;
    find("step").setAttribute("aria-valuetext", text);
    const [x, y] = [place.x(step), place.y(rate)];
    find("cursor").replaceChildren(
      element("line", { x1: x, x2: x, y1: place.top, y2: place.bottom, class: "cursor" }),
      element("circle", { cx: x, cy: y, r: 4.5, class: "dot" }),
    );
  }

  function pointAt(event) {
    if (!drawn || !place) return;
    find("step").value = place.step(event.clientX - find("chart").getBoundingClientRect().left);
    showStep();
  }

  function fillTable() {
    const { last, curve } = drawn;
    const steps = new Set(stepsToDraw(drawn, 16).slice(0, 60));
    steps.add(last);
    const rows = [...steps].map((step) =>
      element(
        "tr",
        {},
        element("td", {}, step.toLocaleString("en-US")),
        element("td", {}, float(curve.rate(step))),
      ),
    );
    find("table").replaceChildren(...rows);
  }

  async function copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Where a page may not write to the clipboard, as in some frames, by way of a selection.
      const area = element("textarea", {}, text);
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) {
        find("copied").textContent = `The browser does not let this page copy the ${what}.`;
        return;
      }
    }
    find("copied").textContent = `Copied the ${what}.`;
  }

  followTheme();
  window.addEventListener("storage", followTheme);
  addPolicies();
  addControls();
  fromHash();
  window.addEventListener("hashchange", fromHash);
  new ResizeObserver(draw).observe(find("chart").parentElement);
  find("step").addEventListener("input", showStep);
  find("chart").addEventListener("pointermove", pointAt);
  find("chart").addEventListener("pointerdown", pointAt);
  find("copy").addEventListener("click", () => copy(find("call").textContent, "call"));
  find("copy-link").addEventListener("click", () => copy(location.href, "link"));
})();
