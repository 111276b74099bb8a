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

// A picture of the same name beside the file, else strokes of its own colour: cards are told apart by eye.
function swatch(card) {
  if (card.picture) {
    const picture = make("img", "rack-picture");
    Object.assign(picture, { src: card.picture, alt: "", loading: "lazy", width: 44, height: 44 });
    picture.addEventListener("error", () => picture.replaceWith(swatch({ ...card, picture: null })));
    return picture;
  }
  let seed = 7;
  for (const letter of card.name) seed = (seed * 31 + letter.codePointAt(0)) % 9973;
  const space = "http://www.w3.org/2000/svg", drawn = document.createElementNS(space, "svg");
  drawn.setAttribute("viewBox", "0 0 44 44");
  drawn.setAttribute("class", "rack-picture");
  drawn.setAttribute("aria-hidden", "true");
  for (let stroke = 0; stroke < 4; stroke += 1) {
    const line = document.createElementNS(space, "path"), y = 8 + stroke * 10, bend = ((seed >> stroke) % 15) - 7;
    line.setAttribute("d", `M4 ${y}Q22 ${y + bend} 40 ${y}`);
    line.setAttribute("stroke", `hsl(${(seed + stroke * 24) % 360} 45% 55%)`);
    drawn.append(line);
  }
  return drawn;
}

function triggers(card) {
  const row = make("div", "rack-triggers");
  for (const words of (card.trigger || "").split(",").map((one) => one.trim()).filter(Boolean)) {
    const add = make("button", "", `+ ${words}`);
    add.type = "button";
    add.title = "Put its trigger words into the prompt";
    add.addEventListener("click", () => { window.easelTrigger = words; trigger("select"); });
    row.append(add);
  }
  return row;
}

function entry(card) {
  const item = make("li", "rack-card"), state = find(card.name), isOn = Boolean(state && !state.is_muted);
  item.dataset.name = card.name;
  item.classList.toggle("is-on", isOn);
  item.classList.toggle("is-unfit", Boolean(card.refusal));
  const head = make("label", "rack-head"), box = make("input"), text = make("div", "rack-text");
  box.type = "checkbox";
  box.checked = isOn;
  box.disabled = Boolean(card.refusal);
  box.addEventListener("change", () => set(card.name, { is_muted: !box.checked }));
  head.append(box, make("span", "rack-title", card.title));
  text.append(head);
  const facts = [state?.is_muted && "muted", card.made_for && `for ${card.made_for}`, card.licence || "licence not stated", card.size, card.source && `from ${card.source}`];
  text.append(make("p", "rack-facts", card.refusal ? `Cannot be used: ${card.refusal}` : facts.filter(Boolean).join(" · ")));
  item.append(swatch(card), text);
  if (card.refusal) return item;
  if (card.trigger) text.append(triggers(card));
  if (!state) return item;
  const row = make("div", "rack-row"), slider = make("input"), number = make("output", "", state.weight.toFixed(2));
  Object.assign(slider, { type: "range", min: -MOST, max: MOST, step: 0.05, value: state.weight });
  slider.setAttribute("aria-label", `Weight of ${card.title}`);
  slider.addEventListener("input", () => { number.textContent = Number(slider.value).toFixed(2); });
  slider.addEventListener("change", () => set(card.name, { weight: Number(slider.value) }));
  row.append(slider, number);
  text.append(row, blockRows(card, state));
  return item;
}

// How much of it each part of the denoiser hears: coarse shapes in the middle, texture towards the ends.
const opened = new Set();
function blockRows(card, state) {
  const fold = make("details", "card-more"), blocks = state.blocks || {};
  const changed = Object.entries(blocks).filter(([, weight]) => weight !== 1).map(([name, weight]) => `${name} ${weight.toFixed(2)}`).join(", ");
  fold.append(make("summary", "", changed ? `Blocks: ${changed}` : "Blocks"));
  fold.open = opened.has(card.name);
  fold.addEventListener("toggle", () => (fold.open ? opened.add(card.name) : opened.delete(card.name)));
  for (const name of ["down", "mid", "up"])
    fold.append(sliderRow(name, blocks[name] ?? 1, { min: 0, max: 2, step: 0.05 }, (weight) => set(card.name, { blocks: { ...blocks, [name]: weight } })));
  return fold;
}

