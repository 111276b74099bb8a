// The stage. Everything a person wrote goes in through textContent and attributes, never as markup.
const EXAMPLES = __EXAMPLES__;
const root = element.querySelector(".stage");
const $ = (selector) => root.querySelector(selector);
const $do = (name) => $(`[data-do="${name}"]`);
const picture = $(".stage-picture"), empty = $(".stage-empty"), words = $(".stage-words"), sheet = $(".stage-sheet"), tiled = $(".stage-tiled");
const status = $(".stage-status"), facts = $(".stage-facts"), actions = $(".stage-actions"), bar = $(".stage-bar i"), menu = $(".stage-menu");
let shown = null;   // the finished picture on the stage, if any
let said = "";      // what the live region said last
let peeked = null;  // a finished picture, looked at while a sheet or a job goes on
let compared = null; // the first of two to compare
let lastFailed = ""; // whose fault the page has marked
let previewOf = "";  // whose preview the picture is

const IN_SIGHT = 6;
let firstExample = 0;
function showExamples(from) {
  firstExample = from % EXAMPLES.length;
  const some = Array.from({ length: Math.min(IN_SIGHT, EXAMPLES.length) }, (_, at) => EXAMPLES[(firstExample + at) % EXAMPLES.length]);
  $(".stage-examples").replaceChildren(...some.map(exampleCard));
}
function exampleCard(example) {
  const card = document.createElement("button");
  card.type = "button";
  card.className = "stage-example";
  const image = document.createElement("img");
  image.src = example.image;
  image.alt = "";
  card.append(image);
  const text = document.createElement("span");
  text.textContent = example.prompt;
  card.append(text);
  card.addEventListener("click", () => trigger("submit", { prompt: example.prompt, seed: example.seed }));
  return card;
}
showExamples(0);
$(".stage-others").addEventListener("click", () => showExamples(firstExample + IN_SIGHT));

const setView = (view) => { document.body.dataset.view = view; if (view !== "compare") window.easelLayers.shut("compare"); };

function showImage(source, alt, isPreview) {
  picture.hidden = !source;
  if (!source) { picture.removeAttribute("src"); return; }
  if (picture.getAttribute("src") !== source) picture.src = source;
  picture.alt = alt || "";
  picture.classList.toggle("is-preview", Boolean(isPreview));
}

function showFacts(finished) {
  // The frames of what is drawn meanwhile leave open what belongs to this one.
  if (finished?.id !== shown?.id) { tile(false); closeMenu(); }
  shown = finished || null;
  actions.hidden = !finished;
  facts.textContent = finished
    ? `seed ${finished.seed} · ${finished.width} × ${finished.height} · ${finished.is_partial ? "stopped half-way" : `${finished.steps} steps`} · ${finished.seconds} s${finished.weights ? ` · ${finished.weights}` : ""}` : "";
  if (finished) $do("download").href = `${finished.download}&format=${$do("format").value}`;
  $do("tile").hidden = !finished?.seamless;
}

function tile(wanted) {
  const isOn = Boolean(wanted && shown?.seamless);
  tiled.hidden = !isOn;
  $do("tile").setAttribute("aria-pressed", String(isOn));
  if (!isOn) return;
  const across = shown.seamless.includes("x"), down = shown.seamless.includes("y");
  tiled.style.aspectRatio = `${shown.width * (across ? 3 : 1)} / ${shown.height * (down ? 3 : 1)}`;
  tiled.style.backgroundImage = `url("${shown.url}")`;
  tiled.style.backgroundSize = `${across ? 100 / 3 : 100}% ${down ? 100 / 3 : 100}%`;
}

function say(text) {
  // A screen reader should not hear every step: only changes of state and each quarter are announced by the live region.
  if (text !== said) { status.textContent = text; said = text; }
}

// ---- the sheet

