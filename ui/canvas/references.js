// Reference pictures: what the drawing should resemble. Each has a weight and a window over the steps.
const list = element.querySelector(".units-list"), title = element.querySelector(".units-title"), body = element.querySelector(".units-body");
const STORE = "easel_references";
const READY = { image: null, weight: 0.6, start: 0, end: 1, adapter: "", isStyle: false, isOff: false };
const said = new Map(); // what a card has to say, by key
let isOpen = false;

const pictures = () => (Array.isArray(props.value) ? props.value : []);
const usable = () => judged(props.adapters).filter((one) => !one.refusal);

function set(key, change) {
  props.value = pictures().map((one) => (one.key === key ? { ...one, ...change } : one));
  render();
}

function say(key, text) {
  text ? said.set(key, text) : said.delete(key);
  render();
}

function add() {
  const one = { ...READY, key: newKey(), adapter: usable()[0]?.name || "" };
  props.value = [...pictures(), one];
  render();
  return one;
}

async function bring(key, blob) {
  say(key, "Bringing it in …");
  try {
    const image = await bringPicture(blob);
    said.delete(key);
    set(key, { image });
  } catch (error) { say(key, error.message); }
}

function entry(one, number) {
  const item = make("li", "card unit");
  item.dataset.key = one.key;
  item.classList.toggle("is-on", !one.isOff && Boolean(one.image));
  item.append(cardHead(`Reference ${number + 1}`, one, (change) => set(one.key, change), () => {
    said.delete(one.key);
    props.value = pictures().filter((other) => other.key !== one.key);
    render();
    element.querySelector(".units-body > .units-add")?.focus();
  }));
  takesDrop(item, (blob) => bring(one.key, blob));
  if (one.image) {
    const figures = make("div", "card-pictures"), figure = make("figure"), other = dropPlace("Other picture", "", (blob) => bring(one.key, blob));
    figure.append(thumb(one.image, "Reference"));
    other.classList.add("is-small");
    figures.append(figure, other);
    item.append(figures);
  } else {
    item.append(dropPlace("Choose a picture", "the drawing will resemble it; or drop one", (blob) => bring(one.key, blob)));
  }
  if (said.has(one.key)) item.append(alertNote(said.get(one.key)));
  item.append(sliderRow("Weight", one.weight, { min: 0, max: 2, step: 0.05 }, (weight) => set(one.key, { weight })));
  const takes = [{ name: "", title: "Subject and style" }, { name: "style", title: "Style only" }];
  item.append(chooseRow("Takes", one.isStyle ? "style" : "", takes, (what) => set(one.key, { isStyle: what === "style" })));
  if (usable().length > 1) item.append(chooseRow("Adapter", one.adapter, usable(), (adapter) => set(one.key, { adapter })));
  item.append(...windowRows(one, (change) => set(one.key, change)));
  return item;
}

function render() {
  const active = pictures().filter((one) => one.image && !one.isOff).length, canUse = usable().length > 0;
  title.textContent = !canUse ? "Reference pictures: none fits this model" : active ? `Reference pictures: ${active} on` : "Reference pictures";
  element.querySelector(".units").classList.toggle("is-unfit", !canUse);
  title.setAttribute("aria-expanded", String(isOpen));
  element.querySelector(".units").classList.toggle("is-active", active > 0);
  body.hidden = !isOpen;
  const none = element.querySelector(".units-none"), refused = judged(props.adapters).filter((one) => one.refusal);
  none.hidden = canUse;
  none.textContent = `This model has no reference adapter. Put one that was made for it into data/ip_adapters; it is found at the next load. ${refused.map((one) => `${one.title}: ${one.refusal}`).join(" ")}`;
  element.querySelector(".units-add").hidden = !canUse || pictures().length >= props.most;
  redraw(list, pictures().map(entry));
  if (window.easelRestored) try { localStorage.setItem(STORE, JSON.stringify(pictures())); } catch { /* a full store costs only the memory */ }
}

title.addEventListener("click", () => { isOpen = !isOpen; if (isOpen && usable().length && !pictures().length) add(); else render(); });
// A result comes as a reference: the fold opens, so that it is seen to arrive.
window.addEventListener("easel:reference", () => { isOpen = true; render(); title.scrollIntoView({ block: "nearest" }); });
element.querySelector(".units-add").addEventListener("click", () => add());
element.addEventListener("error", (event) => {
  const key = event.target.closest?.("[data-key]")?.dataset.key;
  if (!key) return;
  set(key, { image: null });
  say(key, GONE);
}, true);
watch("value", render);
watch("adapters", render);
window.addEventListener("easel:model", render);
render();
