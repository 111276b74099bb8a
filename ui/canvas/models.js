// The Models tab. Names, licences and cards come from files: they go in through textContent only.
const root = element.querySelector(".models"), $ = (selector) => root.querySelector(selector);
let view = null, asking = null, wanted = null;

const tell = (text, isWrong = false) => { $(".models-said").textContent = text; $(".models-said").classList.toggle("is-wrong", isWrong); };
const post = (path, name = "") => ask(`/models/${path}`, JSON.stringify({ name }), "application/json");
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
  render();
  announce();
}

// The header, the words and the plots hear which model draws.
function announce() {
  const model = view?.models.find((one) => one.name === used());
  if (!model || window.easelModel?.name === model.name) return;
  const isFirst = !window.easelModel;
  window.easelModel = { name: model.name, title: model.title, note: model.note, about: model.about, edits: model.edits };
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
  item.append(head, facts(model.family, model.size, model.refusal && !model.licence ? "" : model.licence || "licence not stated", model.is_bundled && "bundled"));
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
  if (asking !== model.name) {
    row.append(button("Delete", "", () => { asking = model.name; render(); focusOn(model.name, ".is-danger"); }, model.title));
    return row;
  }
  const question = make("span", "models-ask", "Move it to data/bin?");
  row.append(question, button("Move", "is-danger", () => act("remove", model.name, `${model.title} lies in data/bin now. Take it back from there, or empty the folder.`), model.title),
    button("Keep", "", () => { asking = null; render(); focusOn(model.name, "button:last-child"); }, model.title));
  return row;
}

const focusOn = (name, selector) => root.querySelector(`.model[data-name="${CSS.escape(name)}"] ${selector}`)?.focus();

function offer(one) {
  const item = make("li", "model"), head = make("div", "model-head"), line = make("p", "models-facts");
  item.dataset.offer = one.name;
  head.append(make("h4", "", one.title));
  line.append(`${one.family} · ${one.size} · `, link(one.licence, one.licence_link), " · ", link("Model card", one.card));
  item.append(head, line, make("p", "models-note", `${one.good_at}.`), memory(one));
  if (one.refusal) item.append(make("p", "models-why", one.refusal));
  const fold = make("details", "card-more"), row = make("div", "model-command"), command = make("code", "", one.command);
  fold.append(make("summary", "", "How it comes here"), row);
  const copy = button("Copy", "", async () => {
    try { await navigator.clipboard.writeText(one.command); copy.textContent = "Copied"; } catch { getSelection().selectAllChildren(command); copy.textContent = "Selected"; }
  }, `the line that brings ${one.title}`);
  row.append(command, copy);
  item.append(fold);
  return item;
}

function render() {
  if (!view) return;
  $(".models-room").textContent = `Memory at hand: ${view.room}`;
  const others = view.models.filter((one) => !one.is_bundled);
  $(".models-none").hidden = others.length > 0;
  const held = root.contains(document.activeElement) ? document.activeElement.closest(".model")?.dataset.name : null;
  $(".models-here").replaceChildren(...view.models.map(here));
  if (!$(".models-offers").children.length || view.offers.length !== $(".models-offers").children.length) $(".models-offers").replaceChildren(...view.offers.map(offer));
  for (const one of [".models-could", ".models-hint"]) $(one).hidden = !view.offers.length;
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
load();
