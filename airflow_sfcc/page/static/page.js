// What makes the page "Salesforce" quick to use; without it everything is still there as links and a form.
"use strict";

// Airflow's theme, when the page stands in Airflow's UI; else the system's (CSS).
function followTheme() {
  if (window.parent === window) return;
  try {
    const airflow = window.parent.document.documentElement;
    const apply = () => {
      const dark = airflow.classList.contains("dark") || airflow.dataset.theme === "dark";
      document.documentElement.classList.toggle("dark", dark);
      document.documentElement.classList.toggle("light", !dark);
    };
    apply();
    new MutationObserver(apply).observe(airflow, { attributes: true });
  } catch { /* another origin's frame: the system's theme stays */ }
}

// Airflow shows the page in a frame that may neither leave itself nor open windows. Links out are followed by the page around it.
function followLinksOut(event) {
  const link = event.target.closest("a[data-out]");
  if (!link || window.parent === window || event.defaultPrevented) return;
  try {
    const outside = window.parent.document;
    const copy = outside.createElement("a");
    copy.href = link.href;
    if (link.target || event.ctrlKey || event.metaKey) { copy.target = "_blank"; copy.rel = "noopener noreferrer"; }
    outside.body.append(copy);
    copy.click();
    copy.remove();
    event.preventDefault();
  } catch { /* another origin's frame: the browser decides */ }
}

// The form chooses at once.
function chooseAtOnce() {
  const form = document.getElementById("choose");
  if (!form) return;
  const rows = [...document.querySelectorAll("#grid tbody tr[data-id]")];
  form.addEventListener("change", event => { if (event.target.name !== "q") form.requestSubmit(); });
  form.elements.q.addEventListener("input", () => {
    const wanted = form.elements.q.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.dataset.name.toLowerCase().includes(wanted);
    const address = new URL(location.href);
    if (wanted) address.searchParams.set("q", form.elements.q.value.trim()); else address.searchParams.delete("q");
    history.replaceState(null, "", address);
  });
}

class Grid {
  constructor(table, dialog) {
    this.table = table;
    this.dialog = dialog;
    this.status = document.getElementById("status");
    this.nights = [...table.querySelectorAll("thead th[data-night]")].map(head => head.dataset.night);
    this.names = Object.fromEntries([...document.querySelectorAll(".legend i")].map(i => [i.className, i.parentElement.textContent.replace(i.textContent, "").trim()]));
    table.addEventListener("click", event => this.clicked(event));
    table.addEventListener("keydown", event => this.pressed(event));
    table.addEventListener("mouseover", event => { const cell = this.cell(event); if (cell && !cell.title) cell.title = this.words(cell); });
    dialog.addEventListener("close", () => this.remember(null, null));
    dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.get("id") && asked.get("night")) this.open(asked.get("id"), asked.get("night"));
  }

  cell(event) { const cell = event.target.closest("tbody td[class]"); return cell && !cell.matches(".number, .quiet") ? cell : null; }
  night(cell) { return this.nights[cell.cellIndex - 2]; }
  words(cell) { return `${cell.parentElement.dataset.name}, ${this.night(cell)}: ${this.names[cell.className.split(" ")[0]] || "nothing expected"}`; }

  clicked(event) {
    const cell = this.cell(event);
    if (!cell) return;
    this.focus(cell);
    this.open(cell.parentElement.dataset.id, this.night(cell));
  }

  rows() { return [...this.table.tBodies[0].rows].filter(row => !row.hidden && row.dataset.id); }

  pressed(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] };
    if (event.target !== this.table) return;
    if (event.key === "Enter" && this.focused) { this.open(this.focused.parentElement.dataset.id, this.night(this.focused)); event.preventDefault(); return; }
    const move = moves[event.key];
    const rows = this.rows();
    if (!move || !rows.length) return;
    event.preventDefault();
    const last = this.nights.length + 1;
    let row = this.focused ? rows.indexOf(this.focused.parentElement) : 0;
    let column = this.focused ? this.focused.cellIndex : last + (move[1] < 0 ? 1 : 0);
    row = Math.max(0, Math.min(rows.length - 1, Math.max(0, row) + (this.focused ? move[0] : 0)));
    column = Math.max(2, Math.min(last, column + move[1]));
    this.focus(rows[row].cells[column]);
  }

  focus(cell) {
    this.focused?.classList.remove("focused");
    this.focused = cell;
    cell.classList.add("focused");
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.status.textContent = this.words(cell);
  }

  async open(id, night) {
    const ask = new URLSearchParams({ id, night, nights: this.table.dataset.nights });
    let html;
    try {
      const response = await fetch(`night?${ask}`, { headers: { Accept: "text/html" } });
      if (!response.ok) throw new Error(`Airflow answered ${response.status}.`);
      html = await response.text();
    } catch (problem) {
      this.dialog.textContent = `The night could not be read. ${problem.message} Reload the page.`;
      this.dialog.showModal();
      return;
    }
    const parsed = new DOMParser().parseFromString(html, "text/html");
    const close = document.createElement("button");
    close.className = "close";
    close.textContent = "Close";
    close.addEventListener("click", () => this.dialog.close());
    this.dialog.replaceChildren(close, ...parsed.body.childNodes);
    if (!this.dialog.open) this.dialog.showModal();
    this.remember(id, night);
  }

  remember(id, night) {
    const address = new URL(location.href);
    address.hash = id ? new URLSearchParams({ id, night }).toString() : "";
    history.replaceState(null, "", address);
  }
}

followTheme();
document.addEventListener("click", followLinksOut);
chooseAtOnce();
const table = document.getElementById("grid");
if (table) {
  new Grid(table, document.getElementById("night"));
  const scroll = table.closest(".scroll");
  scroll.scrollLeft = scroll.scrollWidth;
}
