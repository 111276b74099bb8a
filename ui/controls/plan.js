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
    say(plan);
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

watch("value", () => {
  clearTimeout(timer);
  timer = setTimeout(ask, 150);
});
ask();
