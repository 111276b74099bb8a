// The source picture. It is remembered by its address, so a reload finds it; the picture itself stays on the server.
const root = element.querySelector(".source");
const $ = (selector) => root.querySelector(selector);
const drop = $(".source-drop"), here = $(".source-here"), picture = $("img"), trouble = $(".source-error"), file = $("input[type=file]");
const STORE = "easel_source";
let frame = null; // width, height and fit of the picture to be

function show() {
  const value = props.value;
  drop.hidden = Boolean(value);
  here.hidden = !value;
  const isFolder = value?.kind === "folder";
  $(".source-frame").hidden = isFolder;
  if (value && !isFolder && picture.getAttribute("src") !== value.url) picture.src = value.url;
  $(".source-name").textContent = !value ? "" : isFolder
    ? `${value.name}: ${value.items.filter((one) => one.image).length} pictures` : `${value.width} × ${value.height}`;
  const refused = isFolder ? value.items.filter((one) => one.error).length : 0;
  $(".source-note").textContent = isFolder ? (refused ? `${refused} files are no pictures and will say so.` : "Each is drawn with the same settings.") : value?.note || "";
  if (window.easelRestored) try { value ? localStorage.setItem(STORE, JSON.stringify(value)) : localStorage.removeItem(STORE); } catch { /* a full store costs only the memory */ }
  fitFrame();
  window.dispatchEvent(new CustomEvent("easel:source", { detail: value }));
}

function fitFrame() {
  // What the run starts from: the source in a frame of the chosen size, cropped, padded or stretched as chosen.
  const value = props.value, isFitted = document.body.dataset.mode === "img2img" && document.body.dataset.how !== "edit" && frame;
  const [width, height] = isFitted ? [frame.width, frame.height] : [value?.width || 1, value?.height || 1];
  $(".source-frame").style.aspectRatio = `${width} / ${height}`;
  picture.style.objectFit = isFitted ? { crop: "cover", pad: "contain", stretch: "fill" }[frame.fit] : "contain";
}

function say(text) {
  // On the tabs without a source its card is out of sight: then the line beside Generate says it.
  const isHere = root.offsetParent !== null;
  trouble.hidden = !text || !isHere;
  trouble.textContent = isHere ? text : "";
  if (text && !isHere) window.dispatchEvent(new CustomEvent("easel:refused", { detail: { text } }));
}

function use(value) {
  say("");
  props.value = value;
  show();
}

async function bring(blob) {
  if (!blob) return;
  if (document.body.dataset.place) window.dispatchEvent(new CustomEvent("easel:choose", { detail: document.body.dataset.mode }));
  if (document.body.dataset.mode === "controlnet") return window.dispatchEvent(new CustomEvent("easel:bring-control", { detail: blob }));
  // A zip may be larger: the server judges what it unpacks to.
  if (blob.size > props.bytes_max * (/\.zip$/i.test(blob.name || "") ? 3 : 1)) return say(`This file is too large. Choose one of at most ${props.bytes_max >> 20} MB.`);
  say("");
  root.setAttribute("aria-busy", "true");
  drop.querySelector("b").textContent = "Bringing it in …";
  try {
    const answer = await fetch("/inputs", { method: "POST", body: blob, headers: { "X-Easel": "1", "Content-Type": "application/octet-stream" } });
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(found.message ? `${found.message} ${found.hint}` : found.detail || "This picture could not be brought in. Try it again.");
    const { settings, ...value } = found;
    const accept = () => {
      // On the Text tab there is no use for a source: the page goes where there is one.
      if (document.body.dataset.mode === "txt2img") window.dispatchEvent(new CustomEvent("easel:choose", { detail: "img2img" }));
      use({ ...value, name: blob.name || "" });
      trigger("upload");
    };
    if (!window.easelOffer?.(settings, accept)) accept();
  } catch (error) {
    say(error instanceof TypeError ? "The studio cannot be reached. Try it again." : error.message);
  } finally {
    root.setAttribute("aria-busy", "false");
    drop.querySelector("b").textContent = "Choose a picture";
  }
}

drop.addEventListener("click", () => file.click());
file.addEventListener("change", () => { bring(file.files[0]); file.value = ""; });
picture.addEventListener("error", () => { if (props.value) { use(null); say("The source picture is not here any more. Choose it again."); } });
root.addEventListener("click", (event) => {
  const action = event.target.closest("[data-do]")?.dataset.do;
  if (action === "other") file.click();
  if (action === "remove") { use(null); drop.focus(); }
});
window.addEventListener("easel:browse", () => file.click());
window.addEventListener("easel:frame", (event) => { frame = event.detail; fitFrame(); });
window.addEventListener("easel:mode", fitFrame);
window.addEventListener("easel:how", fitFrame);
window.addEventListener("easel:ask-source", () => window.dispatchEvent(new CustomEvent("easel:source", { detail: props.value })));
document.addEventListener("paste", (event) => {
  const pasted = [...(event.clipboardData?.files || [])].find((one) => one.type.startsWith("image/"));
  if (pasted) { event.preventDefault(); bring(pasted); }
});
const carriesFile = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
let depth = 0; // dragenter and dragleave come for every element passed
document.addEventListener("dragenter", (event) => { if (carriesFile(event)) { depth += 1; document.body.classList.add("is-dropping"); } });
document.addEventListener("dragleave", (event) => { if (carriesFile(event) && (depth -= 1) <= 0) { depth = 0; document.body.classList.remove("is-dropping"); } });
document.addEventListener("dragover", (event) => { if (carriesFile(event)) event.preventDefault(); });
const endDrop = () => { depth = 0; document.body.classList.remove("is-dropping"); };
window.addEventListener("easel:dropped", endDrop);
document.addEventListener("drop", (event) => {
  endDrop();
  if (!carriesFile(event)) return;
  event.preventDefault();
  bring(event.dataTransfer.files[0]);
});
watch("value", show);
show();
