// The LoRA rack. Names and triggers come from files: they go in through textContent only.
const list = element.querySelector(".rack-list"), none = element.querySelector(".rack-none");
const STORE = "easel_loras", MOST = __MOST__;

const used = () => (Array.isArray(props.value) ? props.value : []);
const find = (name) => used().find((one) => one.name === name);

function set(name, change) {
  const rest = used().filter((one) => one.name !== name), before = find(name) || { name, weight: 1, is_muted: false };
  props.value = change ? [...rest, { ...before, ...change }] : rest;
  render();
}

function make(tag, kind, text) {
  const one = document.createElement(tag);
  if (kind) one.className = kind;
  if (text) one.textContent = text;
  return one;
}

function entry(card) {
  const item = make("li", "rack-card"), state = find(card.name), isOn = Boolean(state && !state.is_muted);
  item.dataset.name = card.name;
  item.classList.toggle("is-on", isOn);
  const head = make("label", "rack-head"), box = make("input");
  box.type = "checkbox";
  box.checked = isOn;
  box.disabled = Boolean(card.refusal);
  box.addEventListener("change", () => set(card.name, { is_muted: !box.checked }));
  head.append(box, make("span", "rack-title", card.title));
  item.append(head);
  item.append(make("p", "rack-facts", card.refusal ? `Cannot be used: ${card.refusal}` : [card.made_for && `for ${card.made_for}`, card.licence, card.size].filter(Boolean).join(" · ")));
  if (card.refusal || !state) return item;
  const row = make("div", "rack-row"), slider = make("input"), number = make("output", "", state.weight.toFixed(2));
  Object.assign(slider, { type: "range", min: -MOST, max: MOST, step: 0.05, value: state.weight });
  slider.setAttribute("aria-label", `Weight of ${card.title}`);
  slider.addEventListener("input", () => { number.textContent = Number(slider.value).toFixed(2); });
  slider.addEventListener("change", () => set(card.name, { weight: Number(slider.value) }));
  row.append(slider, number);
  if (card.trigger) {
    const add = make("button", "", `+ ${card.trigger}`);
    add.type = "button";
    add.title = "Put its trigger words into the prompt";
    add.addEventListener("click", () => { window.easelTrigger = card.trigger; trigger("select"); });
    row.append(add);
  }
  item.append(row);
  return item;
}

function render() {
  const cards = props.cards || [], held = document.activeElement?.closest?.(".rack-card")?.dataset.name, kind = document.activeElement?.type;
  none.hidden = cards.length > 0;
  list.replaceChildren(...cards.map(entry));
  // A card that was just used keeps the focus: the keyboard must not fall back to the top of the page.
  if (held) [...list.children].find((one) => one.dataset.name === held)?.querySelector(`input[type=${kind}]`)?.focus();
  if (window.easelRestored) try { localStorage.setItem(STORE, JSON.stringify(used())); } catch { /* a full store costs only the memory */ }
}

watch("value", render);
watch("cards", render);
render();
