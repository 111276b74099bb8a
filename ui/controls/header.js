// The tabs. The chosen one stands on the body, where the style sheet shows what belongs to it, and is remembered.
const tabs = [...element.querySelectorAll("[role=tab]")];
const known = tabs.map((tab) => tab.dataset.mode);

function choose(mode, focus = false) {
  if (!known.includes(mode)) return;
  if (props.value !== mode) props.value = mode;
  const changed = document.body.dataset.mode !== mode;
  document.body.dataset.mode = mode;
  if (changed) document.body.dataset.view = mode === "inpaint" ? "paint" : "result";
  for (const tab of tabs) {
    const isChosen = tab.dataset.mode === mode;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    if (isChosen && focus) tab.focus();
  }
  // Before the page has read what it kept, the first value would wipe it out.
  if (window.easelRestored) localStorage.setItem("easel_mode", mode);
  if (changed) window.dispatchEvent(new CustomEvent("easel:mode", { detail: mode }));
}

for (const tab of tabs) tab.addEventListener("click", () => choose(tab.dataset.mode));
element.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
  const at = known.indexOf(props.value), by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  choose(known[(at + by + known.length) % known.length], true);
});
window.addEventListener("easel:choose", (event) => choose(typeof event.detail === "number" ? known[event.detail] : event.detail));
watch("value", () => choose(props.value));
choose(props.value);
