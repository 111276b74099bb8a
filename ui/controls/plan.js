// Asks what the steps as they are set will do, says what usually goes wrong with them, and tells the plots.
const list = element.querySelector("ul");
let timer = 0, asked = 0;

async function ask() {
  const mine = ++asked, value = props.value;
  if (!value || !value.scheduler) return;
  try {
    const answer = await fetch("/live/plan", { method: "POST", headers: { "X-Easel": "1", "Content-Type": "application/json" }, body: JSON.stringify(value) });
    if (!answer.ok || mine !== asked) return;
    const plan = await answer.json();
    if (mine !== asked) return;
    const isSaid = explain(plan);
    say(isSaid ? { ...plan, refusal: null } : plan);
    window.easelPlan = { ...plan, mode: value.mode };
    window.dispatchEvent(new CustomEvent("easel:plan"));
  } catch { /* offline: the stage says so */ }
}

function say({ refusal, advice }) {
  const sentences = [...(refusal ? [refusal] : []), ...advice];
  if ([...list.children].map((one) => one.textContent).join() === sentences.join()) return;
  list.replaceChildren(...sentences.map((text) => {
    const one = document.createElement("li");
    one.textContent = text;
    one.classList.toggle("is-refusal", text === refusal);
    return one;
  }));
}

// What is wrong with a control is said at the control, where that is in sight.
const note = document.createElement("p");
note.id = "field-note";
note.className = "field-note";
note.setAttribute("role", "alert");
function explain({ refusal, field }) {
  for (const one of document.querySelectorAll("[aria-describedby=field-note]")) { one.removeAttribute("aria-describedby"); one.removeAttribute("aria-invalid"); }
  note.remove();
  const control = field && document.getElementById(`ctl-${field}`), input = control?.querySelector("input:not([type=range])");
  if (!input?.offsetParent) return false;
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", note.id);
  note.textContent = refusal;
  control.append(note);
  // Never behind Generate.
  note.scrollIntoView({ block: "nearest" });
  return true;
}

watch("value", () => {
  clearTimeout(timer);
  timer = setTimeout(ask, 150);
});
ask();
