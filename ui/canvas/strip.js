// The results tray. Prompts are shown through textContent and attributes only.
const $ = (selector) => element.querySelector(selector);
const list = $(".strip-list"), none = $(".strip-none"), more = $(".strip-more"), said = $(".strip-said"), bin = $(".strip-bin"), sure = $(".strip-sure");
const shelf = { pictures: [], hasMore: false }, thrown = { pictures: [], hasMore: false };
let counts = { shelf: 0, bin: 0 }, inBin = false, current = null, isLoading = false, undone = null;
const ask = (name, one, to) => window.dispatchEvent(new CustomEvent("easel:do", { detail: { name, one, to } }));
const FIRST_PAGE = 60, SAID_MS = 10000;
const shown = () => (inBin ? thrown : shelf);

function show(picture) {
  current = picture.id;
  for (const item of list.children) item.classList.toggle("is-current", item.dataset.id === current);
  window.dispatchEvent(new CustomEvent("easel:show", { detail: picture }));
}

function tool(text, title, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.title = title;
  button.addEventListener("click", action);
  return button;
}

function entry(picture) {
  const item = document.createElement("li");
  item.dataset.id = picture.id;
  const open = document.createElement("button");
  open.type = "button";
  open.className = "strip-open";
  open.title = picture.prompt;
  const image = document.createElement("img");
  image.src = picture.thumbnail;
  image.alt = picture.prompt || "A picture without words";
  image.loading = "lazy";
  image.decoding = "async";
  const facts = document.createElement("span");
  facts.textContent = picture.is_partial ? "stopped half-way" : `${picture.seed} · ${picture.seconds}\u00a0s`;
  open.append(image, facts);
  open.addEventListener("click", () => show(picture));
  item.append(open, toolsOf(picture));
  if (!inBin) item.append(deleteButton(picture));
  item.addEventListener("keydown", (event) => {
    if (event.key !== "Delete" || inBin) return;
    event.preventDefault();
    event.stopPropagation();
    tidy("bin", picture);
  });
  return item;
}
function deleteButton(picture) {
  const button = tool("", "Put this picture into the bin (Del)", () => tidy("bin", picture));
  button.className = "strip-delete";
  button.setAttribute("aria-label", `Delete: ${picture.prompt.slice(0, 60) || "a picture without words"}`);
  button.innerHTML = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5"/></svg>';
  return button;
}
function toolsOf(picture) {
  const tools = document.createElement("span");
  tools.className = "strip-tools";
  if (inBin) {
    tools.append(tool("Restore", "Put this picture back among the results", () => tidy("restore", picture)));
    return tools;
  }
  const save = document.createElement("a");
  save.href = picture.download;
  save.textContent = "Save";
  save.title = "Download the original file, its recipe inside";
  save.setAttribute("download", "");
  tools.append(
    tool("Reuse", "Reuse these settings", () => ask("reuse", picture)),
    tool("Edit", "Inpaint this picture", () => ask("send", picture, "inpaint")),
    save,
  );
  return tools;
}

function render() {
  const { pictures, hasMore } = shown();
  $(".strip-title").textContent = `${inBin ? "Bin" : "Results"}${counts[inBin ? "bin" : "shelf"] ? ` · ${counts[inBin ? "bin" : "shelf"]}` : ""}`;
  none.hidden = pictures.length > 0 || isLoading;
  none.textContent = inBin ? "The bin is empty." : counts.bin ? "No results. What you deleted is in the bin." : "Your pictures gather here. Only you see them.";
  bin.hidden = !inBin && !counts.bin;
  bin.textContent = inBin ? "Back to results" : `Bin · ${counts.bin}`;
  bin.setAttribute("aria-pressed", String(inBin));
  $(".strip-empty").hidden = !inBin || !counts.bin;
  more.hidden = !hasMore;
  element.querySelector(".strip").dataset.where = inBin ? "bin" : "shelf";
  const known = new Map([...list.children].filter((item) => item.dataset.in === String(inBin)).map((item) => [item.dataset.id, item]));
  const wanted = pictures.map((picture) => known.get(picture.id) || entry(picture));
  for (const item of wanted) item.dataset.in = String(inBin);
  // Entries are kept, not rebuilt: a new result must not make the whole tray flicker, nor take the focus away.
  const held = list.contains(document.activeElement) ? document.activeElement : null, at = held ? [...list.children].indexOf(held.closest("li")) : -1;
  if (wanted.length !== list.children.length || wanted.some((item, place) => list.children[place] !== item)) list.replaceChildren(...wanted);
  if (held?.isConnected) held.focus({ preventScroll: true });
  else if (held) (list.children[Math.min(at, list.children.length - 1)]?.querySelector("button") || bin).focus({ preventScroll: true });
  stopAt(list.contains(document.activeElement) ? document.activeElement.closest("li") : [...list.children].find((item) => item.dataset.id === current));
}

// ---- by keyboard: Tab stops at one picture of hundreds and at what can be done with it, the arrows go from one to the next

function stopAt(item) {
  const here = item || list.firstElementChild;
  for (const one of list.children) for (const stop of one.querySelectorAll("button, a")) stop.tabIndex = one === here ? 0 : -1;
}
function across() {
  const top = list.firstElementChild?.offsetTop;
  const next = [...list.children].findIndex((item) => item.offsetTop !== top);
  return next < 0 ? Math.max(list.children.length, 1) : next;
}
list.addEventListener("focusin", (event) => stopAt(event.target.closest("li")));
list.addEventListener("keydown", (event) => {
  const at = [...list.children].indexOf(event.target.closest("li")), last = list.children.length - 1;
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - across(), ArrowDown: at + across(), Home: 0, End: last }[event.key];
  if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  if (to < 0 || to > last) return;
  const open = list.children[to].querySelector(".strip-open");
  open.focus();
  open.click();
});

