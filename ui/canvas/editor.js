// The mask editor. Everything is kept in pixels of the source; the view maps them to the screen.
// value = { source: hash, base: {hash, url} or null, strokes: [{tool, size, points, is_erasing}], expand: [left, top, right, bottom] }
const root = element.querySelector(".editor");
const $ = (selector) => root.querySelector(selector);
const board = $(".editor-board"), canvas = $("canvas"), pen = canvas.getContext("2d"), none = $(".editor-none");
const sizeInput = $(".editor-size input"), words = $(".editor-words"), sides = [...root.querySelectorAll("[data-side]")];
const MASK_EDGE = 1600, HANDLE = 18, STORE = "easel_masks", KEPT = 8, SNAP = 8, MAX = Number(sides[0].max);
const file = $(".editor-file");
const ACCENT = "rgba(240, 138, 60, 0.55)";

let source = null, image = null, base = null;       // the picture's facts, its pixels, an earlier mask's pixels
let mask = document.createElement("canvas"), scale = 1; // the mask as painted so far, at most MASK_EDGE pixels long
let strokes = [], undone = [], expand = [0, 0, 0, 0];
let tool = "brush", view = { x: 0, y: 0, zoom: 1, isFit: true }, feather = 0;
let act = null, cursor = null, isSpace = false;
const fingers = new Map();

// ---- memory: strokes survive Generate, another tab and a reload

function recall(hash) {
  try { return (JSON.parse(localStorage.getItem(STORE) || "[]")).find((one) => one.source === hash) || null; } catch { return null; }
}
function remember(value) {
  let all = [];
  try { all = JSON.parse(localStorage.getItem(STORE) || "[]").filter((one) => one.source !== value.source); } catch { all = []; }
  all.unshift(value);
  for (let kept = KEPT; kept > 0; kept -= 1) {
    try { localStorage.setItem(STORE, JSON.stringify(all.slice(0, kept))); return; } catch { /* full: forget the oldest */ }
  }
}
function commit() {
  if (!source) return;
  const value = { source: source.hash, base: base?.hash ?? null, base_url: base?.url ?? null, strokes, expand };
  props.value = value;
  remember(value);
  refresh();
}

// ---- the mask

function replay() {
  const paint = mask.getContext("2d", { willReadFrequently: true });
  paint.globalCompositeOperation = "source-over";
  paint.clearRect(0, 0, mask.width, mask.height);
  if (base?.tinted) paint.drawImage(base.tinted, 0, 0, mask.width, mask.height);
  for (const stroke of strokes) lay(stroke, paint);
  draw();
}
function lay(stroke, paint = mask.getContext("2d", { willReadFrequently: true })) {
  const { tool: kind, points = [], size = 1 } = stroke;
  paint.save();
  paint.scale(scale, scale);
  paint.fillStyle = paint.strokeStyle = "#fff";
  paint.lineCap = paint.lineJoin = "round";
  paint.lineWidth = size;
  paint.globalCompositeOperation = kind === "erase" || stroke.is_erasing ? "destination-out" : "source-over";
  const whole = [0, 0, mask.width / scale, mask.height / scale];
  if (kind === "brush" || kind === "erase" || kind === "lasso") {
    paint.beginPath();
    paint.moveTo(points[0], points[1]);
    for (let at = 2; at < points.length; at += 2) paint.lineTo(points[at], points[at + 1]);
    if (kind === "lasso") paint.fill();
    else {
      if (points.length === 2) paint.lineTo(points[0], points[1] + 0.01);
      paint.stroke();
    }
  } else if (kind === "clear") paint.clearRect(...whole);
  else if (kind === "all") paint.fillRect(...whole);
  else if (kind === "invert") {
    paint.globalCompositeOperation = "source-out";
    paint.fillRect(...whole);
  } else if (kind === "fill") flood(paint, Math.floor(points[0] * scale), Math.floor(points[1] * scale));
  paint.restore();
}
function flood(paint, x, y) {
  const { width, height } = mask;
  if (x < 0 || y < 0 || x >= width || y >= height) return;
  const pixels = paint.getImageData(0, 0, width, height), data = pixels.data, isOpen = (at) => data[at * 4 + 3] < 128;
  if (!isOpen(y * width + x)) return;
  const waiting = [y * width + x];
  const set = (at) => { data[at * 4] = data[at * 4 + 1] = data[at * 4 + 2] = data[at * 4 + 3] = 255; };
  while (waiting.length) {
    let at = waiting.pop();
    if (!isOpen(at)) continue;
    const row = Math.floor(at / width) * width;
    while (at > row && isOpen(at - 1)) at -= 1;
    let up = false, down = false;
    for (; at < row + width && isOpen(at); at += 1) {
      set(at);
      const above = at - width, below = at + width;
      if (above >= 0) { if (isOpen(above)) { if (!up) waiting.push(above); up = true; } else up = false; }
      if (below < width * height) { if (isOpen(below)) { if (!down) waiting.push(below); down = true; } else down = false; }
    }
  }
  paint.putImageData(pixels, 0, 0);
}
function add(stroke) {
  strokes = [...strokes, stroke];
  undone = [];
  lay(stroke);
  draw();
  commit();
}

