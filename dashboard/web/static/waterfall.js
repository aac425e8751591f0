// The spans of a run as a tree beside a time axis. Only the rows in sight exist, so that thousands cost little.
const ROW = 28, TALLEST = 560, SPARE = 8;

class Waterfall {
  constructor(root) {
    this.closed = new Set();
    this.window = null; // [from, to] in ms while zoomed
    this.reset = el("button", { type: "button", class: "reset", hidden: true, onclick: () => this.zoom(null) }, "Show all");
    this.fold = el("button", { type: "button", class: "fold", onclick: () => this.foldAll() }, "Collapse all");
    this.axis = el("div", { class: "axis", "aria-hidden": "true" });
    this.canvas = el("div", { class: "canvas" });
    this.scroll = el("div", { class: "scroll", tabindex: "0", role: "tree", "aria-label": "Spans",
      onscroll: () => this.paint(), onkeydown: (event) => this.key(event) }, this.canvas);
    root.append(el("div", { class: "waterfall" },
      el("div", { class: "head" }, el("div", { class: "left" }, "Span", this.fold, this.reset), this.axis), this.scroll));
    new ResizeObserver(() => this.paint()).observe(this.scroll);
  }

  update(component) {
    this.component = component;
    const text = JSON.stringify(component.data);
    if (text === this.shown) return;
    this.shown = text;
    this.data = component.data;
    this.told = performance.now();
    if (this.chosen !== this.data.chosen) this.cursor = this.data.chosen || this.cursor;
    const moved = this.chosen !== this.data.chosen && this.data.chosen;
    this.chosen = this.data.chosen;
    this.arrange();
    if (moved) this.reveal(this.chosen);
    this.paint();
    if (this.data.now_ms !== null) this.grow();
  }

  // The rows that are not inside a collapsed one.
  arrange() {
    this.rows = [];
    let above = Infinity;
    for (const bar of this.data.bars) {
      if (bar.depth > above) continue;
      above = this.closed.has(bar.id) ? bar.depth : Infinity;
      this.rows.push(bar);
    }
    this.canvas.style.height = `${this.rows.length * ROW}px`;
    this.scroll.style.height = `${Math.min(this.rows.length * ROW, TALLEST)}px`;
    this.fold.textContent = this.closed.size ? "Expand all" : "Collapse all";
    this.fold.hidden = !this.data.bars.some((bar) => bar.depth && bar.children);
  }

  now() { return this.data.now_ms === null ? null : this.data.now_ms + performance.now() - this.told; }

  range() {
    if (this.window) return this.window;
    const { from_ms: from, until_ms: until } = this.data;
    return [from, from + Math.max(Math.max(until, this.now() ?? 0) - from, 0.001) * 1.005];
  }

  // Bars without an end grow until the next news; then they are told where they stand.
  grow() {
    if (this.growing) return;
    this.growing = true;
    const tick = () => {
      if (this.data.now_ms === null || !this.scroll.isConnected) { this.growing = false; return; }
      if (performance.now() - this.told < 10_000) this.paint();
      setTimeout(() => requestAnimationFrame(tick), 200);
    };
    tick();
  }

  paint() {
    if (!this.data || !this.scroll.clientHeight) return;
    const [from, to] = this.range();
    const width = this.canvas.clientWidth;
    this.share = (Math.min(Math.max(width * 0.42, 240), 480) / width) * 100; // of the names, as in the CSS
    this.ticks(from, to);
    const first = Math.max(Math.floor(this.scroll.scrollTop / ROW) - SPARE, 0);
    const last = Math.min(Math.ceil((this.scroll.scrollTop + this.scroll.clientHeight) / ROW) + SPARE, this.rows.length);
    const now = this.now();
    this.canvas.replaceChildren(...this.rows.slice(first, last).map((bar, index) => this.row(bar, first + index, from, to, now)));
    this.scroll.setAttribute("aria-activedescendant", this.cursor ? `row-${this.cursor}` : "");
  }

