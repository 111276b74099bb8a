// ControlNet units. A unit holds a picture, the map made from it, and how strictly the drawing follows the map.
const list = element.querySelector(".units-list"), title = element.querySelector(".units-title"), body = element.querySelector(".units-body");
const STORE = "easel_units";
const READY = { key: "", image: null, map: null, preprocessor: "canny", settings: {}, control: "", weight: 1, start: 0, end: 1, fit: "crop", isOff: false };
const said = new Map();  // what a card has to say, by key
const asking = new Map(); // the newest wish for a map, by key: an older answer is dropped
let isOpen = false;

const units = () => (Array.isArray(props.value) ? props.value : []);
const method = (name) => (props.methods || []).find((one) => one.name === name);
const usable = () => judged(props.controls).filter((one) => !one.refusal);
const inTab = () => document.body.dataset.mode === "controlnet";

// Which control model goes with a map: one made for it, else what is there.
function controlFor(preprocessor, chosen) {
  if (usable().some((one) => one.name === chosen)) return chosen;
  return (usable().find((one) => one.preprocessor === preprocessor) || usable()[0])?.name || "";
}

function set(key, change, needsMap = false) {
  props.value = units().map((one) => (one.key === key ? { ...one, ...change } : one));
  render();
  if (needsMap) makeMap(key);
}

function say(key, text) {
  text ? said.set(key, text) : said.delete(key);
  render();
}

async function makeMap(key) {
  const one = units().find((unit) => unit.key === key);
  if (!one?.image) return;
  const wish = {};
  asking.set(key, wish);
  say(key, "");
  // What is not here yet has a button that says so.
  if (__MAY_FETCH__ && method(one.preprocessor)?.is_ready === false) { asking.delete(key); render(); return; }
  if (one.preprocessor === "none") { asking.delete(key); set(key, { map: one.image }); return; }
  try {
    const wanted = { source: one.image.hash, preprocessor: one.preprocessor, settings: one.settings };
    const map = await ask("/maps", JSON.stringify(wanted), "application/json");
    if (asking.get(key) === wish) { asking.delete(key); set(key, { map }); }
  } catch (error) {
    if (asking.get(key) === wish) { asking.delete(key); set(key, { map: null }); say(key, error.message); }
  }
}

async function bring(key, blob) {
  say(key, "Bringing it in …");
  try {
    const image = await bringPicture(blob);
    said.delete(key);
    set(key, { image, map: null }, true);
  } catch (error) { say(key, error.message); }
}

function add(start = {}) {
  if (units().length >= props.most) return null;
  const one = { ...READY, key: newKey(), control: controlFor("canny", ""), ...start };
  props.value = [...units(), one];
  render();
  return one;
}

// A picture without a place of its own goes to the first unit that has none.
function take(blob) {
  const one = units().find((unit) => !unit.image) || add();
  if (one) bring(one.key, blob);
}

function settingsRows(one) {
  return (method(one.preprocessor)?.settings || []).map((setting) => {
    const value = one.settings[setting.name] ?? setting.value, change = (next) => set(one.key, { settings: { ...one.settings, [setting.name]: next } }, true);
    if (setting.isSwitch) return switchRow(setting.label, value === 1, (isOn) => change(isOn ? 1 : 0));
    // A seed has too many places for a slider.
    if (setting.max > 10000) return numberRow(setting.label, value, setting, change);
    return sliderRow(setting.label, value, { ...setting, shown: (now) => String(now) }, change);
  });
}

