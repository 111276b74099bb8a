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
// What is known of the model: filled once, shown as a dialog that keeps the keyboard until it is closed.
const about = __ABOUT__, dialog = element.querySelector("#about"), facts = dialog.querySelector("dl");
const titled = (tag, text) => { const one = document.createElement(tag); one.textContent = text; return one; };
dialog.querySelector("h2").textContent = `About ${about.title}`;
for (const { title, text } of about.lines) facts.append(titled("dt", title), titled("dd", text));
for (const open of element.querySelectorAll("[data-about]")) {
  open.addEventListener("click", () => { open.closest("dialog")?.removeAttribute("open"); dialog.showModal(); dialog.querySelector("h2").focus(); dialog.scrollTop = 0; });
}
element.querySelector("#about-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

watch("value", () => choose(props.value));
choose(props.value);