  row(bar, index, from, to, now) {
    const open = this.closed.has(bar.id);
    const caret = bar.children
      ? el("button", { type: "button", class: "caret", tabindex: "-1", "aria-label": open ? "Expand" : "Collapse",
        onclick: (event) => { event.stopPropagation(); this.toggle(bar.id); } }, icon(open ? "closed" : "open"))
      : el("span", { class: "caret" });
    const name = el("div", { class: "left", style: { paddingLeft: `${8 + bar.depth * 16}px` } }, caret,
      el("span", { class: `kind ${bar.kind}` }, icon(bar.kind)), el("span", { class: "label" }, bar.label),
      bar.attempt > 1 ? el("span", { class: "attempt" }, `attempt ${bar.attempt}`) : "",
      bar.error ? el("span", { class: "error" }, icon("failed"), el("span", {}, bar.error)) : "",
      el("span", { class: "call" }, bar.call));
    return el("div", {
      id: `row-${bar.id}`, class: "row" + (bar.id === this.chosen ? " chosen" : "") + (bar.id === this.cursor ? " cursor" : ""),
      role: "treeitem", "aria-level": bar.depth + 1, "aria-selected": String(bar.id === this.chosen),
      "aria-expanded": bar.children ? String(!open) : null, style: { top: `${index * ROW}px` }, title: bar.title,
      "data-span": bar.id, onclick: () => this.choose(bar.id), ondblclick: () => this.zoomTo(bar),
    }, name, this.track(bar, from, to, now));
  }

  track(bar, from, to, now) {
    const end = bar.length === null ? Math.max(now ?? to, bar.start) : bar.start + bar.length;
    const place = (ms) => ((ms - from) / (to - from)) * 100;
    const left = Math.max(place(bar.start), 0), right = Math.min(place(end), 100);
    const outside = right < 0 || left > 100;
    const track = el("div", { class: "track" });
    if (outside) { track.append(el("span", { class: "outside" }, right < 0 ? "◂" : "▸")); return track; }
    const strip = el("div", { class: `strip ${bar.kind} ${bar.state}${bar.length === null ? " open" : ""}`,
      style: { left: `${left}%`, width: `max(${Math.max(right - left, 0)}%, 3px)` } });
    const share = (ms) => Math.min(Math.max((place(ms) - left) / Math.max(right - left, 0.0001), 0), 1) * 100;
    if (bar.lead) strip.append(el("div", { class: "lead", style: { width: `${share(bar.start + bar.lead)}%` } }));
    if (bar.first) {
      const began = share(bar.start + bar.lead), told = share(bar.start + bar.lead + bar.first);
      strip.append(el("div", { class: "first", style: { left: `${began}%`, width: `${told - began}%` } }));
    }
    const took = bar.length === null && now !== null ? took_ms(end - bar.start) : bar.took;
    track.append(strip, this.tag(took, bar.note, left, right));
    return track;
  }

  // The words go behind the bar, else before it, else inside: wherever there is room; in need without the note.
  tag(took, note, left, right) {
    const width = (this.canvas.clientWidth * (100 - this.share)) / 10_000;
    for (const text of note ? [`${took}   ${note}`, took] : [took]) {
      const needed = text.length * 6.6 + 16;
      if (width * (100 - right) > needed) return el("span", { class: "took", style: { left: `calc(${right}% + 7px)` } }, text);
      if (width * left > needed) return el("span", { class: "took", style: { right: `calc(${100 - left}% + 7px)` } }, text);
    }
    return el("span", { class: "took inside", style: { right: `calc(${100 - right}% + 6px)` } }, took);
  }

  ticks(from, to) {
    const step = niceStep((to - from) / 5);
    const marks = [];
    for (let at = Math.ceil(from / step) * step; at < to; at += step) marks.push(at);
    const place = (at) => ((at - from) / (to - from)) * 100;
    this.axis.replaceChildren(...marks.filter((at) => place(at) < 91).map((at) =>
      el("span", { style: { left: `${place(at)}%` } }, at === 0 ? "0" : took_ms(at, step))));
    this.canvas.style.setProperty("--grid", marks.map((at) => place(at)).length ? gradient(marks.map(place)) : "none");
  }