// ---- pages

// The newest page comes by itself; what was loaded behind it stays as long as the two still meet.
function merge(tray) {
  const ids = new Set(tray.pictures.map((one) => one.id)), last = tray.pictures.at(-1)?.id;
  const meet = shelf.pictures.findIndex((one) => one.id === last);
  const older = meet < 0 || !tray.has_more ? [] : shelf.pictures.slice(meet + 1).filter((one) => !ids.has(one.id));
  if (!older.length) shelf.hasMore = tray.has_more;
  shelf.pictures = [...tray.pictures, ...older];
  counts = { shelf: tray.shelf, bin: tray.bin };
  if (inBin) loadBin();
  render();
}
async function load(after) {
  const answer = await fetch(`/tray?${new URLSearchParams({ after, bin: String(inBin) })}`);
  return answer.ok ? answer.json() : null;
}
async function loadMore() {
  const side = shown(), last = side.pictures.at(-1);
  if (isLoading || !side.hasMore || !last) return;
  isLoading = true;
  const page = await load(last.id).catch(() => null);
  isLoading = false;
  // The side may have been changed meanwhile; what came belongs to where it was asked for.
  if (page && side.pictures.at(-1) === last) {
    side.pictures.push(...page.pictures);
    side.hasMore = page.has_more;
    render();
  }
}
async function loadBin() {
  const page = await load("").catch(() => null);
  if (!page || !inBin) return;
  Object.assign(thrown, { pictures: page.pictures, hasMore: page.has_more });
  counts = { shelf: page.shelf, bin: page.bin };
  render();
}

// ---- the bin

async function tidy(what, picture) {
  const side = shown(), place = side.pictures.findIndex((one) => one.id === picture.id);
  side.pictures = side.pictures.filter((one) => one.id !== picture.id);
  const found = await window.easelAsk("/tray", { do: what, pictures: [picture.id] });
  if (found.error) { await (inBin ? loadBin() : null); return say(found.error); }
  counts = { shelf: found.shelf, bin: found.bin };
  undone = what === "bin" ? { picture, place } : null;
  // It goes back to where it was, which may be on a page behind the newest: those are read anew.
  if (what === "restore") { shelf.pictures = shelf.pictures.slice(0, FIRST_PAGE); shelf.hasMore = counts.shelf > shelf.pictures.length; }
  say(what === "bin" ? "In the bin." : "Back among the results.");
  render();
}
let untold = 0;
function say(text) {
  clearTimeout(untold);
  // Over the last row for as long as somebody may want it back, and while they are at it.
  if (text) untold = setTimeout(() => { if (said.matches(":hover, :focus-within")) return say(text); undone = null; say(""); }, SAID_MS);
  said.hidden = !text;
  said.querySelector("span").textContent = text;
  $(".strip-undo").hidden = !undone;
}
$(".strip-undo").addEventListener("click", async () => {
  const { picture, place } = undone;
  undone = null;
  const found = await window.easelAsk("/tray", { do: "restore", pictures: [picture.id] });
  if (found.error) return say(found.error);
  counts = { shelf: found.shelf, bin: found.bin };
  if (!shelf.pictures.some((one) => one.id === picture.id)) shelf.pictures.splice(place, 0, picture);
  render();
  say("Back among the results.");
  bin.hidden ? list.querySelector("button")?.focus() : bin.focus();
});
bin.addEventListener("click", () => {
  inBin = !inBin;
  undone = null;
  say("");
  sureOf(false);
  if (inBin) { Object.assign(thrown, { pictures: [], hasMore: false }); loadBin(); }
  render();
});
function sureOf(isAsked) {
  if (isAsked) window.easelLayers.open("sure", () => sureOf(false), $(".strip-clear"));
  sure.hidden = !isAsked;
  $(".strip-clear").hidden = isAsked;
  if (!isAsked) window.easelLayers.shut("sure");
  sure.querySelector("b").textContent = counts.bin === 1 ? "Destroy this picture for good?" : `Destroy ${counts.bin} pictures for good?`;
}
$(".strip-clear").addEventListener("click", () => { sureOf(true); $(".strip-no").focus(); });
$(".strip-no").addEventListener("click", () => sureOf(false));
$(".strip-yes").addEventListener("click", async () => {
  const found = await window.easelAsk("/tray", { do: "empty" });
  sureOf(false);
  say(found.error || (found.done === 1 ? "One picture is gone." : `${found.done} pictures are gone.`));
  await loadBin();
  bin.focus();
});

function step(by) {
  // Where many are to be chosen from, the arrows begin there.
  const openings = [...document.querySelectorAll(".stage-sheet .cell-open")].filter((one) => one.checkVisibility() && !one.closest("[inert]"));
  if (openings.length) return openings.at(by > 0 ? 0 : -1).focus();
  const { pictures } = shown();
  if (!pictures.length) return;
  const at = pictures.findIndex((picture) => picture.id === current);
  const next = Math.min(Math.max((at < 0 ? (by > 0 ? -1 : 1) : at) + by, 0), pictures.length - 1);
  show(pictures[next]);
  list.children[next]?.scrollIntoView({ block: "nearest" });
}

more.addEventListener("click", loadMore);
new IntersectionObserver(([seen]) => { if (seen.isIntersecting) loadMore(); }, { rootMargin: "300px" }).observe(more);
window.addEventListener("easel:step", (event) => step(event.detail));
window.addEventListener("easel:told", ({ detail }) => { if (detail.tray) merge(detail.tray); });
if (window.easelTold?.tray) merge(window.easelTold.tray);
render();
