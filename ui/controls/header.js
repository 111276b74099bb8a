// The tabs. The chosen one stands on the body, where the style sheet shows what belongs to it, and is remembered.
const tabs = [...element.querySelectorAll("[role=tab]")];
const known = tabs.map((tab) => tab.dataset.mode).filter(Boolean);

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
    if (isChosen) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
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
    if (isChosen) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (isChosen && focus) tab.focus();
  }
  window.dispatchEvent(new CustomEvent("easel:place", { detail: place }));
}

const go = (tab, focus) => (tab.dataset.place ? visit(tab.dataset.place, focus) : choose(tab.dataset.mode, focus));
for (const tab of tabs) tab.addEventListener("click", () => go(tab));
element.querySelector(".top-model").addEventListener("click", () => visit("models", true));
element.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
  const at = tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true"), by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  go(tabs[(at + by + tabs.length) % tabs.length], true);
});
window.addEventListener("easel:choose", (event) => choose(typeof event.detail === "number" ? known[event.detail] : event.detail));
watch("value", () => choose(props.value));
choose(props.value);