// ---- the view

const frame = () => ({ x: -expand[0], y: -expand[1], width: source.width + expand[0] + expand[2], height: source.height + expand[1] + expand[3] });
const toScreen = (x, y) => [view.x + x * view.zoom, view.y + y * view.zoom];
const toSource = (x, y) => [(x - view.x) / view.zoom, (y - view.y) / view.zoom];

function fit() {
  if (!source) return;
  const { width, height } = board.getBoundingClientRect(), all = frame();
  if (!width || !height) return;
  const room = 28; // so that the handles of the frame are in sight
  view.zoom = Math.min((width - 2 * room) / all.width, (height - 2 * room) / all.height);
  view.x = (width - all.width * view.zoom) / 2 - all.x * view.zoom;
  view.y = (height - all.height * view.zoom) / 2 - all.y * view.zoom;
  view.isFit = true;
  draw();
}
function zoomAt(x, y, factor) {
  const zoom = Math.min(Math.max(view.zoom * factor, 0.02), 32), [sx, sy] = toSource(x, y);
  view = { zoom, x: x - sx * zoom, y: y - sy * zoom, isFit: false };
  draw();
}
function zoomMiddle(factor) {
  const { width, height } = board.getBoundingClientRect();
  zoomAt(width / 2, height / 2, factor);
}

let isDue = false;
function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; paintView(); });
}
function paintView() {
  const { width, height } = board.getBoundingClientRect(), dense = window.devicePixelRatio || 1;
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
  }
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, width, height);
  $(".editor-zoom").textContent = `${Math.round(view.zoom * 100)} %`;
  if (!source || !image) return;
  const all = frame(), [fx, fy] = toScreen(all.x, all.y), [x, y] = toScreen(0, 0);
  const size = [source.width * view.zoom, source.height * view.zoom];
  if (expand.some(Boolean)) { // what will be invented
    pen.fillStyle = ACCENT;
    pen.fillRect(fx, fy, all.width * view.zoom, all.height * view.zoom);
  }
  pen.imageSmoothingEnabled = view.zoom < 3;
  pen.drawImage(image, x, y, ...size);
  tint();
  pen.save();
  pen.beginPath();
  pen.rect(x, y, ...size);
  pen.clip();
  if ("filter" in pen && feather > 0) pen.filter = `blur(${Math.min((feather * view.zoom) / 4, 40)}px)`;
  pen.drawImage(tinted, x, y, ...size);
  pen.restore();
  if (act?.kind === "stroke") outline(act.stroke);
  const style = getComputedStyle(document.body);
  pen.strokeStyle = style.getPropertyValue("--quiet");
  pen.lineWidth = 1;
  pen.strokeRect(fx + 0.5, fy + 0.5, all.width * view.zoom - 1, all.height * view.zoom - 1);
  for (const [hx, hy, hw, hh] of handles()) {
    pen.fillStyle = style.getPropertyValue("--accent");
    pen.fillRect(hx, hy, hw, hh);
  }
  if (cursor && (tool === "brush" || tool === "erase") && !isSpace) ring();
}
const tinted = document.createElement("canvas");
function tint() {
  if (tinted.width !== mask.width || tinted.height !== mask.height) { tinted.width = mask.width; tinted.height = mask.height; }
  const paint = tinted.getContext("2d");
  paint.globalCompositeOperation = "copy";
  paint.drawImage(mask, 0, 0);
  paint.globalCompositeOperation = "source-in";
  paint.fillStyle = ACCENT;
  paint.fillRect(0, 0, tinted.width, tinted.height);
}
function outline(stroke) {
  const [x, y] = toScreen(stroke.points[0], stroke.points[1]);
  pen.save();
  pen.strokeStyle = stroke.tool === "erase" || stroke.is_erasing ? "rgba(255, 255, 255, 0.6)" : ACCENT;
  pen.lineWidth = stroke.tool === "lasso" ? 2 : stroke.size * view.zoom;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(x, y);
  for (let at = 2; at < stroke.points.length; at += 2) pen.lineTo(...toScreen(stroke.points[at], stroke.points[at + 1]));
  if (stroke.points.length === 2) pen.lineTo(x, y + 0.01);
  pen.stroke();
  pen.restore();
}
function ring() {
  for (const [colour, radius] of [["#000", 0.5], ["#fff", -0.5]]) {
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.arc(cursor[0], cursor[1], Math.max(1.5, (brush() * view.zoom) / 2 + radius), 0, 7);
    pen.stroke();
  }
}
// Handles in the middle of each edge of the frame: left, top, right, bottom.
function handles() {
  const all = frame(), [x, y] = toScreen(all.x, all.y), w = all.width * view.zoom, h = all.height * view.zoom, long = Math.min(48, w / 3, h / 3);
  return [[x - 7, y + h / 2 - long / 2, 5, long], [x + w / 2 - long / 2, y - 7, long, 5], [x + w + 2, y + h / 2 - long / 2, 5, long], [x + w / 2 - long / 2, y + h + 2, long, 5]];
}
function handleAt(x, y) {
  return handles().findIndex(([hx, hy, hw, hh]) => x >= hx - HANDLE / 2 && x <= hx + hw + HANDLE / 2 && y >= hy - HANDLE / 2 && y <= hy + hh + HANDLE / 2);
}