function cellOf(cell, number, view) {
  const box = document.createElement("figure");
  box.className = "cell";
  fillCell(box, cell, number, view);
  return box;
}
function fillCell(box, cell, number, view) {
  const key = JSON.stringify([cell.state, cell.picture?.id, cell.text, cell.preview?.length, cell.pictures]);
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  box.dataset.state = cell.state;
  box.replaceChildren();
  if (cell.picture) {
    const open = document.createElement("button");
    open.type = "button";
    open.className = "cell-open";
    const image = document.createElement("img");
    image.src = cell.picture.url;
    image.alt = `${cell.name || cell.label}: ${cell.picture.prompt}`;
    open.append(image);
    // The same key leads there and back.
    open.addEventListener("click", () => { peeked = cell.picture; render(); $do("sheet").focus(); });
    box.append(open);
  } else if (cell.preview) {
    const image = document.createElement("img");
    image.src = cell.preview;
    image.alt = "";
    box.append(image);
  }
  const text = document.createElement("figcaption");
  const label = document.createElement("span");
  label.textContent = cell.label;
  text.append(label);
  if (cell.text) {
    const said = document.createElement("span");
    said.className = "cell-said";
    said.textContent = cell.text;
    text.append(said);
  }
  box.append(text);
  if (cell.state === "failed" || cell.state === "cancelled") {
    const again = document.createElement("button");
    again.type = "button";
    again.className = "cell-retry";
    again.textContent = "Retry";
    again.addEventListener("click", () => { again.disabled = true; trigger("retry", { sheet: view.sheet, number }); });
    box.append(again);
  }
}
// Pictures of one job are chosen from like the cells of a grid.
function cellsOf(view) {
  if (view.kind === "sheet") return view.cells;
  const all = view.pictures || [];
  return all.map((one, number) => ({ label: `seed ${one.seed}`, name: `Picture ${number + 1} of ${all.length}, seed ${one.seed}`, state: "done", picture: one }));
}
function showSheet(view, cells) {
  sheet.hidden = false;
  sheet.setAttribute("aria-label", `${cells.length} pictures to choose from`);
  sheet.dataset.id = view.sheet || view.job;
  while (sheet.children.length > cells.length) sheet.lastChild.remove();
  cells.forEach((cell, number) => (sheet.children[number] ? fillCell(sheet.children[number], cell, number, view) : sheet.append(cellOf(cell, number, view))));
  layOut(view.columns, cells);
}
// As many columns as make the pictures largest.
const CAPTION = 22, GAP = 12;
function layOut(columns, cells) {
  const one = cells.find((cell) => cell.picture)?.picture, shape = one ? one.width / one.height : 1;
  const isPhone = matchMedia("(max-width: 900px)").matches && !root.classList.contains("is-full");
  const { width, height } = sheet.getBoundingClientRect();
  const sizeIn = (across) => Math.min(shape * ((height - GAP) / Math.ceil(cells.length / across) - GAP - CAPTION), (width - GAP) / across - GAP);
  const tried = Array.from({ length: cells.length }, (_, at) => at + 1);
  const best = isPhone ? Math.min(2, cells.length) : tried.reduce((found, across) => (sizeIn(across) > sizeIn(found) + 1 ? across : found), 1);
  sheet.style.setProperty("--columns", String(columns || best));
}
new ResizeObserver(() => { if (!sheet.hidden) layOut(props.value?.columns, cellsOf(props.value || {})); }).observe($(".stage-frame"));
const openings = () => [...sheet.querySelectorAll(".cell-open")];
sheet.addEventListener("keydown", (event) => {
  const across = Number(sheet.style.getPropertyValue("--columns")) || 1, all = openings(), at = all.indexOf(event.target);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - across, ArrowDown: at + across, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  event.stopPropagation();
  all[to]?.focus();
});
function backToSheet() {
  const at = openings().findIndex((one) => one.querySelector("img").getAttribute("src") === peeked?.url);
  peeked = null;
  render();
  openings()[Math.max(at, 0)]?.focus();
}

// ---- everything

