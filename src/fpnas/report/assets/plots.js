// Draws the page's plots from the JSON in #plots, each in the element that names it, again whenever its width changes.
// Colours are CSS variables, so that light and dark need no drawing anew. Leaves words, tables and alt texts to the page.
(() => {
  "use strict";
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const colour = (index) => `var(--c${index % 8})`;
  const dash = (index) => (index < 8 ? undefined : index < 16 ? "5 3" : "2 2");
  const number = d3.format(".3~s");
  const si = (value) => (Math.abs(value) >= 1000 ? number(value) : d3.format(".4~g")(value));
  const base = (width) => ({ width, style: { background: "none", fontSize: "11.5px" } });

  function curve(spec, width) {
    const height = Math.round(Math.max(190, Math.min(240, width * 0.5)));
    const whole = spec.unit === "K" && d3.max(spec.series, (line) => d3.max(line.high) ?? 0) < 12 ? { interval: 1 } : { ticks: 5 };
    const marks = [Plot.gridY({ strokeOpacity: 0.12, ...whole }), Plot.axisY({ label: null, tickSize: 0, tickFormat: si, ...whole })];
    marks.push(Plot.axisX({ label: "step", labelAnchor: "right", labelArrow: "none", tickSize: 0, ticks: Math.max(3, Math.floor(width / 90)), tickFormat: si }));
    const points = [];
    for (const line of spec.series) {
      const rows = line.x.map((x, i) => ({ x, y: line.y[i], low: line.low[i], high: line.high[i], name: line.name }));
      points.push(...rows);
      const fill = colour(line.colour);
      if (rows.some((row) => row.low !== row.high)) {
        marks.push(Plot.areaY(rows, { x: "x", y1: "low", y2: "high", curve: spec.unit === "K" ? "step-after" : "linear", fill, fillOpacity: spec.series.length > 2 ? 0.08 : 0.18 }));
      }
      marks.push(Plot.lineY(rows, { x: "x", y: "y", stroke: fill, strokeWidth: 1.8, curve: spec.unit === "K" ? "step-after" : "linear", strokeDasharray: dash(line.colour) }));
      if (rows.length === 1) marks.push(Plot.dot(rows, { x: "x", y: "y", fill, r: 3 }));
    }
    for (const rule of spec.rules) {
      const stroke = rule.colour === null ? "var(--ink-soft)" : colour(rule.colour);
      const options = { stroke, strokeDasharray: "3 3", strokeWidth: 1.2 };
      const text = { text: [rule.label], fill: stroke, fontWeight: 600, stroke: "var(--card)", strokeWidth: 4 };
      if (rule.axis === "x") {
        marks.push(Plot.ruleX([rule.at], options));
        marks.push(Plot.text([rule.at], { ...text, x: (d) => d, frameAnchor: "top", dx: 8, dy: 2 }));
      } else {
        marks.push(Plot.ruleY([rule.at], options));
        marks.push(Plot.text([rule.at], { ...text, y: (d) => d, frameAnchor: "right", textAnchor: "end", dy: -7 }));
      }
    }
    const tip = (row) => `${spec.series.length > 1 ? row.name + "\n" : ""}step ${d3.format(",.0f")(row.x)}\n${si(row.y)} ${spec.unit}`;
    marks.push(Plot.tip(points, Plot.pointer({ x: "x", y: "y", title: tip, fill: "var(--card)", stroke: "var(--line)" })));
    return Plot.plot({ ...base(width), height, marginLeft: 46, marginRight: 12, marginTop: 12, marginBottom: 36, y: { nice: true }, marks });
  }

  function heat(spec, width) {
    const row = spec.rows.length > 24 ? 13 : 17;
    const rows = spec.rows.map((value, index) => ({ ...value, key: index, first: index === 0 || spec.rows[index - 1].variable !== value.variable }));
    // A gap before each variable but the first, as an empty row of the scale.
    const domain = rows.flatMap((value) => (value.first && value.key ? [`gap${value.key}`, value.key] : [value.key]));
    const cells = rows.flatMap((value) => value.p.map((p, i) => ({ x: i, y: value.key, p, value })));
    const columns = spec.epochs.length;
    const step = Math.max(1, Math.ceil(columns / Math.max(2, Math.floor((width - 150) / 34))));
    const ticks = d3.range(0, columns, step);
    const tip = (cell) => `${cell.value.variable} ${cell.value.option}\nepoch ${spec.epochs[cell.x]}\n${d3.format(".1%")(cell.p)}`;
    return Plot.plot({
      ...base(width), height: domain.length * row + 44, marginLeft: 118, marginRight: 20, marginTop: 6, marginBottom: 38,
      x: { type: "band", domain: d3.range(columns), padding: columns > 20 ? 0 : 0.03 },
      y: { type: "band", domain, padding: 0.06, axis: null },
      marks: [
        Plot.axisX(ticks, { tickSize: 0, label: "epoch", labelAnchor: "center", labelArrow: "none", tickFormat: (i) => `${spec.epochs[i]}` }),
        Plot.cell(cells, { x: "x", y: "y", fill: "var(--empty)" }),
        Plot.cell(cells, { x: "x", y: "y", fill: "var(--heat)", fillOpacity: "p" }),
        Plot.text(rows.filter((d) => d.first), { y: "key", frameAnchor: "left", text: "variable", textAnchor: "start", dx: -116, fill: "var(--ink-soft)" }),
        Plot.text(rows.filter((d) => !d.won), { y: "key", frameAnchor: "left", text: "option", textAnchor: "end", dx: -6, fill: "var(--ink)" }),
        Plot.text(rows.filter((d) => d.won), { y: "key", frameAnchor: "left", text: "option", textAnchor: "end", dx: -6, fill: "var(--ink)", fontWeight: 700 }),
        Plot.dot(rows.filter((d) => d.won), { y: "key", frameAnchor: "right", dx: 10, r: 3.5, fill: "var(--heat)" }),
        Plot.tip(cells, Plot.pointer({ x: "x", y: "y", title: tip, fill: "var(--card)", stroke: "var(--line)" })),
      ],
      opacity: { domain: [0, 1], range: [0, 1] },
    });
  }

  function scatter(spec, width) {
    const height = Math.round(Math.max(280, Math.min(440, width * 0.55)));
    const across = { ticks: Math.max(3, Math.floor(width / 110)) };
    const marks = [Plot.gridX({ strokeOpacity: 0.1, ...across }), Plot.gridY({ strokeOpacity: 0.1 }), Plot.axisY({ label: "score: log-likelihood an image, nats", tickSize: 0, labelArrow: "none" })];
    marks.push(Plot.axisX({ label: spec.unit, tickSize: 0, tickFormat: si, labelAnchor: "center", labelArrow: "none", ...across }));
    const points = [];
    let least = Infinity;
    for (const line of spec.series) {
      const last = Math.max(1, d3.max(line.epoch));
      const rows = line.cost.map((x, i) => ({ x, y: line.score[i], epoch: line.epoch[i] }));
      least = Math.min(least, d3.quantile(line.score, 0.01), d3.min(line.front, (point) => point[1]));
      marks.push(Plot.dot(rows, { x: "x", y: "y", r: 2.4, fill: colour(line.colour), fillOpacity: (d) => 0.12 + (0.5 * d.epoch) / last, clip: true }));
    }
    for (const line of spec.series) {
      const front = line.front.map(([x, y, text]) => ({ x, y, text, name: line.name }));
      points.push(...front);
      const stroke = spec.series.length > 1 ? colour(line.colour) : "var(--c1)";
      marks.push(Plot.line(front, { x: "x", y: "y", stroke: "var(--card)", strokeWidth: 4, curve: "step-after" }));
      marks.push(Plot.line(front, { x: "x", y: "y", stroke, strokeWidth: 2, curve: "step-after", strokeDasharray: dash(line.colour) }));
      marks.push(Plot.dot(front, { x: "x", y: "y", r: 3.2, fill: stroke, stroke: "var(--card)" }));
      if (line.found.length) {
        marks.push(Plot.ruleX(line.found, { stroke, strokeWidth: 1.4 }));
        if (spec.series.length === 1) marks.push(Plot.text(line.found.slice(-1), { x: (d) => d, frameAnchor: "bottom", text: ["found"], fill: stroke, fontWeight: 600, dx: -5, dy: -6, textAnchor: "end", stroke: "var(--card)", strokeWidth: 4 }));
      }
    }
    for (const target of spec.targets) {
      marks.push(Plot.ruleX([target], { stroke: "var(--ink-soft)", strokeDasharray: "3 3", strokeWidth: 1.2 }));
      marks.push(Plot.text([target], { x: (d) => d, frameAnchor: "bottom", text: [spec.targets.length > 1 ? si(target) : "target"], fill: "var(--ink-soft)", fontWeight: 600, dx: 5, dy: -6, textAnchor: "start", stroke: "var(--card)", strokeWidth: 4 }));
    }
    const tip = (p) => `${spec.series.length > 1 ? p.name + "\n" : ""}${si(p.x)} ${spec.unit}, score ${p.y.toFixed(3)}\n${p.text.replaceAll("  ", "\n")}`;
    marks.push(Plot.tip(points, Plot.pointer({ x: "x", y: "y", title: tip, fill: "var(--card)", stroke: "var(--line)" })));
    const top = d3.max(points, (p) => p.y);
    return Plot.plot({ ...base(width), height, marginLeft: 46, marginRight: 16, marginTop: 26, marginBottom: 38, x: { insetLeft: 6, insetRight: spec.targets.length ? 48 : 6 }, y: { domain: [least, top + (top - least) * 0.05] }, marks });
  }

  function matrix(spec, width) {
    const count = spec.classes.length;
    const short = (name, letters) => (name.length > letters ? name.slice(0, letters - 1) + "…" : name);
    const letters = width < 480 ? 10 : 18;
    const left = 14 + 7.2 * d3.max(spec.classes, (name) => Math.min(name.length, letters));
    const cell = Math.min(64, (width - left - 12) / count);
    const turned = d3.max(spec.classes, (name) => Math.min(name.length, letters)) * 6.6 > cell - 4;
    const bottom = (turned ? 14 + 4.8 * d3.max(spec.classes, (name) => Math.min(name.length, letters)) : 20) + 18;
    const cells = spec.counts.flatMap((row, i) => row.map((n, j) => ({ i, j, n, share: spec.images[i] ? n / spec.images[i] : 0 })));
    const strength = (d) => Math.sqrt(d.share); // so that one mistake in twenty is seen
    const tip = (d) => `${spec.classes[d.i]}\ntaken for ${spec.classes[d.j]}\n${d.n} of ${spec.images[d.i]} images, ${d3.format(".1%")(d.share)}`;
    const name = (index) => short(spec.classes[index], letters);
    return Plot.plot({
      width: left + 12 + cell * count, style: { background: "none", fontSize: `${Math.max(7, Math.min(11.5, cell - 1))}px` }, height: 6 + cell * count + bottom, marginLeft: left, marginRight: 12, marginTop: 6, marginBottom: bottom,
      x: { type: "band", domain: d3.range(count), padding: 0.04 },
      y: { type: "band", domain: d3.range(count), padding: 0.04 },
      opacity: { domain: [0, 1], range: [0, 1] },
      marks: [
        Plot.axisY({ tickSize: 0, label: null, tickFormat: name }),
        Plot.axisX({ tickSize: 0, label: "taken for", labelAnchor: "center", labelArrow: "none", tickFormat: name, tickRotate: turned ? -45 : 0 }),
        Plot.cell(cells, { x: "j", y: "i", fill: "var(--empty)" }),
        Plot.cell(cells, { x: "j", y: "i", fill: (d) => (d.i === d.j ? "var(--heat)" : "var(--c1)"), fillOpacity: strength }),
        Plot.text(cells.filter((d) => d.n && cell > 17), { x: "j", y: "i", text: (d) => `${d.n}`, fill: (d) => (strength(d) > 0.6 ? "var(--card)" : "var(--ink)"), fontSize: cell > 26 ? 12 : 9 }),
        Plot.tip(cells, Plot.pointer({ x: "j", y: "i", title: tip, fill: "var(--card)", stroke: "var(--line)" })),
      ],
      color: { type: "identity" },
    });
  }

  const kinds = { curve, heat, matrix, scatter };
  function draw(element) {
    const spec = plots[element.dataset.plot];
    const width = Math.floor(element.clientWidth);
    if (!spec || width < 40 || element.dataset.width === `${width}`) return;
    element.dataset.width = `${width}`;
    let svg;
    try {
      svg = kinds[spec.kind](spec, width);
    } catch (error) {
      console.error(`${element.dataset.plot} can't be drawn`, error); // the others can
      element.textContent = element.getAttribute("aria-label");
      return;
    }
    svg.setAttribute("aria-hidden", "true"); // the element around it has the alt text
    element.replaceChildren(svg);
  }
  const watcher = new ResizeObserver((entries) => entries.forEach((entry) => draw(entry.target)));
  for (const element of document.querySelectorAll("[data-plot]")) {
    draw(element);
    watcher.observe(element);
  }
})();
