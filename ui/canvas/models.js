// The Models tab. Names, licences and cards come from files: they go in through textContent only.
const root = element.querySelector(".models"), $ = (selector) => root.querySelector(selector);
let view = null, asking = null, wanted = null;

const tell = (text, isWrong = false) => { $(".models-said").textContent = text; $(".models-said").classList.toggle("is-wrong", isWrong); };
const post = (path, name = "", precision = "half") => ask(`/models/${path}`, JSON.stringify({ name, precision }), "application/json");
const used = () => props.value || view?.default;
const title = (name) => view?.models.find((one) => one.name === name)?.title || name;

async function load() {
  try { show(await post("view")); } catch (error) { tell(error.message, true); }
}

// An operator's act: the answer is how things stand now.
async function act(path, name, said) {
  asking = null;
  try { show(await post(path, name)); tell(said); } catch (error) { tell(error.message, true); render(); }
}

function show(found) {
  // A button must not vanish under the finger because the tab was looked at again.
  if (asking === null && JSON.stringify(found) === JSON.stringify(view)) return;
  view = found;
  window.easelQualities = Object.fromEntries(view.models.map((one) => [one.name, one.qualities]));
  render();
  announce();
  follow();
}

// The header, the words and the plots hear which model draws.
function announce() {
  const model = view?.models.find((one) => one.name === used());
  if (!model || window.easelModel?.name === model.name) return;
  const isFirst = !window.easelModel;
  window.easelModel = { name: model.name, title: model.title, note: model.note, about: model.about, edits: model.edits, samplers: model.samplers };
  for (const place of document.querySelectorAll(".top-model")) place.textContent = model.title;
  if (isFirst && model.name === view.default) return;
  // What was set for another model is no step back from here.
  window.easelForm?.forget();
  window.dispatchEvent(new CustomEvent("easel:model"));
}

const facts = (...parts) => make("p", "models-facts", parts.filter(Boolean).join(" · "));

function button(text, kind, act, label) {
  const one = make("button", kind, text);
  one.addEventListener("click", act);
  one.setAttribute("aria-label", `${text}: ${label}`);
  return one;
}

function link(text, address) {
  const one = make("a", "", text);
  Object.assign(one, { href: address, target: "_blank", rel: "noopener noreferrer" });
  return one;
}

function memory(one) {
  const line = make("p", "models-fits", one.fits ? (one.is_possible ? `Memory: ${one.fits}` : `Too large for this machine: it ${one.fits}.`) : "");
  line.classList.toggle("is-wrong", !one.is_possible);
  return line;
}

function here(model) {
  const item = make("li", "model"), isUsed = model.name === used(), head = make("div", "model-head");
  item.dataset.name = model.name;
  item.classList.toggle("is-on", isUsed);
  head.append(make("h4", "", model.title));
  if (isUsed) head.append(make("span", "model-mark is-used", "in use"));
  if (model.is_default) head.append(make("span", "model-mark", "default"));
  item.append(head, facts(model.family, model.size, model.refusal && !model.licence ? "" : model.licence || "licence not stated", model.is_bundled && "bundled", model.source && `from ${model.source}`, model.edits && "edits by a sentence"));
  if (model.refusal) item.append(make("p", "models-why", `Cannot be used: ${model.refusal}`));
  else item.append(make("p", "models-note", model.note || model.what));
  if (model.fits) item.append(memory(model));
  if (model.has_words) item.append(card(model));
  item.append(tools(model, isUsed));
  return item;
}

// What its maker wrote about data and limits, fetched when it is opened.
const opened = new Map();
function card(model) {
  const fold = make("details", "card-more"), text = make("pre", "model-words", opened.get(model.name) || "");
  fold.append(make("summary", "", "Model card"), text);
  fold.open = opened.has(model.name);
  fold.addEventListener("toggle", async () => {
    if (!fold.open) { opened.delete(model.name); return; }
    if (opened.has(model.name)) return;
    text.textContent = "Reading …";
    try { text.textContent = (await post("words", model.name)).text; }
    catch (error) { text.textContent = error.message; }
    opened.set(model.name, text.textContent);
  });
  return fold;
}

