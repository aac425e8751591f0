// The records of one page, one line each, to choose one from.
class Events {
  constructor(root) {
    this.body = el("tbody");
    this.scroll = el("div", { class: "scroll", tabindex: "0", "aria-label": "Events", onkeydown: (event) => this.key(event) },
      el("table", {}, el("thead", {}, el("tr", {}, ...["Seq", "At", "Type", "Call", "What", "Took"].map((name) =>
        el("th", { scope: "col", class: `col-${name.toLowerCase()}` }, name)))), this.body));
    root.append(el("div", { class: "events" }, this.scroll));
  }

  update(component) {
    this.component = component;
    const text = JSON.stringify(component.data);
    if (text === this.shown) return;
    this.shown = text;
    const atEnd = this.data && this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 40;
    const grown = this.data && component.data.rows.length > this.data.rows.length;
    const moved = !this.data || this.chosen !== component.data.chosen;
    this.data = component.data;
    this.chosen = this.data.chosen;
    this.body.replaceChildren(...this.data.rows.map((row) => this.row(row)));
    if (moved && this.chosen) this.reveal();
    else if (atEnd && grown) this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  row(event) {
    const verdict = event.verdict ? el("span", { class: `lg-badge lg-${event.verdict_tone}` }, event.verdict) : "";
    return el("tr", { class: (event.key === this.chosen ? "chosen " : "") + (event.verdict ? "left-out" : ""),
      "aria-selected": String(event.key === this.chosen), "data-key": event.key, onclick: () => this.choose(event.key) },
      el("td", { class: "num" }, String(event.seq)), el("td", { class: "num" }, event.offset),
      el("td", { class: `type lg-${event.tone}` }, event.type), el("td", { class: "lg-mono call" }, event.call),
      el("td", { class: "what" }, verdict, event.what), el("td", { class: "num" }, event.took));
  }

  choose(key) {
    this.chosen = key;
    for (const row of this.body.children) row.classList.toggle("chosen", row.dataset.key === key);
    this.component.setTriggerValue("seq", key);
  }

  reveal() {
    requestAnimationFrame(() => {
      const row = this.body.querySelector(".chosen");
      if (!row) return;
      const top = row.offsetTop, height = this.scroll.clientHeight;
      if (top < this.scroll.scrollTop + 30 || top + 30 > this.scroll.scrollTop + height) this.scroll.scrollTop = top - height / 2;
    });
  }

  key(event) {
    const rows = this.data?.rows ?? [];
    const index = rows.findIndex((row) => row.key === this.chosen);
    const targets = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: rows.length - 1 };
    if (!rows.length || !(event.key in targets) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.choose(rows[Math.min(Math.max(targets[event.key], 0), rows.length - 1)].key);
    this.reveal();
  }
}

export default function (component) { viewOf(component, (root) => new Events(root)); }
