// Plots that answer to whoever points at them. They are complete without: this adds values under the pointer to curves,
// and brushes to parallel coordinates.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Where a pointer is in a picture's own measures.
function place(svg, event) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [at.x, at.y];
}

function short(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : value.toFixed(4);
}

// Curves: the values of all trials at the step that is nearest to the pointer, or chosen by the arrow keys.
function hover(svg) {
  const curves = [...svg.querySelectorAll("path.curve[data-points]")].map((path) => {
    const at = path.getAttribute("d").slice(1).split("L").map((point) => point.split(" ").map(Number));
    const points = path.dataset.points.split(" ").map((point) => point.split(":").map(Number));
    const colour = [...path.classList].find((name) => /^s\d$/.test(name)).slice(1);
    return { name: path.dataset.name, colour, points: points.map(([step, value], i) => ({ step, value, x: at[i][0], y: at[i][1] })) };
  });
  if (curves.length === 0) return;
  const across = new Map(curves.flatMap((curve) => curve.points.map((point) => [point.step, point.x])));
  const steps = [...across.keys()].sort((a, b) => a - b);
  const figure = svg.closest("figure");
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "status");
  figure.append(tip);
  const marks = element("g", {});
  svg.append(marks);
  svg.setAttribute("tabindex", "0");
  let shown = -1;

  function show(index) {
    shown = Math.max(0, Math.min(steps.length - 1, index));
    const step = steps[shown];
    const found = curves
      .map((curve) => ({ ...curve, point: curve.points.find((point) => point.step === step) }))
      .filter((curve) => curve.point)
      .sort((a, b) => a.point.y - b.point.y);
    const x = across.get(step);
    marks.replaceChildren(element("path", { class: "cross", d: `M${x} 10V200` }));
    const lines = [document.createElement("strong")];
    lines[0].textContent = `step ${step}`;
    for (const { name, colour, point } of found) {
      marks.append(element("circle", { class: "ring", cx: point.x, cy: point.y, r: 4 }));
      const line = document.createElement("div");
      const title = document.createElement("span");
      const dot = document.createElement("i");
      dot.className = `b${colour}`;
      title.append(dot, name);
      const value = document.createElement("span");
      value.textContent = short(point.value);
      line.append(title, value);
      lines.push(line);
    }
    tip.replaceChildren(...lines);
    tip.className = x > 230 ? "tip left" : "tip right";
    tip.hidden = false;
  }
  function hide() {
    tip.hidden = true;
    marks.replaceChildren();
    shown = -1;
  }
  svg.addEventListener("pointermove", (event) => {
    const [x] = place(svg, event);
    let best = 0;
    steps.forEach((step, i) => {
      if (Math.abs(across.get(step) - x) < Math.abs(across.get(steps[best]) - x)) best = i;
    });
    if (best !== shown) show(best);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: shown < 0 ? steps.length - 1 : shown - 1, ArrowRight: shown + 1, Home: 0, End: steps.length - 1 }[event.key];
    if (event.key === "Escape") hide();
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
}

// A number as a person writes it.
function written(value) {
  return String(Number(value.toPrecision(3)));
}

// What a brush from `top` to `bottom` on an axis says as conditions of a filter; nothing where it says nothing.
function conditions(axis, top, bottom) {
  const { name, low, high, log, values, ordered } = axis.dataset;
  if (values !== undefined) {
    const all = values.split("|").map((entry) => {
      const cut = entry.indexOf("=");
      return [Number(entry.slice(0, cut)), entry.slice(cut + 1)];
    });
    const held = all.filter(([y]) => y >= top - 0.5 && y <= bottom + 0.5).map(([, value]) => value);
    if (held.length === 0 || held.length === all.length) return [];
    if (held.length === 1) return [`${name}=${held[0]}`];
    if (ordered === "1") return [`${name}>=${held[0]}`, `${name}<=${held[held.length - 1]}`];
    return all.map(([, value]) => value).filter((value) => !held.includes(value)).map((value) => `${name}!=${value}`);
  }
  const [from, to] = log === "1" ? [Math.log10(low), Math.log10(high)] : [Number(low), Number(high)];
  const value = (y) => {
    const part = (Number(axis.dataset.bottom) - y) / (axis.dataset.bottom - axis.dataset.top);
    const at = from + (to - from) * part;
    return log === "1" ? 10 ** at : at;
  };
  return [`${name}>=${written(value(bottom))}`, `${name}<=${written(value(top))}`];
}