function tools(model, isUsed) {
  const row = make("div", "model-tools");
  if (!model.refusal && !isUsed) row.append(button("Use this model", "is-main", () => { asking = null; wanted = model.name; tell(`Changing to ${model.title} …`); trigger("select", { name: model.name }); }, model.title));
  if (!view.may_manage) return row;
  if (!model.refusal && !model.is_default) row.append(button("Make default", "", () => act("default", model.name, `${model.title} is the default for everybody who comes anew.`), model.title));
  if (model.is_bundled || model.is_default) return row;
  const keep = () => { asking = null; window.easelLayers.shut("asking"); render(); focusOn(model.name, "button:last-child"); };
  if (asking !== model.name) {
    row.append(button("Delete", "", () => { window.easelLayers.open("asking", () => asking === model.name && keep(), null); asking = model.name; render(); focusOn(model.name, ".is-danger"); }, model.title));
    return row;
  }
  const question = make("span", "models-ask", "Move it to data/bin?");
  row.append(question, button("Move", "is-danger", () => act("remove", model.name, `${model.title} lies in data/bin now. Take it back from there, or empty the folder.`), model.title),
    button("Keep", "", keep, model.title));
  return row;
}

const focusOn = (name, selector) => root.querySelector(`.model[data-name="${CSS.escape(name)}"] ${selector}`)?.focus();

// What it is before it is fetched. The answer to a click on it stands below it.
function offerFacts(one) {
  const line = make("p", "models-facts");
  line.append(`${one.family} · ${one.size} · `, link(one.licence, one.licence_link), " · ", link("Model card", one.card));
  return line;
}

function offer(one) {
  const item = make("li", "model"), head = make("div", "model-head");
  item.dataset.offer = one.name;
  head.append(make("h4", "", one.title));
  item.append(head, offerFacts(one), make("p", "models-note", `${one.good_at}.`), memory(one));
  if (one.refusal) item.append(make("p", "models-why", one.refusal));
  else if (view.may_manage) item.append(downloadTools(one));
  const fold = make("details", "card-more"), row = make("div", "model-command"), command = make("code", "", one.command);
  fold.append(make("summary", "", "From a terminal"), row);
  const copy = button("Copy", "", async () => {
    try { await navigator.clipboard.writeText(one.command); copy.textContent = "Copied"; } catch { getSelection().selectAllChildren(command); copy.textContent = "Selected"; }
  }, `the line that brings ${one.title}`);
  row.append(command, copy);
  item.append(fold);
  return item;
}

// A button that looks first, and the place where what was found is agreed to.
function downloadTools(one) {
  const whole = make("div"), row = make("div", "model-tools"), said = make("p", "models-look-said"), place = make("div");
  said.setAttribute("role", "status");
  const look = button("Download", "", () => lookUp(one.id, "half", place, said, look), one.title);
  row.append(look);
  whole.append(row, said, place);
  return whole;
}

async function lookUp(name, precision, place, said, from) {
  const say = (text, isWrong = false) => { said.textContent = text; said.classList.toggle("is-wrong", isWrong); };
  place.replaceChildren();
  say("Asking the hub …");
  if (from) from.disabled = true;
  try {
    const found = await post("look", name, precision);
    say("");
    const close = () => { place.replaceChildren(); from?.focus(); };
    place.replaceChildren(looked(found, close, () => lookUp(name, found.other.precision, place, said, from), say));
    place.querySelector("button")?.focus();
  } catch (error) { say(error.message, true); } finally { if (from) from.disabled = false; }
}

function looked(found, close, lookAtOther, say) {
  const card = make("div", "model-look"), line = make("p", "models-facts"), row = make("div", "model-tools");
  line.append(`${found.family} · ${found.size} in ${found.files} files · licence: ${found.licence || "not stated"} · commit ${found.commit} · `, link("Model card", found.card));
  card.append(make("h4", "", found.title), line, memory(found));
  const disk = make("p", "models-fits", found.has_disk ? `Disk: ${found.free} free.` : `No room on the disk: ${found.free} are free, and some have to stay so.`);
  disk.classList.toggle("is-wrong", !found.has_disk);
  card.append(disk);
  if (found.is_gated) card.append(make("p", "models-why", "Its owner shares it with people who have agreed to terms; the token of this machine belongs to one."));
  const take = button(`Download ${found.size}`, "is-main", async () => {
    take.disabled = true;
    try {
      const now = await post("download", found.id, found.precision);
      close();
      tell(`${found.title} is on its way. You can go on drawing.`);
      view.suggestion = null;
      suggest();
      takeDownloads(now.downloads);
      $(".models-coming").scrollIntoView({ block: "nearest" });
    } catch (error) { take.disabled = false; say(error.message, true); }
  }, found.title);
  take.disabled = !found.has_disk;
  row.append(take);
  if (found.other) row.append(button(found.other.precision === "full" ? `In full precision: ${found.other.size}` : `In half precision: ${found.other.size}`, "", lookAtOther, found.title));
  row.append(button("Not now", "", close, found.title));
  card.append(row);
  return card;
}

