// The list of runs: search, facets, table, pages. What it shows is the URL's to say; it only asks for another URL.
const COLUMNS = [
  ["status", "Status", ""],
  ["agent", "Run", ""],
  ["started", "Started", ""],
  ["duration", "Duration", "num"],
  ["steps", "Model calls", "num"],
  ["tool_calls", "Tool calls", "num"],
  ["retries", "Retries", "num"],
  ["tokens", "Tokens", "num"],
  ["cost", "Cost", "num"],
];

class Runs {
  constructor(root) {
    this.search = el("input", { type: "search", placeholder: "Search runs", "aria-label": "Search runs",
      spellcheck: "false", oninput: () => this.typed() });
    this.since = el("select", { "aria-label": "Started", onchange: () => this.go({ since: [this.since.value] }) });
    this.matching = el("span", { class: "matching", role: "status" });
    this.statuses = el("div", { class: "facets", role: "group", "aria-label": "Status" });
    this.agents = el("div", { class: "facets", role: "group", "aria-label": "Agent" });
    this.head = el("tr");
    this.body = el("tbody");
    this.pager = el("div", { class: "pager" });
    this.none = el("div", { class: "none" });
    root.append(el("div", { class: "runs" },
      el("div", { class: "bar" }, this.search, this.since, this.matching),
      this.statuses, this.agents,
      el("div", { class: "frame" }, el("table", {}, el("thead", {}, this.head), this.body)),
      this.none, this.pager));
  }

  update(component) {
    this.component = component;
    const text = JSON.stringify(component.data);
    if (text === this.shown) return;
    this.shown = text;
    const data = this.data = component.data;
    const root = this.search.getRootNode();
    if (root.activeElement !== this.search) this.search.value = data.text;
    this.since.replaceChildren(...data.sinces.map(([value, label]) =>
      el("option", { value, selected: value === data.since }, label)));
    this.matching.replaceChildren(el("b", {}, data.matching), ` of ${data.total} runs`);
    this.facet(this.statuses, "status", data.statuses);
    this.facet(this.agents, "agent", data.agents);
    this.head.replaceChildren(...COLUMNS.map((column) => this.header(column)));
    const focused = root.activeElement?.dataset?.run;
    this.body.replaceChildren(...data.rows.map((row) => this.row(row)));
    if (focused) this.body.querySelector(`a[data-run="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    this.none.replaceChildren(...(data.rows.length ? [] : [
      "No run matches. ", el("button", { type: "button", class: "link", onclick: () => this.clear() }, "Clear the filters")]));
    this.pages();
  }

  facet(group, name, values) {
    const focused = group.getRootNode().activeElement?.dataset?.value;
    group.replaceChildren(...values.map((value) => el("button", {
      type: "button", class: "facet" + (value.tone ? ` lg-${value.tone}` : ""), "aria-pressed": String(value.chosen),
      "data-value": value.value, onclick: () => this.toggle(name, values, value),
    }, value.icon ? icon(value.icon) : "", el("span", {}, value.label), el("span", { class: "count" }, value.count))));
    if (focused) group.querySelector(`[data-value="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  header([name, label, kind]) {
    const sorted = this.data.order === name;
    const arrow = sorted ? (this.data.descending ? " ↓" : " ↑") : "";
    const direction = sorted ? (this.data.descending ? "asc" : "desc") : "";
    return el("th", { class: kind, scope: "col", "aria-sort": sorted ? (this.data.descending ? "descending" : "ascending") : "none" },
      el("button", { type: "button", onclick: () => this.go({ sort: [name], dir: [direction] }) }, label + arrow));
  }

  row(run) {
    const open = (event) => {
      if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.component.setTriggerValue("open", run.id);
    };
    const status = el("span", { class: `lg-badge lg-${run.tone}` }, icon(run.status), run.word);
    const link = el("a", { href: `?run=${encodeURIComponent(run.id)}`, "data-run": run.id, class: "agent" }, run.agent);
    const tools = el("td", { class: "num" }, run.tools, run.tool_errors ? el("span", { class: "bad" }, ` ${run.tool_errors} failed`) : "");
    const labels = run.labels.map((label) => el("span", { class: "lg-chip" }, label));
    return el("tr", { onclick: open },
      el("td", { class: "state" }, status),
      el("td", { class: "what" },
        el("div", { class: "line" }, link, el("span", { class: "model" }, run.model), ...labels,
          el("span", { class: "id lg-mono", title: run.id }, run.short)),
        el("div", { class: run.trouble ? `preview trouble lg-${run.trouble_tone}` : "preview" }, run.trouble || run.preview)),
      el("td", { title: run.started_at, class: "when" }, run.started),
      el("td", { class: "num" }, run.duration), el("td", { class: "num" }, run.steps), tools,
      el("td", { class: "num" }, run.retries), el("td", { class: "num" }, run.tokens), el("td", { class: "num" }, run.cost));
  }

  pages() {
    const { page, pages, from, to, matching } = this.data;
    const turn = (label, target, word) => el("button", { type: "button", disabled: target < 1 || target > pages,
      "aria-label": word, onclick: () => this.go({ page: [String(target)] }) }, label);
    this.pager.replaceChildren(...(pages > 1 ? [
      turn("‹", page - 1, "Previous page"), el("span", {}, `${from} – ${to} of ${matching}`), turn("›", page + 1, "Next page")] : []));
  }

  toggle(name, values, value) {
    const chosen = values.filter((other) => other.chosen !== (other === value)).map((other) => other.value);
    this.go({ [name]: chosen });
  }

  clear() {
    this.search.value = "";
    this.go({ status: [], agent: [], q: [], since: [] });
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.go({ q: [this.search.value] }), 250);
  }

  go(params) { this.component.setTriggerValue("go", params); }
}

export default function (component) { viewOf(component, (root) => new Runs(root)); }
