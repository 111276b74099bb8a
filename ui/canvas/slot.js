// Pieces that cards with a picture share: elements, sliders, and a picture that is chosen, dropped or sent.
// Names and notes come from files: they go in through textContent only.
function make(tag, kind, text) {
  const one = document.createElement(tag);
  if (tag === "button") one.type = "button";
  if (kind) one.className = kind;
  if (text) one.textContent = text;
  return one;
}

// The answer of one of the studio's own addresses, or an error that says what the server said.
async function ask(address, body, kind) {
  let answer;
  try {
    answer = await fetch(address, { method: "POST", body, headers: { "X-Easel": "1", "Content-Type": kind } });
  } catch { throw new Error("The studio cannot be reached. Try it again."); }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(found.message ? `${found.message} ${found.hint}` : found.detail || "That did not work. Try it again.");
  return found;
}

// Cards as the model that draws sees them: what does not fit it has its reason. The default model is named first.
const judged = (cards) => (cards || []).map((card) => ({ ...card, refusal: card.refusals?.[window.easelModel?.name ?? Object.keys(card.refusals)[0]] ?? null }));

// A fetch that the server tells of line by line. `hear` gets its share, 0 to 1; the last line is the answer.
async function askFetch(address, name, hear) {
  let answer;
  try {
    answer = await fetch(address, { method: "POST", body: JSON.stringify({ name }), headers: { "X-Easel": "1", "Content-Type": "application/json" } });
  } catch { throw new Error("The studio cannot be reached. Try it again."); }
  const sentence = (found) => new Error(found?.message ? `${found.message} ${found.hint}` : "That did not work. Try it again.");
  if (!answer.ok) throw sentence(await answer.json().catch(() => ({})));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", last = {};
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.filter(Boolean)) {
        last = JSON.parse(line);
        if (last.total) hear(last.here / last.total);
      }
    }
  } catch { throw new Error("The studio is not heard any more. The fetch goes on there; load the page again to see."); }
  if (last.error) throw sentence(last.error);
  return last;
}

async function bringPicture(blob) {
  if (blob.size > props.bytes_max) throw new Error(`This file is too large. Choose one of at most ${props.bytes_max >> 20} MB.`);
  const found = await ask("/inputs", blob, "application/octet-stream");
  if (found.kind === "folder") throw new Error("A zip is a folder of sources. Choose one picture here.");
  return found;
}

function sliderRow(label, value, { min, max, step, shown = (one) => one.toFixed(2) }, set) {
  const row = make("label", "card-row"), slider = make("input"), number = make("output", "", shown(value));
  Object.assign(slider, { type: "range", min, max, step, value });
  slider.dataset.part = label;
  slider.setAttribute("aria-label", label);
  slider.addEventListener("input", () => { number.textContent = shown(Number(slider.value)); });
  slider.addEventListener("change", () => set(Number(slider.value)));
  row.append(make("span", "card-label", label), slider, number);
  return row;
}

function switchRow(label, value, set) {
  const row = make("label", "card-row"), box = make("input");
  Object.assign(box, { type: "checkbox", checked: value });
  box.dataset.part = label;
  box.addEventListener("change", () => set(box.checked));
  row.append(make("span", "card-label", label), box);
  return row;
}

function numberRow(label, value, { min, max, step }, set) {
  const row = make("label", "card-row"), number = make("input", "card-number");
  Object.assign(number, { type: "number", min, max, step, value });
  number.dataset.part = label;
  number.addEventListener("change", () => set(Math.min(Math.max(Math.round(Number(number.value) || 0), min), max)));
  row.append(make("span", "card-label", label), number);
  return row;
}

function chooseRow(label, value, options, set) {
  const row = make("label", "card-row"), select = make("select");
  select.dataset.part = label;
  select.setAttribute("aria-label", label);
  const groups = new Map();
  for (const { name, title, group = "", isOff = false } of options) {
    const option = make("option", "", title);
    option.value = name;
    option.disabled = isOff;
    option.selected = name === value;
    if (group && !groups.has(group)) {
      const fold = make("optgroup");
      fold.label = group;
      groups.set(group, fold);
      select.append(fold);
    }
    (groups.get(group) || select).append(option);
  }
  select.addEventListener("change", () => set(select.value));
  row.append(make("span", "card-label", label), select);
  return row;
}

const percent = (share) => `${Math.round(share * 100)} %`;

// From when to when, in shares of the steps; each end pushes the other along.
function windowRows(one, set) {
  const bounds = { min: 0, max: 1, step: 0.05, shown: percent };
  return [
    sliderRow("From", one.start, bounds, (start) => set({ start, end: Math.max(one.end, start) })),
    sliderRow("To", one.end, bounds, (end) => set({ end, start: Math.min(one.start, end) })),
  ];
}

function thumb(view, label) {
  const open = make("button", "card-thumb"), image = make("img");
  image.src = view.url;
  image.alt = label;
  open.title = `${label}: see it large`;
  open.append(image);
  open.addEventListener("click", () => {
    const dialog = make("dialog", "card-large"), large = make("img");
    large.src = view.url;
    large.alt = label;
    dialog.append(large);
    dialog.setAttribute("aria-label", label);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  });
  return open;
}

// A place to drop a picture on. `use` gets the file; a file that lands here goes nowhere else.
function dropPlace(title, note, use) {
  const place = make("button", "source-drop"), file = make("input");
  Object.assign(file, { type: "file", accept: "image/*", hidden: true, tabIndex: -1 });
  file.setAttribute("aria-label", title);
  place.append(make("b", "", title), make("span", "", note));
  place.addEventListener("click", () => file.click());
  file.addEventListener("change", () => { if (file.files[0]) use(file.files[0]); file.value = ""; });
  const whole = make("div", "card-drop");
  whole.append(place, file);
  return whole;
}

function takesDrop(target, use) {
  target.addEventListener("drop", (event) => {
    const file = [...(event.dataTransfer?.files || [])].find((one) => one.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    event.stopPropagation();
    window.dispatchEvent(new CustomEvent("easel:dropped"));
    use(file);
  });
}

// What every card with a picture begins with: on or off, its name, and a way out.
function cardHead(name, one, set, leave) {
  const head = make("div", "card-head"), label = make("label", "rack-head"), box = make("input"), remove = make("button", "card-remove", "Remove");
  Object.assign(box, { type: "checkbox", checked: !one.isOff });
  box.dataset.part = "on";
  box.addEventListener("change", () => set({ isOff: !box.checked }));
  label.append(box, make("span", "rack-title", name));
  remove.setAttribute("aria-label", `Remove ${name.toLowerCase()}`);
  remove.addEventListener("click", leave);
  head.append(label, remove);
  return head;
}

function alertNote(text) {
  const note = make("p", "source-error", text);
  note.setAttribute("role", "alert");
  return note;
}

const GONE = "This picture is not here any more. Choose it again.";

// After the cards are drawn anew, what had the focus has it again: the keyboard must not fall back to the top of the page.
function redraw(list, entries) {
  const at = document.activeElement, key = at?.closest?.("[data-key]")?.dataset.key, part = at?.dataset?.part;
  list.replaceChildren(...entries);
  if (!key) return;
  const card = [...list.children].find((one) => one.dataset.key === key);
  (part && card ? [...card.querySelectorAll("[data-part]")].find((one) => one.dataset.part === part) : null)?.focus();
}

const newKey = () => Math.random().toString(36).slice(2, 10);
