// The tabs. The chosen one stands on the body, where the style sheet shows what belongs to it, and is remembered.
const tabs = [...element.querySelectorAll("[role=tab]")];
const known = tabs.map((tab) => tab.dataset.mode).filter(Boolean);

// In the middle of the row, where that slides: its neighbours are seen too.
const reveal = (tab) => tab.scrollIntoView({ block: "nearest", inline: "center" });

function choose(mode, focus = false) {
  if (!known.includes(mode)) return;
  delete document.body.dataset.place;
  if (props.value !== mode) props.value = mode;
  const changed = document.body.dataset.mode !== mode;
  document.body.dataset.mode = mode;
  if (changed) document.body.dataset.view = mode === "inpaint" ? "paint" : "result";
  for (const tab of tabs) {
    const isChosen = tab.dataset.mode === mode;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    if (isChosen) reveal(tab);
    if (isChosen && focus) tab.focus();
  }
  // Before the page has read what it kept, the first value would wipe it out.
  if (window.easelRestored) localStorage.setItem("easel_mode", mode);
  if (changed) window.dispatchEvent(new CustomEvent("easel:mode", { detail: mode }));
}

// A place stands beside what is drawn; the tab below it is still the chosen one.
function visit(place, focus = false) {
  document.body.dataset.place = place;
  for (const tab of tabs) {
    const isChosen = tab.dataset.place === place;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    if (isChosen) reveal(tab);
    if (isChosen && focus) tab.focus();
  }
  window.dispatchEvent(new CustomEvent("easel:place", { detail: place }));
}

// On which sides the row goes on, for the fade there.
const row = element.querySelector("[role=tablist]");
function markEnds() {
  row.toggleAttribute("data-before", row.scrollLeft > 1);
  row.toggleAttribute("data-after", row.scrollLeft + row.clientWidth < row.scrollWidth - 1);
}
row.addEventListener("scroll", markEnds, { passive: true });
// The letters come later than the row; a page that is scrolled down stays where it is.
const whenSized = new ResizeObserver(() => {
  const chosen = row.querySelector("[aria-selected=true]");
  if (chosen && row.getBoundingClientRect().top >= 0) reveal(chosen);
  markEnds();
});
for (const one of [row, ...tabs]) whenSized.observe(one);

const go = (tab, focus) => (tab.dataset.place ? visit(tab.dataset.place, focus) : choose(tab.dataset.mode, focus));
for (const tab of tabs) tab.addEventListener("click", () => go(tab));
element.querySelector(".top-model").addEventListener("click", () => visit("models", true));
row.addEventListener("keydown", (event) => {
  const at = tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true"), by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  go(tabs[(at + by + tabs.length) % tabs.length], true);
});
window.addEventListener("easel:choose", (event) => choose(typeof event.detail === "number" ? known[event.detail] : event.detail));
// What is known of the model that draws, in a dialog that keeps the keyboard until it is closed.
const first = __ABOUT__, dialog = element.querySelector("#about"), facts = dialog.querySelector("dl");
const titled = (tag, text) => { const one = document.createElement(tag); one.textContent = text; return one; };
// As text: a name that a folder gives itself is no part of the page's code.
element.querySelector(".top-model").textContent = (window.easelModel || first).title;
function fillAbout() {
  const { title, about } = window.easelModel || first;
  dialog.querySelector("h2").textContent = `About ${title}`;
  facts.replaceChildren(...about.flatMap((one) => [titled("dt", one.title), titled("dd", one.text)]));
}
for (const open of element.querySelectorAll("[data-about]")) {
  open.addEventListener("click", () => { open.closest("dialog")?.close(); fillAbout(); dialog.showModal(); dialog.querySelector("h2").focus(); dialog.scrollTop = 0; });
}
element.querySelector("#about-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

watch("value", () => choose(props.value));
choose(props.value);