// ---- the hand

const brush = () => Number(sizeInput.value);
const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const rounded = (value) => Math.round(value * 10) / 10;

function down(event) {
  if (!source || !image) return;
  canvas.setPointerCapture(event.pointerId);
  const at = place(event);
  fingers.set(event.pointerId, at);
  if (event.pointerType === "touch" && fingers.size === 2) { // a second finger: what the first began was not meant
    const [a, b] = [...fingers.values()];
    act = { kind: "pinch", length: Math.hypot(a[0] - b[0], a[1] - b[1]), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
    draw();
    return;
  }
  const side = event.button === 0 ? handleAt(...at) : -1;
  if (isSpace || event.button === 1) act = { kind: "pan", from: at, view: { ...view } };
  else if (side >= 0) act = { kind: "grow", side, from: at, before: expand[side] };
  else if (event.button === 0 || event.button === 5) {
    const [x, y] = toSource(...at).map(rounded);
    if (tool === "fill") { add({ tool: "fill", size: 1, points: [x, y], is_erasing: false }); return; }
    const kind = event.button === 5 ? "erase" : tool; // the other end of a pen
    act = { kind: "stroke", stroke: { tool: kind, size: kind === "lasso" ? 1 : brush(), points: [x, y], is_erasing: kind === "lasso" && event.altKey } };
  }
  event.preventDefault();
  draw();
}
function move(event) {
  const at = place(event);
  cursor = event.pointerType === "touch" ? null : at;
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, at);
  if (act?.kind === "pinch") pinch();
  else if (act?.kind === "pan") view = { ...act.view, x: act.view.x + at[0] - act.from[0], y: act.view.y + at[1] - act.from[1], isFit: false };
  else if (act?.kind === "grow") grow(act, at);
  else if (act?.kind === "stroke") {
    const points = act.stroke.points, far = 1.5 / view.zoom;
    for (const one of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
      const [x, y] = toSource(...place(one)).map(rounded);
      if (Math.hypot(x - points.at(-2), y - points.at(-1)) >= far) points.push(x, y);
    }
  } else canvas.style.cursor = source && handleAt(...at) >= 0 ? (handleAt(...at) % 2 ? "ns-resize" : "ew-resize") : isSpace ? "grab" : tool === "brush" || tool === "erase" ? "none" : "crosshair";
  draw();
}
function up(event) {
  fingers.delete(event.pointerId);
  const done = act;
  if (done?.kind === "pinch") { if (!fingers.size) act = null; return; }
  act = null;
  if (event.type === "pointercancel") { draw(); return; }
  if (done?.kind === "stroke" && (done.stroke.tool !== "lasso" || done.stroke.points.length >= 6)) add(done.stroke);
  if (done?.kind === "grow") { commit(); if (view.isFit) fit(); }
  draw();
}
function pinch() {
  const [a, b] = [...fingers.values()];
  if (!b) return;
  const length = Math.hypot(a[0] - b[0], a[1] - b[1]), middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  view.x += middle[0] - act.middle[0];
  view.y += middle[1] - act.middle[1];
  zoomAt(...middle, length / Math.max(act.length, 1));
  act = { ...act, length, middle };
}
function grow(drag, at) {
  const sign = drag.side < 2 ? -1 : 1, along = drag.side % 2 ? at[1] - drag.from[1] : at[0] - drag.from[0];
  const wanted = Math.round((drag.before + (sign * along) / view.zoom) / SNAP) * SNAP;
  expand = expand.map((old, side) => (side === drag.side ? Math.min(Math.max(wanted, 0), MAX) : old));
  refresh();
}