// What is on its way. Bars move in place: a button must not vanish under the finger.
const STATES = { waiting: "in line", fetching: "", checking: "checking", stopped: "stopped", failed: "failed" };
let timer = null, doomed = null;

function bar(label) {
  const one = make("progress", "models-bar");
  one.max = 100;
  one.setAttribute("aria-label", label);
  return one;
}

function coming(one) {
  const item = make("li", "model"), head = make("div", "model-head"), row = make("div", "model-tools");
  item.dataset.coming = one.name;
  item.dataset.state = one.state;
  head.append(make("h4", "", one.title), make("span", "model-mark", STATES[one.state]));
  item.append(head, facts(`from ${one.from}`, one.licence || "licence not stated"));
  item.append(bar(`${one.title}: all of it`), make("p", "models-facts models-whole"));
  if (one.state === "fetching") item.append(bar(`${one.title}: this file`), make("p", "models-facts models-file"));
  if (one.error) item.append(make("p", "models-why is-wrong", one.error));
  const press = (text, path, kind = "") => row.append(button(text, kind, () => change(path, one), one.title));
  const keep = () => { doomed = null; window.easelLayers.shut("doomed"); rebuild(one.name, "button:last-child"); };
  if (one.is_open) press("Cancel", "stop");
  else if (doomed === one.name) {
    row.append(make("span", "models-ask", "Throw away what has come?"));
    press("Throw away", "remove", "is-danger");
    row.append(button("Keep", "", keep, one.title));
  } else {
    press(one.state === "failed" ? "Try again" : "Resume", "resume", "is-main");
    row.append(button("Remove", "", () => { window.easelLayers.open("doomed", () => doomed === one.name && keep(), null); doomed = one.name; rebuild(one.name, ".is-danger"); }, one.title));
  }
  item.append(row);
  return item;
}

function fill(item, one) {
  const [whole, file] = item.querySelectorAll("progress");
  whole.value = one.share * 100;
  const share = `${Math.floor(one.share * 100)} %`;
  item.querySelector(".models-whole").textContent = [one.sizes, share, one.count, one.speed, one.left].filter(Boolean).join(" · ");
  if (!file) return;
  file.value = one.file_share * 100;
  item.querySelector(".models-file").textContent = `${one.file} · ${one.file_sizes}`;
}

function takeDownloads(list) {
  const before = view.downloads, gone = before.filter((one) => !list.some((other) => other.name === one.name));
  const failed = list.find((one) => one.state === "failed" && before.some((other) => other.name === one.name && other.is_open));
  if (failed) tell(`${failed.title} could not be brought here.`, true);
  view.downloads = list;
  renderComing();
  // What was on its way and is not any more is here, or was removed.
  if (gone.length) arrived(gone);
  follow();
}

async function arrived(gone) {
  await load();
  for (const one of gone) if (view.models.some((model) => model.name === one.name)) tell(`${one.title} is here: draw with it.`);
}

function renderComing() {
  const list = $(".models-coming"), old = new Map([...list.children].map((item) => [item.dataset.coming, item]));
  const held = list.contains(document.activeElement) ? document.activeElement.closest(".model").dataset.coming : null;
  const items = view.downloads.map((one) => {
    const known = old.get(one.name), item = known?.dataset.state === one.state ? known : coming(one);
    fill(item, one);
    return item;
  });
  if (items.length !== list.children.length || items.some((item, at) => item !== list.children[at])) list.replaceChildren(...items);
  $(".models-on-their-way").hidden = !items.length;
  if (held && !list.contains(document.activeElement)) (items.find((item) => item.dataset.coming === held)?.querySelector("button") || $(".models-said"))?.focus();
}

function rebuild(name, selector) {
  const item = [...$(".models-coming").children].find((one) => one.dataset.coming === name);
  if (item) item.dataset.state = "";
  renderComing();
  root.querySelector(`[data-coming="${CSS.escape(name)}"] ${selector}`)?.focus();
}

async function change(path, one) {
  doomed = null;
  try { takeDownloads((await post(`downloads/${path}`, one.name)).downloads); } catch (error) { tell(error.message, true); }
  rebuild(one.name, "button");
}