function render() { show(props.value || { kind: "empty" }); }
function show(view) {
  const isSheet = view.kind === "sheet", isBusy = isRunning(view), cells = cellsOf(view), isMany = cells.length > 0;
  const wasBusy = root.getAttribute("aria-busy") === "true";
  if (!isSheet && !isBusy && (!isMany || wasBusy)) peeked = null;
  const isOnSheet = isMany && !peeked;
  // Until the first preview comes, what was there stays, but steps back.
  const isPast = isBusy && !isMany && !peeked && !view.preview && (!picture.hidden || !sheet.hidden) && previewOf !== view.job;
  root.classList.toggle("is-past", isPast);
  sheet.inert = isPast;
  if (isBusy && !wasBusy) { setView("result"); stopChoosing(false); }
  root.dataset.kind = view.kind;
  root.dataset.job = view.job || "";
  // What this page says when its stream breaks and is opened again.
  root.dataset.at = isSheet && view.is_busy ? `sheet:${view.sheet}` : isBusy || view.kind === "paused" ? view.job || "" : "";
  if (document.body.dataset.ready && (view.is_loaded || view.kind !== "empty")) root.dataset.loaded = "yes";
  document.body.toggleAttribute("data-running", isBusy);
  root.setAttribute("aria-busy", String(isBusy));
  empty.hidden = view.kind !== "empty";
  words.hidden = Boolean(peeked) || isPast || !(["waiting", "loading", "failed", "paused"].includes(view.kind) || (view.kind === "stopped" && !view.picture));
  $(".stage-title").textContent = view.text || "";
  $(".stage-hint").textContent = view.hint || "";
  const offer = { failed: "Try again", paused: "Resume", stopped: "Draw it again" }[view.kind];
  $(".stage-retry").hidden = !offer;
  $(".stage-retry").textContent = offer || "";
  const share = view.share ?? (view.kind === "drawing" ? view.step / view.steps : 0);
  bar.style.width = `${100 * share}%`;
  status.setAttribute("aria-live", view.kind === "drawing" && view.step % 5 ? "off" : "polite");
  const number = peeked && !isSheet ? cells.findIndex((cell) => cell.picture.id === peeked.id) : -1;
  say(view.kind === "empty" || (peeked && isMany && !isSheet && number < 0) ? "" : number < 0 ? view.text || "" : `Picture ${number + 1} of ${cells.length}`);
  if (view.kind === "failed" && document.body.dataset.view !== "result") setView("result");
  if (view.kind === "failed" && lastFailed !== view.job) window.dispatchEvent(new CustomEvent("easel:blame", { detail: view.field }));
  lastFailed = view.kind === "failed" ? view.job : "";
  if (!isPast) sheet.hidden = true;
  $(".stage-zips").hidden = !(isSheet && !peeked && view.cells.some((cell) => cell.picture));
  $do("sheet").hidden = !peeked;
  $do("sheet").textContent = isSheet ? "Sheet" : isMany ? `All ${cells.length}` : "Back to the running one";
  $do("sheet").title = isMany ? "Back to all pictures" : "";
  $do("go-on").hidden = Boolean(peeked) || view.kind !== "stopped" || !(view.can_go_on || view.picture);
  $do("go-on").textContent = view.can_go_on ? "Go on" : "Draw it again";
  $do("go-on").title = view.can_go_on ? "Draw the tiles that are missing" : "Draw it whole this time";
  if (view.kind === "drawing" && !peeked) {
    if (view.preview) { showImage(view.preview, `Preview: ${view.prompt}`, true); previewOf = view.job; }
    showFacts(null);
  } else if (isOnSheet) {
    showImage(null);
    showFacts(null);
    showSheet(view, cells);
    actions.hidden = $do("go-on").hidden;
    $(".stage-zip").href = `/sheets/${view.sheet}.zip`;
    $(".stage-dataset").href = `/sheets/${view.sheet}.zip?dataset=true`;
    $(".stage-dataset").hidden = view.sheet_kind !== "dataset";
  } else if (peeked || view.picture) {
    const one = peeked || view.picture;
    showImage(one.url, one.prompt, false);
    showFacts(one);
  } else {
    // What is paused stays in sight, as far as it had come.
    if (!isPast && !(view.kind === "paused" && previewOf === view.job)) showImage(null);
    showFacts(null);
    actions.hidden = $do("go-on").hidden;
  }
  if (!picture.classList.contains("is-preview")) previewOf = "";
  // A row that is hidden keeps its room: it comes back with all its buttons.
  for (const button of actions.children) if (!["go-on", "sheet", "tile"].includes(button.dataset.do)) button.hidden = !shown && !actions.hidden;
  window.dispatchEvent(new CustomEvent("easel:progress", { detail: view.kind === "drawing" ? { mode: view.mode, step: view.step, steps: view.steps } : { mode: "", step: null, steps: 1 } }));
  const name = { waiting: "In line", loading: "Loading", paused: "Paused", failed: "Failed" }[view.kind];
  $(".stage-ask").hidden = !(view.kind === "stopped" && view.picture?.is_partial && !localStorage.getItem("easel_stop"));
  document.title = view.whole != null || (isSheet && isBusy) ? `${Math.round(100 * (view.whole ?? share))} % · Easel`
    : name ? `${name} · Easel` : ["done", "sheet"].includes(view.kind) && document.hidden ? "Done · Easel" : "Easel";
}
const isRunning = (view) => ["waiting", "loading", "drawing"].includes(view.kind) || (view.kind === "sheet" && view.is_busy);

