// The results tray. Prompts are shown through textContent and attributes only.
const list = element.querySelector(".strip-list"), none = element.querySelector(".strip-none");
let current = null;
const ask = (name, one, to) => window.dispatchEvent(new CustomEvent("easel:do", { detail: { name, one, to } }));

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
  image.src = picture.url;
  image.alt = picture.prompt || "A picture without words";
  image.loading = "lazy";
  const facts = document.createElement("span");
  facts.textContent = `${picture.seed} · ${picture.seconds} s`;
  open.append(image, facts);
  open.addEventListener("click", () => show(picture));
  const tools = document.createElement("span");
  tools.className = "strip-tools";
  const save = document.createElement("a");
  save.href = picture.download;
  save.textContent = "Save";
  save.title = "Download the original file";
  save.setAttribute("download", "");
  tools.append(
    tool("Reuse", "Reuse these settings", () => ask("reuse", picture)),
    tool("Edit", "Inpaint this picture", () => ask("send", picture, "inpaint")),
    save,
  );
  item.append(open, tools);
  return item;
}

function render() {
  const pictures = props.value || [];
  none.hidden = pictures.length > 0;
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
  // Entries are kept, not rebuilt: a new result must not make the whole tray flicker.
  list.replaceChildren(...pictures.map((picture) => known.get(picture.id) || entry(picture)));
}

function step(by) {
  const pictures = props.value || [];
  if (!pictures.length) return;
  const at = pictures.findIndex((picture) => picture.id === current);
  const next = Math.min(Math.max((at < 0 ? (by > 0 ? -1 : 1) : at) + by, 0), pictures.length - 1);
  show(pictures[next]);
  list.children[next]?.scrollIntoView({ block: "nearest" });
}

window.addEventListener("easel:step", (event) => step(event.detail));
watch("value", render);
render();
