// The line. Rows are kept and changed, not rebuilt: a focus that a hand has set must not be lost while steps are counted.
const box = element.querySelector(".line"), rows = element.querySelector(".line-list"), said = element.querySelector(".line-said");
const DRAWN = {
  pause: '<path d="M8 5v14M16 5v14"/>', resume: '<path d="M7 5l12 7-12 7z"/>', skip: '<path d="M5 5l9 7-9 7zM18 5v14"/>',
  up: '<path d="M12 19V5M6 11l6-6 6 6"/>', down: '<path d="M12 5v14M6 13l6 6 6-6"/>', duplicate: '<path d="M9 9h11v11H9zM5 15H4V4h11v1"/>',
  edit: '<path d="M4 20l1-5L16 4l4 4L9 19z"/>', stop: '<path d="M6 6l12 12M18 6L6 18"/>', retry: '<path d="M19 12a7 7 0 1 1-2-5M19 3v5h-5"/>',
  away: '<path d="M6 6l12 12M18 6L6 18"/>',
};
const NAMES = {
  pause: "Pause", resume: "Resume", skip: "Skip picture", up: "Move up", down: "Move down", duplicate: "Duplicate with a new seed",
  edit: "Edit and rerun", stop: "Cancel", retry: "Try this again", away: "Put away",
};

function toolsOf(row) {
  if (row.sheet) return ["stop"];
  if (row.state === "failed") return ["retry", "edit", "duplicate", "away"];
  return [...["pause", "resume"].filter((name) => row.can.includes(name)), ...(row.skip == null ? [] : ["skip"]),
    ...["up", "down"].filter((name) => row.can.includes(name)), "edit", "duplicate", "stop"];
}
function tool(name, row) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.do = name;
  const what = name === "skip" ? `${NAMES.skip} ${row.skip + 1} of ${row.count}` : NAMES[name];
  button.title = what;
  button.setAttribute("aria-label", `${what}: ${(row.prompt || "no words").slice(0, 60)}`);
  button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true">${DRAWN[name]}</svg>`;
  return button;
}
function make(row) {
  const item = document.createElement("li");
  item.dataset.job = row.job;
  item.innerHTML = '<div class="line-head"><img alt="" hidden><div><p class="line-prompt"></p><p class="line-text"></p></div></div><div class="line-share"><i></i></div><div class="line-tools" role="group"></div>';
  item.querySelector(".line-tools").addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) act(item.row, button.dataset.do);
  });
  return item;
}
function fill(item, row) {
  item.row = row;
  item.dataset.state = row.state;
  item.querySelector(".line-prompt").textContent = row.prompt || "No words";
  item.querySelector(".line-prompt").title = `${row.prompt}\n${row.facts}`;
  item.querySelector(".line-text").textContent = row.text;
  item.querySelector(".line-share").hidden = row.share == null;
  item.querySelector(".line-share i").style.width = `${100 * (row.share || 0)}%`;
  const tools = item.querySelector(".line-tools"), wanted = toolsOf(row), key = `${wanted} ${row.skip}`;
  tools.setAttribute("aria-label", `What to do with: ${(row.prompt || "no words").slice(0, 60)}`);
  if (tools.dataset.key === key) return;
  tools.dataset.key = key;
  const held = tools.contains(document.activeElement) ? document.activeElement.dataset.do : null;
  tools.replaceChildren(...wanted.map((name) => tool(name, row)));
  // The button under the hand may be gone: the nearest thing that is still there takes the focus.
  const other = { pause: "resume", resume: "pause", up: "down", down: "up" }[held];
  if (held) (tools.querySelector(`[data-do=${held}]`) || tools.querySelector(`[data-do=${other}]`) || tools.firstChild)?.focus();
}
function render(line) {
  const known = new Map([...rows.children].map((item) => [item.dataset.job, item]));
  const wanted = line.map((row) => { const item = known.get(row.job) || make(row); fill(item, row); return item; });
  const held = rows.contains(document.activeElement) ? document.activeElement : null;
  if (wanted.length !== rows.children.length || wanted.some((item, at) => rows.children[at] !== item)) {
    rows.replaceChildren(...wanted);
    if (held?.isConnected) held.focus();
  }
  if (saidOf && !line.some((row) => row.job === saidOf)) say("");
  box.hidden = !line.length;
  box.querySelector("h2").textContent = line.every((row) => row.state === "failed") ? "Not drawn" : "In line";
}
function showPreview({ job, preview }) {
  const image = rows.querySelector(`[data-job="${job}"] img`);
  if (image) { image.src = preview; image.hidden = false; }
}
// What was said of a job goes with it.
let saidOf = "";
function say(text, job = "", isWrong = false) {
  saidOf = job;
  said.textContent = text;
  said.classList.toggle("is-wrong", isWrong);
}

async function act(row, name) {
  if (name === "edit") { trigger("select", { job: row.job }); say("Its settings are in the form", row.job); return; }
  const stop = localStorage.getItem("easel_stop");
  // Until it was asked, a picture that was stopped is kept: what is thrown away cannot be asked about.
  const found = await window.easelAsk("/jobs", name === "stop" && row.sheet ? { do: "stop", sheet: row.sheet, keep: stop === "keep" }
    : { do: name, job: row.job, picture: row.skip ?? 0, keep: stop !== "drop" });
  say(found.error || found.said, row.job, Boolean(found.error));
  // Where the line is not in sight, beside Generate.
  if (found.error && said.offsetParent === null) window.dispatchEvent(new CustomEvent("easel:refused", { detail: { text: found.error } }));
}

// ---- what else moves with the line

let moved = 0, lastShape = "";
function priceAgain() {
  clearTimeout(moved);
  // Not before the form is filled: that asks for it.
  moved = setTimeout(() => { if (!document.hidden && document.body.dataset.ready) trigger("apply", {}); }, 100);
}
for (const name of ["easel:price", "easel:ready"]) window.addEventListener(name, priceAgain);
function take({ line, stage }) {
  if (line) render(line);
  if (stage?.preview) showPreview(stage);
  if (!line) return;
  const shape = line.map((row) => row.job + row.state).join();
  if (shape !== lastShape) { lastShape = shape; priceAgain(); }
}
window.addEventListener("easel:told", ({ detail }) => take(detail));
// The place in line moves with what others do, too.
setInterval(priceAgain, 15000);
window.addEventListener("easel:deed", ({ detail: { row, name } }) => act(row, name));
// What was said before this was here.
if (window.easelTold) take(window.easelTold);