function toggleFull(wanted = !root.classList.contains("is-full")) {
  if (wanted === root.classList.contains("is-full")) return;
  root.classList.toggle("is-full", wanted);
  $(".stage-close").hidden = !wanted;
  const behind = document.querySelectorAll(".top, #controls, #tray, #models-column, #views, #line");
  if (!wanted) { for (const one of behind) one.inert = false; return window.easelLayers.shut("full"); }
  window.easelLayers.open("full", () => toggleFull(false));
  // Tab stays with what can be seen.
  for (const one of behind) one.inert = true;
  $(".stage-close").focus();
}
function openMenu() {
  menu.hidden = false;
  $do("send").setAttribute("aria-expanded", "true");
  window.easelLayers.open("send", () => closeMenu(true), $do("send"));
  menu.querySelector("button").focus();
}
function closeMenu(isFocusKept = false) {
  menu.hidden = true;
  $do("send").setAttribute("aria-expanded", "false");
  window.easelLayers.shut("send", isFocusKept);
}

// A tab, chosen for a picture: the picture and its recipe go there.
function send(one, to) {
  closeMenu();
  // The form is what is wanted now: nothing may lie over it.
  toggleFull(false);
  // A reference goes beside whatever is being made; only the upscale tab takes none.
  if (to === "reference") {
    if (document.body.dataset.mode === "upscale") window.dispatchEvent(new CustomEvent("easel:choose", { detail: "txt2img" }));
    window.dispatchEvent(new CustomEvent("easel:reference"));
    trigger("upload", { id: one.id, to });
    return;
  }
  window.dispatchEvent(new CustomEvent("easel:choose", { detail: to }));
  setView(to === "inpaint" ? "paint" : "result");
  trigger("upload", { id: one.id, to });
}
function compare(first, second) {
  const opener = $do("compare");
  stopChoosing(false);
  render();
  setView("compare");
  window.easelLayers.open("compare", () => document.body.dataset.view === "compare" && setView("result"), opener);
  trigger("apply", { first: first.id, second: second.id, is_dark: document.body.classList.contains("dark") });
}
function startCompare(one) {
  toggleFull(false);
  compared = one;
  document.body.classList.add("is-comparing");
  window.easelLayers.open("choosing", () => { stopChoosing(); render(); }, $do("compare"));
  say("Now choose the other picture in the results. Esc leaves.");
}
function stopChoosing(isFocusKept = true) {
  compared = null;
  document.body.classList.remove("is-comparing");
  window.easelLayers.shut("choosing", isFocusKept);
}

// Behind the Models tab nobody would see what they have asked for.
function leavePlace() {
  if (document.body.dataset.place) window.dispatchEvent(new CustomEvent("easel:choose", { detail: document.body.dataset.mode }));
}
const deeds = {
  reuse: (one) => { leavePlace(); trigger("select", { id: one.id }); },
  full: () => toggleFull(),
  compare: startCompare,
  tile: () => tile(tiled.hidden),
  sheet: () => backToSheet(),
  "go-on": () => (props.value?.can_go_on ? trigger("play", { job: root.dataset.job }) : again("retry")),
  send: () => (menu.hidden ? openMenu() : closeMenu(true)),
};

