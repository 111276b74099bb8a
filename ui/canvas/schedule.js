// The noise schedule from pure noise (left) to the picture (right): the part that this strength walks is filled.
const root = element.querySelector(".schedule");
const $ = (selector) => root.querySelector(selector);
const WIDTH = 320, HEIGHT = 56;
let steps = 0, curve = props.curve && props.curve.length > 1 ? props.curve : [1, 0];
const at = (share) => {
  const place = share * (curve.length - 1), low = Math.min(Math.floor(place), curve.length - 2);
  return curve[low] + (place - low) * (curve[low + 1] - curve[low]);
};
const points = (from) => {
  const all = [];
  for (let step = 0; step <= 48; step += 1) {
    const share = from + (1 - from) * (step / 48);
    all.push(`${(share * WIDTH).toFixed(1)},${(HEIGHT - 2 - at(share) * (HEIGHT - 4)).toFixed(1)}`);
  }
  return all;
};
// Only whole steps are walked, so a few of them start a little later than the strength says.
function begin(strength) {
  return steps ? 1 - (strength > 0 ? Math.max(1, Math.floor(steps * strength)) : 0) / steps : 1 - strength;
}

function mark(line, share) {
  line.toggleAttribute("hidden", share === null);
  for (const end of ["x1", "x2"]) line.setAttribute(end, String((share ?? 0) * WIDTH));
}

function render() {
  const strength = Number(props.value), start = begin(strength);
  $(".schedule-line").setAttribute("d", "M" + points(0).join("L"));
  $(".schedule-words").textContent = (props.words.find(([limit]) => strength <= limit) || props.words.at(-1))[1];
  $(".schedule-area").setAttribute("d", strength > 0 ? `M${start * WIDTH},${HEIGHT}L${points(start).join("L")}L${WIDTH},${HEIGHT}Z` : "");
  $(".schedule-share").textContent = strength > 0 ? `starts with ${Math.round(at(start) * 100)} % noise` : "no step is walked";
  mark($(".schedule-start"), strength > 0 ? start : null);
}

window.addEventListener("easel:progress", (event) => {
  const { mode, step, steps: all } = event.detail, start = begin(Number(props.value));
  mark($(".schedule-now"), mode === props.mode && step !== null ? start + ((1 - start) * step) / all : null);
});
// The walk of the sampler and the noise schedule that are chosen, once it is known.
function plan() {
  if (window.easelPlan?.shares.length > 1) { curve = window.easelPlan.shares; steps = curve.length - 1; }
  render();
}

window.addEventListener("easel:plan", plan);
watch("value", render);
plan();
