// Pages that stay true: sections are fetched again when the coordinator says that they changed, and tables are sorted,
// filtered and leafed through in place. Every link and form also works without this.

const main = document.getElementById("main");
const base = main.dataset.base;
// What the table shows, as the address has it.
let query = location.search;

function address(section) {
  const of = section === "trials" ? query : "";
  return `${base}/sections/${section}${of}`;
}

// Puts fetched HTML in a section's place; scroll positions, focus and open details stay.
function swap(section, text) {
  const focused = section.contains(document.activeElement) ? document.activeElement : null;
  const key = focused && (focused.id || focused.dataset.name || focused.getAttribute("href"));
  const scrolled = [...section.querySelectorAll(".wide")].map((wide) => wide.scrollLeft);
  const opened = [...section.querySelectorAll("details")].map((details) => details.open);
  section.innerHTML = text;
  section.querySelectorAll(".wide").forEach((wide, i) => (wide.scrollLeft = scrolled[i] ?? 0));
  section.querySelectorAll("details").forEach((details, i) => (details.open = opened[i] ?? false));
  enliven(section);
  if (key) {
    const again = [...section.querySelectorAll("[id], [data-name], [href]")];
    again.find((one) => [one.id, one.dataset.name, one.getAttribute("href")].includes(key))?.focus({ preventScroll: true });
  }
}

const pending = new Map();

async function load(name) {
  const section = document.getElementById(name);
  if (!section) return;
  // A later request for the same section makes an earlier one worthless.
  pending.get(name)?.abort();
  const control = new AbortController();
  pending.set(name, control);
  section.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(address(name), { signal: control.signal });
    if (answer.redirected) location.reload();
    else if (answer.ok) swap(section, await answer.text());
  } catch (error) {
    // The coordinator is away: the next event brings what was missed.
    if (error.name !== "AbortError") console.info(`${name} could not be fetched: ${error.message}`);
  } finally {
    if (pending.get(name) === control) {
      pending.delete(name);
      section.removeAttribute("aria-busy");
    }
  }
}

function turn(search) {
  query = search;
  history.replaceState(null, "", location.pathname + query);
  return load("trials");
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-section], a[data-clear]");
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  if ("clear" in link.dataset) {
    document.getElementById("where").value = "";
    kept.clear();
    load("parallel");
  }
  turn(new URL(link.href).search);
});

function filter(where) {
  const asked = new URLSearchParams(query);
  asked.delete("page");
  if (where) asked.set("where", where);
  else asked.delete("where");
  turn(asked.size > 0 ? `?${asked}` : "");
}

document.querySelector("form.filter")?.addEventListener("submit", (event) => {
  event.preventDefault();
  filter(document.getElementById("where").value.trim());
});

document.addEventListener("brushed", (event) => {
  document.getElementById("where").value = event.detail;
  filter(event.detail);
});

function watch(url) {
  const events = new EventSource(url);
  events.addEventListener("changed", (event) => event.data.split(" ").forEach(load));
  events.addEventListener("ended", (event) => {
    events.close();
    event.data.split(" ").forEach(load);
  });
  // A page that is left must not hold one of the browser's few connections.
  addEventListener("pagehide", () => events.close());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

enliven(document);
document.querySelectorAll("[data-later]").forEach((later) => load(later.closest("section").id));
if (main.dataset.live) watch(main.dataset.live);
