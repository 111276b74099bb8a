// More pictures that an edit looks at. The sentence calls them by their number: the source is picture 1.
const root = element.querySelector(".pictures"), list = root.querySelector("ul"), add = root.querySelector(".pictures-add"), wrong = root.querySelector(".source-error");
let trouble = ""; // what could not be brought in, until something else is done

const pictures = () => (Array.isArray(props.value) ? props.value : []);
// How many the model that draws looks at beside the source.
const room = () => Math.max(0, (window.easelModel?.edits ?? props.most) - 1);

function put(next) {
  trouble = "";
  props.value = next;
  render();
}

async function bring(blob) {
  trouble = "Bringing it in …";
  render();
  try { put([...pictures(), await bringPicture(blob)]); } catch (error) { trouble = error.message; render(); }
}

function entry(image, number) {
  const item = make("li", "card picture-card is-on"), name = `Picture ${number + 2}`, text = make("div", "picture-facts"), remove = make("button", "card-remove", "Remove");
  item.dataset.key = String(number);
  remove.dataset.part = "remove";
  remove.setAttribute("aria-label", `Remove picture ${number + 2}`);
  remove.addEventListener("click", () => { put(pictures().filter((_, other) => other !== number)); add.querySelector("button")?.focus(); });
  text.append(make("b", "", name), make("span", "", `${image.width} × ${image.height}`), remove);
  item.append(thumb(image, name), text);
  return item;
}

function render() {
  const here = pictures(), surplus = here.length - room();
  redraw(list, here.map(entry));
  list.hidden = !here.length;
  const isOpen = surplus < 0, title = here.length ? "Add another picture" : "Add a picture";
  // Only where something changes: a button must not vanish under the finger.
  if (add.dataset.title !== (isOpen ? title : "")) {
    add.dataset.title = isOpen ? title : "";
    add.replaceChildren(...(isOpen ? [dropPlace(title, `the sentence may speak of picture ${here.length + 2}`, bring)] : []));
  }
  const looks = room() === 0 ? "only at the source" : room() === 1 ? "at the source and one more picture" : `at the source and ${room()} more pictures`;
  wrong.textContent = trouble || (surplus > 0 ? `This model looks ${looks}. Remove ${surplus === 1 ? "one" : surplus}.` : "");
  wrong.hidden = !wrong.textContent;
}

// The prompt of an edit is a wish, not a description.
function hint() {
  const area = document.querySelector("#ctl-prompt textarea");
  if (!area) return;
  hint.usual ??= area.placeholder;
  area.placeholder = document.body.dataset.mode === "img2img" && document.body.dataset.how === "edit" ? "Say what to change: make it night" : hint.usual;
}

takesDrop(root, bring);
root.addEventListener("error", (event) => {
  const key = event.target.closest?.("[data-key]")?.dataset.key;
  if (key === undefined) return;
  put(pictures().filter((_, number) => String(number) !== key));
  trouble = GONE;
  render();
}, true);
for (const name of ["easel:mode", "easel:how", "easel:ready"]) window.addEventListener(name, hint);
window.addEventListener("easel:model", render);
watch("value", render);
render();
hint();
