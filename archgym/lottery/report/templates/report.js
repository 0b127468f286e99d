"use strict";
// Draws the report's charts when they come into view and filters them, and the tables, by the bar of check boxes.
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const ERRORS = 1; // of Vega's log levels: its warnings are about style

  const bar = document.getElementById("filters");
  const tasks = new Set(page.tasks);
  const chosen = { tasks: new Set(page.tasks), agents: new Set(page.agents) };
  const choices = page.choices;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");

  // ------------------------------------------------------------------ rows

  const unpack = (table) => {
    const columns = Object.entries(table.columns).map(([name, c]) => [name, Array.isArray(c) ? (i) => c[i] : (i) => c.levels[c.codes[i]]]);
    return Array.from({ length: table.rows }, (_, i) => Object.fromEntries(columns.map(([name, at]) => [name, at(i)])));
  };
  const has = (set, name) => name === undefined || name === null || set.has(name);
  const taskShown = (task) => task === undefined || task === null || !tasks.has(task) || chosen.tasks.has(task);
  const rowShown = (row, section) =>
    taskShown(row.task) && has(chosen.agents, row.agent) && has(chosen.agents, row.agent_a) && has(chosen.agents, row.agent_b) &&
    // Loosely equal: choices are text, the rows' numbers are numbers.
    Object.entries(choices[section]).every(([column, value]) =>
      row[column] === undefined || row[column] == (value === "full" && column === "samples" ? page.budgets[row.task] : value));

  // ---------------------------------------------------------------- charts

  const figures = [...document.querySelectorAll("figure.panel")];
  const charts = page.charts.map((chart, i) => ({ ...chart, figure: figures[i], box: figures[i].querySelector(".chart"), near: false, state: "" }));
  const wanted = (chart) =>
    (chart.about !== "task" || chosen.tasks.has(chart.title)) && (chart.about !== "agent" || chosen.agents.has(chart.title)) &&
    Object.entries(chart.when).every(([column, value]) => choices[chart.section][column] == value);
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const rowsOf = (chart) => {
    chart.rows ??= Object.fromEntries(Object.entries(chart.datasets).map(([name, table]) => [name, unpack(table)]));
    return Object.fromEntries(Object.entries(chart.rows).map(([name, rows]) => [name, rows.filter((row) => rowShown(row, chart.section))]));
  };
  // The chart's specification with the colours for a dark page.
  const darkened = (part) =>
    Array.isArray(part) ? part.map(darkened)
      : part && typeof part === "object" ? Object.fromEntries(Object.entries(part).map(([name, value]) => [name, darkened(value)]))
        : page.dark[part] ?? part;
  const heightOf = (chart, rows) => {
    if (!chart.bands) return chart.spec.height;
    const bands = new Set(Object.values(rows).flatMap((values) => values.map((row) => row[chart.bands.field])));
    return Math.max(1, bands.size) * chart.bands.step;
  };
  const key = (chart) =>
    JSON.stringify([dark(), [...chosen.tasks], [...chosen.agents], choices[chart.section]]);

  async function draw(chart) {
    if (!wanted(chart) || chart.busy) return;
    const state = key(chart);
    if (chart.state === state) return;
    chart.busy = true;
    try {
      const rows = rowsOf(chart);
      if (chart.view && chart.dark === dark()) {
        for (const [name, values] of Object.entries(rows)) chart.view.data(name, values);
        await chart.view.height(heightOf(chart, rows)).resize().runAsync();
      } else {
        chart.view?.finalize();
        chart.dark = dark();
        const config = page.config[chart.dark ? "dark" : "light"];
        const spec = chart.dark ? darkened(chart.spec) : chart.spec;
        const embedded = await vegaEmbed(chart.box, { ...spec, height: heightOf(chart, rows), datasets: rows }, { actions: false, renderer: "svg", logLevel: ERRORS, config, tooltip: { theme: "custom" } });
        chart.view = embedded.view;
      }
      chart.state = state;
      chart.figure.dataset.drawn = "yes";
    } catch (error) {
      chart.state = state;
      chart.box.textContent = "This chart could not be drawn: " + error.message;
      console.error(error);
    } finally {
      chart.busy = false;
    }
    if (chart.state !== key(chart)) await draw(chart); // the selection changed meanwhile
  }

  // Those in view at once, the others when the browser has nothing to do, so that a printed page has them all.
  let last = Promise.resolve();
  const idle = globalThis.requestIdleCallback ?? ((work) => setTimeout(work, 20));
  const pause = () => new Promise((go) => idle(go, { timeout: 200 }));
  async function drawAll() {
    for (const chart of charts.filter((c) => c.near)) await draw(chart);
    for (const chart of charts) {
      if (!wanted(chart) || chart.state === key(chart)) continue;
      await pause();
      await draw(chart);
    }
  }
  let round = 0;
  function refresh() {
    root.dataset.drawn = "no";
    const own = ++round;
    last = last.then(drawAll).then(() => { if (own === round) root.dataset.drawn = "yes"; });
  }
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const chart = charts[figures.indexOf(entry.target)];
      chart.near = entry.isIntersecting;
      if (chart.near) draw(chart);
    }
  }, { rootMargin: "300px" });

  // ---------------------------------------------------------------- filter

  function apply() {
    for (const chart of charts) chart.figure.hidden = !wanted(chart);
    for (const row of document.querySelectorAll("main [data-task]"))
      row.hidden = !taskShown(row.dataset.task || null) || !has(chosen.agents, row.dataset.agent);
    for (const note of document.querySelectorAll(".empty"))
      note.hidden = [...note.parentElement.querySelectorAll("figure.panel")].some((figure) => !figure.hidden) && chosen.agents.size > 0;
    document.getElementById("shown").textContent =
      `Showing ${chosen.tasks.size} of ${page.tasks.length} environments and ${chosen.agents.size} of ${page.agents.length} agents.`;
    refresh();
  }
  function read() {
    for (const kind of ["tasks", "agents"])
      chosen[kind] = new Set([...bar.querySelectorAll(`input[name=${kind}]:checked`)].map((box) => box.value));
    apply();
  }
  bar.addEventListener("change", read);
  bar.addEventListener("submit", (event) => event.preventDefault());
  bar.addEventListener("click", (event) => {
    const set = event.target.dataset?.set;
    if (!set) return;
    for (const box of event.target.closest("fieldset").querySelectorAll("input")) box.checked = set === "all";
    read();
  });
  document.addEventListener("change", ({ target }) => {
    if (!target.dataset?.column) return;
    choices[target.dataset.section][target.dataset.column] = target.value;
    apply();
  });

  // ----------------------------------------------------------------- theme

  const remember = (theme) => { try { localStorage.setItem("archgym-theme", theme); } catch { /* a browser without storage */ } };
  try { const theme = localStorage.getItem("archgym-theme"); if (theme === "dark" || theme === "light") root.dataset.theme = theme; } catch { /* same */ }
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remember(root.dataset.theme);
    refresh();
  });
  prefersDark.addEventListener("change", refresh);
  addEventListener("beforeprint", () => { for (const details of document.querySelectorAll("details")) details.open = true; });

  const measure = () => root.style.setProperty("--bar", bar.offsetHeight + 12 + "px");
  addEventListener("resize", measure);
  measure();
  globalThis.archgymReport = { charts, drawn: () => last };
  for (const figure of figures) observer.observe(figure);
  read();
})();