// A page that is loaded again follows again; one that looks elsewhere asks less often.
function follow() {
  clearTimeout(timer);
  if (view?.downloads.some((one) => one.is_open)) timer = setTimeout(poll, document.body.dataset.place === "models" ? 500 : 3000);
}

let isLost = false;
async function poll() {
  try {
    const found = await post("downloads");
    if (isLost) tell("");
    isLost = false;
    takeDownloads(found.downloads);
  } catch (error) { isLost = true; tell(error.message, true); follow(); }
}

// On a graphics card with nothing but the starter: what to begin with. Said here, and once on the empty stage.
function suggest() {
  const one = view.offers.find((offer) => offer.name === view.suggestion), place = $(".models-suggest");
  place.hidden = !one;
  document.querySelector(".stage-suggest")?.remove();
  if (!one) { place.replaceChildren(); return; }
  if (place.dataset.name !== one.name) {
    const head = make("div", "model-head");
    head.append(make("h4", "", `Suggested for this machine: ${one.title}`));
    place.replaceChildren(head, offerFacts(one), make("p", "models-note", `${one.good_at}. The starter draws meanwhile, and goes on drawing if you want none.`), memory(one), downloadTools(one));
    place.dataset.name = one.name;
  }
  const stage = document.querySelector(".stage-empty");
  if (!stage) return;
  const line = make("p", "stage-suggest", `This machine has room for more than the starter: ${one.title}, ${one.size}, ${one.licence}. `), open = make("button", "", "See it under Models");
  open.addEventListener("click", () => document.querySelector('[role="tab"][data-place="models"]')?.click());
  line.append(open);
  stage.append(line);
}

// How models are laid into memory. Only what can work on this device can be chosen; the fold says why of the rest.
const plan = $(".models-memory select");
plan.addEventListener("change", () => {
  const chosen = view.memory.plans.find((one) => one.choice === plan.value);
  act("memory", chosen.choice, `${chosen.title}: the next picture is drawn so.`);
});

function renderMemory() {
  const { choice, is_given, plans } = view.memory, chosen = plans.find((one) => one.choice === choice);
  plan.replaceChildren(...plans.map((one) => {
    const option = make("option", "", one.refusal ? `${one.title}: not here` : one.title);
    option.value = one.choice;
    option.disabled = Boolean(one.refusal);
    return option;
  }));
  plan.value = choice;
  plan.disabled = is_given || !view.may_manage;
  $(".models-memory-what").textContent = chosen.what + (is_given ? ` This studio was started with --memory ${choice}.` : "");
  $(".models-plans").replaceChildren(...plans.map((one) => {
    const item = make("li", "models-facts");
    item.append(make("strong", "", `${one.title}. `), one.what);
    if (one.refusal) item.append(" ", make("span", "models-plan-why", `Not here: ${one.refusal}`));
    return item;
  }));
}

const hub = $(".models-hub");
hub.addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = hub.querySelector("input");
  if (!wanted.value.trim()) { wanted.focus(); return; }
  lookUp(wanted.value, "half", $(".models-looked"), $(".models-hub-said"), hub.querySelector("button"));
});

function render() {
  if (!view) return;
  $(".models-room").textContent = `Memory at hand: ${view.room}`;
  renderMemory();
  const others = view.models.filter((one) => !one.is_bundled);
  $(".models-none").hidden = others.length > 0;
  const held = root.contains(document.activeElement) ? document.activeElement.closest(".model")?.dataset.name : null;
  $(".models-here").replaceChildren(...view.models.map(here));
  if (!$(".models-offers").children.length || view.offers.length !== $(".models-offers").children.length) $(".models-offers").replaceChildren(...view.offers.map(offer));
  $(".models-could").hidden = $(".models-could + .models-hint").hidden = !view.offers.length;
  hub.hidden = !view.may_manage;
  renderComing();
  suggest();
  // Whoever works with the keyboard must not fall back to the top of the page.
  if (held && !root.contains(document.activeElement)) focusOn(held, "button, summary");
}

watch("value", () => {
  if (wanted && wanted === props.value) tell(`${title(wanted)} draws now. Sizes, steps and guidance are as it likes them.`);
  wanted = null;
  render();
  announce();
});
window.addEventListener("easel:place", (event) => { if (event.detail === "models") load(); });
window.addEventListener("easel:racked", load);
load();
