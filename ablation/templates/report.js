"use strict";
// The page is complete without this script. It adds what needs a reader's choice: sorting, filtering, another accuracy,
// another reference, another smallest difference that matters, values under the pointer, copies of tables, and links
// that keep all of these. It sets text and attributes only, never markup, so no name can become code.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const words = data.words, rows = data.rows, root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const initial = () => ({ metric: data.metric, delta: data.delta, theme: "", text: "", sections: [], hidden: [], against: {} });
  let state = initial();
  root.classList.add("scripted");

  // ---- numbers
  const minus = (text) => text.replace("-", "\u2212");
  const percent = (value) => (Number.isFinite(value) ? (100 * value).toFixed(2) : "\u2013");
  function points(value) {
    if (!Number.isFinite(value)) return "\u2013";
    const text = Math.abs(100 * value).toFixed(2);
    return (Number(text) === 0 ? "" : value < 0 ? "\u2212" : "+") + text;
  }
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  function deviation(values) {
    const middle = mean(values);
    return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
  }
  // Paired differences over the seeds that both have, with Student's t; the table of quantiles covers every n there is.
  function compare(row, other, metric, pairs) {
    const mine = row.values[metric], theirs = other.values[metric];
    const seeds = (pairs || Object.keys(mine)).filter((seed) => seed in mine && seed in theirs);
    const differences = seeds.map((seed) => mine[seed] - theirs[seed]), n = seeds.length;
    const middle = n ? mean(differences) : NaN;
    const half = n > 1 ? (data.t95[n - 2] * deviation(differences)) / Math.sqrt(n) : NaN;
    return { n, mean: middle, low: middle - half, high: middle + half, differences };
  }
  // The rules of ablation/verdict.py on the bounds that the report computed.
  function judged(row, delta) {
    const [low, high, low90, high90] = row.bounds;
    if (2 * row.failed > row.ended) return "failed";
    if (row.pairs.length < 3 || row.p === null) return "not_tested";
    if (row.p <= data.alpha && (low > 0 || high < 0)) {
      const way = low > 0 ? "better" : "worse";
      if (low > delta || high < -delta) return `clearly_${way}`;
      return -delta <= low && high <= delta ? `negligibly_${way}` : way;
    }
    return -delta < low90 && high90 < delta ? "equivalent" : "inconclusive";
  }

  // ---- rows
  const cells = all("tr[data-row]").map((line) => {
    const found = {};
    for (const cell of all("[data-cell]", line)) found[cell.dataset.cell] = cell;
    const kept = Object.fromEntries(Object.entries(found).map(([name, cell]) => [name, [...cell.childNodes]]));
    const label = line.querySelector("[data-reference]"), plain = label && label.textContent;
    return { line, row: rows[line.dataset.row], id: line.dataset.row, found, kept, label, plain, table: line.closest("table") };
  });
  const put = (cell, text) => cell && cell.replaceChildren(text);
  function svg(name, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }
  // As forest.row_drawing, axis_drawing and reach in Python.
  const place = (value, limit) => 130 + Math.max(-1, Math.min(1, value / limit)) * 121;
  function drawn(effect, limit, delta) {
    const picture = svg("svg", { class: "forest", viewBox: "0 0 260 20", "aria-hidden": "true" });
    const x = (value) => place(value, limit).toFixed(1);
    picture.append(svg("rect", { class: "matters", x: x(-delta), y: 0, width: (x(delta) - x(-delta)).toFixed(1), height: 20 }));
    picture.append(svg("path", { class: "zero", d: `M${x(0)} 0V20` }));
    if (!effect) return picture;
    if (effect.wide && Number.isFinite(effect.wide[0])) {
      const [low, high] = effect.wide;
      const ends = (low < -limit ? "M13 6.5L9 10L13 13.5" : "") + (high > limit ? "M247 6.5L251 10L247 13.5" : "");
      picture.append(svg("path", { class: "wide", d: `M${x(low)} 10H${x(high)}${ends}` }));
    }
    if (Number.isFinite(effect.low)) picture.append(svg("path", { class: "ci", d: `M${x(effect.low)} 10H${x(effect.high)}` }));
    for (const value of effect.differences) picture.append(svg("circle", { class: "seed", cx: x(value), cy: 10, r: 2.2 }));
    if (effect.n) picture.append(svg("circle", { class: "mean", cx: x(effect.mean), cy: 10, r: 3.6 }));
    return picture;
  }
  function axis(limit) {
    const picture = svg("svg", { class: "forest axis", viewBox: "0 0 260 18", "aria-hidden": "true" });
    const rough = (200 * limit) / 4, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
    for (let at = -Math.floor((100 * limit) / step + 1e-9) * step; at <= 100 * limit * (1 + 1e-9); at += step) {
      const value = Math.abs(at) < 1e-9 ? 0 : Number(at.toPrecision(6)), x = place(value / 100, limit).toFixed(1);
      const label = svg("text", { x, y: 10 });
      label.textContent = value ? minus((value > 0 ? "+" : "") + value) : "0";
      picture.append(label, svg("path", { d: `M${x} 13v4` }));
    }
    return picture;
  }
  function reach(effects) {
    const size = (values) => Math.max(0, ...values.filter(Number.isFinite).map(Math.abs));
    const points = size(effects.flatMap((one) => [one.mean, ...one.differences]));
    return Math.max(0.002, points, Math.min(2 * points, size(effects.flatMap((one) => [one.low, one.high]))));
  }
  const GLYPHS = { better: "\u25b2", worse: "\u25bc", equivalent: "\u2248", inconclusive: "?", failed: "\u2715", not_tested: "\u2013" };
  function verdict(cell, name) {
    const kind = name.startsWith("negligibly") ? "equivalent" : name.replace("clearly_", "");
    const mark = document.createElement("span");
    mark.ariaHidden = "true";
    mark.className = name.includes("better") ? "up" : name.includes("worse") ? "down" : "";
    mark.textContent = GLYPHS[kind];
    cell.replaceChildren(mark, ` ${data.verdicts[name]}`);
  }

  function recompute() {
    const effects = new Map();
    for (const one of cells) {
      const against = state.against[one.row.section] || "", other = rows[against || one.row.control];
      const own = !against || against === one.row.control;
      one.declared = own && state.metric === data.metric;
      one.other = other && other !== one.row ? other : null;
      one.effect = one.other ? compare(one.row, one.other, state.metric, own ? one.row.pairs : null) : null;
      if (one.effect && one.declared && one.row.bounds) { // as computed by the report, whose section is the family
        one.effect.wide = one.row.wide;
        [one.effect.low, one.effect.high] = one.row.bounds;
      }
      if (one.effect) effects.set(one.table, [...(effects.get(one.table) || []), one.effect]);
    }
    for (const [table, found] of effects) {
      const limit = reach(found), head = table.querySelector("[data-axis]");
      head.replaceChildren(head.firstChild, axis(limit));
      for (const one of cells.filter((each) => each.table === table)) show(one, limit);
    }
    byId("selected-warning").hidden = state.metric !== "best" || data.metric === "best";
    for (const note of all("[data-note]")) noted(note);
  }
  // What is recomputed says so, and against what, wherever it is read or copied from.
  const chosen = (section) => (state.against[section] ? rows[state.against[section]].level : words.declared);
  const metricWords = () => (state.metric === data.metric ? "" : byId("metric").selectedOptions[0].text);
  function noted(note) {
    const sections = note.dataset.note ? [note.dataset.note] : Object.keys(state.against).filter((one) => state.against[one]);
    note.hidden = !metricWords() && !sections.some((one) => state.against[one]);
    const against = sections.map((one) => (note.dataset.note ? chosen(one) : `${one}: ${chosen(one)}`)).join(", ");
    note.textContent = words.note.replace("{metric}", byId("metric").selectedOptions[0].text).replace("{reference}", against || words.declared);
    const suffix = note.closest("section").querySelector("table[data-limit] [data-suffix]");
    const told = [metricWords(), note.dataset.note && state.against[note.dataset.note] ? words.against.replace("{reference}", against) : ""];
    if (suffix) suffix.textContent = told.filter(Boolean).map((one) => ` (${one})`).join("");
  }
  function show(one, limit) {
    const { found, kept, row, effect } = one;
    one.line.classList.toggle("changed", !one.declared);
    if (one.label) one.label.textContent = state.against[row.section] ? words.against.replace("{reference}", chosen(row.section)) : one.plain;
    const accuracies = Object.values(row.values[state.metric]);
    if (state.metric === data.metric) {
      found.mean.replaceChildren(...kept.mean);
      if (found.sd) found.sd.replaceChildren(...kept.sd);
    } else {
      put(found.mean, percent(accuracies.length ? mean(accuracies) : NaN));
      put(found.sd, percent(accuracies.length > 1 ? deviation(accuracies) : NaN));
    }
    if (one.declared && (row.bounds || !one.other)) {
      for (const name of ["effect", "interval", "pairs", "p", "verdict"]) found[name].replaceChildren(...kept[name]);
      if (row.bounds && state.delta !== data.delta) {
        const name = judged(row, state.delta);
        if (name !== row.verdict) verdict(found.verdict, name);
      }
    } else {
      put(found.effect, effect ? points(effect.mean) : words.reference);
      put(found.interval, effect && Number.isFinite(effect.low) ? `[${points(effect.low)}, ${points(effect.high)}]` : "\u2013");
      put(found.pairs, effect ? String(effect.n) : "\u2013");
      put(found.p, "\u2013");
      put(found.verdict, effect && effect.n ? words.recomputed : "\u2013");
    }
    put(found.forest, effect ? drawn(effect, limit, state.delta) : "");
  }

  // ---- sorting: numbers by value, words by the language's order; equal cells keep their order
  function sortable(table) {
    const heads = all("thead th", table), body = table.tBodies[0], before = [...body.rows];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = words.sort;
      button.append(...[...head.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE));
      head.prepend(button);
      button.addEventListener("click", () => {
        const order = { ascending: "descending", descending: "none" }[head.ariaSort] || "ascending";
        for (const one of heads) one.removeAttribute("aria-sort");
        if (order === "none") return body.append(...before);
        head.setAttribute("aria-sort", order);
        const value = (line) => line.cells[column].innerText.trim();
        const number = (text) => {
          const found = text.replaceAll(",", "").replace("\u2212", "-").match(/^[[<(]?\s*([+-]?\d*\.?\d+)/);
          return found ? Number(found[1]) : null;
        };
        const sign = order === "ascending" ? 1 : -1;
        const sorted = [...body.rows].map((line) => [line, value(line), number(value(line))]);
        const numeric = sorted.some(([, , n]) => n !== null) && head.classList.contains("num");
        sorted.sort((a, b) => {
          if (!numeric) return sign * a[1].localeCompare(b[1], root.lang, { numeric: true });
          if (a[2] === null || b[2] === null) return (a[2] === null) - (b[2] === null); // what has no number comes last
          return sign * (a[2] - b[2]);
        });
        body.append(...sorted.map(([line]) => line));
      });
    });
  }

  // ---- copies of tables as they are shown
  const FORMATS = {
    CSV: (lines) => lines.map((line) => line.map((cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",")).join("\n"),
    Markdown: (lines) => [lines[0], lines[0].map(() => "---"), ...lines.slice(1)]
      .map((line) => `| ${line.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`).join("\n"),
    LaTeX: (lines) => {
      const special = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\u2212": "$-$", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}" };
      const escaped = (cell) => cell.replace(/[\\~^\u2212<>|{}$&#%_]/g, (one) => special[one] || `\\${one}`);
      const body = lines.map((line) => `${line.map(escaped).join(" & ")} \\\\`);
      return [`\\begin{tabular}{${"l".repeat(lines[0].length)}}`, "\\toprule", body[0], "\\midrule", ...body.slice(1), "\\bottomrule", "\\end{tabular}"].join("\n");
    },
  };
  function shown(table) {
    const drawing = all("thead th", table).map((head) => head.hasAttribute("data-axis"));
    const text = (cell) => cell.innerText.replace(/\s*\n\s*/g, ", ").trim();
    return [...table.rows].filter((line) => !line.hidden)
      .map((line) => [...line.cells].filter((_, index) => !drawing[index]).map(text));
  }
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // pages opened as files may not use the clipboard's interface
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  function copyable(table) {
    const tools = document.createElement("div"), told = document.createElement("output");
    tools.className = "tools copying";
    told.className = "copied";
    tools.append(`${words.copy} `);
    for (const [name, format] of Object.entries(FORMATS)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", async () => {
        await copy(`${format(shown(table))}\n`);
        told.textContent = words.copied;
        setTimeout(() => told.replaceChildren(), 2000);
      });
      tools.append(button);
    }
    tools.append(told);
    table.closest(".scroll").after(tools);
  }

  // ---- levels in the figures
  function toggles() {
    for (const label of all("[data-toggle]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "toggle";
      button.title = words.toggle;
      button.dataset.key = label.dataset.toggle;
      button.append(...label.childNodes);
      label.append(button);
      button.addEventListener("click", () => {
        const key = button.dataset.key;
        state.hidden = state.hidden.includes(key) ? state.hidden.filter((one) => one !== key) : [...state.hidden, key];
        apply();
      });
    }
  }
  function hide() {
    for (const part of all("svg [data-key]")) part.style.display = state.hidden.includes(part.dataset.key) ? "none" : "";
    for (const button of all("button.toggle")) button.setAttribute("aria-pressed", String(!state.hidden.includes(button.dataset.key)));
  }

  // ---- values under the pointer, or by the arrow keys: each level's mean and seeds at one epoch
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "status");
  document.body.append(tip);
  function readable(picture) {
    const panels = JSON.parse(picture.dataset.panels), section = picture.closest("section");
    const own = new Set(all("[data-key]", picture).map((part) => part.dataset.key));
    const shownRows = cells.filter((one) => section.contains(one.line) && own.has(one.row.key)).map((one) => one.row);
    const line = svg("path", { class: "cross" });
    let panel = panels[0], epoch = 1;
    picture.append(line);
    picture.tabIndex = 0;
    const value = (column, number) => (column.endsWith("acc") ? `${percent(number)} %` : number.toPrecision(4));
    function tell(clientX, clientY) {
      const [column, left, right, bottom, top, low, high] = panel;
      const x = left + ((epoch - low) / (high - low)) * (right - left);
      line.setAttribute("d", `M${x.toFixed(1)} ${top.toFixed(1)}V${bottom.toFixed(1)}`);
      const columns = column === "loss" || column === "acc" ? [`train_${column}`, `val_${column}`] : [column];
      const text = [`${words.epoch} ${epoch}`];
      for (const row of shownRows.filter((one) => !state.hidden.includes(one.key)))
        for (const name of columns) {
          const seeds = Object.entries(row.runs).map(([seed, run]) => [seed, ((data.curves[run] || {})[name] || [])[epoch - 1]]).filter(([, n]) => Number.isFinite(n));
          if (!seeds.length) continue;
          const middle = `${words.mean} ${value(name, mean(seeds.map(([, n]) => n)))}`;
          const head = columns.length > 1 ? `${row.level}, ${name}` : row.level;
          text.push(`${head}: ${middle} (${seeds.map(([seed, n]) => `${seed}: ${value(name, n)}`).join(", ")})`);
        }
      tip.textContent = text.join("\n");
      tip.hidden = text.length < 2;
      tip.style.left = `${Math.max(4, Math.min(clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${Math.max(4, Math.min(clientY + 14, innerHeight - tip.offsetHeight - 8))}px`;
    }
    const away = () => { tip.hidden = true; line.removeAttribute("d"); };
    picture.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
      const found = panels.find(([, left, right, bottom, top]) => at.x >= left && at.x <= right && at.y >= top && at.y <= bottom);
      if (!found) return away();
      panel = found;
      epoch = Math.max(1, Math.round(panel[5] + ((at.x - panel[1]) / (panel[2] - panel[1])) * (panel[6] - panel[5])));
      tell(event.clientX, event.clientY);
    });
    picture.addEventListener("pointerleave", away);
    picture.addEventListener("blur", away);
    picture.addEventListener("keydown", (event) => {
      const last = Math.floor(panel[6]), step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") return away();
      if (event.key === "ArrowUp" || event.key === "ArrowDown")
        panel = panels[(panels.indexOf(panel) + (event.key === "ArrowDown" ? 1 : panels.length - 1)) % panels.length];
      else if (step) epoch = Math.max(1, Math.min(last, epoch + step));
      else return;
      event.preventDefault();
      const box = picture.getBoundingClientRect();
      tell(box.left + 20, box.top + 20);
    });
  }

  // ---- filters of the table of all effects
  const filter = document.querySelector("[data-filter]");
  function filtered() {
    if (!filter) return;
    const lines = cells.filter((one) => one.table.id === filter.dataset.filter);
    for (const one of lines) {
      const fits = !state.sections.length || state.sections.includes(one.row.section);
      one.line.hidden = !(fits && one.line.innerText.toLowerCase().includes(state.text.toLowerCase()));
    }
    for (const button of all("[data-section]", filter)) button.setAttribute("aria-pressed", String(state.sections.includes(button.dataset.section)));
    filter.querySelector("output").textContent = `${words.rows}: ${lines.filter((one) => !one.line.hidden).length}/${lines.length}`;
  }

  // ---- the choices, the address that keeps them, and all that follows from them
  function write() {
    const kept = new URLSearchParams(), plain = initial();
    for (const name of ["metric", "delta", "theme", "text"]) if (state[name] !== plain[name]) kept.set(name, state[name]);
    for (const name of ["sections", "hidden"]) if (state[name].length) kept.set(name, state[name].join(" "));
    for (const [section, id] of Object.entries(state.against)) if (id) kept.set(`against.${section}`, rows[id].level);
    const anchor = location.hash.replace(/\?.*/, ""), query = kept.toString();
    const hash = query ? `${anchor || "#"}?${query}` : anchor;
    if (hash !== location.hash) history.replaceState(null, "", hash || location.pathname + location.search);
  }
  function read() {
    const [anchor, query] = location.hash.split("?"), kept = new URLSearchParams(query || "");
    state = initial();
    if ([...byId("metric").options].some((one) => one.value === kept.get("metric"))) state.metric = kept.get("metric");
    if (Number(kept.get("delta")) > 0) state.delta = Number(kept.get("delta"));
    if (["light", "dark"].includes(kept.get("theme"))) state.theme = kept.get("theme");
    state.text = kept.get("text") || "";
    for (const name of ["sections", "hidden"]) state[name] = (kept.get(name) || "").split(" ").filter(Boolean);
    for (const select of all("[data-against]")) {
      const level = kept.get(`against.${select.dataset.against}`);
      const id = Object.keys(rows).find((one) => rows[one].section === select.dataset.against && rows[one].level === level);
      if (id) state.against[select.dataset.against] = id;
    }
    return anchor.slice(1);
  }
  function apply() {
    root.dataset.theme = state.theme;
    byId("metric").value = state.metric;
    byId("theme").value = state.theme;
    byId("delta").value = state.delta;
    byId("delta-value").textContent = `${percent(state.delta)} pp`;
    for (const select of all("[data-against]")) select.value = state.against[select.dataset.against] || "";
    if (filter) filter.querySelector("input").value = state.text;
    recompute();
    hide();
    filtered();
    write();
  }
  const choose = (id, name, event, as = String) => byId(id).addEventListener(event, (one) => { state[name] = as(one.target.value); apply(); });
  choose("metric", "metric", "change");
  choose("theme", "theme", "change");
  choose("delta", "delta", "input", Number);
  byId("reset").addEventListener("click", () => { state = initial(); apply(); });
  for (const select of all("[data-against]")) select.addEventListener("change", () => { state.against[select.dataset.against] = select.value; apply(); });
  if (filter) {
    filter.querySelector("input").addEventListener("input", (event) => { state.text = event.target.value; filtered(); write(); });
    for (const button of all("[data-section]", filter)) button.addEventListener("click", () => {
      const name = button.dataset.section;
      state.sections = state.sections.includes(name) ? state.sections.filter((one) => one !== name) : [...state.sections, name];
      filtered();
      write();
    });
  }
  addEventListener("hashchange", () => { read(); apply(); });
  addEventListener("beforeprint", () => all("details").forEach((one) => { one.open = true; }));
  toggles();
  for (const table of all("main table")) {
    sortable(table);
    copyable(table);
  }
  for (const picture of all("svg[data-panels]")) readable(picture);
  const anchor = read();
  apply();
  if (anchor && location.hash.includes("?")) byId(decodeURIComponent(anchor))?.scrollIntoView();
})();
