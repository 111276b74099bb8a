// One place for what was refused, and the only one that marks a control: whoever else has a fault to show asks here.
const FOLDS = __FOLDS__;
const root = element.querySelector(".refusal"), said = element.querySelector(".refusal-said"), leads = element.querySelector(".refusal-show");
let blamed = null; // the name of the control
let asked = 0, touched = 0; // when something was asked for, and when a hand last went somewhere or wrote something

const isSeen = (one) => Boolean(one && one.offsetParent !== null);
function find(field) {
  // Two tabs may have a control of one name: the one in sight is meant.
  const all = [...document.querySelectorAll(`[id="ctl-${field}"], [id^="ctl-${field}-"]`)];
  return all.find(isSeen) || all[0] || null;
}
async function bringToSight(field) {
  if (find(field)?.closest("#editor")) document.body.dataset.view = "paint";
  const title = find(field)?.querySelector(".units-title");
  if (title?.getAttribute("aria-expanded") === "false") title.click();
  if (!isSeen(find(field)) && FOLDS[field]) document.querySelector(`#${FOLDS[field]} > button:not(.open)`)?.click();
  // What lies in a fold is there some frames after it opens.
  for (let frames = 40; frames > 0 && !isSeen(find(field)); frames -= 1) await new Promise((done) => { requestAnimationFrame(() => setTimeout(done, 10)); setTimeout(done, 200); });
  return isSeen(find(field)) ? find(field) : null;
}
function unmark() {
  document.querySelectorAll(".at-fault").forEach((one) => one.classList.remove("at-fault"));
}
async function blame(field, isLed = true) {
  unmark();
  blamed = field || null;
  if (!field) return;
  // A hand that has gone on to another control meanwhile is not pulled away from it.
  if (!isLed) return find(field)?.classList.add("at-fault");
  const control = await bringToSight(field);
  if (!control || blamed !== field) return;
  control.classList.add("at-fault");
  const isGroup = control.matches(".units, .editor, .fold");
  const inner = control.matches("input") ? control : isGroup ? control.querySelector(".source-drop") : control.querySelector("textarea, input:not([type=file]), select, .source-drop");
  (inner || control).scrollIntoView({ block: "center" });
  (inner || control).focus({ preventScroll: true });
}
function render() {
  const view = props.value;
  root.hidden = !view;
  root.classList.toggle("is-quiet", Boolean(view?.isQuiet));
  element.querySelector(".refusal-leave").hidden = document.body.hasAttribute("data-awaiting");
  if (!view) { said.textContent = ""; return; }
  said.textContent = [view.text, view.hint].filter(Boolean).join(" ");
  leads.hidden = !view.field;
}
function leave() {
  if (props.value) props.value = null;
  render();
  unmark();
  blamed = null;
}

leads.addEventListener("click", () => blame(props.value?.field));
element.querySelector(".refusal-leave").addEventListener("click", () => { leave(); document.getElementById("go")?.focus(); });
// A new try begins with a clean page. The window hears the click before anybody holds it back.
window.addEventListener("click", (event) => {
  if (document.body.hasAttribute("data-awaiting") || !event.target.closest?.("#go, #beside, .stage-example")) return;
  asked = performance.now();
  leave();
}, true);
// What is being mended is not marked any longer.
for (const kind of ["input", "focusin"]) document.addEventListener(kind, () => { touched = performance.now(); }, true);
document.addEventListener("input", (event) => { if (blamed && event.target.closest?.(".at-fault")) leave(); });
window.addEventListener("easel:refused", ({ detail }) => { props.value = detail; render(); blame(detail?.field); });
window.addEventListener("easel:blame", ({ detail }) => blame(detail));
watch("value", () => { render(); if (props.value?.field && props.value.field !== blamed) blame(props.value.field, touched < asked); });
render();