// ---- the bar

function choose(name) {
  tool = name;
  for (const button of root.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  draw();
}
function undo() {
  if (!strokes.length) return;
  undone = [...undone, strokes.at(-1)];
  strokes = strokes.slice(0, -1);
  replay();
  commit();
}
function redo() {
  if (!undone.length) return;
  const last = undone.at(-1);
  strokes = [...strokes, last];
  undone = undone.slice(0, -1);
  lay(last);
  draw();
  commit();
}
const acts = {
  undo, redo, invert: () => source && add({ tool: "invert", size: 1, points: [], is_erasing: false }),
  clear: () => source && (strokes.length || base) && add({ tool: "clear", size: 1, points: [], is_erasing: false }),
  load: () => source && file.click(),
  in: () => zoomMiddle(1.4), out: () => zoomMiddle(1 / 1.4), fit,
};
async function loadMask(blob) {
  if (!blob || !source) return;
  try {
    const answer = await fetch(`/inputs?mask_of=${source.hash}`, { method: "POST", body: blob, headers: { "X-Easel": "1", "Content-Type": "application/octet-stream" } });
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(`${found.message || found.detail || "The mask could not be loaded."} ${found.hint || ""}`.trim());
    const loaded = { source: source.hash, base: found.hash, base_url: found.url, strokes: [], expand };
    remember(loaded);
    open(source, loaded);
  } catch (error) {
    words.classList.add("is-wrong");
    words.textContent = error instanceof TypeError ? "The studio cannot be reached. Try it again." : error.message;
  }
}
function refresh() {
  $('[data-act="undo"]').disabled = !strokes.length;
  $('[data-act="redo"]').disabled = !undone.length;
  for (const [side, input] of sides.entries()) if (document.activeElement !== input) input.value = String(expand[side]);
  none.hidden = Boolean(source);
  root.dataset.strokes = String(strokes.length);
  root.dataset.source = source?.hash || "";
  const grown = expand.some(Boolean) ? ` The frame grows to ${frame().width} × ${frame().height}.` : "";
  const painted = strokes.length ? `${strokes.length} ${strokes.length === 1 ? "stroke" : "strokes"}.` : base ? "The mask of an earlier picture." : "";
  words.classList.remove("is-wrong");
  words.textContent = !source ? "" : painted || grown ? `${painted}${grown}`.trim() : "Paint over what should change, or drag an edge of the frame outwards.";
  draw();
}

// ---- a picture comes or goes

async function open(next, kept) {
  if (next?.kind !== "picture") next = null;
  const isSame = source?.hash === next?.hash;
  if (isSame && !kept) { source = next; return; }
  source = next;
  undone = [];
  const old = kept || (next && recall(next.hash)) || {};
  strokes = old.strokes || [];
  expand = old.expand || [0, 0, 0, 0];
  base = old.base ? { hash: old.base, url: old.base_url } : null;
  if (!isSame) image = null;
  refresh();
  if (!next) { props.value = null; draw(); return; }
  scale = Math.min(1, MASK_EDGE / Math.max(next.width, next.height));
  mask.width = Math.max(1, Math.round(next.width * scale));
  mask.height = Math.max(1, Math.round(next.height * scale));
  props.value = { source: next.hash, base: base?.hash ?? null, base_url: base?.url ?? null, strokes, expand };
  const [picture, below] = await Promise.all([image || load(next.url), base ? load(base.url).catch(() => null) : null]);
  if (source?.hash !== next.hash) return; // another one came meanwhile
  image = picture;
  if (base && below) base.tinted = whiteToAlpha(below);
  if (!isSame) fit();
  replay();
  refresh();
  root.dataset.ready = next.hash;
}
const load = (url) => new Promise((done, fail) => {
  const picture = new Image();
  picture.onload = () => done(picture);
  picture.onerror = fail;
  picture.src = url;
});
function whiteToAlpha(picture) {
  const made = document.createElement("canvas");
  made.width = mask.width;
  made.height = mask.height;
  const paint = made.getContext("2d");
  paint.drawImage(picture, 0, 0, made.width, made.height);
  const pixels = paint.getImageData(0, 0, made.width, made.height), data = pixels.data;
  for (let at = 0; at < data.length; at += 4) { data[at + 3] = data[at]; data[at] = data[at + 1] = data[at + 2] = 255; }
  paint.putImageData(pixels, 0, 0);
  return made;
}

canvas.addEventListener("pointerdown", down);
canvas.addEventListener("pointermove", move);
canvas.addEventListener("pointerup", up);
canvas.addEventListener("pointercancel", up);
canvas.addEventListener("pointerleave", () => { cursor = null; draw(); });
canvas.addEventListener("auxclick", (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => { if (source) { event.preventDefault(); root.focus({ preventScroll: true }); zoomAt(...place(event), Math.exp(-event.deltaY * 0.0015)); } }, { passive: false });
none.addEventListener("click", () => window.dispatchEvent(new CustomEvent("easel:browse")));
root.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.tool) choose(button.dataset.tool);
  if (button?.dataset.act) acts[button.dataset.act]();
});
file.addEventListener("change", () => { loadMask(file.files[0]); file.value = ""; });
sizeInput.addEventListener("input", () => { $(".editor-size output").textContent = sizeInput.value; draw(); });
for (const [side, input] of sides.entries()) {
  input.addEventListener("change", () => {
    const wanted = Math.min(Math.max(Math.round((Number(input.value) || 0) / SNAP) * SNAP, 0), MAX);
    input.value = String(wanted);
    expand = expand.map((old, one) => (one === side ? wanted : old));
    commit();
    if (view.isFit) fit();
  });
}
const isShown = () => root.offsetParent !== null;
const resize = (by) => { sizeInput.value = String(Math.round(brush() * by + Math.sign(by - 1))); sizeInput.dispatchEvent(new Event("input")); };
const keys = {
  b: () => choose("brush"), e: () => choose("erase"), l: () => choose("lasso"), g: () => choose("fill"), i: acts.invert, Delete: acts.clear, Backspace: acts.clear,
  "[": () => resize(1 / 1.2), "]": () => resize(1.2), "+": acts.in, "=": acts.in, "-": acts.out, 0: acts.fit,
};
window.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("textarea, select, input:not([type=range]):not([type=checkbox]):not([type=radio]), [contenteditable]");
  if (!isShown() || isTyping || document.querySelector("dialog:modal")) return;
  // There it is the picture that goes to the bin.
  if (["Delete", "Backspace"].includes(event.key) && event.target.closest?.("#tray")) return;
  if ((event.ctrlKey || event.metaKey) && ["z", "y"].includes(event.key.toLowerCase())) {
    event.preventDefault();
    event.stopImmediatePropagation();
    event.key.toLowerCase() === "y" || event.shiftKey ? redo() : undo();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && !event.target.closest?.("button, label, input, summary, a")) { isSpace = true; canvas.style.cursor = "grab"; event.preventDefault(); draw(); return; }
  const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action) { event.preventDefault(); event.stopImmediatePropagation(); action(); }
}, true);
window.addEventListener("keyup", (event) => { if (event.key === " ") { isSpace = false; draw(); } });
window.addEventListener("easel:source", (event) => open(event.detail));
window.addEventListener("easel:feather", (event) => { feather = Number(event.detail) || 0; draw(); });
new ResizeObserver(() => (view.isFit ? fit() : draw())).observe(board);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
// The server sets a value when the settings of an old picture come back.
watch("value", () => {
  const value = props.value;
  const differs = value && (value.base !== (base?.hash ?? null) || JSON.stringify([value.strokes, value.expand]) !== JSON.stringify([strokes, expand]));
  if (differs && value.source === source?.hash) { remember(value); open(source, value); }
  else if (value && value.source !== source?.hash) remember(value);
});
choose("brush");
refresh();
window.dispatchEvent(new CustomEvent("easel:ask-source")); // it may have spoken before this was here
