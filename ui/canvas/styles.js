// Styles: searched, looked at to the letter, then written into the fields. Nothing is added that cannot be read there.
const box = element.querySelector(".words"), control = box.dataset.control, $ = (selector) => box.querySelector(selector);
const panel = $(".styles"), search = panel.querySelector("input"), list = $(".styles-list"), shown = $(".styles-shown"), apply = $(".styles-apply");
const FIELDS = { prompt: "Prompt", negative_prompt: "Negative prompt" };
const written = []; // what was applied, to be taken back
let groups = [], active = "", asked = 0;

const own = () => ({ prompt: "", negative_prompt: "", ...window.easelWords });
const options = () => [...list.querySelectorAll("[role=option]")];

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "X-Easel": "1", "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.message || found.detail || "");
  return found;
}

function make(tag, kind, text) {
  const one = document.createElement(tag);
  if (kind) one.className = kind;
  if (text) one.textContent = text;
  return one;
}

function render() {
  const wanted = search.value.trim().toLowerCase().split(/\s+/);
  const fits = (text) => wanted.every((word) => text.toLowerCase().includes(word));
  list.replaceChildren();
  for (const { group, styles } of groups) {
    const found = styles.filter((style) => fits(`${group} ${style.name} ${style.note}`));
    if (!found.length) continue;
    const set = make("div", "styles-group"), title = make("p", "styles-title", group);
    title.id = `${panel.id}-${group.replace(/\W+/g, "-")}`;
    set.setAttribute("role", "group");
    set.setAttribute("aria-labelledby", title.id);
    set.append(title);
    for (const style of found) {
      const option = make("div", "styles-option");
      option.setAttribute("role", "option");
      option.id = `${panel.id}-${style.name.replace(/\W+/g, "-")}`;
      option.dataset.name = style.name;
      option.append(make("b", "", style.name), make("span", "", style.note));
      set.append(option);
    }
    list.append(set);
  }
  if (!list.children.length) list.append(make("p", "styles-none", groups.length ? "No style of that name." : "Styles cannot be read right now."));
  choose(options().some((one) => one.dataset.name === active) ? active : options()[0]?.dataset.name || "");
}

function choose(name) {
  active = name;
  for (const one of options()) one.setAttribute("aria-selected", String(one.dataset.name === name));
  const chosen = options().find((one) => one.dataset.name === name);
  chosen?.scrollIntoView({ block: "nearest" });
  if (chosen) search.setAttribute("aria-activedescendant", chosen.id); else search.removeAttribute("aria-activedescendant");
  look();
}

// What would stand in both fields: one's own words quiet, what is added marked.
async function look() {
  const mine = ++asked;
  apply.disabled = !active;
  if (!active) return shown.replaceChildren();
  try {
    const found = await post("/live/style", { style: active, ...own() });
    if (mine !== asked) return;
    shown.replaceChildren();
    for (const [name, label] of Object.entries(FIELDS)) {
      const [before, words, behind] = found[name];
      if (!before && !behind) continue;
      const line = make("p", "");
      line.append(make("b", "", label), " ");
      if (before) line.append(make("ins", "", before));
      if (words) line.append(make("span", "styles-own", words));
      if (behind) line.append(make("ins", "", behind));
      shown.append(line);
    }
  } catch (error) {
    if (mine === asked) shown.replaceChildren(make("p", "", error.message || "The studio cannot be reached. Try it again."));
  }
}

function write(values) {
  // A state of its own, however shortly before it somebody typed.
  window.easelForm?.settle();
  window.easelWritten = values;
  trigger("select");
}

async function use() {
  if (!active) return;
  const before = own();
  let found;
  try { found = await post("/live/style", { style: active, ...before }); } catch { return look(); }
  const after = Object.fromEntries(Object.keys(FIELDS).map((name) => [name, found[name].join("")]));
  written.push({ name: found.name, before, after });
  write([after.prompt, after.negative_prompt]);
  close();
  const undo = $(".words-undo");
  showUndo(written.at(-1));
  undo.focus();
  // What was written into a folded field is shown, not hidden.
  const fold = document.querySelector("#negative-fold");
  if (after.negative_prompt !== before.negative_prompt && !fold?.querySelector("#ctl-negative_prompt textarea")?.offsetParent) fold?.querySelector("button")?.click();
}

const isSame = (one, other) => one.prompt === other.prompt && one.negative_prompt === other.negative_prompt;

function showUndo(last) {
  const undo = $(".words-undo");
  undo.hidden = !last;
  if (last) undo.textContent = `Undo ${last.name}`;
}

// Only while the fields still say what the style wrote: later changes are taken back with the form's own undo.
// Both fields are written one after the other: what lies between is no change.
let settling = 0;
window.addEventListener("easel:words", () => {
  clearTimeout(settling);
  settling = setTimeout(() => showUndo(written.findLast((one) => isSame(one.after, own()))), 60);
});
$(".words-undo").addEventListener("click", () => {
  const last = written.findLast((one) => isSame(one.after, own()));
  if (!last) return;
  written.splice(written.indexOf(last), 1);
  write([last.before.prompt, last.before.negative_prompt]);
  $(".words-open").focus();
});

async function open() {
  window.easelLayers.open(panel.id, close, $(".words-open"));
  panel.hidden = false;
  $(".words-open").setAttribute("aria-expanded", "true");
  search.value = "";
  search.focus();
  try { ({ groups } = await post("/live/styles", { control })); } catch { groups = []; }
  render();
}

function close() {
  panel.hidden = true;
  $(".words-open").setAttribute("aria-expanded", "false");
  window.easelLayers.shut(panel.id);
}

$(".words-open").addEventListener("click", () => (panel.hidden ? open() : close()));
$(".styles-close").addEventListener("click", close);
apply.addEventListener("click", use);
search.addEventListener("input", render);
list.addEventListener("click", (event) => {
  const option = event.target.closest("[role=option]");
  if (option) choose(option.dataset.name);
});
list.addEventListener("dblclick", use);
panel.addEventListener("keydown", (event) => {
  const all = options(), at = all.findIndex((one) => one.dataset.name === active);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 6, PageUp: at - 6 }[event.key];
  if (event.target === search && to !== undefined && all.length) {
    choose(all[Math.min(Math.max(to, 0), all.length - 1)].dataset.name);
  } else if (event.target === search && event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
    use();
  } else {
    return;
  }
  event.preventDefault();
  event.stopPropagation();
});