$do("format").addEventListener("change", () => showFacts(shown));
const again = (name) => window.dispatchEvent(new CustomEvent("easel:deed", { detail: { row: { job: props.value?.job }, name } }));
$(".stage-retry").addEventListener("click", () => {
  const { kind, job } = props.value || {};
  if (job) again(kind === "paused" ? "resume" : "retry");
});
$(".stage-close").addEventListener("click", () => toggleFull(false));
picture.addEventListener("click", () => toggleFull());
actions.addEventListener("click", (event) => {
  const to = event.target.closest("[data-to]")?.dataset.to, action = event.target.closest("[data-do]")?.dataset.do;
  if (to && shown) send(shown, to);
  else if (action && deeds[action] && (shown || ["sheet", "go-on"].includes(action))) deeds[action](shown);
});
menu.addEventListener("keydown", (event) => {
  const items = [...menu.querySelectorAll("button")], at = items.indexOf(document.activeElement);
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (by) { event.preventDefault(); event.stopPropagation(); items[(at + by + items.length) % items.length].focus(); }
});
document.addEventListener("click", (event) => { if (!event.target.closest(".stage-send")) closeMenu(); });
// A picture chosen in the tray: shown here at once, without asking the server. A running job keeps the stage.
window.addEventListener("easel:show", (event) => {
  const one = event.detail;
  if (compared) { if (compared.id !== one.id) compare(compared, one); return; }
  if (document.body.dataset.view === "compare") setView("result");
  const view = props.value || {};
  if (isRunning(view)) { peeked = one; render(); return; }
  if (document.body.dataset.view === "paint") setView("result");
  // The way back to those that were to be chosen from stays open.
  if (cellsOf(view).length) { peeked = one; render(); return; }
  props.value = { kind: "done", text: "", prompt: one.prompt, picture: one };
  render();
});
window.addEventListener("easel:do", (event) => {
  const { name, one = shown, to } = typeof event.detail === "string" ? { name: event.detail } : event.detail;
  if (name === "full") { if (!picture.hidden) toggleFull(); }
  else if (name === "send" && one && to) send(one, to);
  else if (one && deeds[name]) deeds[name](one);
});
// Asked once; the settings can change it later.
$(".stage-ask").addEventListener("click", async (event) => {
  const answer = event.target.closest("[data-stop]")?.dataset.stop;
  if (!answer) return;
  localStorage.setItem("easel_stop", answer);
  const view = props.value || {};
  if (answer === "drop" && view.picture) {
    await window.easelAsk("/tray", { do: "bin", pictures: [view.picture.id] });
    props.value = { ...view, picture: null, pictures: view.pictures?.filter((one) => one.id !== view.picture.id) };
  }
  render();
  document.getElementById("go")?.focus();
});
window.addEventListener("easel:stop", () => {
  const { kind, job, sheet } = props.value || {};
  window.dispatchEvent(new CustomEvent("easel:deed", { detail: { row: { job, sheet: kind === "sheet" ? sheet : null }, name: "stop" } }));
});
function follow(view) {
  if (!view) return;
  if (view.job !== props.value?.job && isRunning(view)) peeked = null;
  props.value = view;
  render();
}
window.addEventListener("easel:told", ({ detail }) => follow(detail.stage));
window.addEventListener("easel:ready", render);
window.addEventListener("easel:gone", () => { if (isRunning(props.value || {})) say("The connection is gone. Your job goes on; this page catches up when it is back."); });
window.addEventListener("offline", () => say("The connection is gone. Your job goes on; this page catches up when it is back."));
watch("value", render);
// What was said before this was here is shown at once, and taken in when the framework has set the first value.
show(window.easelTold?.stage || props.value || { kind: "empty" });
setTimeout(() => follow(window.easelTold?.stage));