function entry(one, number) {
  const item = make("li", "card unit"), control = judged(props.controls).find((card) => card.name === one.control);
  item.dataset.key = one.key;
  item.classList.toggle("is-on", !one.isOff && Boolean(one.image));
  item.append(cardHead(`Unit ${number + 1}`, one, (change) => set(one.key, change), () => {
    said.delete(one.key);
    asking.delete(one.key);
    props.value = units().filter((unit) => unit.key !== one.key);
    render();
    element.querySelector(".units-body > .units-add")?.focus();
  }));
  takesDrop(item, (blob) => bring(one.key, blob));
  if (!one.image) {
    item.append(dropPlace("Choose a picture", "its structure leads the drawing; or drop or paste one", (blob) => bring(one.key, blob)));
  } else {
    const pictures = make("div", "card-pictures"), from = make("figure"), to = make("figure");
    from.append(thumb(one.image, "Source"), make("figcaption", "", "Source"));
    to.append(one.map ? thumb(one.map, "Map") : make("span", "card-thumb is-waiting"), make("figcaption", "", asking.has(one.key) ? "Making the map …" : one.map ? "Map" : "No map"));
    to.setAttribute("aria-busy", String(asking.has(one.key)));
    pictures.append(from, make("span", "card-arrow", "→"), to);
    item.append(pictures);
    const other = dropPlace("Other picture", "", (blob) => bring(one.key, blob));
    other.classList.add("is-small");
    item.append(other);
  }
  if (said.has(one.key)) item.append(alertNote(said.get(one.key)));
  const methods = (props.methods || []).map((card) => ({ name: card.name, title: card.is_ready ? card.title : `${card.title} (${card.size})`, group: card.is_ready ? "Works here" : "Needs a download" }));
  item.append(chooseRow("Map from", one.preprocessor, methods, (preprocessor) => {
    const fitting = usable().find((card) => card.preprocessor === preprocessor);
    set(one.key, { preprocessor, settings: {}, map: null, ...(fitting ? { control: fitting.name } : {}) }, true);
  }));
  const chosen = method(one.preprocessor);
  if (chosen?.line) item.append(make("p", "card-note", chosen.line));
  if (chosen && !chosen.is_ready && __MAY_FETCH__) item.append(fetchRow(one, chosen));
  item.append(...settingsRows(one));
  const controls = judged(props.controls).map((card) => ({ name: card.name, title: card.refusal ? `${card.title}: ${card.refusal}` : card.title, isOff: Boolean(card.refusal) }));
  if (controls.length) item.append(chooseRow("Control", one.control, one.control ? controls : [{ name: "", title: "Choose one" }, ...controls], (name) => set(one.key, { control: name })));
  else item.append(make("p", "card-note", "No control model is here. Put one into data/controlnets; it is found at the next load."));
  if (controls.length && !usable().length) item.append(make("p", "card-note", "None of these fits this model. Put one that was made for it into data/controlnets."));
  if (control) item.append(make("p", "card-note", [control.note, control.licence, control.size].filter(Boolean).join(" · ")));
  item.append(sliderRow("Weight", one.weight, { min: 0, max: 2, step: 0.05 }, (weight) => set(one.key, { weight })));
  const more = make("details", "card-more");
  more.open = one.isMore === true;
  more.addEventListener("toggle", () => { if (more.open !== (one.isMore === true)) props.value = units().map((unit) => (unit.key === one.key ? { ...unit, isMore: more.open } : unit)); });
  const fits = [{ name: "crop", title: "Crop" }, { name: "pad", title: "Pad" }, { name: "stretch", title: "Stretch" }];
  more.append(make("summary", "", one.start > 0 || one.end < 1 ? `When: ${percent(one.start)} to ${percent(one.end)} of the steps` : "When, and how it is fitted"),
    ...windowRows(one, (change) => set(one.key, change)), chooseRow("Fit", one.fit, fits, (fit) => set(one.key, { fit })));
  item.append(more);
  return item;
}

// The weights of a preprocessor, for an operator who has read their size and licence beside the button.
const fetching = new Map(); // share that is here, by preprocessor
function fetchRow(one, chosen) {
  const row = make("div", "card-fetch"), share = fetching.get(chosen.name), button = make("button", "units-add");
  button.textContent = share === undefined ? `Fetch ${chosen.size}` : `Fetching: ${percent(share)}`;
  if (share === undefined) button.setAttribute("aria-label", `Fetch ${chosen.size}, licence: ${chosen.licence}`);
  button.disabled = share !== undefined;
  button.dataset.part = "fetch";
  button.addEventListener("click", async () => {
    fetching.set(chosen.name, 0);
    say(one.key, "");
    try {
      const found = await askFetch("/hub/preprocessors/fetch", chosen.name, (now) => { fetching.set(chosen.name, now); render(); });
      props.methods = found.methods;
      fetching.delete(chosen.name);
      for (const unit of units()) if (unit.preprocessor === chosen.name) makeMap(unit.key);
      render();
    } catch (error) { fetching.delete(chosen.name); say(one.key, error.message); }
  });
  row.append(button);
  return row;
}

function render() {
  // The tab is about its units: there is always one to begin with.
  if (inTab() && window.easelRestored && !units().length) { add(); return; }
  const active = units().filter((one) => one.image && !one.isOff).length;
  // Generate waits for these: see typing.js.
  window.easelMaps = units().filter((one) => one.image && !one.isOff && asking.has(one.key)).length;
  title.textContent = active ? `ControlNet: ${active} on` : "ControlNet";
  title.setAttribute("aria-expanded", String(isOpen || inTab()));
  element.querySelector(".units").classList.toggle("is-active", active > 0);
  body.hidden = !(isOpen || inTab());
  element.querySelector(".units-add").hidden = units().length >= props.most;
  redraw(list, units().map(entry));
  if (window.easelRestored) try { localStorage.setItem(STORE, JSON.stringify(units())); } catch { /* a full store costs only the memory */ }
}

title.addEventListener("click", () => { isOpen = !isOpen; render(); });
element.querySelector(".units-add").addEventListener("click", () => add());
window.addEventListener("easel:mode", render);
window.addEventListener("easel:bring-control", (event) => take(event.detail));
// A picture that the server has forgotten leaves its card.
element.addEventListener("error", (event) => {
  const key = event.target.closest?.("[data-key]")?.dataset.key, one = units().find((unit) => unit.key === key);
  if (!one) return;
  set(key, event.target.alt === "Map" ? { map: null } : { image: null, map: null });
  say(key, GONE);
}, true);
watch("value", () => {
  // A picture that was sent here has no control model yet.
  if (usable().length && units().some((one) => !one.control)) props.value = units().map((one) => ({ ...one, control: one.control || controlFor(one.preprocessor, "") }));
  for (const one of units()) if (one.image && !one.map && !asking.has(one.key) && !said.has(one.key)) makeMap(one.key);
  render();
});
watch("controls", render);
window.addEventListener("easel:model", render);
watch("methods", render);
render();