// Two of the starter's styles at full weight leave neither of them, nor the words; together at this sum they still mix.
const TOGETHER = 1.2, TOO_MUCH = 1.5, much = element.querySelector(".rack-much");
function warn(cards) {
  const styles = cards.filter((card) => !card.is_few_steps && !card.refusal).map((card) => find(card.name)).filter((state) => state && !state.is_muted);
  const sum = styles.reduce((all, state) => all + Math.abs(state.weight), 0), each = (TOGETHER / Math.max(styles.length, 1)).toFixed(2);
  much.hidden = styles.length < 2 || sum <= TOO_MUCH;
  if (much.hidden) return;
  much.firstChild.textContent = `${styles.length} styles at these weights drown each other and the words. `;
  much.lastChild.textContent = `Use ${each} each`;
  much.lastChild.onclick = () => {
    const names = new Set(styles.map((state) => state.name));
    props.value = used().map((one) => (names.has(one.name) ? { ...one, weight: Number(each) } : one));
    render();
    list.querySelector("input")?.focus();
  };
}

function render() {
  // What draws in fewer steps is no style: it stands behind them.
  const cards = judged(props.cards).toSorted((one, other) => Number(one.is_few_steps) - Number(other.is_few_steps)), held = document.activeElement?.closest?.(".rack-card")?.dataset.name, { type: kind, dataset: { part } = {} } = document.activeElement || {};
  none.hidden = cards.length > 0;
  list.replaceChildren(...cards.map(entry));
  warn(cards);
  // A card that was just used keeps the focus: the keyboard must not fall back to the top of the page.
  if (held) [...list.children].find((one) => one.dataset.name === held)?.querySelector(`input[type=${kind}]${part ? `[data-part="${part}"]` : ""}`)?.focus();
  if (window.easelRestored) try { localStorage.setItem(STORE, JSON.stringify(used())); } catch { /* a full store costs only the memory */ }
}

// From the hub: first what a name means, with size, licence and commit; then, once somebody has agreed, the file.
const hub = element.querySelector(".rack-hub"), wanted = hub.querySelector("input"), offers = element.querySelector(".rack-offers");
hub.hidden = !__MAY_FETCH__;

function tell(text, isWrong = false) {
  said.classList.toggle("is-wrong", isWrong);
  said.textContent = text;
}

// A few-step LoRA changes what a draft is: the Models tab looks again.
function takeIn(cards) {
  props.cards = cards;
  render();
  window.dispatchEvent(new Event("easel:racked"));
}

hub.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!wanted.value.trim()) { wanted.focus(); return; }
  offers.replaceChildren();
  tell("Asking the hub …");
  try {
    const found = await ask("/hub/loras", JSON.stringify({ name: wanted.value }), "application/json");
    tell("");
    offers.replaceChildren(...found.offers.map(offerRow));
    offers.querySelector("button")?.focus();
  } catch (error) { tell(error.message, true); }
});

function offerRow(offer) {
  const item = make("li", "rack-offer"), text = make("div", "rack-text"), take = make("button", "", "Fetch");
  const facts = [offer.size, `licence: ${offer.licence || "not stated"}`, `commit ${offer.revision}`, offer.base && `for ${offer.base}`];
  text.append(make("div", "rack-title", offer.title), make("p", "rack-facts", facts.filter(Boolean).join(" · ")));
  take.setAttribute("aria-label", `Fetch ${offer.title}`);
  take.addEventListener("click", async () => {
    take.disabled = true;
    tell(`Fetching ${offer.title} …`);
    try {
      const found = await askFetch("/hub/loras/fetch", offer.id, (share) => tell(`Fetching ${offer.title}: ${percent(share)}`));
      takeIn(found.cards);
      item.remove();
      tell(`${found.name} is in the rack.`);
      list.querySelector(`[data-name="${CSS.escape(found.name)}"] input`)?.focus();
    } catch (error) {
      take.disabled = false;
      take.textContent = "Fetch again";
      tell(error.message, true);
    }
  });
  item.append(text, take);
  return item;
}

const bring = element.querySelector(".rack-bring"), file = bring.querySelector("input"), said = element.querySelector(".rack-said");
bring.hidden = !__MAY_ADD__;
bring.querySelector("button").addEventListener("click", () => file.click());
file.addEventListener("change", async () => {
  const one = file.files[0];
  file.value = "";
  if (!one) return;
  said.classList.remove("is-wrong");
  said.textContent = `Bringing in ${one.name} …`;
  try {
    const answer = await fetch(`/loras?name=${encodeURIComponent(one.name)}`, { method: "POST", body: one, headers: { "X-Easel": "1", "Content-Type": "application/octet-stream" } });
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(found.message ? `${found.message} ${found.hint}` : found.detail || "This file could not be brought in. Try it again.");
    takeIn(found.cards);
    said.textContent = `${found.name} is in the rack.`;
    list.querySelector(`[data-name="${CSS.escape(found.name)}"] input`)?.focus();
  } catch (error) {
    said.classList.add("is-wrong");
    said.textContent = error instanceof TypeError ? "The studio cannot be reached. Try it again." : error.message;
  }
});

watch("value", render);
watch("cards", render);
window.addEventListener("easel:model", render);
render();