// Parallel coordinates: lines outside the brushes step back; what the brushes say is told by an event.
function brush(svg, kept) {
  const axes = [...svg.querySelectorAll(".upright")];
  const lines = [...svg.querySelectorAll(".lines path")].map((path) => ({
    path,
    at: new Map(path.getAttribute("d").slice(1).split("L").map((point) => point.split(" ").map(Number))),
  }));
  const brushes = new Map();

  function draw() {
    for (const axis of axes) {
      axis.querySelector(".brush")?.remove();
      const range = brushes.get(axis);
      if (range) {
        axis.append(element("rect", { class: "brush", x: axis.dataset.x - 9, y: range[0], width: 18, height: Math.max(2, range[1] - range[0]) }));
      }
    }
    const ranges = [...brushes].map(([axis, range]) => [Number(axis.dataset.x), range]);
    for (const { path, at } of lines) {
      const inside = ranges.every(([x, [top, bottom]]) => at.get(x) >= top - 0.5 && at.get(x) <= bottom + 0.5);
      path.classList.toggle("off", !inside);
    }
  }
  function tell() {
    for (const [axis, range] of brushes) kept.set(axis.dataset.name, range);
    for (const axis of axes) if (!brushes.has(axis)) kept.delete(axis.dataset.name);
    const where = [...brushes].flatMap(([axis, [top, bottom]]) => conditions(axis, top, bottom)).join(" and ");
    svg.dispatchEvent(new CustomEvent("brushed", { bubbles: true, detail: where }));
  }
  for (const axis of axes) {
    const [top, bottom] = [Number(axis.dataset.top) - 8, Number(axis.dataset.bottom) + 8];
    const within = (y) => Math.max(top, Math.min(bottom, y));
    if (kept.has(axis.dataset.name)) brushes.set(axis, kept.get(axis.dataset.name));
    let start = null;
    axis.addEventListener("pointerdown", (event) => {
      start = within(place(svg, event)[1]);
      axis.setPointerCapture(event.pointerId);
    });
    axis.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const now = within(place(svg, event)[1]);
      if (Math.abs(now - start) < 3) return;
      brushes.set(axis, [Math.min(start, now), Math.max(start, now)]);
      draw();
    });
    const end = (event) => {
      if (start === null) return;
      // A click lets go.
      if (Math.abs(within(place(svg, event)[1]) - start) < 3) brushes.delete(axis);
      start = null;
      draw();
      tell();
    };
    axis.addEventListener("pointerup", end);
    axis.addEventListener("pointercancel", end);
    axis.addEventListener("keydown", (event) => {
      const height = (bottom - top) / 4;
      const move = { ArrowUp: -height / 2, ArrowDown: height / 2 }[event.key];
      if (event.key === "Escape") brushes.delete(axis);
      else if (move === undefined) return;
      else {
        const from = brushes.get(axis)?.[0] ?? (move < 0 ? bottom : top - height);
        const at = Math.max(top, Math.min(bottom - height, from + move));
        brushes.set(axis, [at, at + height]);
      }
      event.preventDefault();
      draw();
      tell();
    });
  }
  if (brushes.size > 0) draw();
}

// Brushes outlive the picture that they were drawn on: a newer one takes them over.
const kept = new Map();

function enliven(root) {
  root.querySelectorAll("figure svg.plot").forEach(hover);
  root.querySelectorAll("svg.parallel").forEach((svg) => brush(svg, kept));
}
