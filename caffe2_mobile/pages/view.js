// The net's page: one chosen operator, shown in the graph, the strip, the table, the charts and the panel alike.
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const operators = data.operators;
  operators.forEach((o, place) => { o.place = place; });
  const net = document.getElementById("net"), pane = document.getElementById("pane");
  const panel = document.getElementById("panel"), svg = pane.querySelector("svg");
  const search = document.getElementById("search"), found = document.getElementById("found");
  const nodes = new Map([...svg.querySelectorAll(".operator")].map(node => [Number(node.dataset.key), node]));
  const rows = new Map([...document.querySelectorAll("#operators tbody tr")].map(row => [Number(row.dataset.key), row]));
  const byName = new Map(operators.filter(o => o.parent === undefined && o.outputs.length)
    .map(o => [o.outputs[0].name, o.place]));
  const readers = operators.map(() => []);
  for (const o of operators) for (const blob of o.inputs) if (blob.source !== undefined) readers[blob.source].push(o.place);
  const size = { width: svg.width.baseVal.value, height: svg.height.baseVal.value };
  let chosen = null, scale = 1, matches = [];

  // ---- choosing

  function choose(place, { scroll = true, focus = false } = {}) {
    if (!(place in operators)) return;
    for (const marked of document.querySelectorAll(".chosen")) marked.classList.remove("chosen");
    chosen = place;
    for (const like of document.querySelectorAll(`[data-key="${place}"], path[data-from="${place}"], path[data-to="${place}"]`))
      if (!like.matches("button")) like.classList.add("chosen");
    for (const like of document.querySelectorAll("li[data-key]"))
      if (placeOf(like) === place) like.classList.add("chosen");
    show(operators[place]);
    if (scroll) center(place);
    if (focus) nodes.get(place)?.focus({ preventScroll: true });
  }

  function placeOf(item) {
    const key = item.dataset.key;
    return /^\d+$/.test(key) && item.closest("ol.bars") === null ? Number(key) : byName.get(key) ?? byName.get(`${key}_int8`);
  }

  function center(place) {
    const node = nodes.get(place).getBoundingClientRect(), frame = pane.getBoundingClientRect();
    pane.scrollBy(node.x + node.width / 2 - frame.x - frame.width / 2, node.y + node.height / 2 - frame.y - frame.height / 2);
  }

  document.addEventListener("click", event => {
    const item = event.target.closest("[data-key]");
    if (!item || item.closest("thead")) return;
    const place = placeOf(item);
    choose(place, { scroll: item.closest("svg") !== svg });
    if (item.matches(".findings button")) pane.scrollIntoView({ block: "nearest" });
  });

  document.addEventListener("keydown", event => {
    if (event.key === "/" && !event.target.matches("input, select")) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Enter" && event.target.matches("tr[data-key]")) {
      choose(placeOf(event.target));
    } else if (event.target.closest("tbody") && ["ArrowDown", "ArrowUp"].includes(event.key)) {
      const down = event.key === "ArrowDown", row = event.target.closest("tr");
      event.preventDefault();
      (down ? row.nextElementSibling : row.previousElementSibling)?.focus();
    }
  });

  pane.addEventListener("keydown", event => {
    const at = chosen ?? -1;
    const next = {
      ArrowDown: () => readers[at]?.find(place => place > at) ?? Math.min(at + 1, operators.length - 1),
      ArrowUp: () => operators[at]?.inputs.find(blob => blob.source !== undefined)?.source ?? Math.max(at - 1, 0),
      ArrowRight: () => Math.min(at + 1, operators.length - 1),
      ArrowLeft: () => Math.max(at - 1, 0),
      Home: () => 0,
      End: () => operators.length - 1,
    }[event.key];
    const step = { "+": 1.25, "=": 1.25, "-": 0.8, "0": "fit" }[event.key];
    if (event.ctrlKey || event.metaKey || !(next || step)) return;
    event.preventDefault();
    if (next) choose(next(), { focus: true });
    else zoom(step);
  });

  // ---- the panel

  const make = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const number = (value, digits = 4) => {
    if (value === undefined) return "";
    const rounded = Number(value.toPrecision(digits));
    return Math.abs(rounded) < 1 ? String(rounded) : rounded.toLocaleString("en");
  };
  const percent = value => `${number(100 * (value ?? 0), 3)} %`;
  const range = ends => `${number(ends[0])} … ${number(ends[1])}`;
  const blobText = blob => [blob.shape, blob.dtype,
    blob.scale === undefined ? "" : `scale ${number(blob.scale, 6)}, zero point ${blob.zero_point ?? 0}`].filter(Boolean).join(", ");

  function show(o) {
    const list = make("dl");
    const entry = (name, text) => { if (text !== "" && text !== undefined) list.append(make("dt", name), make("dd", text)); };
    entry("writes", o.outputs.map(blob => blob.name).join(", "));
    entry("name", o.name);
    entry("block", o.block);
    entry("arguments", o.arguments);
    entry("engine", o.engine);
    entry("multiply-adds", o.macs === undefined ? "" : `${o.is_bound ? "up to " : ""}${number(o.macs / 1e6)} M`);
    entry("parameters", o.parameters ? o.parameters.toLocaleString("en") : "");
    entry("bytes", o.nbytes === undefined ? "" : `${number(o.nbytes / 1000)} kB read and written`);
    for (const times of data.times) {
      const us = o.times_us?.[times.key], provenance = o.provenance?.[times.key];
      if (us !== undefined || provenance) entry("time", `${us === undefined ? "not known" : `${number(us)} µs`} ${times.title} (${provenance})`);
    }
    const e = o.error;
    if (e) {
      entry("SQNR", `${number(e.sqnr_db, 3)} dB${e.is_aligned ? ", after a factor and shift for each channel" : ""}`);
      entry("adds", `${percent(e.added)} of the signal as noise`);
      entry("cosine", number(e.cosine, 6));
      entry("float range", range(e.activation_range));
      if (e.weight_range) entry("weights", `${range(e.weight_range)}, before ${e.original_weight_range ? range(e.original_weight_range) : "unknown"}`);
    }
    const parts = [make("h3", `${o.label} ${o.type}`), list];
    const blobs = (title, all) => {
      if (!all.length) return;
      const items = make("dl");
      for (const blob of all) {
        const name = make("dt");
        if (blob.source === undefined) name.textContent = blob.name;
        else {
          const link = make("button", blob.name, "link");
          link.type = "button";
          link.dataset.key = blob.source;
          name.append(link);
        }
        items.append(name, make("dd", blobText(blob) + (blob.is_parameter ? " (parameter)" : "")));
      }
      parts.push(make("h4", title), items);
    };
    if (o.activation) parts.push(...activation(o.activation));
    blobs("Reads", o.inputs);
    blobs("Writes", o.outputs);
    panel.replaceChildren(...parts);
    panel.scrollTop = 0;
  }

  function activation(a) {
    const list = make("dl");
    const entry = (name, text) => list.append(make("dt", name), make("dd", text));
    entry("range used", range([a.low ?? 0, a.high ?? 0]));
    if (a.covered) {
      entry("range covered", range(a.covered));
      entry("at the first step", percent(a.at_lowest));
      entry("at the last step", percent(a.at_highest));
    }
    entry("dead channels", `${a.dead_channels ?? 0} of ${a.channels}`);
    const most = Math.log1p(Math.max(...a.counts));
    const bars = make("div", undefined, "histogram");
    for (const count of a.counts) {
      const bar = make("i", undefined, count ? "" : "unused");
      if (count) bar.style.height = `${Math.max(100 * Math.log1p(count) / most, 4)}%`;
      bars.append(bar);
    }
    const ends = make("div", undefined, "ends");
    ends.append(make("span", number(a.bins[0], 3)), make("span", "values, logarithmic"), make("span", number(a.bins[1], 3)));
    return [make("h4", "On the images"), list, bars, ends];
  }

  // ---- search, colour, zoom

  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const isMatch = o => {
      const text = [o.label, o.type, o.name, o.block, ...o.outputs.map(blob => blob.name)].join(" ").toLowerCase();
      return words.every(word => text.includes(word));
    };
    matches = operators.filter(isMatch).map(o => o.place);
    const kept = new Set(matches);
    for (const all of [nodes, rows]) for (const [place, item] of all) item.classList.toggle("dim", !kept.has(place));
    found.textContent = words.length ? `${matches.length} found` : "";
    if (words.length && matches.length) center(matches[0]);
  });
  search.addEventListener("keydown", event => {
    if (event.key !== "Enter" || !matches.length) return;
    event.preventDefault();
    choose(matches.find(place => place > (chosen ?? -1)) ?? matches[0]);
  });

  document.getElementById("colour").addEventListener("change", event => { net.dataset.colour = event.target.value; });

  function zoom(step) {
    const room = pane.clientWidth, before = scale;
    scale = step === "fit" ? Math.min(room / size.width, 1) : Math.min(Math.max(scale * step, 0.05), 4);
    const middle = (pane.scrollTop + pane.clientHeight / 2) / before, across = (pane.scrollLeft + room / 2) / before;
    svg.setAttribute("width", size.width * scale);
    svg.setAttribute("height", size.height * scale);
    pane.scrollTo(across * scale - room / 2, middle * scale - pane.clientHeight / 2);
  }
  net.addEventListener("click", event => {
    const step = event.target.dataset.zoom;
    if (step) zoom(step === "fit" ? step : Number(step));
  });
  pane.addEventListener("wheel", event => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.1 : 1 / 1.1);
  }, { passive: false });

  pane.addEventListener("pointerdown", event => {
    if (event.pointerType !== "mouse" || event.target.closest(".operator")) return;
    pane.classList.add("grabbed");
    const move = moved => pane.scrollBy(-moved.movementX, -moved.movementY);
    const release = () => {
      pane.classList.remove("grabbed");
      removeEventListener("pointermove", move);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", release, { once: true });
  });

  scale = Math.max(Math.min(pane.clientWidth / size.width, 1), 0.6);
  svg.setAttribute("width", size.width * scale);
  svg.setAttribute("height", size.height * scale);
  if (operators.length) center(0);
  pane.scrollTop = 0;
}
