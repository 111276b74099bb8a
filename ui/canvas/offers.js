// Typing < or __ opens a list of what can be named there. It writes as a hand would, so that the browser's own undo takes it back.
const box = element.querySelector(".words"), control = box.dataset.control, $ = (selector) => box.querySelector(selector);
const frame = $(".offers"), list = frame.querySelector("ul"), heard = $(".words-heard");
const FRESH = 4000, MOST = 40;
let known = null, readAt = 0, place = null, at = 0, dismissed = "";

const field = () => document.querySelector(`#ctl-${control} textarea`);
const isOpen = () => !frame.hidden;

// Where a name is being written: from its sign to the caret.
function open_at(area) {
  if (area.selectionStart !== area.selectionEnd) return null;
  const text = area.value.slice(Math.max(0, area.selectionStart - 80), area.selectionStart), start = area.selectionStart;
  const angled = /<(lora:)?([A-Za-z0-9._-]*)$/i.exec(text);
  if (angled) return { kind: angled[1] ? "lora" : "angled", query: angled[2].toLowerCase(), from: start - angled[0].length, to: start };
  // Lists that are already closed are no beginnings of a new one.
  const rest = text.replace(/__[A-Za-z0-9.-]+(?:_[A-Za-z0-9.-]+)*__/g, (whole) => " ".repeat(whole.length));
  const listed = /__([A-Za-z0-9.-]*(?:_[A-Za-z0-9.-]*)*)$/.exec(rest);
  return listed ? { kind: "list", query: listed[1].toLowerCase(), from: start - listed[0].length, to: start } : null;
}

function offers() {
  // What begins with the letters comes first, then what holds them, then what only speaks of them.
  const found = (one) => [one.name.toLowerCase().indexOf(place.query) === 0, one.name.toLowerCase().includes(place.query), one.note.toLowerCase().includes(place.query)].indexOf(true);
  const told = (all, kind, text) => all.filter((one) => found(one) >= 0).sort((one, other) => found(one) - found(other)).map((one) => ({ ...one, kind, text: text(one.name) }));
  if (place.kind === "list") return told(known.wildcards, "", (name) => `__${name}__`);
  const loras = control === "prompt" ? told(known.loras, "LoRA", (name) => `<lora:${name}:0.8>`) : [];
  return place.kind === "lora" ? loras : [...told(known.embeddings, "embedding", (name) => `<${name}>`), ...loras];
}

async function look() {
  const area = field();
  place = area && document.activeElement === area ? open_at(area) : null;
  if (!place) { dismissed = ""; return close(); }
  if (dismissed === `${place.kind}${place.from}`) return close();
  if (!known || Date.now() - readAt > FRESH) {
    try {
      const answer = await fetch("/live/offers", { method: "POST", headers: { "X-Easel": "1", "Content-Type": "application/json" }, body: JSON.stringify({ model: window.easelModel?.name }) });
      if (answer.ok) { known = await answer.json(); readAt = Date.now(); }
    } catch { /* the older list will do */ }
    // The hand went on meanwhile.
    place = document.activeElement === area ? open_at(area) : null;
  }
  if (!known || !place) return close();
  render(offers());
}

function render(all) {
  const found = all.slice(0, MOST);
  at = Math.max(found.findIndex((one) => !one.refusal), 0);
  list.replaceChildren(...found.map((one, number) => {
    const option = document.createElement("li"), name = document.createElement("b"), note = document.createElement("span");
    option.setAttribute("role", "option");
    option.id = `${list.id}-${number}`;
    option.dataset.text = one.text;
    if (one.refusal) option.setAttribute("aria-disabled", "true");
    name.textContent = one.name;
    note.textContent = one.refusal ? `cannot be used: ${one.refusal}` : [one.kind, one.note].filter(Boolean).join(" · ");
    option.append(name, note);
    return option;
  }));
  const none = { list: "No wildcard list of that name.", lora: "No LoRA of that name.", angled: "No embedding or LoRA of that name here." }[place.kind];
  if (!found.length && place.query) return close();
  if (!found.length) {
    const empty = document.createElement("li");
    empty.className = "offers-none";
    empty.textContent = none;
    list.append(empty);
  }
  heard.textContent = found.length ? `${found.length} to choose from: arrows, then Enter` : none;
  frame.hidden = false;
  const area = field();
  area.setAttribute("aria-autocomplete", "list");
  area.setAttribute("aria-controls", list.id);
  mark();
}

function mark() {
  const all = [...list.querySelectorAll("[role=option]")];
  all.forEach((one, number) => one.setAttribute("aria-selected", String(number === at)));
  all[at]?.scrollIntoView({ block: "nearest" });
  if (all[at]) field().setAttribute("aria-activedescendant", all[at].id);
}

function close() {
  if (isOpen()) heard.textContent = "";
  frame.hidden = true;
  for (const name of ["aria-activedescendant", "aria-controls"]) field()?.removeAttribute(name);
}

function take(option) {
  const area = field();
  if (!option || option.getAttribute("aria-disabled") || !place) return;
  const text = option.dataset.text, { from } = place;
  let { to } = place;
  // What was already written of the ending is not written twice.
  const tail = area.value.slice(to), ending = place.kind === "list" ? /^[A-Za-z0-9._-]*?__/ : /^[A-Za-z0-9._:-]*>/;
  to += ending.exec(tail.slice(0, 80))?.[0].length || 0;
  area.focus();
  area.setSelectionRange(from, to);
  // The one way to write that stays in the browser's undo.
  if (!document.execCommand("insertText", false, text)) {
    area.setRangeText(text, from, to, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
  close();
}

document.addEventListener("input", (event) => { if (event.target === field()) look(); });
document.addEventListener("selectionchange", () => { if (isOpen() && document.activeElement === field()) look(); });
document.addEventListener("focusout", (event) => { if (event.target === field()) close(); });
// The press must not take the focus out of the field; the click chooses.
frame.addEventListener("pointerdown", (event) => event.preventDefault());
frame.addEventListener("mousedown", (event) => event.preventDefault());
frame.addEventListener("click", (event) => take(event.target.closest("[role=option]")));
// Before the page's own keys: Escape closes the list and stops no picture, Enter chooses and sends nothing.
document.addEventListener("keydown", (event) => {
  if (!isOpen() || event.target !== field() || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = [...list.querySelectorAll("[role=option]")];
  if (event.key === "Escape") {
    dismissed = place ? `${place.kind}${place.from}` : "";
    close();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (!all.length) return;
    at = (at + (event.key === "ArrowDown" ? 1 : -1) + all.length) % all.length;
    mark();
  } else if (event.key === "Enter" && all.length && !event.shiftKey) {
    take(all[at]);
  } else {
    return;
  }
  event.preventDefault();
  event.stopPropagation();
}, true);
