// A native list in groups: it opens as the device is used to, by mouse, touch, keyboard or screen reader.
const select = element.querySelector("select"), note = element.querySelector(".choice-note");
const { name, groups, exists, labels, samplers } = __CHOICES__;
// Why the choice fell back; it stands until somebody chooses again.
let fallen = "";
const every = groups.flatMap((group) => group.options);
let filled = null;

// A model of another family brings other samplers.
function fill() {
  const here = samplers && (window.easelModel?.samplers ?? samplers);
  if (filled === (filled = String(here))) return;
  select.replaceChildren(...groups.flatMap(({ label, options }) => {
    const all = options.filter(([key]) => !here || here.includes(key)).map(([key, title]) => new Option(title, key));
    if (!label || !all.length) return all;
    const group = document.createElement("optgroup");
    group.label = label;
    group.append(...all);
    return group;
  }));
}

// What does not exist with the sampler says so in the list; it is never taken away under somebody's hand.
function offer() {
  const sampler = window.easelSampler, known = exists?.[sampler];
  for (const option of select.options) {
    const title = every.find(([key]) => key === option.value)[1];
    option.disabled = Boolean(known && option.value && !known.includes(option.value));
    option.textContent = option.disabled ? `${title} (not with ${labels[sampler]})` : title;
  }
}

function render() {
  fill();
  if (exists) offer();
  const value = every.some(([key]) => key === props.value) ? props.value : "";
  select.value = value;
  const about = every.find(([key]) => key === value)?.[2] || "";
  note.textContent = (value === "" && fallen) || (about && about[0].toUpperCase() + about.slice(1));
  if (name === "scheduler" && window.easelSampler !== value) {
    window.easelSampler = value;
    window.dispatchEvent(new CustomEvent("easel:sampler"));
  }
}

select.addEventListener("change", () => {
  fallen = "";
  props.value = select.value;
  render();
  if (name === "scheduler") window.dispatchEvent(new CustomEvent("easel:sampler", { detail: "by hand" }));
});
if (exists) window.addEventListener("easel:sampler", (event) => {
  const lost = props.value && !exists[window.easelSampler]?.includes(props.value) ? every.find(([key]) => key === props.value)[1] : "";
  // A choice that came with a picture or from memory is left as it is; one's own change of sampler lets the schedule fall back, and says so.
  // The framework tells of a value late and more than once: only a hand takes the sentence away, or a schedule that is chosen.
  if (event.detail === "by hand") fallen = lost ? `${lost} does not exist for ${labels[window.easelSampler]}: the model's own is used.` : "";
  if (fallen && event.detail === "by hand") props.value = "";
  render();
});
if (samplers) window.addEventListener("easel:model", render);
watch("value", () => { if (props.value) fallen = ""; render(); });
render();
