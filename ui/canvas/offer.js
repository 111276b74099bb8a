// Settings that a brought picture carries. Everything from the file goes in through textContent.
const root = element.querySelector(".offer"), said = root.querySelector(".offer-said"), missing = root.querySelector(".offer-missing");
const button = (name) => root.querySelector(`[data-do="${name}"]`);
let found = null, start = null;

function list(lines) {
  missing.replaceChildren(...lines.map((line) => { const item = document.createElement("li"); item.textContent = line; return item; }));
}

// Called for every picture that comes in: true means that a person is asked first, and `go` is what they may choose.
window.easelOffer = (settings, go) => {
  found = settings || null;
  const isAsked = Boolean(found) && document.body.dataset.mode === "txt2img";
  start = isAsked ? go : null;
  root.hidden = !found;
  list([]);
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
    button("take").hidden = button("source").hidden = true;
    found = null;
  } else if (action === "source" && start) { root.hidden = true; start(); }
  else if (action === "leave") root.hidden = true;
});