  choose(id) {
    this.chosen = this.cursor = id;
    this.paint();
    this.component.setTriggerValue("span", id);
  }

  toggle(id) {
    if (!this.closed.delete(id)) this.closed.add(id);
    this.arrange();
    this.paint();
  }

  foldAll() {
    if (this.closed.size) this.closed.clear();
    else for (const bar of this.data.bars) if (bar.depth && bar.children) this.closed.add(bar.id);
    this.arrange();
    this.paint();
  }

  zoomTo(bar) {
    const length = bar.length ?? Math.max((this.now() ?? bar.start) - bar.start, 1);
    this.zoom([Math.max(bar.start - length * 0.05, 0), bar.start + Math.max(length, 0.5) * 1.1]);
  }

  zoom(range) {
    this.window = range && this.data.bars.length ? range : null;
    this.reset.hidden = !this.window;
    this.paint();
  }

  reveal(id) {
    const index = this.rows.findIndex((bar) => bar.id === id);
    if (index < 0) return;
    const top = index * ROW, height = this.scroll.clientHeight || TALLEST;
    if (top < this.scroll.scrollTop || top + ROW > this.scroll.scrollTop + height) {
      this.scroll.scrollTop = Math.max(top - height / 2, 0);
    }
  }

  key(event) {
    const index = Math.max(this.rows.findIndex((bar) => bar.id === this.cursor), 0);
    const at = this.rows[index];
    const go = (to) => { this.cursor = this.rows[Math.min(Math.max(to, 0), this.rows.length - 1)].id; this.reveal(this.cursor); this.paint(); };
    const acts = {
      ArrowDown: () => go(this.cursor ? index + 1 : 0), ArrowUp: () => go(index - 1), Home: () => go(0),
      End: () => go(this.rows.length - 1), PageDown: () => go(index + 15), PageUp: () => go(index - 15),
      ArrowRight: () => (this.closed.has(at.id) ? this.toggle(at.id) : go(index + 1)),
      ArrowLeft: () => (at.children && !this.closed.has(at.id) ? this.toggle(at.id) : go(this.parent(index))),
      Enter: () => this.choose(at.id), " ": () => this.choose(at.id), z: () => this.zoomTo(at), Escape: () => this.zoom(null),
    };
    if (!this.rows.length || !acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    acts[event.key]();
  }

  parent(index) {
    let place = index;
    while (place > 0 && this.rows[place].depth >= this.rows[index].depth) place -= 1;
    return place;
  }
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400].map((s) => s * 1000);

function niceStep(rough) {
  if (rough > 30_000) return STEPS.find((step) => step >= rough) ?? Math.ceil(rough / 86400e3) * 86400e3;
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= rough);
}

function took_ms(ms, step = 0) {
  const round = step || ms;
  if (ms < 1 || round < 1) return `${ms.toFixed(round < 0.1 ? 2 : 1)} ms`;
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  if (ms < 120_000) return `${(ms / 1000).toFixed(round < 100 ? 2 : round < 1000 ? 1 : step ? 0 : 2)} s`;
  const minutes = Math.floor(ms / 60_000), seconds = Math.round((ms % 60_000) / 1000);
  return minutes < 60 ? `${minutes} min ${seconds ? `${seconds} s` : ""}`.trim() : `${Math.floor(minutes / 60)} h ${minutes % 60 ? `${minutes % 60} min` : ""}`.trim();
}

function gradient(places) {
  const line = "var(--lg-line-soft)";
  return `linear-gradient(to right, ${places.map((p) => `transparent ${p}%, ${line} ${p}%, ${line} calc(${p}% + 1px), transparent calc(${p}% + 1px)`).join(", ")})`;
}

export default function (component) { viewOf(component, (root) => new Waterfall(root)); }
