// Settings that a brought picture carries. Everything from the file goes in through textContent.
const root = element.querySelector(".offer"), said = root.querySelector(".offer-said"), missing = root.querySelector(".offer-missing"), remark = root.querySelector(".offer-remark");
const button = (name) => root.querySelector(`[data-do="${name}"]`);
let found = null, start = null;
let isTaken = false; // the settings are in the form, and that is said

function list(lines) {
  missing.replaceChildren(...lines.map((line) => { const item = document.createElement("li"); item.textContent = line; return item; }));
}

function note(text) {
  remark.textContent = text || "";
  remark.hidden = !text;
}

// Called for every picture that comes in: true means that a person is asked first, and `go` is what they may choose.
window.easelOffer = (settings, go) => {
  found = settings || null;
  const isAsked = Boolean(found) && document.body.dataset.mode === "txt2img";
  start = isAsked ? go : null;
  isTaken = false;
  root.hidden = !found;
  list([]);
  note("");
  if (!found) return false;
  said.textContent = "This picture carries its settings:";
  button("take").hidden = false;
  button("source").hidden = !isAsked;
  if (isAsked) button("take").focus();
  return isAsked;
};

root.addEventListener("click", (event) => {
  const action = event.target.closest("[data-do]")?.dataset.do;
  if (action === "take" && found) {
    trigger("select", { recipe: found.recipe || null, values: found.values });
    const lines = [...found.missing, ...found.unread.map((one) => `${one} means nothing here.`)];
    said.textContent = lines.length ? "The settings are in the form, without:" : "The settings are in the form.";
    list(lines);
    note(found.remark);
    button("take").hidden = button("source").hidden = true;
    found = null;
    isTaken = true;
  } else if (action === "source" && start) { root.hidden = true; start(); }
  else if (action === "leave") root.hidden = true;
});
// Said until something else is done; what is missing, until it is drawn without.
document.addEventListener("click", ({ target, isTrusted }) => {
  if (!isTaken || root.contains(target) || !(isTrusted || target.closest("#go"))) return;
  if ((missing.firstChild || remark.textContent) && !target.closest("#go, #beside, [role=tab]")) return;
  isTaken = false;
  root.hidden = true;
});
