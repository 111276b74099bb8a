// The stage. Everything a person wrote goes in through textContent and attributes, never as markup.
const EXAMPLES = __EXAMPLES__;
const root = element.querySelector(".stage");
const $ = (selector) => root.querySelector(selector);
const picture = $(".stage-picture"), empty = $(".stage-empty"), words = $(".stage-words");
const status = $(".stage-status"), facts = $(".stage-facts"), actions = $(".stage-actions"), bar = $(".stage-bar i");
let shown = null;   // the finished picture on the stage, if any
let said = "";      // what the live region said last

for (const example of EXAMPLES) {
  const card = document.createElement("button");
  card.type = "button";
  card.className = "stage-example";
  if (example.image) {
    const image = document.createElement("img");
    image.src = example.image;
    image.alt = "";
    card.append(image);
  }
  const text = document.createElement("span");
  text.textContent = example.prompt;
  card.append(text);
  card.addEventListener("click", () => trigger("submit", { prompt: example.prompt, seed: example.seed }));
  empty.append(card);
}

function showImage(source, alt, isPreview) {
  picture.hidden = !source;
  if (!source) { picture.removeAttribute("src"); return; }
  if (picture.getAttribute("src") !== source) picture.src = source;
  picture.alt = alt || "";
  picture.classList.toggle("is-preview", Boolean(isPreview));
}

function showFacts(finished) {
  shown = finished || null;
  actions.hidden = !finished;
  facts.textContent = finished
    ? `seed ${finished.seed} · ${finished.width} × ${finished.height} · ${finished.steps} steps · ${finished.seconds} s` : "";
  if (finished) $('[data-do="download"]').href = finished.download;
}

function blame(field) {
  document.querySelectorAll(".at-fault").forEach((one) => one.classList.remove("at-fault"));
  const control = field && document.getElementById("ctl-" + field);
  if (!control) return;
  control.classList.add("at-fault");
  control.querySelector("textarea, input")?.focus();
}

function say(text) {
  // A screen reader should not hear every step: only changes of state and each quarter are announced by the live region.
  if (text !== said) { status.textContent = text; said = text; }
}

function render() {
  const view = props.value || { kind: "empty" };
  const isBusy = ["waiting", "loading", "drawing"].includes(view.kind);
  root.dataset.kind = view.kind;
  root.dataset.job = view.job || "";
  if (view.is_loaded || view.kind !== "empty") root.dataset.loaded = "yes";
  root.setAttribute("aria-busy", String(isBusy));
  empty.hidden = view.kind !== "empty";
  words.hidden = !(["waiting", "loading", "failed"].includes(view.kind) || (view.kind === "stopped" && !view.picture));
  $(".stage-title").textContent = view.text || "";
  $(".stage-hint").textContent = view.hint || "";
  $(".stage-retry").hidden = view.kind !== "failed";
  bar.style.width = view.kind === "drawing" ? `${(100 * view.step) / view.steps}%` : "0";
  status.setAttribute("aria-live", view.kind === "drawing" && view.step % 5 ? "off" : "polite");
  say(view.kind === "empty" ? "" : view.text || "");
  blame(view.kind === "failed" ? view.field : null);
  if (view.kind === "drawing") {
    if (view.preview) showImage(view.preview, `Preview: ${view.prompt}`, true);
    showFacts(null);
  } else if (view.picture) {
    showImage(view.picture.url, view.picture.prompt, false);
    showFacts(view.picture);
  } else {
    showImage(null);
    showFacts(null);
  }
  document.title = view.kind === "drawing" ? `${view.step}/${view.steps} · Easel`
    : view.kind === "done" && document.hidden ? "Done · Easel" : "Easel";
}

function toggleFull(wanted) {
  const isFull = root.classList.toggle("is-full", wanted);
  $(".stage-close").hidden = !isFull;
}

$(".stage-retry").addEventListener("click", () => document.getElementById("go")?.click());
$(".stage-close").addEventListener("click", () => toggleFull(false));
picture.addEventListener("click", () => toggleFull());
actions.addEventListener("click", (event) => {
  const action = event.target.closest("[data-do]")?.dataset.do;
  if (action === "reuse" && shown) trigger("select", { id: shown.id });
  if (action === "full") toggleFull();
});
// A picture chosen in the tray: shown here at once, without asking the server. A running job keeps the stage.
window.addEventListener("easel:show", (event) => {
  if (root.getAttribute("aria-busy") === "true") return;
  props.value = { kind: "done", text: "", prompt: event.detail.prompt, picture: event.detail };
  render();
});
window.addEventListener("easel:do", (event) => {
  if (event.detail === "reuse" && shown) trigger("select", { id: shown.id });
  if (event.detail === "full" && !picture.hidden) toggleFull();
  if (event.detail === "leave") toggleFull(false);
});
window.addEventListener("offline", () => say("The connection is gone. Your job goes on; this page catches up when it is back."));
watch("value", render);
render();
